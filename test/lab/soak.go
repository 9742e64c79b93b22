package lab

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/federator/federator/test/lab/checker"
	"github.com/federator/federator/test/lab/network/wan"
)

// Turn is a fault and when it begins and ends, from the start of its round.
type Turn struct {
	Fault    Fault
	From, To time.Duration
}

// String is the turn in one line.
func (t Turn) String() string {
	return fmt.Sprintf("%5.1fs to %5.1fs  %s", t.From.Seconds(), t.To.Seconds(), t.Fault)
}

// Roster is what can be broken.
type Roster struct {
	Regions   []string
	Replicas  []*replica
	Workloads []*Workload
}

// How faults are composed.
const (
	maxAtOnce = 3
	shortest  = 3 * time.Second
	longest   = 12 * time.Second
	// rest is how long a thing that was broken is left alone after.
	rest = 8 * time.Second
)

// Compose draws faults for so long, up to three at once, none of which touches
// what another does. The same luck and roster give the same turns.
func Compose(luck *rand.Rand, who Roster, length time.Duration) []Turn {
	var turns []Turn
	for at := time.Second; at+shortest < length; at += 500*time.Millisecond + time.Duration(luck.IntN(3000))*time.Millisecond {
		last := shortest + time.Duration(luck.IntN(int((longest-shortest)/time.Millisecond)))*time.Millisecond
		next := Turn{Fault: who.draw(luck), From: at, To: min(at+last, length)}
		if running(turns, at) < maxAtOnce && !slices.ContainsFunc(turns, func(t Turn) bool { return t.To+rest > at && collide(t.Fault, next.Fault) }) {
			turns = append(turns, next)
		}
	}
	return turns
}

func running(turns []Turn, at time.Duration) int {
	n := 0
	for _, t := range turns {
		if t.To > at {
			n++
		}
	}
	return n
}

// collide reports whether two faults touch the same. A workload's health is told
// by its region's replicas, so those are left alone meanwhile.
func collide(a, b Fault) bool {
	for _, x := range a.Touches() {
		for _, y := range b.Touches() {
			if x == y || strings.HasPrefix(x, y+"/") || strings.HasPrefix(y, x+"/") {
				return true
			}
		}
	}
	return false
}

// SickAlone is Sick of a workload in a region that is left alone otherwise.
type SickAlone struct{ Sick }

// Touches implements [Fault].
func (f SickAlone) Touches() []string { return []string{f.Workload.Region} }

// draw draws one fault.
func (who Roster) draw(luck *rand.Rand) Fault {
	region := who.Regions[luck.IntN(len(who.Regions))]
	others := slices.DeleteFunc(slices.Clone(who.Regions), func(r string) bool { return r == region })
	other := others[luck.IntN(len(others))]
	r := who.Replicas[luck.IntN(len(who.Replicas))]
	of := slices.DeleteFunc(slices.Clone(who.Replicas), func(r *replica) bool { return r.Region != region })
	both := [][2]string{{region, other}, {other, region}}
	share := 0.05 + 0.15*luck.Float64()
	kinds := []Fault{
		Killed{[]*replica{r}}, Killed{[]*replica{r}}, Stopped{[]*replica{r}}, Frozen{r}, Frozen{r},
		SickAlone{Sick{who.Workloads[luck.IntN(len(who.Workloads))]}}, SickAlone{Sick{who.Workloads[luck.IntN(len(who.Workloads))]}},
		Killed{of}, RegionLost{region}, Partition(region, other), OneWay(region, other), Isolation(region, others...),
		Apart{of[0], of[1:]},
		&Weather{Words: fmt.Sprintf("%.0f %% of packets lost", 100*share), Pairs: both, Strains: true, Change: func(l *wan.Link) { l.Loss = share }},
		&Weather{Words: "packets overtake and double", Pairs: both, Strains: true, Change: func(l *wan.Link) { l.Overtake, l.Jitter, l.Duplicate = true, 60*time.Millisecond, 0.1 }},
		Slow(region, other, 60_000),
	}
	return kinds[luck.IntN(len(kinds))]
}

// soakRound is how long faults are composed before the world has to be whole.
const soakRound = 45 * time.Second

// soakBounds allow more than [UsualBounds]: those are for one fault at a time,
// and here a second one may hold up what tells of the first.
func soakBounds() Bounds {
	return Bounds{DNS: checker.Bounds{Dead: 8 * time.Second, Cut: 8 * time.Second, Up: 5 * time.Second}, Whole: 40 * time.Second, Handshake: 10 * time.Second}
}

// Round is the n-th round of a soak.
func Round(n int) Scenario {
	name := fmt.Sprintf("round %d", n)
	return Scenario{Name: name, Says: "Faults drawn at random, up to three at once.", Bounds: soakBounds(), Do: func(s *Stage) {
		turns := Compose(s.Luck, Roster{s.regions, s.Live(""), s.workers}, soakRound)
		for _, t := range turns {
			s.story.Say("  planned: %s", t)
		}
		s.perform(turns)
	}}
}

// perform begins and ends each fault at its time.
func (s *Stage) perform(turns []Turn) {
	s.Helper()
	type step struct {
		at   time.Duration
		what string
		do   func(*World) error
	}
	var steps []step
	for _, t := range turns {
		steps = append(steps, step{t.From, "begin " + t.Fault.String(), t.Fault.Begin}, step{t.To, "end " + t.Fault.String(), t.Fault.End})
	}
	slices.SortStableFunc(steps, func(a, b step) int { return cmp.Compare(a.at, b.at) })
	began := time.Now()
	for _, one := range steps {
		s.For(one.at - time.Since(began))
		s.story.Say("%s", one.what)
		if err := one.do(s.World); err != nil {
			s.Fatalf("%s: %v", one.what, err)
		}
	}
	if err := s.Awake(); err != nil {
		s.Fatal(err)
	}
}
