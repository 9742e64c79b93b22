package schedulefile

import (
	"fmt"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/federator/federator/federation/catalog"
)

// reader turns YAML nodes into values by the JSON names of their fields, and
// collects every mistake. It never follows aliases, so a small file cannot grow
// large.
type reader struct{ errs []error }

func (r *reader) fail(n *yaml.Node, at, format string, args ...any) {
	r.errs = append(r.errs, fmt.Errorf("line %d: %s: %s", n.Line, at, fmt.Sprintf(format, args...)))
}

// read reads a document into the struct that to points to.
func (r *reader) read(n *yaml.Node, to any) { r.value(n, reflect.ValueOf(to).Elem(), "") }

func (r *reader) value(n *yaml.Node, to reflect.Value, at string) {
	switch v := to.Addr().Interface().(type) {
	case *catalog.Duration:
		d, err := time.ParseDuration(n.Value)
		if n.Kind != yaml.ScalarNode || err != nil {
			r.fail(n, at, "expected a duration such as 10s or 1m30s, found %s", describe(n))
		}
		*v = catalog.Duration(d)
		return
	case *catalog.ServiceName:
		name, err := catalog.ParseServiceName(n.Value)
		if n.Kind != yaml.ScalarNode || err != nil {
			r.fail(n, at, "expected NAMESPACE/NAME of a service, found %s", describe(n))
		}
		*v = name
		return
	}
	switch to.Kind() {
	case reflect.Struct:
		r.fields(n, to, at)
	case reflect.Slice:
		r.list(n, to, at)
	case reflect.Pointer:
		to.Set(reflect.New(to.Type().Elem()))
		r.value(n, to.Elem(), at)
	default:
		r.scalar(n, to, at)
	}
}

func (r *reader) scalar(n *yaml.Node, to reflect.Value, at string) {
	if n.Kind != yaml.ScalarNode {
		r.fail(n, at, "expected one value, found %s", describe(n))
		return
	}
	switch to.Kind() {
	case reflect.String:
		// A date reads as a timestamp; here it is text.
		if tag := n.ShortTag(); tag != "!!str" && tag != "!!timestamp" {
			r.fail(n, at, "expected text, found %s", describe(n))
			return
		}
		to.SetString(n.Value)
	case reflect.Bool:
		if n.ShortTag() != "!!bool" {
			r.fail(n, at, "expected true or false, found %s", describe(n))
			return
		}
		to.SetBool(strings.EqualFold(n.Value, "true"))
	case reflect.Float64:
		f, err := strconv.ParseFloat(n.Value, 64)
		if err != nil || math.IsNaN(f) || math.IsInf(f, 0) {
			r.fail(n, at, "expected a number, found %s", describe(n))
			return
		}
		to.SetFloat(f)
	default:
		r.fail(n, at, "a value of type %s cannot be written in a file", to.Type())
	}
}

func (r *reader) list(n *yaml.Node, to reflect.Value, at string) {
	if n.Kind != yaml.SequenceNode {
		r.fail(n, at, "expected a list, found %s", describe(n))
		return
	}
	to.Set(reflect.MakeSlice(to.Type(), len(n.Content), len(n.Content)))
	for i, item := range n.Content {
		r.value(item, to.Index(i), fmt.Sprintf("%s[%d]", at, i))
	}
}

// fields reads a mapping with the names that the struct has.
func (r *reader) fields(n *yaml.Node, to reflect.Value, at string) {
	if n.Kind != yaml.MappingNode {
		r.fail(n, orDocument(at), "expected fields, found %s", describe(n))
		return
	}
	known := map[string]reflect.Value{}
	var names []string
	for i := range to.NumField() {
		name, _, _ := strings.Cut(to.Type().Field(i).Tag.Get("json"), ",")
		known[name] = to.Field(i)
		names = append(names, name)
	}
	slices.Sort(names)
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		path := strings.TrimPrefix(at+"."+plain(key.Value), ".")
		field, ok := known[key.Value]
		switch {
		case key.Kind != yaml.ScalarNode:
			r.fail(key, orDocument(at), "expected a name as key, found %s", describe(key))
		case !ok:
			r.fail(key, path, "unknown field; expected one of %s", strings.Join(names, ", "))
		case seen[key.Value]:
			r.fail(key, path, "expected each key once, found it again")
		default:
			seen[key.Value] = true
			r.value(value, field, path)
		}
	}
}

// describe says what a node is, briefly.
func describe(n *yaml.Node) string {
	switch {
	case n.Kind == yaml.MappingNode:
		return "key: value pairs"
	case n.Kind == yaml.SequenceNode:
		return "a list"
	case n.Kind == yaml.AliasNode:
		return "an alias (write the value out)"
	case n.ShortTag() == "!!null":
		return "nothing"
	}
	return strconv.Quote(clip(n.Value))
}

// clip keeps what a message quotes short.
func clip(s string) string {
	const most = 100
	if len(s) <= most {
		return s
	}
	return s[:most] + "..."
}

// plain makes a key safe to print.
func plain(s string) string {
	s = clip(s)
	if quoted := strconv.Quote(s); quoted[1:len(quoted)-1] != s {
		return quoted
	}
	return s
}

func orDocument(at string) string {
	if at == "" {
		return "document"
	}
	return at
}
