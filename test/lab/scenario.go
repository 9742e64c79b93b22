package lab

import (
	"context"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/federator/federator/test/lab/checker"
)

// Scenario is one way in which a world is broken.
type Scenario struct {
	// Name is a few words, which no other scenario has.
	Name string
	// Says is a sentence: what is done, and what has to hold beyond what the
	// checkers of every scenario look at.
	Says string
	// Do breaks the world and mends it again.
	Do func(s *Stage)
	// Bounds are what is allowed here; zero values mean [UsualBounds].
	Bounds Bounds
}

// Bounds say how soon things have to be as they should.
type Bounds struct {
	// DNS is for the answers; see [checker.Bounds].
	DNS checker.Bounds
	// Named is how soon check has to name a fault, Whole how soon after its end
	// every view has to be the truth and check to be quiet.
	Named, Whole time.Duration
	// Handshake is how long a connection between two replicas may take.
	Handshake time.Duration
}

// UsualBounds are those of most scenarios. DESIGN.md allows a region's loss five
// seconds, and a flip one beyond the time in which a health check finds it
// (up to 1.3 s here); a fault that is over has healed when the region's three
// seconds of good answers are over and every stream and health digest has come,
// which are exchanged every ten seconds at the latest.
func UsualBounds() Bounds {
	return Bounds{
		DNS:   checker.Bounds{Dead: 3 * time.Second, Cut: 5 * time.Second, Back: 4 * time.Second, Up: time.Second},
		Named: 8 * time.Second, Whole: 20 * time.Second, Handshake: 5 * time.Second,
	}
}

// or fills in what was left out.
func (b Bounds) or(usual Bounds) Bounds {
	for mine, other := range map[*time.Duration]time.Duration{
		&b.DNS.Dead: usual.DNS.Dead, &b.DNS.Cut: usual.DNS.Cut, &b.DNS.Back: usual.DNS.Back, &b.DNS.Up: usual.DNS.Up,
		&b.Named: usual.Named, &b.Whole: usual.Whole, &b.Handshake: usual.Handshake,
	} {
		if *mine == 0 {
			*mine = other
		}
	}
	return b
}

// Stage is where a scenario is played. A world has one at a time.
type Stage struct {
	*World
	// Luck depends on the seed and the scenario only.
	Luck *rand.Rand
	// Ctx ends with the scenario.
	Ctx      context.Context
	Problems *checker.Problems
	Lookups  *checker.DNSProber
	Bounds   Bounds
	figures  []checker.Figure
	late     []checker.Violation
	broken   []Fault // and not mended yet
	cut      bool    // the scenario ended early
}

// Note adds a figure to the scenario's row in the table.
func (s *Stage) Note(name string, d time.Duration) {
	s.figures = append(s.figures, checker.Figure{Name: name, Value: d.Seconds(), Unit: "s"})
}

// Within is Note of what has to be done within a bound.
func (s *Stage) Within(bound time.Duration, name string, took time.Duration) {
	s.Note(name, took)
	if took > bound {
		s.Wrong(name, "within "+bound.String(), took.String())
	}
}

// muchLater is how long after its bound a scenario waits on for something, so that
// what is late is judged, and played again if the lab stood still, like whatever
// checkers find late.
const muchLater = 10 * time.Second

// Soon waits for something that has to be within a bound; longer is a violation,
// and much longer the end of the test. It returns how long it took.
func (s *Stage) Soon(bound time.Duration, what string, try func() error) time.Duration {
	s.Helper()
	began := time.Now()
	s.Until(bound+muchLater, what, try)
	took := time.Since(began)
	if took > bound {
		s.Wrong(what, "within "+bound.String(), took.String())
	}
	return took
}

// Wrong notes what a scenario found that must not be.
func (s *Stage) Wrong(where, expected, found string) {
	s.late = append(s.late, checker.Violation{At: time.Now(), Where: where, Expected: expected, Found: found})
}

// own is the report of the scenario's own bounds, if it has any.
func (s *Stage) own() []checker.Report {
	if len(s.late) == 0 {
		return nil
	}
	return []checker.Report{{Checker: "the scenario's own bounds", Checked: checker.Figure{Name: "figures", Value: float64(len(s.figures))}, Violations: s.late, Total: len(s.late)}}
}

// Break begins a fault.
func (s *Stage) Break(f Fault) {
	s.Helper()
	s.story.Say("begin %s", f)
	s.broken = append(s.broken, f)
	if err := f.Begin(s.World); err != nil {
		s.Fatalf("begin %s: %v", f, err)
	}
}

// Mend ends a fault and waits until all replicas are ready.
func (s *Stage) Mend(f Fault) {
	s.Helper()
	s.story.Say("end %s", f)
	s.broken = slices.DeleteFunc(s.broken, func(b Fault) bool { return b.String() == f.String() })
	if err := f.End(s.World); err != nil {
		s.Fatalf("end %s: %v", f, err)
	}
	if err := s.Awake(); err != nil {
		s.Fatal(err)
	}
}

// For lasts so long as a fault has to: it is the pace of the scenario, and no
// wait for anything.
func (s *Stage) For(d time.Duration) {
	select {
	case <-time.After(d):
	case <-s.Ctx.Done():
	}
}

// During has a fault last so long, and expects check to name it soon and to its
// end.
func (s *Stage) During(f Fault, last time.Duration, named ...checker.Expectation) {
	s.Helper()
	s.Break(f)
	began := time.Now()
	if len(named) > 0 {
		took := s.Problems.Named(s.Ctx, s.Bounds.Named, named...)
		s.story.Say("  check names it after %v", took.Round(time.Millisecond))
	}
	s.For(last - time.Since(began))
	if len(named) > 0 {
		s.Problems.Named(s.Ctx, 0, named...)
	}
	s.Mend(f)
}

// by expects every replica that is in one of the regions and not among those left
// out to name a problem.
func by(regions []string, subject string, codes ...string) checker.Expectation {
	return checker.Expectation{
		By: func(t checker.Target) bool {
			for _, r := range regions {
				if t.Region == r {
					return true
				}
			}
			return false
		},
		Codes: codes, Subject: subject,
	}
}

// but leaves replicas out of an expectation, by "region/name".
func but(e checker.Expectation, out ...string) checker.Expectation {
	all := e.By
	e.By = func(t checker.Target) bool {
		for _, o := range out {
			if t.String() == o {
				return false
			}
		}
		return all(t)
	}
	return e
}
