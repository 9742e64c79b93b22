package federation

import (
	"errors"
	"fmt"
	"testing"
	"time"

	mdns "github.com/miekg/dns"

	"github.com/federator/federator/dns"
	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/federation/state"
)

// fakeTally is what DNS would count; one second is one call of second.
type fakeTally struct {
	total dns.Tally
	scope uint64
}

func (f *fakeTally) Tally() dns.Tally {
	named := map[string]uint64{}
	for k, v := range f.total.Named {
		named[k] = v
	}
	t := f.total
	t.Named = named
	return t
}

func (f *fakeTally) Named(catalog.Scope) uint64 { return f.scope }

func (f *fakeTally) second(lookups, named uint64) {
	f.total.Lookups += lookups
	f.total.Named["us-west"] += named
	f.scope += named / 2
	f.total.Latency[10] += lookups
}

func TestTheSamplerKeepsWhatWasAnsweredAroundADrill(t *testing.T) {
	f := &fakeTally{total: dns.Tally{Named: map[string]uint64{}}}
	s := newSampler(f, nil)
	now := drillNoon
	pass := func(n int, lookups, named uint64, drills ...catalog.DrillView) {
		for range n {
			now = now.Add(time.Second)
			f.second(lookups, named)
			s.sample(now, drills)
		}
	}
	whole, zone := standing(catalog.DrillRunning), standing(catalog.DrillRunning)
	zone.ID, zone.Scope.Zone = "zone", "a"
	pass(200, 10, 10)
	pass(60, 10, 0, whole, zone)
	over, zoneOver := whole, zone
	over.State, zoneOver.State = catalog.DrillEnded, catalog.DrillEnded
	pass(60, 10, 10, over, zoneOver)

	got, ok := s.samplesOf("d")
	if !ok || time.Duration(got.Step) != time.Second || len(got.Buckets) != sampleBefore+60+31 {
		t.Fatalf("expected two minutes before, one during and half of one after, found %d buckets of %s", len(got.Buckets), time.Duration(got.Step))
	}
	if want := drillNoon.Add(201 * time.Second).Add(-sampleBefore * time.Second); !got.Start.Equal(want) {
		t.Errorf("expected the start %s, found %s", want, got.Start)
	}
	for i, want := range map[int]uint64{0: 10, sampleBefore - 1: 10, sampleBefore: 0, sampleBefore + 59: 0, sampleBefore + 60: 10, sampleBefore + 90: 10} {
		if b := got.Buckets[i]; b.Scope != want || b.Named["us-west"] != want || b.Lookups != 10 || b.P99 != catalog.Duration(1024) {
			t.Errorf("second %d: expected %d answers that name the scope, found %+v", i, want, b)
		}
	}
	got, _ = s.samplesOf("zone")
	if b := got.Buckets[sampleBefore+65]; b.Scope != 5 {
		t.Errorf("expected the count of the zone, found %+v", b)
	}
	pass(int(samplesFor/time.Second), 1, 1, over)
	if _, ok := s.samplesOf("d"); ok {
		t.Error("the samples of an old drill are kept")
	}
}

func TestLongDrillsAreSampledMoreCoarsely(t *testing.T) {
	f := &fakeTally{total: dns.Tally{Named: map[string]uint64{}}}
	s := newSampler(f, nil)
	v := standing(catalog.DrillRunning)
	const seconds = 4000
	for i := range seconds + 1 {
		f.second(3, 2)
		s.sample(drillNoon.Add(time.Duration(i)*time.Second), []catalog.DrillView{v})
	}
	got, _ := s.samplesOf("d")
	var lookups uint64
	for i, b := range got.Buckets {
		lookups += b.Lookups
		if want := 3 * uint64(time.Duration(got.Step)/time.Second); i < len(got.Buckets)-1 && b.Lookups != want {
			t.Fatalf("bucket %d: expected %d lookups, found %d", i, want, b.Lookups)
		}
	}
	if len(got.Buckets) > catalog.MaxSampleBuckets || lookups != 3*seconds {
		t.Fatalf("%d buckets of %s hold %d lookups of %d", len(got.Buckets), time.Duration(got.Step), lookups, 3*seconds)
	}
}

func TestSamplesThatNameManyRegionsAreMadeCoarserUntilOtherRegionsTakeThem(t *testing.T) {
	s := catalog.DrillSamples{Drill: "d", Region: "r0", Start: drillNoon, Step: catalog.Duration(time.Second)}
	for range catalog.MaxSampleBuckets {
		b := catalog.SampleBucket{Lookups: 1, Named: map[string]uint64{}}
		for region := range 60 {
			b.Named[fmt.Sprintf("region-with-a-name-%d", region)] = 100_000
		}
		s.Buckets = append(s.Buckets, b)
	}
	if _, err := state.NewEnvelope(state.Meta{ID: "x"}, &state.PutSamples{Samples: s}); !errors.Is(err, state.ErrInvalid) {
		t.Fatalf("expected samples that no other region takes, found %v", err)
	}
	got := publishableSamples(s)
	if _, err := state.NewEnvelope(state.Meta{ID: "x"}, &state.PutSamples{Samples: got}); err != nil {
		t.Error(err)
	}
	var lookups uint64
	for _, b := range got.Buckets {
		lookups += b.Lookups
	}
	if lookups != catalog.MaxSampleBuckets || len(got.Buckets) < catalog.MaxSampleBuckets/8 {
		t.Errorf("expected the same lookups in as many buckets as fit, found %d in %d", lookups, len(got.Buckets))
	}
}

func TestSamplesOfSiblingsAddUp(t *testing.T) {
	make1 := func(start time.Duration, step time.Duration, n int, lookups uint64) catalog.DrillSamples {
		s := catalog.DrillSamples{Drill: "d", Start: drillNoon.Add(start), Step: catalog.Duration(step)}
		for range n {
			s.Buckets = append(s.Buckets, catalog.SampleBucket{Lookups: lookups, Named: map[string]uint64{"us-west": lookups}})
		}
		return s
	}
	sum := func(s catalog.DrillSamples) (n uint64) {
		for _, b := range s.Buckets {
			n += b.Lookups
		}
		return n
	}
	for name, tt := range map[string]struct {
		a, b    catalog.DrillSamples
		buckets int
		step    time.Duration
		start   time.Duration
		total   uint64
	}{
		"at once":              {make1(0, time.Second, 10, 1), make1(0, time.Second, 10, 2), 10, time.Second, 0, 30},
		"one began later":      {make1(0, time.Second, 10, 1), make1(3*time.Second, time.Second, 10, 2), 13, time.Second, 0, 30},
		"one began earlier":    {make1(0, time.Second, 10, 1), make1(-2500*time.Millisecond, time.Second, 10, 2), 13, time.Second, -3 * time.Second, 30},
		"one is coarser":       {make1(0, time.Second, 10, 1), make1(0, 2*time.Second, 5, 2), 5, 2 * time.Second, 0, 20},
		"together too many":    {make1(0, time.Second, 240, 1), make1(100*time.Second, time.Second, 240, 1), 170, 2 * time.Second, 0, 480},
		"clocks an hour apart": {make1(0, time.Second, 10, 1), make1(time.Hour, time.Second, 10, 2), 10, time.Second, 0, 10},
	} {
		got, ok := sumSamples([]catalog.DrillSamples{{}, tt.a, tt.b})
		if !ok || len(got.Buckets) != tt.buckets || time.Duration(got.Step) != tt.step || sum(got) != tt.total || !got.Start.Equal(drillNoon.Add(tt.start)) {
			t.Errorf("%s: found %d buckets of %s from %s with %d lookups", name, len(got.Buckets), time.Duration(got.Step), got.Start.Sub(drillNoon), sum(got))
		}
	}
	if _, ok := sumSamples([]catalog.DrillSamples{{}}); ok {
		t.Error("nothing adds up to something")
	}
}

func TestTheLeaderAsksItsSiblingsForTheirSamples(t *testing.T) {
	t.Parallel()
	at := func(region, name string) Place {
		p := place(t, region, name)
		p.DNSAddress = freeAddress(t)
		return p
	}
	first, second := at("us-west", "a"), at("us-west", "b")
	if _, err := Init(InitOptions{Place: first, TrustDomain: "test.example"}); err != nil {
		t.Fatal(err)
	}
	a := start(t, first, writeServices(t, "127.0.0.11"))
	eventually(t, patience, "the region is founded", func() bool { return a.vault.keys().Version > 0 })
	a.join(t, second)
	b := start(t, second, "")
	eventually(t, patience, "both know the service", func() bool {
		return len(backends(a, "shop/checkout")) == 1 && len(backends(b, "shop/checkout")) == 1 && len(a.siblings()) == 1
	})
	d := drillFor(a, "d", "us-west", time.Minute)
	d.Forced = true // nothing would be left
	a.startDrill(t, d)
	eventually(t, patience, "both replicas' answers are in the sum", func() bool {
		for _, p := range []Place{first, second} {
			q := new(mdns.Msg).SetQuestion("checkout.shop.svc.clusterset.local.", mdns.TypeA)
			if _, _, err := (&mdns.Client{Timeout: time.Second}).Exchange(q, p.DNSAddress); err != nil {
				return false
			}
		}
		all := a.askSamples(t.Context(), "d")
		for _, s := range all {
			n := uint64(0)
			for _, bucket := range s.Buckets {
				n += bucket.Lookups
			}
			if n == 0 {
				return false
			}
		}
		return len(all) == 2
	})
}
