package corefile

import (
	"fmt"
	"strings"
)

// token is a word of a Corefile, and the line it begins on, from 1.
type token struct {
	text   string
	line   int
	quoted bool
}

// brace reports whether it is the brace itself, and not a word that has one.
func (t token) brace(b string) bool { return !t.quoted && t.text == b }

// lex splits a Corefile into words: by blanks, with comments left out and quotes
// taken off, as CoreDNS does.
func lex(text string) ([]token, error) {
	var out []token
	line := 1
	for i := 0; i < len(text); {
		switch c := text[i]; {
		case c == '\n':
			line++
			i++
		case c == ' ' || c == '\t' || c == '\r' || c == '\v' || c == '\f':
			i++
		case c == '#':
			for i < len(text) && text[i] != '\n' {
				i++
			}
		case c == '"':
			word, n, lines, err := quoted(text[i:])
			if err != nil {
				return nil, fmt.Errorf("line %d: %w", line, err)
			}
			out = append(out, token{word, line, true})
			i, line = i+n, line+lines
		case c == 0 || c > 0x7e:
			return nil, fmt.Errorf("line %d: expected plain text, found the byte %#x", line, c)
		default:
			n := strings.IndexAny(text[i:], " \t\r\n\v\f")
			if n < 0 {
				n = len(text) - i
			}
			out = append(out, token{text[i : i+n], line, false})
			i += n
		}
	}
	return out, nil
}

// quoted reads a word in quotes, and says how many bytes and line ends it has.
func quoted(text string) (word string, n, lines int, err error) {
	var b strings.Builder
	for i := 1; i < len(text); i++ {
		switch c := text[i]; {
		case c == '"':
			return b.String(), i + 1, lines, nil
		case c == '\\' && i+1 < len(text) && text[i+1] == '"':
			b.WriteByte('"')
			i++
		default:
			if c == '\n' {
				lines++
			}
			b.WriteByte(c)
		}
	}
	return "", 0, 0, fmt.Errorf("a quote that does not end")
}
