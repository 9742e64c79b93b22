package state

import (
	"encoding"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// TestTheCommandsOfTheFirstProtocolHaveTheFieldsThatTheyHadThen compares with a
// list that never changes. A build that does not know a field halts at it, and
// while a region is upgraded such a build applies what a newer leader proposes.
//
// Fields that came later are listed beside it: a command that sets one needs its
// protocol.
func TestTheCommandsOfTheFirstProtocolHaveTheFieldsThatTheyHadThen(t *testing.T) {
	then, since := listed(t, "testdata/protocol-1-fields.txt"), map[string]bool{}
	for _, protocol := range []int{AffinityProtocol, PropertiesProtocol} {
		maps.Copy(since, listed(t, fmt.Sprintf("testdata/protocol-%d-fields.txt", protocol)))
	}
	now, old := map[string]bool{}, map[string]bool{}
	for _, cmd := range allCommands() {
		if versionOf(cmd) == 1 {
			old[string(cmd.kind())] = true
			fieldsOf(reflect.TypeOf(cmd).Elem(), string(cmd.kind()), now)
		}
	}
	for _, field := range slices.Sorted(maps.Keys(now)) {
		if !then[field] && !since[field] {
			t.Errorf("%s: a command of protocol 1 has a field that builds of protocol 1 halt at: put it into a command of its own, or raise Protocol in envelope.go and let versionOf say that the command needs it", field)
		}
	}
	maps.Copy(then, since)
	for _, field := range slices.Sorted(maps.Keys(then)) {
		command, _, _ := strings.Cut(field, " ")
		if old[command] && !now[field] {
			t.Errorf("%s: is gone, or of another type; logs that older builds wrote have it, and this build would halt at them", field)
		}
	}
}

// listed reads a list of fields.
func listed(t *testing.T, path string) map[string]bool {
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	fields := map[string]bool{}
	for line := range strings.Lines(string(b)) {
		fields[strings.TrimSpace(line)] = true
	}
	return fields
}

// fieldsOf lists the JSON fields below a type, as "PREFIX.field type".
func fieldsOf(typ reflect.Type, prefix string, into map[string]bool) {
	for f := range typ.Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case name == "-":
		case f.Anonymous && name == "":
			fieldsOf(f.Type, prefix, into)
		default:
			valueOf(f.Type, prefix+" "+name, into)
		}
	}
}

// valueOf lists a value: what writes itself is one, whatever it is made of.
func valueOf(typ reflect.Type, at string, into map[string]bool) {
	own := typ.Implements(reflect.TypeFor[json.Marshaler]()) || typ.Implements(reflect.TypeFor[encoding.TextMarshaler]())
	switch {
	case own:
		into[at+" "+typ.String()] = true
	case typ.Kind() == reflect.Pointer:
		valueOf(typ.Elem(), at, into)
	case typ.Kind() == reflect.Slice && typ.Elem().Kind() == reflect.Uint8:
		into[at+" bytes"] = true
	case typ.Kind() == reflect.Slice || typ.Kind() == reflect.Map:
		valueOf(typ.Elem(), at+"[]", into)
	case typ.Kind() == reflect.Struct:
		fieldsOf(typ, at, into)
	default:
		into[at+" "+typ.Kind().String()] = true
	}
}
