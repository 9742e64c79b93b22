package replication

import (
	"testing"

	bolt "go.etcd.io/bbolt"
	"google.golang.org/protobuf/proto"

	"github.com/federator/federator/federation/catalog"
)

// older makes the cached eu what a build would have written that knows no properties:
// at a version, without the fields, and with the note of an earlier build or none.
func older(t *testing.T, path string, v catalog.Version, note func(*bolt.Bucket) error) {
	t.Helper()
	edit(t, path, func(regions *bolt.Bucket) error {
		b := regions.Bucket([]byte("eu"))
		h, err := parseHead("eu", b.Get(headKey()))
		must(err)
		h.version = v
		r := set("web", 1)
		record, err := proto.Marshal(RecordToPB(&r))
		must(err)
		must(b.Bucket(recordsBucket()).Put([]byte(r.Key()), seal("eu", string(r.Key()), record)))
		must(b.Put(headKey(), seal("eu", string(headKey()), h.bytes())))
		return note(b)
	})
}

// said is a set with properties.
func said() catalog.Record {
	r := set("web", 1)
	r.Set.Properties = &catalog.Properties{Labels: map[string]string{"team": "checkout"}}
	return r
}

func (r *replica) properties(region string) *catalog.Properties {
	record := set("web", 1)
	if s := r.catalog.Set(region, record.Set.SetKey); s != nil {
		return s.Properties
	}
	return nil
}

func TestWhatAnOlderBuildTookOverWithoutSomeFieldsIsFetchedAgain(t *testing.T) {
	for name, note := range map[string]func(*bolt.Bucket) error{
		"it wrote all of it": func(b *bolt.Bucket) error { return b.Delete(fieldsKey()) },
		// Rolled back for a while: the note is of what was there before.
		"it wrote the end of it": func(b *bolt.Bucket) error {
			return b.Put(fieldsKey(), seal("eu", string(fieldsKey()), fieldsOf(catalog.Version{Epoch: 1, Seq: 1})))
		},
		"the note is damaged": func(b *bolt.Bucket) error { return b.Put(fieldsKey(), []byte("x")) },
	} {
		t.Run(name, func(t *testing.T) {
			n := newNetwork(t)
			eu := n.region("eu", 1, said())[0]
			eu.publish(set("api", 1))
			path := cachePath(t)
			us := n.start("us", "us-0", options{epoch: 1, cache: path})
			us.found(1)
			eventually(t, "synced", func() bool { return us.holds(eu) && us.properties("eu") != nil })
			us.stop()
			older(t, path, eu.Version("eu"), note)

			n.cut("us-0", "eu-0", true)
			us = n.start("us", "us-0", options{epoch: 1, cache: path})
			us.found(1)
			if us.catalog.Service(set("web", 1).Set.Service) == nil || us.Version("eu") != eu.Version("eu") || us.properties("eu") != nil {
				t.Fatalf("expected what is there to serve meanwhile, without properties, found version %v", us.Version("eu"))
			}
			n.cut("us-1", "eu-0", true)
			late := n.start("us", "us-1", options{epoch: 1})
			late.found(1)
			eventually(t, "a sibling has it, too", func() bool { return late.Version("eu") == eu.Version("eu") && late.Partial("eu") })
			n.cut("us-0", "eu-0", false)
			eventually(t, "all of it", func() bool { return us.holds(eu) && us.properties("eu").Equal(said().Set.Properties) })
			n.cut("us-1", "eu-0", false)
			eventually(t, "all of it there", func() bool { return late.holds(eu) && late.properties("eu").Equal(said().Set.Properties) })
			late.stop()
			eu.publish(set("api", 2))
			eventually(t, "a change", func() bool { return us.holds(eu) })
			us.stop()

			us = n.start("us", "us-0", options{epoch: 1, cache: path})
			if us.Version("eu") != eu.Version("eu") || us.properties("eu") == nil {
				t.Fatalf("expected it to be there after the next start, found version %v and %v", us.Version("eu"), us.properties("eu"))
			}
			eventually(t, "synced again", func() bool { return us.holds(eu) })
			if got := us.metric("received_snapshots_total", "eu"); got != 0 {
				t.Fatalf("%v snapshots, although nothing was missing", got)
			}
		})
	}
}

func TestASiblingOfAnOlderBuildRelaysNothing(t *testing.T) {
	n := newNetwork(t)
	eu := n.region("eu", 1, said())[0]
	old := n.start("us", "us-old", options{epoch: 1, protocol: 3})
	old.found(1)
	eventually(t, "the older one is synced", func() bool { return old.holds(eu) })
	n.cut("us-new", "eu-0", true)
	current := n.start("us", "us-new", options{epoch: 1, protocol: 4})
	current.found(1)
	for range 3 {
		before := current.dials.Load()
		eventually(t, "it looks for somebody to ask", func() bool { return current.dials.Load() > before })
	}
	if v := current.Version("eu"); v != (catalog.Version{}) {
		t.Fatalf("expected nothing of the older sibling, found version %v", v)
	}
	n.cut("us-new", "eu-0", false)
	eventually(t, "the region itself answers", func() bool { return current.holds(eu) && current.properties("eu") != nil })
	if got := old.metric("served_snapshots_total", "eu"); got != 0 {
		t.Fatalf("the older sibling served %v snapshots", got)
	}
}

func TestARegionInTheCacheIsPartialUntilAllOfItIsReplaced(t *testing.T) {
	path := cachePath(t)
	v := func(seq uint64) catalog.Version { return catalog.Version{Epoch: 1, Seq: seq} }
	snapshot := func(seq uint64, partial bool) catalog.Snapshot {
		return catalog.Snapshot{Region: "eu", Version: v(seq), Partial: partial, Records: []catalog.Record{said(), set("api", 1)}}
	}
	for _, step := range []struct {
		name string
		do   func(*Cache)
		want bool
	}{
		{"all of it", func(c *Cache) { c.Reset(snapshot(1, false)) }, false},
		{"a change", func(c *Cache) { must(c.Apply(catalog.Delta{Region: "eu", Version: v(2)})) }, false},
		{"part of it is no news", func(c *Cache) { c.Reset(snapshot(2, true)) }, false},
		{"part of something newer", func(c *Cache) { c.Reset(snapshot(3, true)) }, true},
		{"a change of a part", func(c *Cache) { must(c.Apply(catalog.Delta{Region: "eu", Version: v(4)})) }, true},
		{"a part and a change at once", func(c *Cache) {
			c.Reset(snapshot(5, true))
			must(c.Apply(catalog.Delta{Region: "eu", Version: v(6)}))
		}, true},
		{"the same in whole", func(c *Cache) { c.Reset(snapshot(6, false)) }, false},
	} {
		c := openTestCache(t, path, nil)
		c.Load()
		step.do(c)
		must(c.Close())
		c = openTestCache(t, path, nil)
		if held := c.Load(); len(held) != 1 || held[0].Partial != step.want {
			t.Errorf("%s: expected partial %v, found %+v", step.name, step.want, held)
		}
		must(c.Close())
	}
}
