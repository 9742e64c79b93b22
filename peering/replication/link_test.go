package replication

import (
	"context"
	"fmt"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/peering/pb"
)

func TestARegionIsImportedAndFollowed(t *testing.T) {
	n := newNetwork(t)
	eu := n.region("eu", 1, set("web", 1))[0]
	us := n.region("us", 1)[0]
	eventually(t, "the snapshot is here", func() bool { return us.holds(eu) })
	eu.publish(set("web", 2), set("api", 2))
	eventually(t, "the change is here", func() bool { return us.holds(eu) })
	want, _ := eu.catalog.Snapshot("eu")
	got, _ := us.catalog.Snapshot("eu")
	if !reflect.DeepEqual(byKey(got), byKey(want)) {
		t.Fatalf("got %+v\nwant %+v", got, want)
	}
	var s LinkStatus
	eventually(t, "the link was heard from just now", func() bool { s = us.link("eu"); return s.Synced })
	if s.Upstream != "eu-0" || !s.Direct || s.Error != "" || s.Version.Seq != 2 || s.Lag() != 0 || s.RemovedEpoch != 0 {
		t.Fatalf("status %+v", s)
	}
	if time.Since(us.importer.Evidence("eu")) > 5*time.Second {
		t.Fatal("no evidence")
	}
	if n := us.metric("received_snapshots_total", "eu"); n != 1 {
		t.Fatalf("%v snapshots, want 1", n)
	}
	if _, err := us.registry.Gather(); err != nil {
		t.Fatal(err)
	}
}

func byKey(s catalog.Snapshot) map[catalog.RecordKey]catalog.Record {
	out := map[catalog.RecordKey]catalog.Record{}
	for _, r := range s.Records {
		out[r.Key()] = r
	}
	return out
}

func TestAReconnectResumesWithDeltasAndAfterTooLongWithASnapshot(t *testing.T) {
	n := newNetwork(t)
	eu := n.region("eu", 1, set("web", 1))[0]
	us := n.region("us", 1)[0]
	eventually(t, "synced", func() bool { return us.holds(eu) })
	snapshots := func() float64 { return us.metric("received_snapshots_total", "eu") }
	for _, c := range []struct {
		changes int
		want    float64
	}{{3, 1}, {feedDeltas + 1, 2}} {
		n.cut("us-0", "eu-0", true)
		eventually(t, "not synced", func() bool { return !us.importer.Synced("eu") && us.link("eu").Error != "" })
		for i := range c.changes {
			eu.publish(set("web", i))
		}
		n.cut("us-0", "eu-0", false)
		eventually(t, "synced again", func() bool { return us.holds(eu) })
		if snapshots() != c.want {
			t.Fatalf("after %d changes %v snapshots, want %v", c.changes, snapshots(), c.want)
		}
	}
}

func TestWhenAnUpstreamIsLostAnotherReplicaOfTheRegionIsAsked(t *testing.T) {
	n := newNetwork(t)
	eu := n.region("eu", 3, set("web", 1))
	us := n.region("us", 1)[0]
	eventually(t, "synced", func() bool { return us.holds(eu[0]) })
	for range 3 {
		lost := us.link("eu").Upstream
		n.cut("us-0", lost, true)
		eventually(t, "another upstream", func() bool {
			s := us.link("eu")
			return s.Synced && s.Upstream != lost && s.Direct
		})
		n.cut("us-0", lost, false)
	}
}

func TestASilentUpstreamIsLeft(t *testing.T) {
	t.Parallel() // it waits out a stall
	n := newNetwork(t)
	eu := n.region("eu", 2, set("web", 1))
	us := n.region("us", 1)[0]
	eventually(t, "synced", func() bool { return us.holds(eu[0]) })
	silent := us.link("eu").Upstream
	n.freeze("us-0", silent)
	eventually(t, "another upstream", func() bool { s := us.link("eu"); return s.Synced && s.Upstream != silent })
}

func TestASiblingRelaysWhileTheRegionCannotBeReachedAndIsLeftAfter(t *testing.T) {
	t.Parallel() // it waits out a stall
	n := newNetwork(t)
	eu := n.region("eu", 1, set("web", 1))[0]
	us := n.region("us", 2)
	eventually(t, "synced", func() bool { return us[0].holds(eu) && us[1].holds(eu) })
	n.cut("us-0", "eu-0", true)
	relayed := func() bool { s := us[0].link("eu"); return s.Synced && !s.Direct && s.Upstream == "us-1" }
	eventually(t, "the sibling relays", relayed)
	eu.publish(set("web", 2))
	eventually(t, "a change came through the sibling", func() bool { return us[0].holds(eu) && relayed() })
	if time.Since(us[0].importer.Evidence("eu")) > 5*time.Second {
		t.Fatal("no evidence through the sibling")
	}
	n.cut("us-1", "eu-0", true)
	eventually(t, "a relay that heard nothing does not count as synced", func() bool {
		return !us[0].importer.Synced("eu") && !us[1].importer.Synced("eu")
	})
	n.cut("us-0", "eu-0", false)
	n.cut("us-1", "eu-0", false)
	eventually(t, "direct again", func() bool {
		s := us[0].link("eu")
		return s.Synced && s.Direct && us[0].holds(eu)
	})
}

func TestAReplicaThatStartsEmptyFillsFromASiblingAndThenGoesDirect(t *testing.T) {
	n := newNetwork(t)
	eu := n.region("eu", 1, set("web", 1))[0]
	us := n.region("us", 1)[0]
	eventually(t, "the first is synced", func() bool { return us.holds(eu) })
	before := eu.metric("served_snapshots_total", "eu")
	late := n.start("us", "us-late", options{epoch: 1})
	late.found(1)
	eventually(t, "direct", func() bool { return late.holds(eu) && late.link("eu").Direct })
	if us.metric("served_snapshots_total", "eu") != 1 || eu.metric("served_snapshots_total", "eu") != before {
		t.Fatalf("the sibling served %v snapshots, the region %v more", us.metric("served_snapshots_total", "eu"), eu.metric("served_snapshots_total", "eu")-before)
	}
}

func TestARegionThatWasRestoredIsTakenOverWithItsNewEpoch(t *testing.T) {
	n := newNetwork(t)
	eu := n.region("eu", 2, set("web", 1))
	us := n.region("us", 1)[0]
	eventually(t, "synced", func() bool { return us.holds(eu[0]) })
	for range 5 {
		eu[0].publish(set("web", 2))
		eu[1].publish(set("web", 2))
	}
	eventually(t, "synced", func() bool { return us.holds(eu[0]) })
	upstream := us.link("eu").Upstream
	for _, r := range eu {
		if r.self.Name == upstream {
			r.found(2, set("api", 1)) // the other one is not restored yet
		}
	}
	eventually(t, "the new epoch", func() bool { return us.Version("eu") == catalog.Version{Epoch: 2, Seq: 1} })
	n.cut("us-0", upstream, true)
	eventually(t, "the replica of the old epoch is refused", func() bool {
		return strings.Contains(us.link("eu").Error, "epoch 1 of the region, which is at 2")
	})
	if us.Version("eu").Epoch != 2 {
		t.Fatal("went back to the old epoch")
	}
}

func TestARemovedRegionIsTold(t *testing.T) {
	n := newNetwork(t)
	var removed atomic.Bool
	eu := n.start("eu", "eu-0", options{epoch: 1, removed: func(region string, epoch uint64) bool {
		return removed.Load() && region == "us" && epoch == 1
	}})
	eu.found(1, set("web", 1))
	us := n.region("us", 1)[0]
	eventually(t, "both synced", func() bool { return us.holds(eu) && eu.holds(us) })
	removed.Store(true)
	eventually(t, "the removed region knows", func() bool {
		s := us.link("eu")
		return s.RemovedEpoch == 1 && strings.Contains(s.Error, "removed")
	})
	n.cut("eu-0", "us-0", true)
	n.cut("eu-0", "us-0", false)
	eventually(t, "nothing is imported from it", func() bool { return strings.Contains(eu.link("us").Error, "must join again") })
}

func TestARegionThatRestartsCutOffAnswersFromItsCache(t *testing.T) {
	n := newNetwork(t)
	eu := n.region("eu", 1, set("web", 1), set("api", 1))[0]
	path := cachePath(t)
	us := n.start("us", "us-0", options{epoch: 1, cache: path})
	us.found(1)
	eventually(t, "synced", func() bool { return us.holds(eu) })
	eu.publish(set("web", 2))
	eventually(t, "synced", func() bool { return us.holds(eu) })
	before, _ := us.catalog.Snapshot("eu")
	us.stop()
	n.cut("us-0", "eu-0", true)
	us = n.start("us", "us-0", options{epoch: 1, cache: path})
	after, _ := us.catalog.Snapshot("eu")
	if after.Version != before.Version || !reflect.DeepEqual(byKey(after), byKey(before)) {
		t.Fatalf("got %+v\nwant %+v", after, before)
	}
	n.cut("us-new", "eu-0", true)
	empty := n.start("us", "us-new", options{epoch: 1})
	eventually(t, "a replica added meanwhile has it from its sibling", func() bool { return empty.Version("eu") == before.Version })
	if empty.importer.Synced("eu") || us.importer.Synced("eu") {
		t.Fatal("counts as synced although nobody heard from the region")
	}
	n.cut("us-0", "eu-0", false)
	eu.publish(set("web", 3))
	eventually(t, "synced again", func() bool { return us.holds(eu) && empty.Version("eu") == eu.Version("eu") })
	if got := us.metric("received_snapshots_total", "eu"); got != 0 {
		t.Fatalf("%v snapshots, although the cache was recent", got)
	}
}

// slowSink takes nothing while it is held.
type slowSink struct {
	Sink
	held chan struct{}
}

func (s *slowSink) Apply(d catalog.Delta) error {
	<-s.held
	return s.Sink.Apply(d)
}

func TestASlowConsumerGetsASnapshotInsteadOfABacklog(t *testing.T) {
	n := newNetwork(t)
	eu := n.region("eu", 1, set("web", 1))[0]
	slow := &slowSink{held: make(chan struct{})}
	us := n.start("us", "us-0", options{epoch: 1, sink: func(t *Tee) Sink { slow.Sink = t; return slow }})
	us.found(1)
	eventually(t, "synced", func() bool { return us.holds(eu) })
	for i := range feedDeltas + 500 { // far more than the stream and the feed hold
		var big []catalog.Record
		for j := range 12 {
			big = append(big, set(fmt.Sprint("s", j), i))
		}
		eu.publish(big...)
	}
	close(slow.held)
	eventually(t, "synced", func() bool { return us.holds(eu) })
	if got := us.metric("received_snapshots_total", "eu"); got < 2 {
		t.Fatalf("%v snapshots", got)
	}
	if got := us.metric("received_deltas_total", "eu"); got > feedDeltas {
		t.Fatalf("%v deltas came although a snapshot would do", got)
	}
}

// forgetfulSink loses a delta.
type forgetfulSink struct {
	Sink
	lose atomic.Bool
}

func (s *forgetfulSink) Apply(d catalog.Delta) error {
	if s.lose.CompareAndSwap(true, false) {
		return nil
	}
	return s.Sink.Apply(d)
}

func TestAGapIsHealedByACompleteSnapshot(t *testing.T) {
	n := newNetwork(t)
	eu := n.region("eu", 1, set("web", 1))[0]
	sink := &forgetfulSink{}
	us := n.start("us", "us-0", options{epoch: 1, sink: func(t *Tee) Sink { sink.Sink = t; return sink }})
	eventually(t, "synced", func() bool { return us.holds(eu) })
	sink.lose.Store(true)
	eu.publish(set("web", 2))
	eventually(t, "synced without another change", func() bool { return us.holds(eu) })
	if got := us.metric("resyncs_total", "eu"); got != 1 {
		t.Fatalf("%v resyncs, want 1", got)
	}
}

func TestRegionsComeAndGoWithTheDirectory(t *testing.T) {
	n := newNetwork(t)
	us := n.region("us", 1)[0]
	if len(us.importer.Status()) != 0 {
		t.Fatal("links to nobody")
	}
	eu := n.region("eu", 1, set("web", 1))[0]
	eventually(t, "a new region is imported", func() bool { return us.holds(eu) })
	eu.stop()
	n.signal()
	eventually(t, "its link is gone", func() bool { return len(us.importer.Status()) == 0 })
	if us.importer.Synced("eu") || !us.importer.Evidence("eu").IsZero() {
		t.Fatal("still synced")
	}
	if us.Version("eu").Seq == 0 {
		t.Fatal("what was known is lost")
	}
}

func TestWhoMayAskForWhat(t *testing.T) {
	n := newNetwork(t)
	eu := n.region("eu", 1, set("web", 1))[0]
	us := n.region("us", 2)
	asia := n.region("asia", 1)[0]
	eventually(t, "synced", func() bool { return us[0].holds(eu) && asia.holds(eu) })
	for name, c := range map[string]struct {
		from, to *replica
		region   string
		want     codes.Code
	}{
		"the server's own region":          {asia, eu, "eu", codes.OK},
		"a sibling for an imported region": {us[1], us[0], "eu", codes.OK},
		"another region for an import":     {asia, us[0], "eu", codes.PermissionDenied},
		"a region that is not known":       {us[1], us[0], "mars", codes.NotFound},
		"not a region":                     {us[1], us[0], "../etc", codes.InvalidArgument},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			cc, closer, err := c.from.dial(ctx, c.to.self)
			must(err)
			defer closer.Close()
			stream, err := pb.NewReplicationClient(cc).Watch(ctx, &pb.WatchRequest{Region: c.region})
			must(err)
			if _, err := stream.Recv(); status.Code(err) != c.want {
				t.Fatalf("got %v, want %s", err, c.want)
			}
		})
	}
	if _, err := callerOf(context.Background()); err == nil {
		t.Fatal("the test's own check lets anybody in")
	}
}
