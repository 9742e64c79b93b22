package wan

import (
	"math"
	"slices"
	"testing"
	"time"
)

const ms = time.Millisecond

var start = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// trip is one packet that was sent, and when its copies arrived, since start.
type trip struct {
	sent     time.Duration
	arrivals []time.Duration
}

// send sends so many packets of a size at a steady pace.
func send(t *testing.T, p *path, l Link, packets, size int, every time.Duration) []trip {
	t.Helper()
	if err := l.Validate(); err != nil {
		t.Fatal(err)
	}
	p.set(l)
	var trips []trip
	for n := range packets {
		sent := trip{sent: time.Duration(n) * every}
		for _, at := range p.fate(start.Add(sent.sent), size) {
			sent.arrivals = append(sent.arrivals, at.Sub(start))
		}
		trips = append(trips, sent)
	}
	return trips
}

// lost is the share of trips without an arrival.
func lost(trips []trip) float64 {
	n := 0
	for _, t := range trips {
		if len(t.arrivals) == 0 {
			n++
		}
	}
	return float64(n) / float64(len(trips))
}

// overtaken counts the trips that arrived after one that was sent later.
func overtaken(trips []trip) (n int) {
	first := time.Duration(math.MaxInt64)
	for _, t := range slices.Backward(trips) {
		if len(t.arrivals) == 0 {
			continue
		}
		if t.arrivals[0] > first {
			n++
		}
		first = min(first, t.arrivals[0])
	}
	return n
}

func TestAPerfectLinkDeliversEverythingAtOnce(t *testing.T) {
	for _, trip := range send(t, newPath(1, "a", "b"), Link{}, 1000, 100, ms) {
		if !slices.Equal(trip.arrivals, []time.Duration{trip.sent}) {
			t.Fatalf("sent at %v, arrived at %v", trip.sent, trip.arrivals)
		}
	}
}

func TestJitterAddsToTheDelayWithinItsBounds(t *testing.T) {
	trips := send(t, newPath(1, "a", "b"), Link{Delay: 50 * ms, Jitter: 20 * ms, Overtake: true}, 10_000, 100, ms)
	shortest, longest, sum := time.Hour, time.Duration(0), time.Duration(0)
	for _, trip := range trips {
		took := trip.arrivals[0] - trip.sent
		shortest, longest, sum = min(shortest, took), max(longest, took), sum+took
	}
	mean := sum / time.Duration(len(trips))
	if shortest < 50*ms || shortest > 51*ms || longest > 70*ms || longest < 69*ms || mean < 59*ms || mean > 61*ms {
		t.Errorf("expected 50 to 70 ms, 60 in the mean, found %v to %v, %v", shortest, longest, mean)
	}
}

func TestPacketsKeepTheirOrderUnlessTheLinkLetsThemOvertake(t *testing.T) {
	for _, test := range []struct {
		name  string
		link  Link
		fewer int // than this many are overtaken,
		more  int // and this many or more
	}{
		{"delay", Link{Delay: 50 * ms}, 1, 0},
		{"jitter", Link{Delay: 50 * ms, Jitter: 300 * ms}, 1, 0},
		{"jitter on a slow link with loss", Link{Jitter: 300 * ms, Rate: 100_000, Loss: 0.2}, 1, 0},
		{"jitter that overtakes", Link{Delay: 50 * ms, Jitter: 300 * ms, Overtake: true}, 10_000, 5000},
		{"a tenth held back", Link{Delay: 50 * ms, Reorder: 0.1, HoldBack: 10 * ms}, 1100, 900},
		{"a tenth held back, but not past the next", Link{Delay: 50 * ms, Reorder: 0.1, HoldBack: ms / 2}, 1, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			n := overtaken(send(t, newPath(1, "a", "b"), test.link, 10_000, 100, ms))
			if n < test.more || n >= test.fewer {
				t.Errorf("expected %d or more and fewer than %d packets to be overtaken, found %d", test.more, test.fewer, n)
			}
		})
	}
}

func TestLossDuplicationAndBurstsTakeTheirShares(t *testing.T) {
	const packets = 50_000
	for _, test := range []struct {
		name        string
		link        Link
		lost, twice float64
		within      float64
	}{
		{"no loss", Link{}, 0, 0, 0},
		{"2 % loss", Link{Loss: 0.02}, 0.02, 0, 0.003},
		{"30 % loss", Link{Loss: 0.3}, 0.3, 0, 0.01},
		{"nothing arrives", Link{Loss: 1}, 1, 0, 0},
		{"5 % twice", Link{Duplicate: 0.05}, 0, 0.05, 0.004},
		{"loss before duplication", Link{Loss: 0.5, Duplicate: 0.5}, 0.5, 0.25, 0.01},
		{"bursts of 200 ms every 1.8 s", Link{BurstEvery: 1800 * ms, BurstFor: 200 * ms}, 0.1, 0, 0.02},
	} {
		t.Run(test.name, func(t *testing.T) {
			trips := send(t, newPath(1, "a", "b"), test.link, packets, 100, 10*ms)
			twice := 0
			for _, trip := range trips {
				if len(trip.arrivals) == 2 {
					twice++
				}
			}
			if found := lost(trips); math.Abs(found-test.lost) > test.within {
				t.Errorf("expected %v lost, found %v", test.lost, found)
			}
			if found := float64(twice) / packets; math.Abs(found-test.twice) > test.within {
				t.Errorf("expected %v twice, found %v", test.twice, found)
			}
		})
	}
}

func TestABurstLosesEverythingForAWhileAndIndependentLossDoesNot(t *testing.T) {
	runs := func(l Link) (n, longest int) {
		current := 0
		for _, trip := range send(t, newPath(1, "a", "b"), l, 50_000, 100, 10*ms) {
			if len(trip.arrivals) > 0 {
				current = 0
				continue
			}
			if current++; current == 1 {
				n++
			}
			longest = max(longest, current)
		}
		return n, longest
	}
	n, longest := runs(Link{Loss: 0.1})
	if n < 4000 || longest > 10 {
		t.Errorf("10 %% independent loss: expected thousands of short gaps, found %d, the longest of %d packets", n, longest)
	}
	n, longest = runs(Link{BurstEvery: 1800 * ms, BurstFor: 200 * ms})
	if n < 150 || n > 300 || longest < 50 {
		t.Errorf("bursts for 500 s: expected some 240 gaps of 20 packets in the mean, found %d, the longest of %d packets", n, longest)
	}
}

func TestBandwidthSpacesPacketsAndTheQueueIsBounded(t *testing.T) {
	// 100 packets of 1000 bytes at once into 1 MB/s with a queue of 20 kB.
	p := newPath(1, "a", "b")
	trips := send(t, p, Link{Delay: 40 * ms, Rate: 1_000_000, Queue: 20_000}, 100, 1000, 0)
	for n, trip := range trips {
		var want []time.Duration
		if n < 20 {
			want = []time.Duration{40*ms + time.Duration(n+1)*ms}
		}
		if !slices.Equal(trip.arrivals, want) {
			t.Errorf("packet %d: expected %v, found %v", n, want, trip.arrivals)
		}
	}
	if p.stats.Overflowed != 80 {
		t.Errorf("expected 80 packets without room, found %d", p.stats.Overflowed)
	}
	// The queue is empty again after 20 ms.
	if at := p.fate(start.Add(20*ms), 1000); len(at) != 1 || at[0].Sub(start) != 61*ms {
		t.Errorf("expected an arrival at 61ms, found %v", at)
	}
	// A sender within the bandwidth waits for nobody.
	for _, trip := range send(t, newPath(1, "a", "b"), Link{Rate: 1_000_000}, 1000, 1000, ms) {
		if !slices.Equal(trip.arrivals, []time.Duration{trip.sent + ms}) {
			t.Fatalf("sent at %v, arrived at %v", trip.sent, trip.arrivals)
		}
	}
}

func TestTheSameSeedHasTheSameLuckAndAnotherPairHasNot(t *testing.T) {
	l := Link{Delay: 50 * ms, Jitter: 30 * ms, Overtake: true, Loss: 0.1, Duplicate: 0.1, Reorder: 0.1, HoldBack: 5 * ms, BurstEvery: time.Second, BurstFor: 100 * ms}
	run := func(seed uint64, from, to string) []trip { return send(t, newPath(seed, from, to), l, 1000, 100, ms) }
	equal := func(a, b []trip) bool {
		return slices.EqualFunc(a, b, func(a, b trip) bool { return slices.Equal(a.arrivals, b.arrivals) })
	}
	first := run(7, "west", "east")
	if !equal(first, run(7, "west", "east")) {
		t.Error("a second run with the same seed differs")
	}
	for name, other := range map[string][]trip{"seed": run(8, "west", "east"), "direction": run(7, "east", "west"), "pair": run(7, "west", "south")} {
		if equal(first, other) {
			t.Errorf("another %s has the same luck", name)
		}
	}
}

func TestLuckDoesNotDependOnWhatTheLinkWasBefore(t *testing.T) {
	calm, stormy := newPath(3, "a", "b"), newPath(3, "a", "b")
	send(t, calm, Link{}, 500, 100, ms)
	send(t, stormy, Link{Loss: 0.5, Jitter: ms, Duplicate: 0.5, BurstEvery: ms, BurstFor: ms}, 500, 100, ms)
	after := Link{Delay: 10 * ms, Loss: 0.3, Jitter: 20 * ms}
	a, b := send(t, calm, after, 500, 100, ms), send(t, stormy, after, 500, 100, ms)
	for n := range a {
		if !slices.Equal(a[n].arrivals, b[n].arrivals) {
			t.Fatalf("packet %d: %v and %v", n, a[n].arrivals, b[n].arrivals)
		}
	}
}

func TestANewLinkDoesNotWaitForPacketsOfTheOldOne(t *testing.T) {
	p := newPath(1, "a", "b")
	send(t, p, Link{Delay: time.Minute}, 1, 100, ms)
	if trips := send(t, p, Link{Delay: 40 * ms}, 1, 100, ms); trips[0].arrivals[0] != 40*ms {
		t.Errorf("expected 40ms, found %v", trips[0].arrivals)
	}
}
