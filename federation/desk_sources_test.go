package federation

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/federation/state"
	"github.com/federator/federator/source"
	"github.com/federator/federator/source/probe"
)

// sourceLedger brings what is written into the catalog at once, as Raft does a
// while later.
type sourceLedger struct {
	c    *catalog.Catalog
	hang chan struct{} // while not nil, writes of sets wait for it

	mu       sync.Mutex
	seq      uint64
	puts     []source.Changes
	origins  []string
	prefixes []catalog.ClientPrefix
	fault    string
	since    time.Time
}

func (l *sourceLedger) PutSets(ctx context.Context, _, origin string, _ uint64, ch source.Changes) error {
	if l.hang != nil {
		select {
		case <-l.hang:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.puts, l.origins = append(l.puts, ch), append(l.origins, origin)
	l.seq++
	d := catalog.Delta{Region: "r", Version: catalog.Version{Epoch: 1, Seq: l.seq}}
	for i := range ch.Upserts {
		d.Upserts = append(d.Upserts, catalog.Record{Set: &ch.Upserts[i]})
	}
	for _, k := range ch.Deletes {
		r := catalog.Record{Set: &catalog.EndpointSet{SetKey: k}}
		d.Deletes = append(d.Deletes, r.Key())
	}
	return l.c.Apply(d, time.Now())
}

func (l *sourceLedger) FoldHealth(context.Context, string, catalog.HealthVersion, []catalog.HealthChange) error {
	return errors.New("no leader")
}

func (l *sourceLedger) DescribeCluster(_ context.Context, cluster string, _ uint64, prefixes []catalog.ClientPrefix, fault string, since time.Time) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.prefixes, l.fault, l.since = prefixes, fault, since
	l.seq++
	return l.c.Apply(catalog.Delta{Region: "r", Version: catalog.Version{Epoch: 1, Seq: l.seq}, Upserts: []catalog.Record{{Cluster: &catalog.Cluster{
		Name: cluster, HealthOwner: "a", HealthTerm: 256, Prefixes: prefixes, SourceError: fault, StaleSince: since}}}}, time.Now())
}

// loud remembers what was gossiped.
type loud struct {
	mu      sync.Mutex
	changes []catalog.HealthChange
}

func (h *loud) BroadcastHealth(d catalog.HealthDelta) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.changes = append(h.changes, d.Changes...)
}

func (h *loud) BroadcastResync(string, catalog.HealthVersion) {}

// said returns what was gossiped since it was last asked.
func (h *loud) said() (out []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, ch := range h.changes {
		out = append(out, fmt.Sprint(ch.Endpoint, " ", ch.Health))
	}
	h.changes = nil
	return out
}

// sourceDesk is an owner of a cluster with a source of each origin.
func sourceDesk(t testing.TB, origins ...string) (*desk, *sourceLedger, *loud) {
	t.Helper()
	c := catalog.New("r", "r")
	snap := catalog.Snapshot{Region: "r", Version: catalog.Version{Epoch: 1, Seq: 1}, Records: []catalog.Record{{Cluster: &catalog.Cluster{Name: "c", HealthOwner: "a", HealthTerm: 256}}}}
	if err := c.Reset(snap, time.Now()); err != nil {
		t.Fatal(err)
	}
	l, h := &sourceLedger{c: c, seq: 1}, &loud{}
	var feeds []*feed
	for _, o := range origins {
		feeds = append(feeds, &feed{origin: o})
	}
	d := newDesk(deskConfig{self: catalog.Replica{Name: "a", Region: "r", Cluster: "c"}, catalog: c, ledger: l, herald: h, feeds: feeds,
		alive: func(string) bool { return true }, haveLeader: func() bool { return true }, understands: func(int) bool { return true }, log: slog.New(slog.DiscardHandler)},
		func(context.Context, probe.Target) error { return nil }, nil)
	d.owned, d.owns, d.epoch = ownership{"a", 256}, true, 1
	return d, l, h
}

// setOf is a set of a source without a check, with an endpoint for each health.
func setOf(origin, name string, health ...catalog.Health) catalog.EndpointSet {
	s := catalog.EndpointSet{
		SetKey: catalog.SetKey{Cluster: "c", Service: catalog.ServiceName{Namespace: "n", Name: name}}, Source: origin,
		Ports: []catalog.Port{{Name: "http", Number: 80, Protocol: catalog.TCP}}, CreatedAt: time.Unix(1, 0),
	}
	for i, h := range health {
		s.Endpoints = append(s.Endpoints, catalog.Endpoint{ID: fmt.Sprint("e", i), Address: netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}), Weight: 1, Health: h})
	}
	return s
}

func saying(sets ...catalog.EndpointSet) source.Update {
	var u source.Update
	for i := range sets {
		u.Sets = append(u.Sets, &sets[i])
	}
	return u
}

func expectSaid(t *testing.T, h *loud, want ...string) {
	t.Helper()
	if got := h.said(); !slices.Equal(got, want) {
		t.Errorf("gossiped %q, expected %q", got, want)
	}
}

func expectHealth(t *testing.T, d *desk, name string, want ...catalog.Health) {
	t.Helper()
	if got := d.catalog.Service(catalog.ServiceName{Namespace: "n", Name: name}).Backends[0].Health; !slices.Equal(got, want) {
		t.Errorf("health of %s is %s, expected %s", name, got, want)
	}
}

func TestAFlipOfASourceIsGossipedAndCostsNoWrite(t *testing.T) {
	d, l, h := sourceDesk(t, "kube")
	d.take(d.feeds[0], saying(setOf("kube", "a", catalog.Healthy, catalog.Healthy), setOf("kube", "b", catalog.Healthy)))
	expectSaid(t, h) // nothing of it is published yet
	d.reconcile(t.Context())
	d.take(d.feeds[0], saying(setOf("kube", "a", catalog.Healthy, catalog.Unhealthy), setOf("kube", "b", catalog.Healthy)))
	expectSaid(t, h, "e1 unhealthy")
	d.reconcile(t.Context())
	d.assert(everything())
	expectSaid(t, h)
	if len(l.puts) != 1 {
		t.Errorf("%d writes, expected the first alone", len(l.puts))
	}
	expectHealth(t, d, "a", catalog.Healthy, catalog.Unhealthy)
}

func TestAFlipDoesNotWaitForAWriteThatHangs(t *testing.T) {
	d, l, h := sourceDesk(t, "kube")
	d.take(d.feeds[0], saying(setOf("kube", "a", catalog.Healthy)))
	d.reconcile(t.Context())
	l.hang = make(chan struct{})
	d.take(d.feeds[0], saying(setOf("kube", "a", catalog.Healthy, catalog.Healthy)))
	done := make(chan struct{})
	go func() {
		defer close(done)
		d.reconcile(t.Context())
	}()
	d.take(d.feeds[0], saying(setOf("kube", "a", catalog.Unhealthy, catalog.Healthy)))
	expectSaid(t, h, "e0 unhealthy")
	expectHealth(t, d, "a", catalog.Unhealthy)
	close(l.hang)
	<-done
	expectHealth(t, d, "a", catalog.Unhealthy, catalog.Healthy)
}

func TestANewEndpointComesWithItsHealthAndTheOthersKeepTheirs(t *testing.T) {
	d, l, h := sourceDesk(t, "kube")
	d.take(d.feeds[0], saying(setOf("kube", "a", catalog.Healthy)))
	d.reconcile(t.Context())
	d.take(d.feeds[0], saying(setOf("kube", "a", catalog.Unhealthy, catalog.Unhealthy)))
	expectSaid(t, h, "e0 unhealthy")
	d.reconcile(t.Context())
	expectHealth(t, d, "a", catalog.Unhealthy, catalog.Unhealthy)
	written := l.puts[1].Upserts[0].Endpoints
	if written[0].Health != catalog.Healthy || written[1].Health != catalog.Unhealthy {
		t.Errorf("written with %s and %s: the first was flipped, which the write must not undo or repeat", written[0].Health, written[1].Health)
	}
}

func TestAnEndpointThatTurnedWhileItWasWrittenIsFlippedOnceItIsThere(t *testing.T) {
	d, l, h := sourceDesk(t, "kube")
	l.hang = make(chan struct{})
	d.take(d.feeds[0], saying(setOf("kube", "a", catalog.Unhealthy)))
	done := make(chan struct{})
	go func() {
		defer close(done)
		d.reconcile(t.Context())
	}()
	close(l.hang)
	<-done
	back := saying(setOf("kube", "a", catalog.Healthy))
	d.feeds[0].note(&back)
	d.assert(everything())
	expectSaid(t, h, "e0 healthy")
	expectHealth(t, d, "a", catalog.Healthy)
}

func TestDrainingThroughAFlipHoldsAndCanBeTakenBack(t *testing.T) {
	for name, published := range map[string]catalog.Health{"published healthy": catalog.Healthy, "published draining": catalog.Draining} {
		t.Run(name, func(t *testing.T) {
			d, _, _ := sourceDesk(t, "kube")
			d.take(d.feeds[0], saying(setOf("kube", "a", published)))
			d.reconcile(t.Context())
			d.take(d.feeds[0], saying(setOf("kube", "a", catalog.Draining)))
			d.assert(everything())
			d.catalog.SetProbed(setOf("kube", "a").SetKey, map[string]catalog.Health{"e0": catalog.Healthy})
			expectHealth(t, d, "a", catalog.Draining)
			d.catalog.SetProbed(setOf("kube", "a").SetKey, nil)
			d.take(d.feeds[0], saying(setOf("kube", "a", catalog.Healthy)))
			expectHealth(t, d, "a", catalog.Healthy)
		})
	}
}

func TestANewOwnerAssertsWhatItsSourceSaysNow(t *testing.T) {
	d, _, h := sourceDesk(t, "kube")
	d.take(d.feeds[0], saying(setOf("kube", "a", catalog.Healthy, catalog.Healthy)))
	d.reconcile(t.Context())
	d.owns = false
	d.take(d.feeds[0], saying(setOf("kube", "a", catalog.Healthy, catalog.Unhealthy)))
	d.assert(everything())
	expectSaid(t, h) // another speaks
	d.owns, d.owned.term = true, 512
	d.assert(everything())
	expectSaid(t, h, "e1 unhealthy")
	d.take(d.feeds[0], source.Update{Err: errors.New("away"), StaleSince: time.Unix(5, 0)})
	d.emit([]catalog.HealthChange{{Service: setOf("", "a").Service, Endpoint: "e1", Health: catalog.Healthy}})
	h.said()
	d.assert(everything())
	expectSaid(t, h) // what it said before it could not be read is no news
	d.take(d.feeds[0], saying(setOf("kube", "a", catalog.Healthy, catalog.Unhealthy)))
	expectSaid(t, h, "e1 unhealthy")
}

func TestASourceHasNoWordWhereThereIsACheckOrAnotherOwner(t *testing.T) {
	d, _, h := sourceDesk(t, "kube", "file")
	checked := setOf("kube", "checked", catalog.Healthy)
	checked.Check = &catalog.Check{Kind: catalog.CheckTCP, Interval: time.Second, Timeout: time.Second, HealthyThreshold: 1, UnhealthyThreshold: 1}
	d.take(d.feeds[0], saying(checked))
	d.take(d.feeds[1], saying(setOf("file", "mine", catalog.Healthy)))
	d.reconcile(t.Context())
	checked.Endpoints = slices.Clone(checked.Endpoints)
	checked.Endpoints[0].Health = catalog.Unhealthy
	d.take(d.feeds[0], saying(checked, setOf("kube", "mine", catalog.Unhealthy)))
	expectSaid(t, h)
	expectHealth(t, d, "mine", catalog.Healthy)
}

func TestTwoSourcesOfAClusterDoNotDisturbEachOther(t *testing.T) {
	d, l, _ := sourceDesk(t, "file", "kube")
	prefix := func(s string) []catalog.ClientPrefix {
		return []catalog.ClientPrefix{{Prefix: netip.MustParsePrefix(s)}}
	}
	d.take(d.feeds[0], source.Update{Sets: saying(setOf("file", "a", catalog.Healthy)).Sets, Prefixes: prefix("10.1.0.0/16")})
	d.reconcile(t.Context())
	if len(l.prefixes) != 0 {
		t.Error("described before all sources have spoken")
	}
	d.take(d.feeds[1], source.Update{Sets: saying(setOf("kube", "a", catalog.Healthy), setOf("kube", "b", catalog.Healthy)).Sets, Prefixes: prefix("10.2.0.0/16")})
	d.reconcile(t.Context())
	if len(l.prefixes) != 2 || !strings.Contains(l.fault, "owned by source \"file\"") {
		t.Errorf("networks %v, fault %q: expected both networks, and a word on who owns a", l.prefixes, l.fault)
	}
	since := time.Unix(77, 0)
	d.take(d.feeds[1], source.Update{Err: errors.New("API server away"), StaleSince: since})
	d.take(d.feeds[0], source.Update{Prefixes: prefix("10.1.0.0/16")})
	d.reconcile(t.Context())
	if len(l.prefixes) != 2 || l.fault != "API server away" || !l.since.Equal(since) {
		t.Errorf("networks %v, fault %q since %s", l.prefixes, l.fault, l.since)
	}
	if d.set(setOf("", "a").Service) != nil || d.set(setOf("", "b").Service) == nil {
		t.Error("the file lost its service, and the source that cannot be read none")
	}
}

func TestWhatCameWithAProtocolIsLeftOutUntilTheWholeRegionKnowsIt(t *testing.T) {
	d, l, _ := sourceDesk(t, "kube")
	known := state.MinProtocol
	d.understands = func(protocol int) bool { return protocol <= known }
	sticky := setOf("kube", "a", catalog.Healthy)
	sticky.AffinitySeconds = 60
	sticky.Properties = &catalog.Properties{Labels: map[string]string{"team": "checkout"}}
	d.take(d.feeds[0], saying(sticky))
	d.reconcile(t.Context())
	d.reconcile(t.Context())
	if found := d.set(sticky.Service); len(l.puts) != 1 || found.AffinitySeconds != 0 || found.Properties != nil {
		t.Fatalf("%d writes, affinity %d, properties %v", len(l.puts), found.AffinitySeconds, found.Properties)
	}
	known = state.AffinityProtocol
	d.reconcile(t.Context())
	if found := d.set(sticky.Service); found.AffinitySeconds != 60 || found.Properties != nil {
		t.Errorf("protocol %d: affinity %d, properties %v", known, found.AffinitySeconds, found.Properties)
	}
	known = state.PropertiesProtocol
	d.reconcile(t.Context())
	if found := d.set(sticky.Service); !found.Properties.Equal(sticky.Properties) || sticky.AffinitySeconds != 60 || sticky.Properties == nil {
		t.Error("they are not written once they can be")
	}
}

func TestAnUpdateLooksOnlyAtWhatTheSourceTouched(t *testing.T) {
	a, b := setOf("kube", "a", catalog.Healthy), setOf("kube", "b", catalog.Healthy)
	f := &feed{origin: "kube"}
	names := func(sets []*catalog.EndpointSet) (out []string) {
		for _, s := range sets {
			out = append(out, s.Service.Name)
		}
		return out
	}
	for i, c := range []struct {
		u    source.Update
		want []string
		more bool
	}{
		{saying(a, b), []string{"a", "b"}, true},
		{saying(a, setOf("kube", "b", catalog.Unhealthy)), []string{"b"}, false},
		{saying(a, setOf("kube", "b", catalog.Unhealthy)), nil, false},
		{saying(a), nil, true},
		{saying(b), []string{"b"}, true},
		{source.Update{Err: errors.New("away")}, nil, true},
		{saying(a, b), []string{"a", "b"}, true},
		{source.Update{Sets: saying(a, b).Sets, Prefixes: make([]catalog.ClientPrefix, 1)}, nil, true},
	} {
		if n := f.note(&c.u); !slices.Equal(names(n.turned), c.want) || n.more != c.more {
			t.Errorf("update %d touches %q and more is %v, expected %q and %v", i, names(n.turned), n.more, c.want, c.more)
		}
	}
}
