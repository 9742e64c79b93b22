package dns

import (
	"fmt"
	"maps"
	"math"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	mdns "github.com/miekg/dns"

	"github.com/federator/federator/federation/catalog"
)

// counted is a server whose one worker is tallied.
type counted struct {
	*Server
	w *worker
}

func (f *fixture) counted(change ...func(*Config)) counted {
	s := f.server(change...)
	return counted{s, s.newWorker(s.newStats())}
}

func (c counted) ask(t testing.TB, name string, qtype uint16, client string) {
	t.Helper()
	m := new(mdns.Msg).SetQuestion(name, qtype)
	m.SetEdns0(maxUDP, false)
	p, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	c.w.timed(p, peer{from: netip.MustParseAddr(client)}, nil)
}

func TestATallyCountsWhatAnswersName(t *testing.T) {
	f := newFixture(t)
	f.upsert("us-west", object(catalog.KindPolicy, "shop/dead", `{"panicThresholdPercent":0}`),
		set("us-west-1", catalog.ServiceName{Namespace: "shop", Name: "dead"}, false, dead("10.1.4.1", "a")),
		set("us-west-1", catalog.ServiceName{Namespace: "shop", Name: "none"}, false))
	const db, west = "db.shop.svc.clusterset.local.", "10.1.0.9"
	named := func(regions ...string) map[string]uint64 {
		out := map[string]uint64{}
		for _, r := range regions {
			out[r] = 1
		}
		return out
	}
	all := named("us-west", "eu-central", "asia-east")
	for _, tt := range []struct {
		what, name, client string
		qtype              uint16
		want               Tally
	}{
		{"a known client", svc, west, mdns.TypeA, Tally{Lookups: 1, Named: named("us-west")}},
		{"one elsewhere", svc, "10.2.0.9", mdns.TypeA, Tally{Lookups: 1, Named: named("eu-central")}},
		{"AAAA", svc, west, mdns.TypeAAAA, Tally{Lookups: 1, Named: named("us-west")}},
		{"no AAAA where there is none is no failure", "catalog.shop.svc.clusterset.local.", west, mdns.TypeAAAA, Tally{Lookups: 1}},
		{"nobody to answer for a service that exists is one", "dead.shop.svc.clusterset.local.", west, mdns.TypeA, Tally{Lookups: 1, Failed: 1}},
		{"but not for a family that it has not", "dead.shop.svc.clusterset.local.", west, mdns.TypeAAAA, Tally{Lookups: 1}},
		{"a service without any endpoint fails", "none.shop.svc.clusterset.local.", west, mdns.TypeAAAA, Tally{Lookups: 1, Failed: 1}},
		{"SRV names all tiers", "_http._tcp." + svc, west, mdns.TypeSRV, Tally{Lookups: 1, Named: all}},
		{"SRV for nobody", "_http._tcp.dead.shop.svc.clusterset.local.", west, mdns.TypeSRV, Tally{Lookups: 1, Failed: 1}},
		{"a headless service names all", db, west, mdns.TypeA, Tally{Lookups: 1, Named: named("us-west")}},
		{"a pinned name counts apart", "checkout.shop.svc.asia-east.region.clusterset.local.", west, mdns.TypeA, Tally{Explicit: 1}},
		{"as does a pinned port", "_http._tcp.checkout.shop.svc.asia-east.region.clusterset.local.", west, mdns.TypeSRV, Tally{Explicit: 1}},
		{"as does an endpoint's own name", "10-1-0-1." + svc, west, mdns.TypeA, Tally{Explicit: 1}},
		{"as does a headless one's", "db-0.us-west-1." + db, west, mdns.TypeA, Tally{Explicit: 1}},
		{"another type is no question for a service", svc, west, mdns.TypeTXT, Tally{}},
		{"nor is one for what does not exist", "x.shop.svc.clusterset.local.", west, mdns.TypeA, Tally{}},
		{"nor one for the zone", "clusterset.local.", west, mdns.TypeSOA, Tally{}},
	} {
		t.Run(tt.what, func(t *testing.T) {
			c := f.counted(func(c *Config) { c.Rate = -1 })
			before := c.Tally()
			c.ask(t, tt.name, tt.qtype, tt.client)
			got := c.Tally().Since(before)
			if n := got.Latency.total(); n != 1 {
				t.Errorf("%d answers were timed", n)
			}
			if got.Lookups != tt.want.Lookups || got.Failed != tt.want.Failed || got.Explicit != tt.want.Explicit || !maps.Equal(got.Named, tt.want.Named) {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
		})
	}
}

func (h *Histogram) total() (n uint64) {
	for _, k := range h {
		n += k
	}
	return n
}

func dead(addr, zone string) catalog.Endpoint {
	e := ep(addr, zone)
	e.Health = catalog.Unhealthy
	return e
}

func TestAnswersAreCountedByScope(t *testing.T) {
	f := newFixture(t)
	shared := catalog.ServiceName{Namespace: "shop", Name: "shared"}
	f.upsert("us-west", set("us-west-1", shared, false, ep("10.1.6.1", "a"), ep("10.1.6.2", "b")), set("us-west.two", shared, false, ep("10.1.6.3", "a")))
	c := f.counted()
	for range 3 {
		c.ask(t, svc, mdns.TypeA, "10.1.0.9") // us-west/a, cluster us-west-1
	}
	for range 2 {
		c.ask(t, "shared.shop.svc.clusterset.local.", mdns.TypeA, "10.1.0.9") // us-west/a, of both clusters
	}
	c.ask(t, svc, mdns.TypeA, "10.2.0.9") // both zones of eu-central in one answer, or one of them
	for _, tt := range []struct {
		scope catalog.Scope
		want  uint64
	}{
		{catalog.Scope{Region: "us-west"}, 5},
		{catalog.Scope{Region: "us-west", Service: shop}, 3},
		{catalog.Scope{Region: "us-west", Zone: "a"}, 5},
		{catalog.Scope{Region: "us-west", Zone: "b"}, 0},
		{catalog.Scope{Region: "us-west", Cluster: "us-west-1"}, 5},
		{catalog.Scope{Region: "us-west", Cluster: "us-west.two"}, 2},
		{catalog.Scope{Region: "us-west", Zone: "a", Cluster: "us-west-1", Service: shared}, 2},
		{catalog.Scope{Region: "us-west", Zone: "a", Cluster: "us-west-1", Service: peers}, 0},
		{catalog.Scope{Region: "eu-central"}, 1},
		{catalog.Scope{Region: "mars"}, 0},
	} {
		if got := c.Named(tt.scope); got != tt.want {
			t.Errorf("%s: %d answers, want %d", tt.scope, got, tt.want)
		}
	}
}

func TestAnAnswerFromManyZonesOfARegionCountsOnce(t *testing.T) {
	f := newFixture(t)
	weights(f, `{"weights":{"us-west/a":1,"us-west/b":1,"eu-central":1}}`)
	c := f.counted()
	for range 10 {
		c.ask(t, svc, mdns.TypeA, "10.2.9.1") // a resolver that many share
	}
	got := c.Tally()
	if got.Named["us-west"] != 10 || got.Named["eu-central"] != 10 || len(got.Named) != 2 {
		t.Errorf("named %v", got.Named)
	}
	for _, zone := range []string{"a", "b"} {
		if n := c.Named(catalog.Scope{Region: "us-west", Zone: zone}); n != 10 {
			t.Errorf("%d answers name zone %s", n, zone)
		}
	}
}

func TestCountsSurviveChangesOfAService(t *testing.T) {
	f := newFixture(t)
	c := f.counted()
	apply := f.follow(c.Server)
	name := catalog.ServiceName{Namespace: "new", Name: "one"}
	for i := range 3 {
		f.upsert("us-west", set("us-west-1", name, false, ep(fmt.Sprintf("10.1.5.%d", i), "a")))
		apply(0)
		c.ask(t, "one.new.svc.clusterset.local.", mdns.TypeA, "10.1.0.9")
	}
	f.apply(catalog.Delta{Region: "us-west", Deletes: []catalog.RecordKey{catalog.RecordKey("set/us-west-1/new/one")}})
	apply(0)
	if n := c.Named(catalog.Scope{Region: "us-west", Service: name}); n != 3 {
		t.Errorf("%d answers, want 3", n)
	}
}

func TestNothingIsLostBetweenReaders(t *testing.T) {
	f := newFixture(t)
	s := f.server()
	var wg sync.WaitGroup
	const readers, each = 4, 200
	for i := range readers {
		c := counted{s, s.newWorker(s.newStats())}
		wg.Go(func() {
			for k := range each {
				c.ask(t, svc, mdns.TypeA, fmt.Sprintf("10.%d.0.9", 1+(i+k)%3))
				if k%50 == 0 {
					s.Tally()
				}
			}
		})
	}
	wg.Wait()
	got := s.Tally()
	var named uint64
	for _, n := range got.Named {
		named += n
	}
	if got.Lookups != readers*each || named != readers*each {
		t.Errorf("got %+v", got)
	}
}

func TestWhereThereIsMuchTrafficASampleIsTimed(t *testing.T) {
	c := newFixture(t).counted()
	for range 10 * sampleEvery {
		c.ask(t, svc, mdns.TypeA, "10.1.0.9")
	}
	c.turn()
	c.ask(t, svc, mdns.TypeA, "10.1.0.9")
	got := c.Tally()
	if n := got.Latency.total(); n != sampleEvery+9+1 {
		t.Errorf("%d of %d were timed", n, got.Lookups)
	}
}

func TestQuantilesAreUpperBounds(t *testing.T) {
	var h Histogram
	if h.Quantile(0.5) != 0 {
		t.Error("nothing has a median")
	}
	for _, d := range []time.Duration{-1, 0, 1, 700, 900, 1000, 5000, time.Hour} {
		h[bucketOf(d)]++
	}
	for q, want := range map[float64]time.Duration{0: 1, 0.25: 1, 0.5: 1024, 0.7: 1024, 0.8: 8192, 1: 1 << 35} {
		if got := h.Quantile(q); got != want {
			t.Errorf("%v: %d, want %d", q, got, want)
		}
	}
}

func TestCellsAreBounded(t *testing.T) {
	var c cells
	var one counters
	for i := range maxCells + 10 {
		at := catalog.Locality{Region: "us-west", Zone: []string{"a", "b"}[i%2]}
		id := c.id(&cell{service: catalog.ServiceName{Namespace: "ns", Name: fmt.Sprint(i)}, spots: []spot{{at, nil}}})
		if i%1000 == 0 || i > maxCells {
			one.add(id)
		}
	}
	if n := len(c.list()); n != maxCells-maxShared+2 {
		t.Errorf("%d cells", n)
	}
	for i := range 2 * maxShared {
		one.add(c.id(&cell{spots: []spot{{catalog.Locality{Region: fmt.Sprint(i)}, nil}}, whole: true}))
	}
	if n := len(c.list()); n != maxCells {
		t.Errorf("%d cells", n)
	}
}

// drilledCatalog is a catalog with drills in force.
type drilledCatalog struct {
	*catalog.Catalog
	drills []catalog.DrillInForce
}

func (d *drilledCatalog) Conditions() *catalog.Conditions {
	c := *d.Catalog.Conditions()
	c.Drills = d.drills
	return &c
}

func TestAnswersFollowADrill(t *testing.T) {
	f := newFixture(t)
	cat := &drilledCatalog{Catalog: f.cat}
	s, err := New(config(), cat)
	if err != nil {
		t.Fatal(err)
	}
	s.apply(catalog.Changes{All: true}, epoch)
	c := counted{s, s.newWorker(s.newStats())}
	scope := catalog.Scope{Region: "us-west"}
	ask := func(percent uint32) float64 {
		cat.drills = nil
		if percent > 0 {
			cat.drills = []catalog.DrillInForce{{ID: "d", Scope: scope, Share: percent * 10_000, Begun: epoch}}
		}
		s.apply(catalog.Changes{Conditions: true}, epoch)
		before, failed := c.Named(scope), c.Tally().Failed
		const n = 2000
		for i := range n {
			c.ask(t, svc, mdns.TypeA, netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}).String())
		}
		if now := c.Tally().Failed; now != failed {
			t.Errorf("%d questions failed at %d %%", now-failed, percent)
		}
		return float64(c.Named(scope)-before) / n
	}
	for _, percent := range []uint32{0, 30, 75, 100, 50, 0} {
		if got, want := ask(percent), 1-float64(percent)/100; math.Abs(got-want) > 0.04 || want == 0 && got != 0 || want == 1 && got != 1 {
			t.Errorf("at %d %% a part of %.3f of the answers names the region, want %.2f", percent, got, want)
		}
	}
	ask(100)
	if got := addresses(t, s, "checkout.shop.svc.us-west.region.clusterset.local.", "10.1.0.9"); len(got) == 0 || !strings.HasPrefix(got[0], "10.1.") {
		t.Errorf("a name that asks for the region gets %v", got)
	}
}

func BenchmarkTally(b *testing.B) {
	f := newFixture(b)
	f.services(10_000)
	s := f.server()
	for range 4 {
		c := counted{s, s.newWorker(s.newStats())}
		for i := range 10_000 {
			c.ask(b, fmt.Sprintf("svc%d.ns%d.svc.clusterset.local.", i, i%100), mdns.TypeA, "10.1.0.9")
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		s.Tally()
		s.Named(catalog.Scope{Region: "us-west"})
	}
}
