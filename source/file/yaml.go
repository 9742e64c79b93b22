package file

import (
	"fmt"
	"strconv"
	"time"

	"go.yaml.in/yaml/v3"
)

// reader reads YAML nodes strictly and collects every mistake, so that an
// operator fixes a file once and not once per mistake. Its read methods return
// the zero value after a mistake.
type reader struct {
	mistakes  Mistakes
	endpoints int
}

func (r *reader) fail(n *yaml.Node, format string, args ...any) {
	if len(r.mistakes) < maxMistakes {
		r.mistakes = append(r.mistakes, Mistake{n.Line, n.Column, fmt.Sprintf(format, args...)})
	}
}

// field reads the value of one key.
type field struct {
	key      string
	required bool
	read     func(*yaml.Node)
}

// object reads a mapping with exactly the given keys, in the order of fields,
// so that a field may depend on the ones before it. what names it in mistakes.
func (r *reader) object(n *yaml.Node, what string, fields []field) {
	if !r.is(n, yaml.MappingNode, what, "a mapping of key: value") {
		return
	}
	values := make(map[string]*yaml.Node, len(fields))
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		if known(fields, key.Value) {
			if values[key.Value] != nil {
				r.fail(key, "%s: %q is given twice", what, key.Value)
			}
			values[key.Value] = n.Content[i+1]
			continue
		}
		r.fail(key, "%s: unknown key %q, expected %s", what, clip(key.Value), names(fields))
	}
	for _, f := range fields {
		if v := values[f.key]; v != nil {
			f.read(v)
		} else if f.required {
			r.fail(n, "%s: %q is missing", what, f.key)
		}
	}
}

func known(fields []field, key string) bool {
	for _, f := range fields {
		if f.key == key {
			return true
		}
	}
	return false
}

func names(fields []field) string {
	s := ""
	for i, f := range fields {
		switch {
		case i == 0:
		case i == len(fields)-1:
			s += " or "
		default:
			s += ", "
		}
		s += f.key
	}
	return s
}

// list calls each for every element of a sequence of at most limit elements.
func (r *reader) list(n *yaml.Node, what string, limit int, each func(*yaml.Node)) {
	if !r.is(n, yaml.SequenceNode, what, "a list") {
		return
	}
	if len(n.Content) > limit {
		r.fail(n, "%s: %d entries, expected at most %d", what, len(n.Content), limit)
		return
	}
	for _, c := range n.Content {
		each(c)
	}
}

func (r *reader) is(n *yaml.Node, kind yaml.Kind, what, expected string) bool {
	if n.Kind == kind {
		return true
	}
	if n.Kind == yaml.AliasNode {
		r.fail(n, "%s: aliases (*name) are not allowed here, write the value out", what)
	} else {
		r.fail(n, "%s: expected %s, found %s", what, expected, describe(n))
	}
	return false
}

// text reads a scalar as it is written.
func (r *reader) text(n *yaml.Node, what string) string {
	if !r.is(n, yaml.ScalarNode, what, "text") {
		return ""
	}
	if n.Tag == "!!null" {
		r.fail(n, "%s: expected text, found nothing", what)
		return ""
	}
	if len(n.Value) > maxText {
		r.fail(n, "%s: %d bytes, expected at most %d", what, len(n.Value), maxText)
		return ""
	}
	return n.Value
}

// parsed reads text and parses it; the parser's error becomes the mistake.
func parsed[T any](r *reader, n *yaml.Node, what string, parse func(string) (T, error)) T {
	before := len(r.mistakes)
	s := r.text(n, what)
	if len(r.mistakes) > before {
		var zero T
		return zero
	}
	v, err := parse(s)
	if err != nil {
		r.fail(n, "%s", err)
	}
	return v
}

func (r *reader) boolean(n *yaml.Node, what string) bool {
	return parsed(r, n, what, func(s string) (bool, error) {
		if n.Tag != "!!bool" || s != "true" && s != "false" {
			return false, fmt.Errorf("%s %q: expected true or false", what, clip(s))
		}
		return s == "true", nil
	})
}

func (r *reader) integer(n *yaml.Node, what string, low, high int) int {
	return parsed(r, n, what, func(s string) (int, error) {
		v, err := strconv.Atoi(s)
		if err != nil || v < low || v > high {
			return 0, fmt.Errorf("%s %q: expected a whole number from %d to %d", what, clip(s), low, high)
		}
		return v, nil
	})
}

func (r *reader) duration(n *yaml.Node, what string, low, high time.Duration) time.Duration {
	return parsed(r, n, what, func(s string) (time.Duration, error) {
		d, err := time.ParseDuration(s)
		if err != nil || d < low || d > high {
			return 0, fmt.Errorf("%s %q: expected a duration from %v to %v, for example 2s", what, clip(s), low, high)
		}
		return d, nil
	})
}

func describe(n *yaml.Node) string {
	switch {
	case n.Kind == yaml.MappingNode:
		return "a mapping"
	case n.Kind == yaml.SequenceNode:
		return "a list"
	case n.Tag == "!!null":
		return "nothing"
	}
	return strconv.Quote(clip(n.Value))
}

// clip bounds what a mistake repeats of the file.
func clip(s string) string {
	if len(s) > 80 {
		return s[:80] + "..."
	}
	return s
}
