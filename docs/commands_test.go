package docs_test

import (
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// program is the built program.
type program string

// build builds the program into a folder of the test.
func build(t *testing.T) program {
	t.Helper()
	path := filepath.Join(t.TempDir(), "federator")
	if out, err := exec.Command("go", "build", "-o", path, "../cmd/federator").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	return program(path)
}

// help returns what the program says of a command.
func (p program) help(t *testing.T, command ...string) string {
	t.Helper()
	out, err := exec.Command(string(p), append(command, "--help")...).Output()
	if err != nil {
		t.Fatalf("help of %s: %v", command, err)
	}
	return string(out)
}

var (
	group      = regexp.MustCompile(`^(\S.*):$`)
	subcommand = regexp.MustCompile(`^  ([a-z][a-z-]*) +\S`)
	flag       = regexp.MustCompile(`^ +(?:-\w, )?--([a-z][a-z-]*)`)
)

// walk returns the flags of every command below the given one, by command, from
// what the program says of itself.
func (p program) walk(t *testing.T, into map[string][]string, command ...string) {
	t.Helper()
	under := ""
	flags := []string{}
	for line := range strings.Lines(p.help(t, command...)) {
		line = strings.TrimRight(line, "\n")
		if m := group.FindStringSubmatch(line); m != nil {
			under = m[1]
			continue
		}
		switch under {
		case "Usage", "Examples", "Global Flags":
		case "Flags":
			if m := flag.FindStringSubmatch(line); m != nil && m[1] != "help" {
				flags = append(flags, m[1])
			}
		default:
			if m := subcommand.FindStringSubmatch(line); m != nil && m[1] != "help" {
				p.walk(t, into, append(slices.Clone(command), m[1])...)
			}
		}
	}
	into[strings.Join(command, " ")] = flags
}

// described returns the flags of every command that commands.md describes; those
// of all commands are under "".
func described(t *testing.T) map[string][]string {
	t.Helper()
	out := map[string][]string{}
	command := ""
	for part := range strings.SplitSeq(page(t, "commands.md"), "\n### ") {
		if title, _, _ := strings.Cut(part, "\n"); strings.HasPrefix(title, "`federator ") {
			command = strings.Trim(strings.TrimPrefix(title, "`federator "), "`")
		}
		flags := []string{}
		for _, cell := range firstCells(part, regexp.MustCompile(`^--`)) {
			if name := strings.TrimPrefix(cell, "--"); name != "help" {
				flags = append(flags, name)
			}
		}
		out[command] = flags
	}
	return out
}

func TestEveryCommandAndFlagIsDocumented(t *testing.T) {
	program, written := map[string][]string{}, described(t)
	build(t).walk(t, program)
	var have, told []string
	for command := range program {
		have = append(have, command)
	}
	for command := range written {
		told = append(told, command)
	}
	same(t, "command", "commands.md", have, told)
	for command, flags := range program {
		if told, ok := written[command]; ok {
			same(t, "flag of \"federator "+command+"\"", "commands.md", flags, told)
		}
	}
}

var (
	code = regexp.MustCompile("(?s)```[a-z]*\n.*?```|`[^`\n]+`")
	cite = regexp.MustCompile(`\bfederator ([a-z][a-z-]*)(?: ([a-z][a-z-]*))?`)
)

// Every page may name only commands that there are.
func TestEveryCommandThatAPageNamesExists(t *testing.T) {
	program := map[string][]string{}
	build(t).walk(t, program)
	program["help"] = nil
	for _, path := range pages(t) {
		for _, said := range code.FindAllString(page(t, path), -1) {
			said = strings.ReplaceAll(said, "-u federator ", "") // sudo: the user
			for _, m := range cite.FindAllStringSubmatch(said, -1) {
				_, plain := program[m[1]]
				_, whole := program[m[1]+" "+m[2]]
				if !plain || m[2] != "" && holds(program, m[1]) && !whole {
					t.Errorf("%s names %q, which is no command", path, m[0])
				}
			}
		}
	}
}

// holds reports whether a command is there only for those below it.
func holds(program map[string][]string, command string) bool {
	for name := range program {
		if strings.HasPrefix(name, command+" ") {
			return true
		}
	}
	return false
}
