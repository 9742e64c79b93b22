package locality

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/federator/federator/federation/catalog"
)

var (
	west = catalog.Locality{Region: "us-west", Zone: "a"}
	east = catalog.Locality{Region: "asia-east", Zone: "a"}
)

// at one moment, the availability of a locality in percent, -1 for gone, and
// what is admitted then.
type moment struct {
	second       float64
	target, want int
}

func TestReturningCapacityRamps(t *testing.T) {
	for _, tt := range []struct {
		name    string
		over    time.Duration
		moments []moment
	}{
		{"not at boot", 10 * time.Second, []moment{{0, 70, 70}, {1, 70, 70}}},
		{"a fall takes effect at once", 10 * time.Second, []moment{{0, 100, 100}, {1, 30, 30}, {2, 0, 0}}},
		{"a rise is linear from a tenth of it", 10 * time.Second, []moment{
			{0, 100, 100}, {1, 0, 0}, {5, 100, 10}, {10, 100, 55}, {14.9, 100, 99}, {15, 100, 100}, {99, 100, 100}}},
		{"from where it was", 10 * time.Second, []moment{{0, 50, 50}, {1, 100, 55}, {6, 100, 77}, {11, 100, 100}}},
		{"what was gone comes back like what was dead", 10 * time.Second, []moment{{0, 100, 100}, {1, -1, 0}, {2, 100, 10}, {7, 100, 55}, {12, 100, 100}}},
		{"a flapping locality starts over", 10 * time.Second, []moment{
			{0, 100, 100}, {1, 0, 0}, {2, 100, 10}, {7, 100, 55}, {8, 0, 0}, {9, 100, 10}, {14, 100, 55}, {19, 100, 100}}},
		{"a further rise ramps from what is admitted", 10 * time.Second, []moment{{0, 100, 100}, {1, 0, 0}, {2, 40, 4}, {7, 40, 22}, {7, 100, 29}, {17, 100, 100}}},
		{"a fall to what is more than admitted only lowers the goal", 10 * time.Second, []moment{{0, 100, 100}, {1, 0, 0}, {2, 100, 10}, {7, 100, 55}, {7, 60, 55}, {12, 60, 60}}},
		{"a clock that goes back takes nothing away", 10 * time.Second, []moment{{0, 100, 100}, {1, 0, 0}, {5, 100, 10}, {10, 100, 55}, {2, 100, 55}, {15, 100, 100}}},
		{"not at all if the policy says 0", 0, []moment{{0, 0, 0}, {1, 100, 100}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var r Ramp
			for _, m := range tt.moments {
				now := epoch.Add(time.Duration(m.second * float64(time.Second)))
				target := map[catalog.Locality]uint32{east: Unit}
				if m.target >= 0 {
					target[west] = uint32(m.target) * Unit / 100
				}
				factors, next := r.Step(now, tt.over, target)
				if got := admitted(factors, target) * 100 / Unit; got != uint64(m.want) {
					t.Errorf("at %v s: admitted %d %%, want %d", m.second, got, m.want)
				}
				if ramping := len(factors) > 0; ramping == next.IsZero() || ramping && !next.After(now) {
					t.Errorf("at %v s: step again at %v", m.second, next)
				}
			}
		})
	}
}

// admitted is the availability of west after the factors.
func admitted(f Factors, target map[catalog.Locality]uint32) uint64 {
	factor, ok := f[west]
	if !ok {
		factor = Unit
	}
	// Round, because the factor is rounded down.
	return (uint64(target[west])*uint64(factor) + Unit - 1) / Unit
}

func TestARampNeverExceedsItsTargetRisesSteadilyAndArrives(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var r Ramp
		over := time.Duration(rapid.Int64Range(0, int64(MaxRamp)).Draw(t, "over"))
		now := epoch
		target := map[catalog.Locality]uint32{west: Unit}
		before, goal := uint64(0), uint32(0)
		for range rapid.IntRange(1, 20).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.Int64Range(0, int64(over)+1).Draw(t, "pause")))
			if rapid.Bool().Draw(t, "turn") {
				target[west] = rapid.Uint32Range(0, Unit).Draw(t, "target")
			}
			factors, _ := r.Step(now, over, target)
			got := admitted(factors, target)
			if got > uint64(target[west]) {
				t.Fatalf("admitted %d of %d", got, target[west])
			}
			if target[west] >= goal && got < before {
				t.Fatalf("fell from %d to %d without reason", before, got)
			}
			before, goal = got, target[west]
		}
		for range 1000 {
			factors, next := r.Step(now, over, target)
			if next.IsZero() {
				if factors != nil {
					t.Fatalf("arrived, but %v", factors)
				}
				return
			}
			now = next
		}
		t.Fatal("never arrives")
	})
}

func TestOnlySoManyLocalitiesRamp(t *testing.T) {
	var r Ramp
	target := map[catalog.Locality]uint32{}
	r.Step(epoch, time.Second, target)
	for i := range 2 * maxRamp {
		target[catalog.Locality{Region: "us-west", Zone: fmt.Sprint(i)}] = Unit
	}
	if factors, _ := r.Step(epoch, time.Second, target); len(factors) != maxRamp || len(r.entries) != maxRamp {
		t.Errorf("%d factors, %d entries, want %d", len(factors), len(r.entries), maxRamp)
	}
	r.Step(epoch, time.Second, nil)
	if len(r.entries) != 0 {
		t.Errorf("%d entries of localities that are gone", len(r.entries))
	}
}

func TestRampsFollowAServiceThroughAnEvacuation(t *testing.T) {
	var ramps Ramps
	in := func() Input { return world("eu-central/a hh", "us-west/a hh") }
	step := func(second int, in Input) string {
		in.Ramp, _ = ramps.Step(epoch.Add(time.Duration(second)*time.Second), in)
		return ladder(Resolve(in))
	}
	for _, tt := range []struct {
		second int
		in     Input
		want   string
	}{
		{0, in(), "100[us-west/a 100] 0[eu-central/a 0]"},
		{1, in().evacuate("us-west", 0), "100[eu-central/a 100]"},
		{60, in(), "14[us-west/a 14] 86[eu-central/a 86]"},
		{65, in(), "77[us-west/a 77] 23[eu-central/a 23]"},
		{70, in(), "100[us-west/a 100] 0[eu-central/a 0]"},
		{71, in().reach("us-west", catalog.Out), "100[eu-central/a 100]"},
		{72, in().policy(catalog.Policy{Ramp: ptr(catalog.Duration(0))}), "100[us-west/a 100] 0[eu-central/a 0]"},
	} {
		if got := step(tt.second, tt.in); got != tt.want {
			t.Errorf("at %d s: got %s, want %s", tt.second, got, tt.want)
		}
	}
	ramps.Drop(checkout)
	if ramps.Len() != 0 {
		t.Error("a dropped service is remembered")
	}
	if f, next := ramps.Step(epoch, Input{}); f != nil || !next.IsZero() || ramps.Len() != 0 {
		t.Error("no service, but a ramp")
	}
}
