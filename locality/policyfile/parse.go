package policyfile

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"go.yaml.in/yaml/v3"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/locality"
)

// The bounds of a policies file.
const (
	MaxBytes     = 1 << 20
	MaxDocuments = 1000
	MaxErrors    = 100 // reported; what is beyond is counted
)

// NamedPolicy is one document of a policies file.
type NamedPolicy struct {
	// Name is "default" or the "namespace/name" of a service.
	Name   string
	Policy catalog.Policy
	// Line is where the document begins, from 1.
	Line int
}

// ParsePolicies reads a policies file. The policies are valid (see
// [locality.ValidatePolicy]), at least one, in the order of the file, each name
// once. The error joins every mistake that was found, one per line.
func ParsePolicies(data []byte) ([]NamedPolicy, error) {
	if len(data) > MaxBytes {
		return nil, fmt.Errorf("policies: expected at most %d bytes, found %d: split the file", MaxBytes, len(data))
	}
	f := file{seen: make(map[string]int)}
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	for f.documents = 0; ; f.documents++ {
		var doc yaml.Node
		err := decoder.Decode(&doc)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			f.errs = append(f.errs, fmt.Errorf("policies: expected YAML: %w", err))
			break
		}
		if f.documents == MaxDocuments {
			f.errs = append(f.errs, fmt.Errorf("line %d: expected at most %d documents: split the file", doc.Line, MaxDocuments))
			break
		}
		f.document(&doc)
	}
	if len(f.errs) == 0 && len(f.policies) == 0 {
		return nil, errors.New("policies: expected at least one document with kind, name and spec, found none")
	}
	if more := len(f.errs) - MaxErrors; more > 0 {
		f.errs = append(f.errs[:MaxErrors], fmt.Errorf("and %d more mistakes", more))
	}
	if len(f.errs) > 0 {
		return nil, errors.Join(f.errs...)
	}
	return f.policies, nil
}

// file is a policies file in the reading.
type file struct {
	documents int
	policies  []NamedPolicy
	seen      map[string]int // line of each name
	errs      []error
}

func (f *file) document(doc *yaml.Node) {
	if len(doc.Content) != 1 || isNull(doc.Content[0]) {
		return
	}
	root := doc.Content[0]
	r := newReader()
	var kind string
	p := NamedPolicy{Line: root.Line}
	found := r.fields(root, "", map[string]func(*yaml.Node, string){
		"kind": text(r, &kind),
		"name": text(r, &p.Name),
		"spec": func(n *yaml.Node, at string) { r.spec(n, at, &p.Policy) },
	})
	for _, field := range []string{"kind", "name", "spec"} {
		if found != nil && found[field] == nil {
			r.fail(root, field, "expected a value, found none")
		}
	}
	if n := found["kind"]; n != nil && kind != "Policy" && !r.broken[n] {
		r.fail(n, "kind", "expected %q, found %q", "Policy", kind)
	}
	r.validate(p, found)
	if n := found["name"]; n != nil && !r.broken[n] {
		f.once(r, n, p)
	}
	f.errs = append(f.errs, r.sorted()...)
	f.policies = append(f.policies, p)
}

// once notes the name of a policy, and fails if it came before.
func (f *file) once(r *reader, n *yaml.Node, p NamedPolicy) {
	if first, twice := f.seen[p.Name]; twice {
		r.fail(n, "name", "expected each policy once, found %q again (first at line %d)", clip(p.Name), first)
		return
	}
	f.seen[p.Name] = p.Line
}

// validate adds what is wrong with the values that could be read.
func (r *reader) validate(p NamedPolicy, found map[string]*yaml.Node) {
	policy := ""
	if n := found["name"]; n != nil && !r.broken[n] {
		policy = fmt.Sprintf("policy %q: ", clip(p.Name))
	}
	for _, err := range locality.ValidatePolicy(p.Name, p.Policy) {
		at := found["spec"]
		var wrong *locality.FieldError
		if errors.As(err, &wrong) {
			if wrong.Path[0] == "name" {
				at = found["name"]
			} else {
				at = r.locate(at, wrong.Path)
			}
		}
		if at != nil && !r.brokenIn(at) {
			r.mistakes = append(r.mistakes, mistake{at.Line, fmt.Errorf("%s%w", policy, err)})
		}
	}
}
