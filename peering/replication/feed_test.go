package replication

import (
	"testing"

	"github.com/federator/federator/federation/catalog"
)

func TestAFeedResumesWhileItRemembersAndAsksForASnapshotBeyond(t *testing.T) {
	o := newOrigin("eu", 3)
	for i := range feedDeltas + 10 {
		o.publish([]catalog.Record{set("web", i)})
	}
	last := o.Version("eu")
	at := func(epoch, seq uint64) catalog.Version { return catalog.Version{Epoch: epoch, Seq: seq} }
	for name, c := range map[string]struct {
		from catalog.Version
		n    int
		ok   bool
	}{
		"nothing held":      {at(0, 0), 0, false},
		"an older epoch":    {at(2, last.Seq), 0, false},
		"just forgotten":    {at(3, last.Seq-feedDeltas-1), 0, false},
		"the oldest":        {at(3, last.Seq-feedDeltas), feedBatch, true},
		"the last but two":  {at(3, last.Seq-2), 2, true},
		"everything":        {last, 0, true},
		"more than is here": {at(3, last.Seq+5), 0, true},
		"a newer epoch":     {at(4, 1), 0, true},
	} {
		deltas, ok := o.Feed.DeltasSince("eu", c.from)
		if len(deltas) != c.n || ok != c.ok {
			t.Errorf("%s: %d deltas, %t; want %d, %t", name, len(deltas), ok, c.n, c.ok)
		}
		if c.n > 0 && !follows(deltas[0].Version, c.from) {
			t.Errorf("%s: begins at %s", name, deltas[0].Version)
		}
	}
	if n := len(o.Feed.regions["eu"].deltas); n > feedDeltas {
		t.Errorf("%d deltas remembered", n)
	}
}

func TestAFeedBoundsTheRecordsItHoldsOnTo(t *testing.T) {
	o := newOrigin("eu", 1)
	many := make([]catalog.Record, feedRecords/4)
	for i := range many {
		many[i] = set("web", i)
	}
	for range 10 {
		o.publish(many)
	}
	if h := o.Feed.regions["eu"]; h.records > feedRecords || len(h.deltas) != 3 {
		t.Fatalf("%d deltas with %d records remembered", len(h.deltas), h.records)
	}
}

func TestAFeedWakesWhoeverWaitsForAChange(t *testing.T) {
	o := newOrigin("eu", 1)
	for name, change := range map[string]func(){
		"delta":  func() { o.publish(nil) },
		"epoch":  func() { o.found(2) },
		"forget": func() { o.Forget("eu") },
	} {
		changed := o.Feed.Changed("eu")
		change()
		select {
		case <-changed:
		default:
			t.Errorf("%s: nobody woke", name)
		}
		if name == "forget" {
			o.found(1)
		}
		o.Feed.Changed("eu")
	}
}
