package replication

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/federator/federator/peering/pb"
)

// fieldsBelow lists the fields of a message and of all that it is made of.
func fieldsBelow(m protoreflect.MessageDescriptor, into map[string]bool) {
	for i := range m.Fields().Len() {
		f := m.Fields().Get(i)
		if into[string(f.FullName())] {
			continue
		}
		into[string(f.FullName())] = true
		if below := f.Message(); below != nil && strings.HasPrefix(string(below.FullName()), "federator.") {
			fieldsBelow(below, into)
		}
	}
}

// TestTheCacheCountsTheFieldsOfRecords compares with the list of the fields that were
// known at this count, so that nobody adds one and leaves readers without it.
func TestTheCacheCountsTheFieldsOfRecords(t *testing.T) {
	path := fmt.Sprintf("testdata/record-fields-%d.txt", knownFields)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	fields := map[string]bool{}
	fieldsBelow((&pb.Record{}).ProtoReflect().Descriptor(), fields)
	listed := strings.Fields(string(b))
	for _, f := range listed {
		if !fields[f] {
			t.Errorf("%s is listed in %s and gone: records in caches have it", f, path)
		}
	}
	for f := range fields {
		if !slices.Contains(listed, f) {
			t.Errorf("%s is not listed in %s: raise knownFields in cachefile.go by one, and put the new list beside the old", f, path)
		}
	}
}
