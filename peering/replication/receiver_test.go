package replication

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/peering/pb"
)

// tape is a stream that writes down what the server sends.
type tape struct {
	grpc.ServerStream
	events []*pb.WatchEvent
}

func (t *tape) Send(e *pb.WatchEvent) error {
	t.events = append(t.events, e)
	return nil
}

func (t *tape) Context() context.Context { return context.Background() }

// newWatch begins a stream on a tape.
func newWatch(t interface{ Fatal(...any) }, o *origin, from catalog.Version, full bool) (*watch, *tape) {
	s, err := NewServer(ServerConfig{Region: o.region, Replica: "r1", Exports: o.Feed})
	if err != nil {
		t.Fatal(err)
	}
	out := &tape{}
	return &watch{server: s, region: o.region, stream: out, held: from, full: full}, out
}

// follower is an importer without the I/O: a receiver, and the model it fills.
type follower struct {
	*model
	core *receiver
	full bool
}

func newFollower() *follower { return &follower{model: newModel(), core: nil} }

func (f *follower) connect(region string) {
	f.core = &receiver{region: region, held: f.Version(region), removed: func(uint64) bool { return false }}
}

// take handles one event as a link does.
func (f *follower) take(ev *pb.WatchEvent) error {
	e, err := f.core.take(ev)
	switch {
	case err != nil:
	case e.reset != nil:
		err = f.Reset(*e.reset, time.Time{})
	case e.delta != nil:
		err = f.Apply(*e.delta, time.Time{})
	}
	f.core.held = f.Version(f.core.region)
	f.full = f.full && !f.core.caughtUp() || errors.Is(err, catalog.ErrGap)
	return err
}

// mangle loses, repeats and moves events.
func mangle(t *rapid.T, events []*pb.WatchEvent) []*pb.WatchEvent {
	var out []*pb.WatchEvent
	for _, e := range events {
		switch rapid.SampledFrom([]string{"pass", "pass", "pass", "lose", "repeat", "move"}).Draw(t, "fate") {
		case "pass":
			out = append(out, e)
		case "repeat":
			out = append(out, e, e)
		case "move":
			i := rapid.IntRange(0, len(out)).Draw(t, "to")
			out = append(out[:i], append([]*pb.WatchEvent{e}, out[i:]...)...)
		}
	}
	return out
}

// mutate makes a random change at the origin, now and then a new epoch.
func mutate(t *rapid.T, o *origin) {
	name := rapid.StringMatching(`[a-e]`).Draw(t, "name")
	n := rapid.IntRange(1, 999).Draw(t, "n")
	switch rapid.IntRange(0, 9).Draw(t, "change") {
	case 0:
		must(o.Reset(catalog.Snapshot{Region: o.region, Records: []catalog.Record{set(name, n)},
			Version: catalog.Version{Epoch: o.Version(o.region).Epoch + 1, Seq: uint64(n)}}))
	case 1, 2:
		r := set(name, n)
		o.publish(nil, r.Key())
	default:
		o.publish([]catalog.Record{set(name, n)})
	}
}

func TestAnyOrderLossRepetitionAndReconnectConvergesToTheSource(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o := newOrigin("eu", 1)
		f := newFollower()
		for range rapid.IntRange(1, 12).Draw(t, "sessions") {
			f.connect("eu")
			w, tape := newWatch(t, o, f.Version("eu"), f.full)
			must(w.hello())
			for range rapid.IntRange(0, 8).Draw(t, "changes") {
				mutate(t, o)
				if rapid.Bool().Draw(t, "send") {
					must(w.catchUp(context.Background()))
					must(w.heartbeat())
				}
			}
			before := f.Version("eu")
			for _, e := range mangle(t, tape.events) {
				if f.take(e) != nil {
					break // as a link does: begin anew
				}
				contained(t, o, f, before)
			}
		}
		f.connect("eu")
		w, tape := newWatch(t, o, f.Version("eu"), f.full)
		must(w.hello())
		must(w.catchUp(context.Background()))
		must(w.heartbeat())
		for _, e := range tape.events {
			if err := f.take(e); err != nil {
				t.Fatalf("a clean stream is refused: %v", err)
			}
		}
		want, _ := o.View.Snapshot("eu")
		got, _ := f.Snapshot("eu")
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("got %+v\nwant %+v", got, want)
		}
	})
}

// contained checks that versions never go back, and that at the version of the
// source the content is that of the source.
func contained(t *rapid.T, o *origin, f *follower, before catalog.Version) {
	v := f.Version("eu")
	if v.Compare(before) < 0 {
		t.Fatalf("went back from %s to %s", before, v)
	}
	if want, _ := o.View.Snapshot("eu"); v == want.Version {
		if got, _ := f.Snapshot("eu"); !reflect.DeepEqual(got, want) {
			t.Fatalf("at %s got %+v\nwant %+v", v, got, want)
		}
	}
}

func TestAHigherEpochTakesEffectOnlyWithItsCompleteSnapshot(t *testing.T) {
	o, f := newOrigin("eu", 1), newFollower()
	o.publish([]catalog.Record{set("web", 1)})
	replay := func(n int) {
		f.connect("eu")
		w, tape := newWatch(t, o, f.Version("eu"), false)
		must(w.hello())
		must(w.catchUp(context.Background()))
		for _, e := range tape.events[:min(n, len(tape.events))] {
			if err := f.take(e); err != nil {
				t.Fatal(err)
			}
		}
	}
	replay(99)
	held := f.Version("eu")
	o.found(2)
	o.publish([]catalog.Record{set("api", 1)})
	for n := range 4 { // hello, begin, chunk, end
		replay(n)
		if f.Version("eu") != held {
			t.Fatalf("after %d events of the snapshot: version %s, expected still %s", n, f.Version("eu"), held)
		}
	}
	if d := (catalog.Delta{Region: "eu", Version: catalog.Version{Epoch: 2, Seq: held.Seq + 1}}); !errors.Is(
		f.take(&pb.WatchEvent{Event: &pb.WatchEvent_Delta{Delta: DeltaToPB(d)}}), catalog.ErrGap) && f.core.part == nil {
		t.Fatal("a delta of the new epoch was accepted before its snapshot")
	}
	replay(4)
	if f.Version("eu") != (catalog.Version{Epoch: 2, Seq: 2}) {
		t.Fatalf("the complete snapshot did not take effect: %s", f.Version("eu"))
	}
}

func TestWhatBreaksTheProtocolEndsTheStream(t *testing.T) {
	v := &pb.Version{Epoch: 3, Seq: 4}
	hello := &pb.WatchEvent{Event: &pb.WatchEvent_Hello{Hello: &pb.Hello{Region: "eu", Version: v, Replica: "r"}}}
	begin := func(n uint64) *pb.WatchEvent {
		return &pb.WatchEvent{Event: &pb.WatchEvent_SnapshotBegin{SnapshotBegin: &pb.SnapshotBegin{Version: v, Records: n}}}
	}
	r := set("web", 1)
	chunk := &pb.WatchEvent{Event: &pb.WatchEvent_SnapshotChunk{SnapshotChunk: &pb.SnapshotChunk{Records: []*pb.Record{RecordToPB(&r)}}}}
	end := func(n uint64) *pb.WatchEvent {
		return &pb.WatchEvent{Event: &pb.WatchEvent_SnapshotEnd{SnapshotEnd: &pb.SnapshotEnd{Records: n, Checksum: make([]byte, 32)}}}
	}
	u := &pb.Version{Epoch: 3, Seq: 3}
	foreign := &pb.WatchEvent{Event: &pb.WatchEvent_SnapshotChunk{SnapshotChunk: &pb.SnapshotChunk{Records: []*pb.Record{RecordToPB(&r)}, Version: u}}}
	foreignEnd := &pb.WatchEvent{Event: &pb.WatchEvent_SnapshotEnd{SnapshotEnd: &pb.SnapshotEnd{Version: u}}}
	delta := &pb.WatchEvent{Event: &pb.WatchEvent_Delta{Delta: &pb.Delta{Region: "eu", Version: v}}}
	beat := &pb.WatchEvent{Event: &pb.WatchEvent_Heartbeat{Heartbeat: &pb.Heartbeat{Version: v}}}
	gone := &pb.WatchEvent{Event: &pb.WatchEvent_Heartbeat{Heartbeat: &pb.Heartbeat{Version: &pb.Version{Epoch: 9}}}}
	removed := &pb.WatchEvent{Event: &pb.WatchEvent_Removed{Removed: &pb.Removed{Epoch: 7, Message: "join again"}}}
	other := &pb.WatchEvent{Event: &pb.WatchEvent_Hello{Hello: &pb.Hello{Region: "us", Version: v}}}
	relay := &pb.WatchEvent{Event: &pb.WatchEvent_Hello{Hello: &pb.Hello{Region: "eu", Version: v, Relayed: true}}}
	old := &pb.WatchEvent{Event: &pb.WatchEvent_Hello{Hello: &pb.Hello{Region: "eu", Version: &pb.Version{Epoch: 1, Seq: 9}}}}
	for name, c := range map[string]struct {
		events []*pb.WatchEvent
		want   string
	}{
		"no hello":           {[]*pb.WatchEvent{beat}, "hello as the first"},
		"empty event":        {[]*pb.WatchEvent{{}}, "hello as the first"},
		"hello twice":        {[]*pb.WatchEvent{hello, hello}, "twice"},
		"another region":     {[]*pb.WatchEvent{other}, `region "us", expected "eu"`},
		"a relay":            {[]*pb.WatchEvent{relay}, "relays: true"},
		"an older epoch":     {[]*pb.WatchEvent{old}, "epoch 1 of the region, which is at 2"},
		"delta in snapshot":  {[]*pb.WatchEvent{hello, begin(1), delta}, "within a snapshot"},
		"begin in snapshot":  {[]*pb.WatchEvent{hello, begin(1), begin(1)}, "within a snapshot"},
		"chunk outside":      {[]*pb.WatchEvent{hello, chunk}, "outside a snapshot"},
		"end outside":        {[]*pb.WatchEvent{hello, end(0)}, "had not begun"},
		"too many":           {[]*pb.WatchEvent{hello, begin(0), chunk}, "more than the 0"},
		"announces too much": {[]*pb.WatchEvent{hello, begin(maxRecords + 1)}, "expected at most"},
		"key twice":          {[]*pb.WatchEvent{hello, begin(2), chunk, chunk}, "twice"},
		"count":              {[]*pb.WatchEvent{hello, begin(2), chunk, end(2)}, "of 2 records, 1 arrived"},
		"checksum":           {[]*pb.WatchEvent{hello, begin(1), chunk, end(1)}, "checksum differs"},
		"another's chunk":    {[]*pb.WatchEvent{hello, begin(1), foreign}, "chunk of the snapshot at 3.3 came within the one at 3.4"},
		"another's end":      {[]*pb.WatchEvent{hello, begin(0), foreignEnd}, "snapshot at 3.3 ended within the one at 3.4"},
		"gap":                {[]*pb.WatchEvent{hello, delta}, "does not follow"},
		"silent loss":        {[]*pb.WatchEvent{hello, beat}, "does not follow"},
		"removed":            {[]*pb.WatchEvent{removed}, "epoch 7 was removed"},
		"removed epoch":      {[]*pb.WatchEvent{hello, gone}, "does not follow"},
	} {
		t.Run(name, func(t *testing.T) {
			core := &receiver{region: "eu", held: catalog.Version{Epoch: 2, Seq: 1}, removed: func(e uint64) bool { return e == 9 }}
			var err error
			for _, e := range c.events {
				if err != nil {
					t.Fatalf("too early: %v", err)
				}
				_, err = core.take(e)
			}
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("got %v, want %q", err, c.want)
			}
		})
	}
}

func TestNothingIsImportedFromARemovedEpoch(t *testing.T) {
	core := &receiver{region: "eu", removed: func(e uint64) bool { return e == 3 }}
	_, err := core.take(&pb.WatchEvent{Event: &pb.WatchEvent_Hello{Hello: &pb.Hello{Region: "eu", Version: &pb.Version{Epoch: 3, Seq: 1}}}})
	if err == nil || !strings.Contains(err.Error(), "must join again") {
		t.Fatalf("got %v", err)
	}
}

func TestARecordThatOthersWouldRefuseIsLeftOutAndTheRestTravels(t *testing.T) {
	o, f := newOrigin("eu", 1), newFollower()
	bad := set("bad", 1)
	bad.Set.Endpoints[0].Weight = 0
	o.publish([]catalog.Record{set("web", 1), bad})
	for _, full := range []bool{true, false} {
		f.connect("eu")
		w, tape := newWatch(t, o, f.Version("eu"), full)
		must(w.hello())
		must(w.catchUp(context.Background()))
		for _, e := range tape.events {
			must(f.take(e))
		}
		if got, _ := f.Snapshot("eu"); len(got.Records) != 1 {
			t.Fatalf("got %d records, expected the one that is valid", len(got.Records))
		}
		o.publish([]catalog.Record{bad})
	}
}

func TestADeltaTooLargeForAMessageTravelsAsSnapshot(t *testing.T) {
	o, f := newOrigin("eu", 1), newFollower()
	var sets []catalog.Record
	for i := range 40 {
		s := set(fmt.Sprint("s", i), i)
		for n := range 2000 {
			e := s.Set.Endpoints[0]
			e.ID = fmt.Sprintf("%030d", n)
			s.Set.Endpoints = append(s.Set.Endpoints, e)
		}
		sets = append(sets, s)
	}
	f.connect("eu")
	w, tape := newWatch(t, o, o.Version("eu"), false)
	must(w.hello())
	o.publish(sets)
	must(f.model.Reset(catalog.Snapshot{Region: "eu", Version: catalog.Version{Epoch: 1, Seq: 1}}, time.Time{}))
	f.connect("eu")
	must(w.catchUp(context.Background()))
	for _, e := range tape.events {
		must(f.take(e))
		if e.GetDelta() != nil {
			t.Fatal("sent as a delta")
		}
	}
	if got, _ := f.Snapshot("eu"); len(got.Records) != len(sets) {
		t.Fatalf("got %d records, want %d", len(got.Records), len(sets))
	}
}

func FuzzReceiver(f *testing.F) {
	o := newOrigin("eu", 1)
	o.publish([]catalog.Record{set("web", 1)})
	w, tape := newWatch(f, o, catalog.Version{}, false)
	must(w.hello())
	must(w.catchUp(context.Background()))
	o.publish([]catalog.Record{set("web", 2)})
	must(w.catchUp(context.Background()))
	must(w.heartbeat())
	var seed []byte
	for _, e := range tape.events {
		b, err := proto.Marshal(e)
		must(err)
		seed = protowire.AppendBytes(seed, b)
	}
	f.Add(seed)
	f.Fuzz(func(t *testing.T, b []byte) {
		to := newFollower()
		to.connect("eu")
		for len(b) > 0 {
			one, n := protowire.ConsumeBytes(b)
			if n < 0 {
				return
			}
			b = b[n:]
			var ev pb.WatchEvent
			before := to.Version("eu")
			if proto.Unmarshal(one, &ev) != nil || to.take(&ev) != nil {
				return
			}
			if to.Version("eu").Compare(before) < 0 {
				t.Fatalf("went back from %s to %s", before, to.Version("eu"))
			}
		}
	})
}
