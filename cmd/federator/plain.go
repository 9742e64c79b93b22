package main

import (
	"io"
	"strings"
	"unicode"
)

// plain writes text without characters that a terminal takes for orders: much of what
// is printed was written by others, such as the reason of a drill by users of a
// Kubernetes namespace, and must not write over what stands beside it.
type plain struct{ to io.Writer }

// Write implements [io.Writer].
func (p plain) Write(b []byte) (int, error) {
	_, err := io.WriteString(p.to, harmless(string(b)))
	return len(b), err
}

// harmless replaces control characters, but for tabs and ends of lines.
func harmless(s string) string {
	return strings.Map(func(c rune) rune {
		if unicode.IsControl(c) && c != '\n' && c != '\t' {
			return '?'
		}
		return c
	}, s)
}

// cell is a text that stays in its cell of a table.
func cell(s string) string { return strings.NewReplacer("\n", " ", "\t", " ").Replace(s) }
