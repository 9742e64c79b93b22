package strictyaml

import (
	"math"
	"reflect"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/federator/federator/federation/catalog"
)

// decode reads a node into a settable value, structs by the JSON names of their
// fields.
func (r *Reader) decode(n *yaml.Node, to reflect.Value, at string) {
	switch v := to.Addr().Interface().(type) {
	case *catalog.Duration:
		d, err := time.ParseDuration(n.Value)
		if n.Kind != yaml.ScalarNode || err != nil {
			r.Fail(n, "%s: expected a duration such as 10s or 1m30s, found %s", at, Describe(n))
		}
		*v = catalog.Duration(d)
		return
	case *catalog.ServiceName:
		name, err := catalog.ParseServiceName(n.Value)
		if n.Kind != yaml.ScalarNode || err != nil {
			r.Fail(n, "%s: expected NAMESPACE/NAME of a service, found %s", at, Describe(n))
		}
		*v = name
		return
	}
	switch to.Kind() {
	case reflect.Struct:
		r.Fields(n, at, r.fieldsOf(to))
	case reflect.Slice:
		r.decodeList(n, to, at)
	case reflect.Map:
		r.decodeMap(n, to, at)
	case reflect.Pointer:
		to.Set(reflect.New(to.Type().Elem()))
		r.decode(n, to.Elem(), at)
	default:
		r.decodeScalar(n, to, at)
	}
}

func (r *Reader) fieldsOf(to reflect.Value) []Field {
	var fields []Field
	for i := range to.NumField() {
		name, _, _ := strings.Cut(to.Type().Field(i).Tag.Get("json"), ",")
		fields = append(fields, Optional(name, func(n *yaml.Node, at string) { r.decode(n, to.Field(i), at) }))
	}
	return fields
}

func (r *Reader) decodeList(n *yaml.Node, to reflect.Value, at string) {
	if n.Kind == yaml.SequenceNode {
		to.Set(reflect.MakeSlice(to.Type(), len(n.Content), len(n.Content)))
	}
	i := 0
	r.List(n, at, math.MaxInt, func(n *yaml.Node, at string) {
		r.decode(n, to.Index(i), at)
		i++
	})
}

func (r *Reader) decodeMap(n *yaml.Node, to reflect.Value, at string) {
	to.Set(reflect.MakeMap(to.Type()))
	r.Entries(n, at, func(key, n *yaml.Node, at string) {
		value := reflect.New(to.Type().Elem()).Elem()
		r.decode(n, value, at)
		to.SetMapIndex(reflect.ValueOf(key.Value), value)
	})
}

func (r *Reader) decodeScalar(n *yaml.Node, to reflect.Value, at string) {
	switch to.Kind() {
	case reflect.String:
		to.SetString(r.Text(n, at))
	case reflect.Bool:
		to.SetBool(r.Bool(n, at))
	case reflect.Uint32:
		v, err := strconv.ParseUint(n.Value, 10, 32)
		if n.Kind != yaml.ScalarNode || n.ShortTag() != "!!int" || err != nil {
			r.Fail(n, "%s: expected a whole number, 0 or more, found %s", at, Describe(n))
			return
		}
		to.SetUint(v)
	case reflect.Float64:
		f, err := strconv.ParseFloat(n.Value, 64)
		if n.Kind != yaml.ScalarNode || err != nil || math.IsNaN(f) || math.IsInf(f, 0) {
			r.Fail(n, "%s: expected a number, found %s", at, Describe(n))
			return
		}
		to.SetFloat(f)
	default:
		r.Fail(n, "%s: a value of type %s cannot be written in a file", at, to.Type())
	}
}
