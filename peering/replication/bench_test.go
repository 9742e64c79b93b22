package replication

import (
	"context"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/peering/pb"
)

// wired hands each event to a receiver as if it had crossed the wire.
type wired struct {
	tape
	b  *testing.B
	to *follower
}

func (w *wired) Send(e *pb.WatchEvent) error {
	return w.to.take(overWire(w.b, e))
}

// A complete resync of 100,000 names with 10 endpoints each: served, encoded,
// decoded, checked and taken over.
func BenchmarkResyncOf100000Names(b *testing.B) {
	o := newOrigin("eu", 1)
	records := make([]catalog.Record, 100_000)
	for i := range records {
		records[i] = set(fmt.Sprint("s", i), 0)
		one := records[i].Set.Endpoints[0]
		for e := range 9 {
			one.ID = fmt.Sprint("e", e+1)
			one.Address = netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), byte(e + 1)})
			records[i].Set.Endpoints = append(records[i].Set.Endpoints, one)
		}
	}
	must(o.Reset(catalog.Snapshot{Region: "eu", Version: catalog.Version{Epoch: 2, Seq: 1}, Records: records}))
	b.ResetTimer()
	for b.Loop() {
		to := newFollower()
		to.connect("eu")
		w, _ := newWatch(b, o, catalog.Version{}, false)
		w.stream = &wired{b: b, to: to}
		must(w.hello())
		must(w.catchUp(context.Background()))
		if to.Version("eu") != o.Version("eu") {
			b.Fatal("not taken over")
		}
	}
}

// The same taken into the cache on disk.
func BenchmarkCacheOf100000Names(b *testing.B) {
	records := make([]catalog.Record, 100_000)
	for i := range records {
		records[i] = set(fmt.Sprint("s", i), 0)
	}
	for b.Loop() {
		c, err := OpenCache(b.TempDir()+"/imports.db", CacheConfig{Now: time.Now})
		must(err)
		c.Reset(catalog.Snapshot{Region: "eu", Version: catalog.Version{Epoch: 1, Seq: 1}, Records: records})
		must(c.Close())
	}
}
