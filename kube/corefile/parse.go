package corefile

import (
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
)

// File is what a Corefile says.
type File struct {
	Blocks []Block
	// Imports are the patterns of the files that it includes beside its blocks.
	Imports []string
}

// Block is a server block, or a snippet.
type Block struct {
	// Keys are the zones, with ports, as they are written; the name in parentheses for
	// a snippet.
	Keys []string
	// Line is where it begins.
	Line int
	// Directives are the plugins and what they are told.
	Directives []Directive
}

// Directive is a line of a block, with all that is in its braces.
type Directive struct {
	Name string
	Args []string
	Line int
}

// maxSize bounds a Corefile: a ConfigMap holds 1 MiB.
const maxSize = 1 << 20

// Parse reads a Corefile.
func Parse(text string) (File, error) {
	if len(text) > maxSize {
		return File{}, fmt.Errorf("expected at most %d bytes, found %d", maxSize, len(text))
	}
	tokens, err := lex(text)
	if err != nil {
		return File{}, err
	}
	p := parser{tokens: tokens}
	var f File
	for !p.done() {
		if p.peek().text == "import" && !p.peek().quoted {
			args := p.rest()
			if len(args) < 2 {
				return File{}, fmt.Errorf("line %d: expected a file after import", args[0].line)
			}
			f.Imports = append(f.Imports, args[1].text)
			continue
		}
		b, err := p.block()
		if err != nil {
			return File{}, err
		}
		f.Blocks = append(f.Blocks, b)
	}
	return f, nil
}

type parser struct {
	tokens []token
	at     int
}

func (p *parser) done() bool  { return p.at >= len(p.tokens) }
func (p *parser) peek() token { return p.tokens[p.at] }

// rest takes the words up to the end of the line.
func (p *parser) rest() []token {
	from := p.at
	for !p.done() && p.peek().line == p.tokens[from].line {
		p.at++
	}
	return p.tokens[from:p.at]
}

// block reads KEY[, KEY...] { ... }.
func (p *parser) block() (Block, error) {
	b := Block{Line: p.peek().line}
	for {
		if p.done() {
			return b, fmt.Errorf("line %d: expected { after %q, found the end", b.Line, b.Keys)
		}
		t := p.peek()
		if t.brace("{") {
			break
		}
		last := p.at > 0 && !strings.HasSuffix(p.tokens[p.at-1].text, ",") && t.line != p.tokens[p.at-1].line
		if t.brace("}") || len(b.Keys) > 0 && last {
			return b, fmt.Errorf("line %d: expected { after %q, found %q", t.line, b.Keys, t.text)
		}
		for key := range strings.SplitSeq(t.text, ",") {
			if key != "" {
				b.Keys = append(b.Keys, key)
			}
		}
		p.at++
	}
	open := p.peek()
	p.at++
	switch {
	case len(b.Keys) == 0:
		return b, fmt.Errorf("line %d: expected a zone before {", open.line)
	case !p.done() && p.peek().line == open.line:
		return b, fmt.Errorf("line %d: expected the end of the line after {, found %q", open.line, p.peek().text)
	}
	for {
		if p.done() {
			return b, fmt.Errorf("line %d: the block of %q does not end", b.Line, b.Keys)
		}
		if t := p.peek(); t.brace("}") {
			p.at++
			if !p.done() && p.peek().line == t.line {
				return b, fmt.Errorf("line %d: expected the end of the line after }, found %q", t.line, p.peek().text)
			}
			return b, nil
		}
		d, err := p.directive()
		if err != nil {
			return b, err
		}
		b.Directives = append(b.Directives, d)
	}
}

// directive reads a line of a block, and what is in its braces.
func (p *parser) directive() (Directive, error) {
	d := Directive{Name: p.peek().text, Line: p.peek().line}
	if p.peek().brace("{") {
		return d, fmt.Errorf("line %d: expected a plugin, found {", d.Line)
	}
	words := p.rest()
	depth := 0
	for first := true; ; first = false {
		for i, t := range words {
			switch {
			case t.brace("{") && i == len(words)-1 && (i > 0 || !first):
				depth++
			case t.brace("}") && i == 0 && !first && len(words) == 1:
				depth--
			case t.brace("{") || t.brace("}"):
				return d, fmt.Errorf("line %d: expected { at the end of a line and } on one of its own", t.line)
			case i > 0 || !first:
				d.Args = append(d.Args, t.text)
			}
		}
		if depth == 0 {
			return d, nil
		}
		if p.done() {
			return d, fmt.Errorf("line %d: the braces of %s do not end", d.Line, d.Name)
		}
		words = p.rest()
	}
}

// has reports whether a plugin is in any block.
func (f *File) has(plugin string) bool {
	return slices.ContainsFunc(f.Blocks, func(b Block) bool {
		return slices.ContainsFunc(b.Directives, func(d Directive) bool { return d.Name == plugin })
	})
}

// Reloads reports whether CoreDNS reads a change by itself.
func (f *File) Reloads() bool { return f.has("reload") }

// IncludesServers is the pattern by which the file includes server blocks of others,
// which is how providers of clusters have their CoreDNS extended; "" if it does not.
func (f *File) IncludesServers() string {
	for _, pattern := range f.Imports {
		if strings.HasSuffix(pattern, "*.server") {
			return pattern
		}
	}
	return ""
}

// standardPort is where CoreDNS listens for a key that names no port.
const standardPort = "53"

// port is how a key may name one: as a number, or as a variable of the environment.
var port = regexp.MustCompile(`^(\d{1,5}|\{\$\w+\}|\{%\w+%\})$`)

// Port is where the block of the root zone listens, to which a cluster's clients are
// led, as it is written there; "53" if there is none.
func (f *File) Port() string {
	for _, b := range f.Blocks {
		for _, key := range b.Keys {
			if i := strings.LastIndexByte(key, ':'); zoneOf(key) == "" && i >= 0 && port.MatchString(key[i+1:]) {
				return key[i+1:]
			}
		}
	}
	return standardPort
}

// zoneOf is the zone of a key: without scheme, port and the dot at its end.
func zoneOf(key string) string {
	if _, rest, ok := strings.Cut(key, "://"); ok {
		key = rest
	}
	if _, err := netip.ParsePrefix(key); err == nil {
		return key // a network stands for its reverse zone
	}
	if i := strings.LastIndexByte(key, ':'); i >= 0 {
		key = key[:i]
	}
	return strings.TrimSuffix(strings.ToLower(key), ".")
}

// ErrTaken says that somebody else has the zone.
var ErrTaken = errors.New("the zone is somebody else's")

// taken says who else has a zone, or one below it, or tells a plugin of it.
func (f *File) taken(zone string) error {
	for _, b := range f.Blocks {
		for _, key := range b.Keys {
			if z := zoneOf(key); z == zone || strings.HasSuffix(z, "."+zone) {
				return fmt.Errorf("line %d: %w: a block has %s", b.Line, ErrTaken, key)
			}
		}
		for _, d := range b.Directives {
			for _, arg := range d.Args {
				if z := zoneOf(arg); z == zone || strings.HasSuffix(z, "."+zone) {
					return fmt.Errorf("line %d: %w: the plugin %s of %s has %s", d.Line, ErrTaken, d.Name, strings.Join(b.Keys, ", "), arg)
				}
			}
		}
	}
	return nil
}
