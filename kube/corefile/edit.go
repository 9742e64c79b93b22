package corefile

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"strings"
)

// The lines around what is ours.
const (
	begin = "# BEGIN federator.dev"
	end   = "# END federator.dev"
	// grown is on the first one if the file did not end in the end of a line before.
	grown = " (the end of the line before is ours, too)"
)

// Stub is a zone that is forwarded.
type Stub struct {
	Zone string
	// Port is where the block listens, as [File.Port] has it. Empty means 53.
	Port string
	// To are the addresses of its servers.
	To []netip.Addr
}

// Block is the server block of the stub. It has no cache: federator's answers carry
// short times to live so that a failover is seen, and are made before they are asked
// for.
func (s Stub) Block() string {
	to := make([]string, len(s.To))
	for i, a := range s.To {
		to[i] = a.String()
	}
	return fmt.Sprintf("%s:%s {\n    errors\n    forward . %s\n}\n", s.Zone, cmp.Or(s.Port, standardPort), strings.Join(to, " "))
}

func (s Stub) validate() error {
	if s.Zone == "" || strings.ContainsAny(s.Zone, " \t\r\n{}\"#,:/()") || strings.ToLower(s.Zone) != s.Zone || strings.HasSuffix(s.Zone, ".") {
		return fmt.Errorf("zone %q: expected a name such as clusterset.local", s.Zone)
	}
	if s.Port != "" && !port.MatchString(s.Port) {
		return fmt.Errorf("port %q: expected a number, or a variable of the environment", s.Port)
	}
	if len(s.To) == 0 {
		return errors.New("expected the address of a server for the zone")
	}
	return nil
}

// Add returns the text with the stub in it. Where it is in already, the text is as it
// was; where an older one of ours is, that is replaced in its place.
func Add(text string, s Stub) (string, error) {
	if err := s.validate(); err != nil {
		return "", err
	}
	without, err := cut(text)
	if err != nil {
		return "", err
	}
	file, err := Parse(without.text)
	if err != nil {
		return "", fmt.Errorf("the Corefile is not understood: %w", err)
	}
	if err := file.taken(s.Zone); err != nil {
		return "", err
	}
	mark, lead := begin, ""
	if rest := without.text[:without.at]; rest != "" && !strings.HasSuffix(rest, "\n") {
		mark, lead = begin+grown, "\n"
	}
	added := without.text[:without.at] + lead + mark + "\n" + s.Block() + end + "\n" + without.text[without.at:]
	if _, err := Parse(added); err != nil {
		return "", fmt.Errorf("the Corefile with the zone in it is not understood: %w", err)
	}
	return added, nil
}

// Remove returns the text without what is ours, every other byte as it was.
func Remove(text string) (string, error) {
	without, err := cut(text)
	return without.text, err
}

// Marked reports whether something of ours is in the text.
func Marked(text string) bool { return strings.Contains(text, begin) }

// rest is a text without what is ours, and where that was, or would come.
type rest struct {
	text string
	at   int
}

// cut takes out what is ours.
func cut(text string) (rest, error) {
	var starts, ends []int
	grew := false
	at := 0
	for line := range strings.Lines(text) {
		switch strings.TrimRight(line, "\r\n") {
		case begin:
			starts = append(starts, at)
		case begin + grown:
			starts, grew = append(starts, at), true
		case end:
			ends = append(ends, at+len(line))
		}
		at += len(line)
	}
	if len(starts) == 0 && len(ends) == 0 {
		return rest{text, len(text)}, nil
	}
	if len(starts) != 1 || len(ends) != 1 || ends[0] <= starts[0] {
		return rest{}, fmt.Errorf("expected one line %q and one %q after it, found %d and %d: somebody has edited them; put that right by hand", begin, end, len(starts), len(ends))
	}
	from := starts[0]
	if grew && from > 0 && ends[0] == len(text) { // what was written behind it since needs the end of that line
		from--
	}
	return rest{text[:from] + text[ends[0]:], from}, nil
}

// Taken says who else has a zone in a text that holds blocks; [ErrTaken] is in the
// error. What is ours does not count.
func Taken(text, zone string) error {
	without, err := cut(text)
	if err != nil {
		return err
	}
	file, err := Parse(without.text)
	if err != nil {
		return err
	}
	return file.taken(zone)
}

// Diff shows what differs between two texts of which one has some lines in one place
// that the other has not, as diff -u does, with up to three lines around them.
func Diff(before, after string) string {
	a, b := strings.SplitAfter(before, "\n"), strings.SplitAfter(after, "\n")
	head := 0
	for head < len(a) && head < len(b) && a[head] == b[head] {
		head++
	}
	tail := 0
	for tail < len(a)-head && tail < len(b)-head && a[len(a)-1-tail] == b[len(b)-1-tail] {
		tail++
	}
	if head == len(a) && head == len(b) {
		return ""
	}
	var out strings.Builder
	write := func(mark string, lines []string) {
		for _, l := range lines {
			if l != "" {
				out.WriteString(mark + strings.TrimSuffix(l, "\n") + "\n")
			}
		}
	}
	write("  ", a[max(0, head-3):head])
	write("- ", a[head:len(a)-tail])
	write("+ ", b[head:len(b)-tail])
	write("  ", a[len(a)-tail:min(len(a), len(a)-tail+3)])
	return out.String()
}
