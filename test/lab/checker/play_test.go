package checker_test

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/federator/federator/test/e2e/fleet"
	"github.com/federator/federator/test/lab/checker"
	"github.com/federator/federator/test/lab/mutant"
	"github.com/federator/federator/test/still"
)

// root is the module's.
const root = "../../.."

// patience is how long a scenario waits for what has to be before anything is judged.
const patience = 90 * time.Second

// lab skips unless the controls are to run.
func lab(t *testing.T) {
	t.Helper()
	if os.Getenv(labVariable) == "" {
		t.Skipf("starts real agents, and builds broken ones; set %s=1", labVariable)
	}
}

// played is a fleet that a scenario is played on, which counts how often its agents
// stood still: each in its life, which ends with the play at the latest.
type played struct {
	*fleet.Fleet
	pauses int
}

// scenario runs on a fleet without replicas and returns what the checker found.
type scenario func(t *testing.T, f *played) checker.Report

// kill and stop end a replica, and count what it counted.
func (f *played) kill(r *fleet.Replica) {
	f.count(r)
	r.Kill()
}

func (f *played) stop(r *fleet.Replica) {
	f.count(r)
	r.Stop()
}

// count adds how often replicas have stood still in their lives, as they count it
// themselves.
func (f *played) count(all ...*fleet.Replica) {
	g := checker.NewGrowth(checker.GrowthOptions{Targets: targets(all), Every: 10 * time.Second}) // which is how long it waits for them
	f.pauses += g.Pauses(f.Context())
}

// caught is a mutant, and words that one of the violations must have: a checker
// that fails for another reason has not caught it.
type caught struct {
	mutant.Mutant
	words string
}

// by reports whether a report has the words.
func (c caught) by(r checker.Report) bool {
	return slices.ContainsFunc(r.Violations, func(v checker.Violation) bool { return strings.Contains(v.String(), c.words) })
}

// control runs a scenario on the true build, which must pass, and on the mutants,
// each of which must be caught. The mutants of all controls are built before anything
// is played: a compiler beside them would take the time that agents have.
func control(t *testing.T, play scenario, mutants ...caught) {
	t.Helper()
	lab(t)
	binaries := map[string]string{}
	for _, m := range mutants {
		binary, err := mutant.Build(t.Context(), root, t.TempDir(), m.Mutant)
		if err != nil {
			t.Fatal(err)
		}
		binaries[m.Name] = binary
	}
	t.Parallel()
	t.Run("the true build passes", func(t *testing.T) {
		t.Parallel()
		counts := func(r checker.Report) bool { return r.OK() || r.Timeless() }
		if report := plays(t, trueBuild(), play, counts); !report.OK() && !t.Failed() {
			t.Errorf("expected no violation, and something checked, found %v", report)
		}
	})
	for _, m := range mutants {
		t.Run(m.Name+" is caught", func(t *testing.T) {
			t.Parallel()
			if report := plays(t, binaries[m.Name], play, m.by); !m.by(report) && !t.Failed() {
				t.Errorf("expected the checker to catch it (%s) and to say %q, found %v", m.Why, m.words, report)
			}
		})
	}
}

// trueBuild is the path of the federator that is not broken.
func trueBuild() string { return os.Getenv(fleet.BinaryVariable) }

// maxPlays is how often a scenario is played at most.
const maxPlays = 3

// plays plays a scenario on a build and returns what its checker found. As in the
// lab, a play in which this process or an agent stood still is told and played again,
// unless what was found counts all the same.
func plays(t *testing.T, binary string, play scenario, counts func(checker.Report) bool) checker.Report {
	t.Helper()
	self := still.Begin(nil)
	defer self.End()
	for n := 1; ; n++ {
		self.Longest()
		var report checker.Report
		pauses := 0
		t.Run(fmt.Sprintf("play %d", n), func(t *testing.T) {
			f := &played{Fleet: fleet.New(t, binary)}
			report = play(t, f)
			f.count(slices.DeleteFunc(f.Replicas(""), func(r *fleet.Replica) bool { return !r.Running() })...)
			pauses = f.pauses
		})
		stood := self.Longest()
		t.Log(report)
		if t.Failed() || counts(report) || n == maxPlays || stood == 0 && pauses == 0 {
			return report
		}
		t.Logf("this process stood still for %v meanwhile, and agents %d times, so that is not counted: once more", stood, pauses)
	}
}

// targets are replicas as checkers know them.
func targets(all []*fleet.Replica) []checker.Target {
	var out []checker.Target
	for _, r := range all {
		out = append(out, checker.Target{Region: r.Region, Name: r.Name, Socket: r.Sock, Peer: r.Peer, DNS: r.DNS, HTTP: r.HTTP})
	}
	return out
}

// during runs a checker beside what a scenario does, and returns its report.
func during(t *testing.T, c checker.Checker, do func()) checker.Report {
	stop := checker.Together(t.Context(), c)
	do()
	return stop()[0]
}
