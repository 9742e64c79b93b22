package strictyaml

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// MaxText bounds one value, in bytes.
const MaxText = 1024

// Mistake is one thing that is wrong with a file.
type Mistake struct {
	// Line and Column count from 1; both are 0 where the fault has no place.
	Line, Column int
	Reason       string
}

// Reader turns YAML nodes into values and collects every mistake. After a mistake
// its methods return the zero value.
type Reader struct {
	mistakes []Mistake
	limit    int
	broken   map[*yaml.Node]bool                  // what could not be read
	values   map[*yaml.Node]map[string]*yaml.Node // of the mappings, by key; nil if nobody will ask
}

// NewReader returns a reader that keeps so many mistakes, the first ones.
func NewReader(limit int) *Reader {
	return &Reader{limit: limit, broken: make(map[*yaml.Node]bool)}
}

// Mistakes returns what was wrong so far, from top to bottom.
func (r *Reader) Mistakes() []Mistake {
	slices.SortStableFunc(r.mistakes, func(a, b Mistake) int {
		if a.Line != b.Line {
			return a.Line - b.Line
		}
		return a.Column - b.Column
	})
	return r.mistakes
}

// OK reports whether nothing was wrong so far.
func (r *Reader) OK() bool { return len(r.mistakes) == 0 }

// Fail notes that a node cannot be read. The format says what is wrong with it,
// and where it is.
func (r *Reader) Fail(n *yaml.Node, format string, args ...any) {
	r.broken[n] = true
	r.note(n, fmt.Sprintf(format, args...))
}

func (r *Reader) note(n *yaml.Node, reason string) {
	if len(r.mistakes) < r.limit {
		r.mistakes = append(r.mistakes, Mistake{n.Line, n.Column, reason})
	}
}

// brokenIn reports whether a node or one inside could not be read: what then
// seems wrong with its value may only follow from that.
func (r *Reader) brokenIn(n *yaml.Node) bool {
	return r.broken[n] || slices.ContainsFunc(n.Content, r.brokenIn)
}

// locate follows keys and indexes down from a node, as far as they lead.
func (r *Reader) locate(n *yaml.Node, path []string) *yaml.Node {
	for _, step := range path {
		next := r.values[n][step]
		if i, err := strconv.Atoi(step); err == nil && n.Kind == yaml.SequenceNode && i < len(n.Content) {
			next = n.Content[i]
		}
		if next == nil {
			break
		}
		n = next
	}
	return n
}

// Field is a key that a mapping may have, or must.
type Field struct {
	name     string
	required bool
	read     func(n *yaml.Node, at string)
}

// Optional is a key that a mapping may have. read gets the value and its place.
func Optional(name string, read func(n *yaml.Node, at string)) Field {
	return Field{name, false, read}
}

// Required is a key that a mapping must have.
func Required(name string, read func(n *yaml.Node, at string)) Field {
	return Field{name, true, read}
}

// Fields reads a mapping with exactly the given keys, in the order of fields, so
// that one may depend on those before it. It returns the values that it found, nil
// if n is no mapping.
func (r *Reader) Fields(n *yaml.Node, at string, fields []Field) map[string]*yaml.Node {
	if n.Kind != yaml.MappingNode {
		r.Fail(n, "%s: expected fields, found %s", place(at), Describe(n))
		return nil
	}
	found := make(map[string]*yaml.Node, len(fields))
	r.Entries(n, at, func(key, value *yaml.Node, at string) {
		if !slices.ContainsFunc(fields, func(f Field) bool { return f.name == key.Value }) {
			r.Fail(key, "%s: unknown field; expected one of %s", at, names(fields))
			return
		}
		found[key.Value] = value
	})
	for _, f := range fields {
		if v := found[f.name]; v != nil {
			f.read(v, below(at, f.name))
		} else if f.required {
			r.Fail(n, "%s: expected a value, found none", below(at, f.name))
		}
	}
	return found
}

func names(fields []Field) string {
	out := make([]string, len(fields))
	for i, f := range fields {
		out[i] = f.name
	}
	slices.Sort(out)
	return strings.Join(out, ", ")
}

// Entries calls each for every entry of a mapping, with the value's place.
func (r *Reader) Entries(n *yaml.Node, at string, each func(key, value *yaml.Node, at string)) {
	if n.Kind != yaml.MappingNode {
		r.Fail(n, "%s: expected key: value pairs, found %s", place(at), Describe(n))
		return
	}
	seen := make(map[string]*yaml.Node, len(n.Content)/2)
	if r.values != nil {
		r.values[n] = seen
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if key.Kind != yaml.ScalarNode {
			r.Fail(key, "%s: expected a name as key, found %s", place(at), Describe(key))
			continue
		}
		path := below(at, plain(key.Value))
		if seen[key.Value] != nil {
			r.Fail(key, "%s: expected each key once, found it again", path)
			continue
		}
		seen[key.Value] = value
		each(key, value, path)
	}
}

// List calls each for every entry of a list of at most limit.
func (r *Reader) List(n *yaml.Node, at string, limit int, each func(n *yaml.Node, at string)) {
	if n.Kind != yaml.SequenceNode {
		r.Fail(n, "%s: expected a list, found %s", place(at), Describe(n))
		return
	}
	if len(n.Content) > limit {
		r.Fail(n, "%s: expected at most %d entries, found %d", place(at), limit, len(n.Content))
		return
	}
	for i, item := range n.Content {
		each(item, fmt.Sprintf("%s[%d]", at, i))
	}
}

// Scalar reads one value as it is written, also a number; false after a mistake.
func (r *Reader) Scalar(n *yaml.Node, at string) (string, bool) {
	switch {
	case n.Kind != yaml.ScalarNode || IsNull(n):
		r.Fail(n, "%s: expected text, found %s", place(at), Describe(n))
	case len(n.Value) > MaxText:
		r.Fail(n, "%s: expected at most %d bytes, found %d", place(at), MaxText, len(n.Value))
	default:
		return n.Value, true
	}
	return "", false
}

// Text reads a string; what looks like a number needs quotes.
func (r *Reader) Text(n *yaml.Node, at string) string {
	s, ok := r.Scalar(n, at)
	// A date reads as a timestamp; here it is text.
	if tag := n.ShortTag(); ok && tag != "!!str" && tag != "!!timestamp" {
		r.Fail(n, "%s: expected text, found %s", place(at), Describe(n))
		return ""
	}
	return s
}

// Bool reads true or false.
func (r *Reader) Bool(n *yaml.Node, at string) bool {
	v := strings.ToLower(n.Value)
	if n.Kind != yaml.ScalarNode || n.ShortTag() != "!!bool" || v != "true" && v != "false" {
		r.Fail(n, "%s: expected true or false, found %s", place(at), Describe(n))
		return false
	}
	return v == "true"
}

// Parsed reads one value as it is written and parses it; the parser's error is
// the mistake.
func Parsed[T any](r *Reader, n *yaml.Node, at string, parse func(string) (T, error)) T {
	var zero T
	s, ok := r.Scalar(n, at)
	if !ok {
		return zero
	}
	v, err := parse(s)
	if err != nil {
		r.Fail(n, "%s", err)
		return zero
	}
	return v
}

// IsNull reports whether a node is nothing, such as the value of "key:" alone.
func IsNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" }

// Describe says what a node is, for "found ...".
func Describe(n *yaml.Node) string {
	switch {
	case n.Kind == yaml.MappingNode:
		return "key: value pairs"
	case n.Kind == yaml.SequenceNode:
		return "a list"
	case n.Kind == yaml.AliasNode:
		return "an alias (write the value out)"
	case IsNull(n):
		return "nothing"
	}
	return strconv.Quote(Clip(n.Value))
}

// Clip keeps what a message quotes short.
func Clip(s string) string {
	const most = 100
	if len(s) <= most {
		return s
	}
	return s[:most] + "..."
}

// plain makes a key safe to print.
func plain(s string) string {
	s = Clip(s)
	if quoted := strconv.Quote(s); quoted[1:len(quoted)-1] != s {
		return quoted
	}
	return s
}

func below(at, key string) string { return strings.TrimPrefix(at+"."+key, ".") }

func place(at string) string {
	if at == "" {
		return "document"
	}
	return at
}
