package federation

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/source"
	"github.com/federator/federator/source/probe"
)

type reviewLedger struct {
	mu     sync.Mutex
	err    error
	folded map[string]catalog.HealthVersion
	upTo   catalog.HealthVersion
	after  func(upTo catalog.HealthVersion)
	sizes  []int
	before func()
}

func (l *reviewLedger) PutSets(context.Context, string, string, uint64, source.Changes) error {
	return nil
}

func (l *reviewLedger) FoldHealth(_ context.Context, _ string, upTo catalog.HealthVersion, changes []catalog.HealthChange) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sizes = append(l.sizes, len(changes))
	if l.before != nil {
		l.before()
	}
	if l.err != nil {
		return l.err
	}
	for _, ch := range changes {
		l.folded[ch.Endpoint] = ch.Version
	}
	l.upTo = upTo
	if l.after != nil {
		l.after(upTo)
	}
	return nil
}

func (l *reviewLedger) DescribeCluster(context.Context, string, uint64, []catalog.ClientPrefix, string, time.Time) error {
	return nil
}

type reviewHerald struct{}

func (reviewHerald) BroadcastHealth(catalog.HealthDelta)           {}
func (reviewHerald) BroadcastResync(string, catalog.HealthVersion) {}

func reviewDesk(tb testing.TB, services, endpoints int, l *reviewLedger) (*desk, *catalog.Catalog) {
	c := catalog.New("r", "r")
	check := &catalog.Check{Kind: catalog.CheckTCP, Interval: time.Second, Timeout: time.Second, HealthyThreshold: 1, UnhealthyThreshold: 1}
	snap := catalog.Snapshot{Region: "r", Version: catalog.Version{Epoch: 1, Seq: 1}}
	snap.Records = append(snap.Records, catalog.Record{Cluster: &catalog.Cluster{Name: "c", HealthOwner: "a", HealthTerm: 256}})
	for i := range services {
		set := &catalog.EndpointSet{SetKey: catalog.SetKey{Cluster: "c", Service: catalog.ServiceName{Namespace: "n", Name: fmt.Sprintf("s%05d", i)}}, Source: "file", Check: check,
			Ports: []catalog.Port{{Name: "http", Number: 80, Protocol: catalog.TCP}}}
		for j := range endpoints {
			set.Endpoints = append(set.Endpoints, catalog.Endpoint{ID: fmt.Sprint("e", j), Address: netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), byte(j)}), Weight: 1, Health: catalog.Healthy})
		}
		snap.Records = append(snap.Records, catalog.Record{Set: set})
	}
	if err := c.Reset(snap, time.Now()); err != nil {
		tb.Fatal(err)
	}
	d := newDesk(deskConfig{self: catalog.Replica{Name: "a", Region: "r", Cluster: "c"}, catalog: c, ledger: l, herald: reviewHerald{}, feeds: []*feed{{origin: "file"}}, understands: func(int) bool { return true },
		alive: func(string) bool { return true }, haveLeader: func() bool { return true }, log: slog.New(slog.DiscardHandler)},
		func(context.Context, probe.Target) error { return nil }, nil)
	d.owned, d.owns, d.epoch = ownership{"a", 256}, true, 1
	return d, c
}

// A flip that is emitted while a fold is made must be in the fold, or above its version.
func TestNoFlipIsConfirmedWithoutBeingFolded(t *testing.T) {
	l := &reviewLedger{folded: map[string]catalog.HealthVersion{}}
	d, c := reviewDesk(t, 1, 4000, l)
	svc := catalog.ServiceName{Namespace: "n", Name: "s00000"}
	lost := 0
	seq := uint64(1)
	l.after = func(upTo catalog.HealthVersion) { // what the stream does: confirm
		for _, ch := range c.PendingHealth("c") {
			if ch.Version.Compare(upTo) <= 0 && l.folded[ch.Endpoint].Compare(ch.Version) < 0 {
				lost++
			}
		}
		seq++
		_ = c.Apply(catalog.Delta{Region: "r", Version: catalog.Version{Epoch: 1, Seq: seq}, Upserts: []catalog.Record{{Cluster: &catalog.Cluster{Name: "c", HealthOwner: "a", HealthTerm: 256, Confirmed: upTo}}}}, time.Now())
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range 4000 {
			d.emit([]catalog.HealthChange{{Service: svc, Endpoint: fmt.Sprint("e", i), Health: catalog.Unhealthy}})
		}
	}()
	for running := true; running; {
		select {
		case <-done:
			running = false
		default:
		}
		d.fold(context.Background())
	}
	d.fold(context.Background())
	missing := 0
	for i := range 4000 {
		if _, ok := l.folded[fmt.Sprint("e", i)]; !ok {
			missing++
		}
	}
	t.Logf("lost seen at fold: %d; never folded: %d of 4000", lost, missing)
	if missing > 0 {
		t.Errorf("%d flips were confirmed without being folded", missing)
	}
}

// While Raft has no leader, a steady trickle of other flips must not keep old ones from being re-emitted.
func TestAnUnfoldedFlipOutlivesOtherFlips(t *testing.T) {
	l := &reviewLedger{folded: map[string]catalog.HealthVersion{}, err: errors.New("no leader")}
	d, c := reviewDesk(t, 1, 3, l)
	svc := catalog.ServiceName{Namespace: "n", Name: "s00000"}
	d.emit([]catalog.HealthChange{{Service: svc, Endpoint: "e0", Health: catalog.Unhealthy}})
	first := c.PendingHealth("c")[0].Version
	for i := range 8 { // every fold finds that another endpoint flipped a moment ago
		h := catalog.Unhealthy
		if i%2 == 1 {
			h = catalog.Healthy
		}
		d.mu.Lock()
		d.voice.said = d.voice.said.Add(-5 * time.Second) // five seconds pass
		d.mu.Unlock()
		d.emit([]catalog.HealthChange{{Service: svc, Endpoint: "e1", Health: h}})
		d.fold(context.Background())
	}
	for _, ch := range c.PendingHealth("c") {
		if ch.Endpoint == "e0" && ch.Version == first {
			t.Errorf("40 s and 8 folds later e0 still has its first version %s: it lapses after 30 s", first)
		}
	}
}

func BenchmarkReviewDeskPerChange(b *testing.B) {
	d, c := reviewDesk(b, 10_000, 10, &reviewLedger{folded: map[string]catalog.HealthVersion{}})
	var sets []catalog.EndpointSet
	for _, s := range c.Services() {
		sets = append(sets, *s.Backends[0].Set)
	}
	d.take(d.feeds[0], saying(sets...))
	b.Run("retarget", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			d.retarget(everything())
		}
	})
	b.Run("reconcile", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			d.reconcile(context.Background())
		}
	})
	for i := range 10_000 {
		d.emit([]catalog.HealthChange{{Service: catalog.ServiceName{Namespace: "n", Name: fmt.Sprintf("s%05d", i)}, Endpoint: "e1", Health: catalog.Unhealthy}})
		if i == 1000 {
			break
		}
	}
	b.Run("flip-with-1000-pending", func(b *testing.B) {
		h := catalog.Healthy
		for b.Loop() {
			h = catalog.Healthy + catalog.Unhealthy - h
			d.emit([]catalog.HealthChange{{Service: catalog.ServiceName{Namespace: "n", Name: "s00000"}, Endpoint: "e1", Health: h}})
		}
	})
	q := inquest{observer: newObserver(c, distant(0), nil, slog.New(slog.DiscardHandler)), region: "r"}
	b.Run("inquest", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			q.sample()
			q.part()
		}
	})
}
