package replication

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/federator/federator/peering/pb"
)

// unknown is a field that this build does not know.
func unknown() []byte {
	return protowire.AppendBytes(protowire.AppendTag(nil, 1000, protowire.BytesType), []byte("novelty"))
}

// TestWhatANewerRegionMaySend tells what a region of this build takes from one of
// a newer build. Whoever adds to the protocol can send the first kind at once, and
// the second only to regions that are known to understand it.
func TestWhatANewerRegionMaySend(t *testing.T) {
	object := func(kind string) *pb.Record {
		return &pb.Record{Fact: &pb.Record_Object{Object: &pb.Object{
			Kind: kind, Name: "x", Version: &pb.ObjectVersion{Generation: 1, Hlc: 1, Region: "north"}, Spec: []byte(`{"new":{"to":"us"}}`),
		}}}
	}
	withField := object("policy")
	withField.GetObject().ProtoReflect().SetUnknown(unknown())
	newKind := &pb.Record{}
	newKind.ProtoReflect().SetUnknown(unknown())
	newHealth := &pb.Record{Fact: &pb.Record_Health{Health: &pb.HealthTable{
		Cluster: "north-1", Service: &pb.ServiceName{Namespace: "shop", Name: "checkout"}, Health: map[string]pb.Health{"e": 99},
	}}}
	for name, c := range map[string]struct {
		record  *pb.Record
		refusal string
	}{
		"a drill":            {object("drill"), ""},
		"a ballot":           {object("ballot"), ""},
		"a gate":             {object("gate"), ""},
		"a schedule":         {object("schedule"), ""},
		"a field":            {withField, ""},
		"a kind of record":   {newKind, "upgrade this one"},
		"a value of an enum": {newHealth, "expected"},
	} {
		d, err := DeltaFromPB("north", &pb.Delta{Region: "north", Version: &pb.Version{Epoch: 1, Seq: 1}, Upserts: []*pb.Record{c.record}})
		switch {
		case c.refusal == "" && err != nil:
			t.Errorf("%s: expected it to pass, found %v", name, err)
		case c.refusal == "" && c.record.GetObject() != nil && string(d.Upserts[0].Object.Kind) != c.record.GetObject().GetKind():
			t.Errorf("%s: it arrived as %v", name, d.Upserts[0].Object)
		case c.refusal != "" && (err == nil || !strings.Contains(err.Error(), c.refusal)):
			t.Errorf("%s: expected it to be refused, found %v", name, err)
		}
	}
	core := &receiver{region: "north", removed: func(uint64) bool { return false }, greeted: true}
	event := &pb.WatchEvent{}
	event.ProtoReflect().SetUnknown(unknown())
	if e, err := core.take(event); err != nil || e != (effect{}) {
		t.Errorf("an event that is new: expected it to be passed over, found %v, %v", e, err)
	}
}
