package file

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/federator/federator/strictyaml"
)

// Mistakes is everything wrong with a services file, in order of lines.
type Mistakes []strictyaml.Mistake

// shown is how many mistakes an error prints.
const shown = 50

// Error lists the mistakes, one a line.
func (m Mistakes) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d mistake(s) in the services file; it was not taken:", len(m))
	for i, one := range m {
		if i == shown {
			fmt.Fprintf(&b, "\n  and %d more", len(m)-shown)
			break
		}
		fmt.Fprintf(&b, "\n  line %d: %s", one.Line, one.Reason)
	}
	return b.String()
}

var syntaxLine = regexp.MustCompile(`^yaml: line (\d+): `)

// syntaxMistake turns an error of the YAML parser into a Mistake.
func syntaxMistake(err error) Mistakes {
	text, line := err.Error(), 0
	if m := syntaxLine.FindStringSubmatch(text); m != nil {
		line, _ = strconv.Atoi(m[1])
		text = text[len(m[0]):]
	}
	return Mistakes{{Line: line, Reason: "not valid YAML: " + strings.TrimPrefix(text, "yaml: ")}}
}

// errTooBig is wrapped with the limit that was passed.
var errTooBig = errors.New("services file is too big")

// errNoBytes is of a file that was cut to be written anew, or that a full disk left.
var errNoBytes = errors.New("the services file has no bytes, as while it is written, or after a disk was full; expected services, or \"services: []\" to have none")
