package strictyaml

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"reflect"

	"go.yaml.in/yaml/v3"
)

// The bounds of a file of documents.
const (
	MaxBytes     = 1 << 20
	MaxDocuments = 1000
	MaxErrors    = 100 // reported; what is beyond is counted
)

// Form is what the documents of a file have to be, each with a spec of type T:
//
//	kind: Policy
//	name: shop/checkout
//	spec: {regionOrder: [us-west, eu-central]}
type Form[T any] struct {
	Kind string
	// One and Many name the things in mistakes: "policy", "policies".
	One, Many string
	// Validate returns everything that is wrong with a document. An error with a
	// method FieldPath() []string is told where that leads, beginning with "name" or
	// the name of a field of the spec; any other where the document begins, and only
	// if all of it could be read.
	Validate func(name string, spec T) []error
	// Required are the fields of the spec that a file has to give.
	Required []string
}

// Named is one document of a file.
type Named[T any] struct {
	Name string
	Spec T
	// Line is where the document begins, from 1.
	Line int
}

// located is an error that knows which field it is about.
type located interface {
	error
	FieldPath() []string
}

// Documents reads a file. There is at least one document; all are valid, in the
// order of the file, each name once. The error joins every mistake that was found,
// one per line.
func Documents[T any](data []byte, form Form[T]) ([]Named[T], error) {
	if len(data) > MaxBytes {
		return nil, fmt.Errorf("%s: expected at most %d bytes, found %d: split the file", form.Many, MaxBytes, len(data))
	}
	f := file[T]{form: form, seen: make(map[string]int)}
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	for n := 0; ; n++ {
		var doc yaml.Node
		err := decoder.Decode(&doc)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			f.errs = append(f.errs, fmt.Errorf("%s: expected YAML: %w", form.Many, err))
			break
		}
		if n == MaxDocuments {
			f.errs = append(f.errs, fmt.Errorf("line %d: expected at most %d documents: split the file", doc.Line, MaxDocuments))
			break
		}
		if len(doc.Content) == 1 && !IsNull(doc.Content[0]) {
			f.document(doc.Content[0])
		}
	}
	if len(f.errs) == 0 && len(f.read) == 0 {
		return nil, fmt.Errorf("%s: expected at least one document with kind, name and spec, found none", form.Many)
	}
	if more := len(f.errs) - MaxErrors; more > 0 {
		f.errs = append(f.errs[:MaxErrors], fmt.Errorf("and %d more mistakes", more))
	}
	if len(f.errs) > 0 {
		return nil, errors.Join(f.errs...)
	}
	return f.read, nil
}

// file is a file in the reading.
type file[T any] struct {
	form Form[T]
	read []Named[T]
	seen map[string]int // line of each name
	errs []error
}

func (f *file[T]) document(root *yaml.Node) {
	r := NewReader(math.MaxInt) // the size of the file bounds them
	r.values = make(map[*yaml.Node]map[string]*yaml.Node)
	var kind string
	d := Named[T]{Line: root.Line}
	found := r.Fields(root, "", []Field{
		Required("kind", func(n *yaml.Node, at string) { kind = r.Text(n, at) }),
		Required("name", func(n *yaml.Node, at string) { d.Name = r.Text(n, at) }),
		Required("spec", func(n *yaml.Node, at string) {
			r.decode(n, reflect.ValueOf(&d.Spec).Elem(), at)
			for _, field := range f.form.Required {
				if n.Kind == yaml.MappingNode && r.values[n][field] == nil {
					r.Fail(n, "%s.%s: expected a value, found none", at, field)
				}
			}
		}),
	})
	if n := found["kind"]; n != nil && kind != f.form.Kind && !r.broken[n] {
		r.Fail(n, "kind: expected %q, found %q", f.form.Kind, Clip(kind))
	}
	f.validate(r, root, found, d)
	if n := found["name"]; n != nil && !r.broken[n] {
		f.once(r, n, d)
	}
	for _, m := range r.Mistakes() {
		f.errs = append(f.errs, fmt.Errorf("line %d: %s", m.Line, m.Reason))
	}
	f.read = append(f.read, d)
}

// once notes the name of a document, and fails if it came before.
func (f *file[T]) once(r *Reader, n *yaml.Node, d Named[T]) {
	if first, twice := f.seen[d.Name]; twice {
		r.Fail(n, "name: expected each %s once, found %q again (first at line %d)", f.form.One, Clip(d.Name), first)
		return
	}
	f.seen[d.Name] = d.Line
}

// validate adds what is wrong with the values that could be read.
func (f *file[T]) validate(r *Reader, root *yaml.Node, found map[string]*yaml.Node, d Named[T]) {
	subject := ""
	if n := found["name"]; n != nil && !r.broken[n] {
		subject = fmt.Sprintf("%s %q: ", f.form.One, Clip(d.Name))
	}
	for _, err := range f.form.Validate(d.Name, d.Spec) {
		at := root
		var wrong located
		if errors.As(err, &wrong) {
			if path := wrong.FieldPath(); path[0] == "name" {
				at = found["name"]
			} else if at = found["spec"]; at != nil {
				at = r.locate(at, path)
			}
		}
		if at != nil && !r.brokenIn(at) {
			r.note(at, subject+err.Error())
		}
	}
}
