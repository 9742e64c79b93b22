package federation

import (
	"log/slog"
	"maps"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/locality"
)

func TestRegionsKeepTheirOrderUntilAnotherIsClear(t *testing.T) {
	type ways map[string]time.Duration
	const ms, us = time.Millisecond, time.Microsecond
	for name, c := range map[string]struct{ told, measured, want ways }{
		"at first they are as measured":            {ways{}, ways{"a": 9 * ms, "b": 8 * ms}, ways{"a": 9 * ms, "b": 8 * ms}},
		"noise in one place":                       {ways{"a": 300 * us, "b": 400 * us}, ways{"a": 700 * us, "b": 350 * us}, ways{"a": 700 * us, "b": 700*us + 1}},
		"a fifth of a long way":                    {ways{"a": 100 * ms, "b": 110 * ms}, ways{"a": 110 * ms, "b": 100 * ms}, ways{"a": 110 * ms, "b": 110*ms + 1}},
		"more than that":                           {ways{"a": 100 * ms, "b": 110 * ms}, ways{"a": 130 * ms, "b": 100 * ms}, ways{"a": 130 * ms, "b": 100 * ms}},
		"both are farther than before":             {ways{"a": 10 * ms, "b": 11 * ms, "c": 20 * ms}, ways{"a": 40 * ms, "b": 39 * ms, "c": 20 * ms}, ways{"a": 40 * ms, "b": 40*ms + 1, "c": 20 * ms}},
		"a row of which only the ends are far":     {ways{"a": 3 * ms, "b": 4 * ms, "c": 5 * ms}, ways{"a": 5 * ms, "b": 4 * ms, "c": 2500 * us}, ways{"b": 4 * ms, "c": 4*ms + 1, "a": 5 * ms}},
		"one that was not measured before":         {ways{"a": 10 * ms}, ways{"a": 10 * ms, "b": 9 * ms}, ways{"b": 9 * ms, "a": 10 * ms}},
		"one that is not measured any more":        {ways{"a": 10 * ms, "b": 11 * ms}, ways{"b": 12 * ms}, ways{"b": 12 * ms}},
		"their order is kept, their times are not": {ways{"a": 10 * ms, "b": 30 * ms}, ways{"a": 12 * ms, "b": 60 * ms}, ways{"a": 12 * ms, "b": 60 * ms}},
	} {
		if diff := cmp.Diff(map[string]time.Duration(c.want), steady(c.told, c.measured)); diff != "" {
			t.Errorf("%s: (-want +got):\n%s", name, diff)
		}
	}
}

func TestWhatIsToldOfADistanceIsMeasuredOrALittleMore(t *testing.T) {
	ways := rapid.MapOfN(rapid.SampledFrom([]string{"a", "b", "c", "d", "e"}), rapid.Map(rapid.IntRange(1, 50_000), func(us int) time.Duration {
		return time.Duration(us) * time.Microsecond
	}), 0, 5)
	rapid.Check(t, func(t *rapid.T) {
		told, measured := ways.Draw(t, "told"), ways.Draw(t, "measured")
		got := steady(told, measured)
		for region, m := range measured {
			if over := got[region] - m; over < 0 || isClearlyNearer(m, got[region]-5) {
				t.Fatalf("%s is %s away and told to be %s", region, m, got[region])
			}
			for other, n := range measured {
				if isClearlyNearer(m, n) && got[region] >= got[other] {
					t.Fatalf("%s with %s is clearly nearer than %s with %s, and told to be %s and %s away", region, m, other, n, got[region], got[other])
				}
			}
		}
		if len(got) != len(measured) {
			t.Fatalf("told of %d regions, expected %d", len(got), len(measured))
		}
		if again := steady(got, measured); !maps.Equal(again, got) {
			t.Fatalf("measured again alike, %v becomes %v", got, again)
		}
	})
}

// swaying is a pulse of two regions of which now one and now the other is nearer.
type swaying struct{ times int }

func (*swaying) Reach() (map[string]bool, bool) { return nil, false }
func (s *swaying) RTTs() map[string]time.Duration {
	s.times++
	near, far := time.Millisecond, 1500*time.Microsecond
	if s.times%2 == 0 {
		near, far = far, near
	}
	return map[string]time.Duration{"r": near, "q": far}
}

// A ramp sends what its cluster may not take yet to the nearest other region: with
// regions about as near as each other that was another one every second.
func TestRegionsThatAreAboutAsNearDoNotTakeTurns(t *testing.T) {
	c := catalog.New("home", "home")
	o := newObserver(c, &swaying{}, nil, slog.New(slog.DiscardHandler))
	o.tell(false, time.Now())
	first := c.Conditions()
	for range 10 {
		o.tell(false, time.Now())
		if now := c.Conditions(); !locality.Equivalent(first, now) {
			t.Fatalf("after %v services resolve otherwise with %v", first.RTT, now.RTT)
		}
	}
}
