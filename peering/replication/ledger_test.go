package replication

import (
	"testing"
	"time"

	"github.com/federator/federator/federation/catalog"
)

func TestTheUpstreamIsTheBestThatMayBeTriedNow(t *testing.T) {
	direct := func(name string) upstream { return upstream{Replica: catalog.Replica{Name: name, Region: "eu"}} }
	sibling := func(name string) upstream {
		return upstream{Replica: catalog.Replica{Name: name, Region: "us"}, relays: true}
	}
	d1, d2, s1 := direct("d1"), direct("d2"), sibling("s1")
	all := []upstream{s1, d1, d2}
	start := time.Unix(1000, 0)
	zero := func() float64 { return 0 }
	for name, c := range map[string]struct {
		among  []upstream
		prefer preference
		past   func(*ledger)
		want   string
		wait   time.Duration
	}{
		"a replica of the region first":        {all, directFirst, func(*ledger) {}, "d1", 0},
		"a sibling first to fill":              {all, siblingsFirst, func(*ledger) {}, "s1", 0},
		"never a sibling to leave one":         {[]upstream{s1}, directOnly, func(*ledger) {}, "", 0},
		"nobody":                               {nil, directFirst, func(*ledger) {}, "", 0},
		"the one that did not fail":            {all, directFirst, func(l *ledger) { l.failed(d1, start.Add(-time.Hour), 0) }, "d2", 0},
		"the one not tried for longest":        {all, directFirst, func(l *ledger) { l.tried(d1, start) }, "d2", 0},
		"a failed one again once it worked":    {all, directFirst, func(l *ledger) { l.failed(d1, start, 0); l.worked(d1); l.failed(d2, start, 0) }, "d1", 0},
		"a sibling while all others must wait": {all, directFirst, func(l *ledger) { l.failed(d1, start, 0.5); l.failed(d2, start, 0.5) }, "s1", 0},
		"the wait until the first may be tried": {[]upstream{d1, d2}, directFirst, func(l *ledger) {
			l.failed(d1, start, 0.5)
			l.failed(d1, start, 0.5)
			l.failed(d2, start, 0.5)
		}, "", 100 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLedger(100*time.Millisecond, time.Second)
			l.keep(c.among, zero)
			c.past(l)
			got, wait, ok := l.pick(start, c.among, c.prefer, zero)
			if got.Name != c.want || ok != (c.want != "") || !ok && wait != c.wait {
				t.Fatalf("got %q after %s, want %q after %s", got.Name, wait, c.want, c.wait)
			}
		})
	}
}

func TestTheDelayAfterFailuresDoublesUpToItsLimit(t *testing.T) {
	u := upstream{Replica: catalog.Replica{Name: "d1", Region: "eu"}}
	l := newLedger(100*time.Millisecond, time.Second)
	l.keep([]upstream{u}, func() float64 { return 0 })
	now := time.Unix(1000, 0)
	for i, want := range []time.Duration{100, 200, 400, 800, 1000, 1000} {
		l.failed(u, now, 0.5)
		if _, wait, ok := l.pick(now, []upstream{u}, directFirst, nil); ok || wait != want*time.Millisecond {
			t.Fatalf("failure %d: wait %s, want %dms", i+1, wait, want)
		}
	}
	for range 100 {
		l.failed(u, now, 0.99)
	}
	if _, wait, _ := l.pick(now, []upstream{u}, directFirst, nil); wait > 1500*time.Millisecond || wait <= 0 {
		t.Fatalf("after many failures: wait %s", wait)
	}
}
