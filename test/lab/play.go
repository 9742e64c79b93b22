package lab

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/federator/federator/test/e2e/fleet"
	"github.com/federator/federator/test/lab/checker"
)

// Settle waits until the world is whole: every replica sees the truth, and check
// finds nothing but that a region has few replicas, or that a drill was aborted.
func (w *World) Settle(within time.Duration) {
	w.Helper()
	if err := w.Whole(within); err != nil {
		w.Fatal(err)
	}
}

// Whole is nil if the world is whole within a time.
func (w *World) Whole(within time.Duration) error {
	began := time.Now()
	if err := fleet.Await(within, w.quiet); err != nil {
		return fmt.Errorf("expected a check without findings within %v, found %w", within, err)
	}
	c := checker.NewConvergence(w.Targets(""))
	c.Await(context.Background(), w.truth(), max(time.Second, within-time.Since(began)))
	if r := c.Report(); !r.OK() {
		return errors.New(r.String())
	}
	return nil
}

func (w *World) quiet() error {
	for _, r := range w.Live("") {
		found, err := problems(context.Background(), r)
		if err != nil {
			return err
		}
		for _, p := range found {
			ours := strings.Contains(p.GetSubject()+p.GetFound(), "lab/")              // what checkers wrote
			lasting := p.GetCode() == "few-replicas" || p.GetCode() == "drill-aborted" // said for an hour
			if !lasting && !ours {
				return fmt.Errorf("%s: %s of %s: %s", r, p.GetCode(), p.GetSubject(), p.GetFound())
			}
		}
	}
	return nil
}

// crew are the checkers of one scenario.
type crew struct {
	writers, watchers []checker.Checker
	convergence       *checker.Convergence
	problems          *checker.Problems
	dns               *checker.DNSProber
}

// muster makes the checkers of a scenario.
func (w *World) muster(ctx context.Context, name string, b Bounds) (*crew, error) {
	all := w.Targets("")
	c := &crew{convergence: checker.NewConvergence(all), problems: checker.NewProblems(all, 2*time.Second)}
	c.writers = append(c.writers, w.acked)
	for _, region := range w.Regions() {
		c.writers = append(c.writers, checker.NewLinearizability(checker.LinearizabilityOptions{
			Region: region, Targets: all, Name: slug(name) + "-", Clients: 4, Pace: 150 * time.Millisecond, PerKey: 80, Seed: w.opt.Seed, Artefacts: Results(),
		}))
	}
	mtls, err := checker.NewMTLSProber(ctx, checker.MTLSOptions{
		Targets: all, Every: 3 * time.Second, Timeout: b.Handshake, Timeline: w.Strain, Grace: 5 * time.Second,
	})
	if err != nil {
		return nil, fmt.Errorf("operators for the mTLS prober: %w", err)
	}
	c.dns = checker.NewDNSProber(checker.DNSOptions{
		Targets: all, Endpoints: w.endpoints(), Every: 400 * time.Millisecond, Bounds: b.DNS, Timeline: w.Timeline,
	})
	c.watchers = []checker.Checker{c.dns, mtls, c.problems}
	return c, nil
}

// slug is a name as a part of keys and file names.
func slug(name string) string {
	return strings.Trim(strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return '-'
	}, strings.ToLower(name)), "-")
}

// maxPlays is how often a scenario is played at most; see [World.Play].
const maxPlays = 3

// Play plays a scenario while all checkers run, waits until the world is whole
// again, and fails the test for whatever was not as it has to be.
//
// Bounds of time mean nothing where the lab, its WAN or agents stood still for want
// of a CPU: if so, a scenario in which only such bounds were broken is told and
// played again, also one that they ended early. What must never be, whatever the pace,
// fails the test at once.
func (w *World) Play(t *testing.T, sc Scenario) {
	t.Helper()
	outer := w.TB
	w.TB = t
	defer func() { w.TB = outer }()
	w.story.Say("== %s: %s", sc.Name, sc.Says)
	for play := 1; ; play++ {
		w.pace.lost(t.Context())
		row := w.playOnce(t, sc, play)
		lost := w.pace.lost(t.Context())
		if lost != "" {
			w.story.Say("  meanwhile %s", lost)
		}
		bad := slices.DeleteFunc(slices.Clone(row.Reports), checker.Report.OK)
		again := play < maxPlays && lost != "" && !t.Failed() && !slices.ContainsFunc(bad, checker.Report.Timeless)
		for _, r := range bad {
			if again {
				w.Logf("%s meanwhile, so this is not counted:\n%v", lost, r)
			} else {
				t.Errorf("expected no violation, and something checked, found\n%v", r)
			}
		}
		if len(bad) == 0 || !again {
			if err := w.record(row); err != nil {
				t.Error(err)
			}
			return
		}
		w.story.Say("== %s: once more", sc.Name)
		w.Settle(60 * time.Second)
	}
}

// playOnce plays a scenario and returns what was found.
func (w *World) playOnce(t *testing.T, sc Scenario, play int) Row {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	began := time.Now()
	b := sc.Bounds.or(UsualBounds())
	var c *crew
	w.Until(60*time.Second, "the checkers to be ready", func() (err error) {
		if c, err = w.muster(ctx, fmt.Sprintf("%s %d", sc.Name, play), b); err != nil {
			return err
		}
		return c.problems.Baseline(ctx)
	})
	stage := &Stage{World: w, Luck: w.Rand(sc.Name), Ctx: ctx, Problems: c.problems, Lookups: c.dns, Bounds: b}
	before := w.acked.Report()
	reports := w.watched(ctx, c, b, func() { stage.act(sc.Do) })
	for i, r := range reports {
		if r.Checker == before.Checker {
			reports[i] = since(r, before)
		}
	}
	reports = append(reports, stage.own()...)
	w.story.Say("== %s: over after %v", sc.Name, time.Since(began).Round(time.Millisecond))
	return Row{Scenario: sc.Name, Says: sc.Says, World: w.opt.Name, Seconds: time.Since(began).Seconds(), Reports: reports, Figures: stage.figures}
}

// watched has the checkers run beside what is done, and until the world is whole
// again. Views cannot be the same while somebody writes: the writers end first.
func (w *World) watched(ctx context.Context, c *crew, b Bounds, do func()) []checker.Report {
	writing, endWriting := context.WithCancel(ctx)
	watching, endWatching := context.WithCancel(ctx)
	var writers, watchers sync.WaitGroup
	for _, one := range c.writers {
		writers.Go(func() { one.Run(writing) })
	}
	for _, one := range c.watchers {
		watchers.Go(func() { one.Run(watching) })
	}
	end := func() {
		endWriting()
		writers.Wait()
		endWatching()
		watchers.Wait()
	}
	defer end()
	do()
	endWriting()
	writers.Wait()
	took := c.convergence.Await(ctx, w.truth(), b.Whole)
	quiet := c.problems.Quiet(ctx, max(time.Second, b.Whole-took))
	w.story.Say("  all see the truth after %v, check is quiet %v later", took.Round(time.Millisecond), quiet.Round(time.Millisecond))
	w.acked.Audit(ctx, b.Whole)
	end()
	var reports []checker.Report
	for _, one := range append(c.writers, append(c.watchers, c.convergence)...) {
		reports = append(reports, one.Report())
	}
	return reports
}

// since is what a report says that an earlier one of the same checker did not.
func since(r, before checker.Report) checker.Report {
	r.Checked.Value -= before.Checked.Value
	r.Total -= before.Total
	r.Worst.Value = float64(r.Total)
	r.Violations = r.Violations[min(len(before.Violations), len(r.Violations)):]
	return r
}

// An agent keeps a connection to each replica that it once had a question for, for
// five minutes: while leaders come and go it gets to know more of them. That is as
// much as there are replicas, and no growth without end.
const (
	maxConnections = 12
	perConnection  = 7 // goroutines, at both ends together
)

// growthWatch looks at the agents for as long as the world lasts.
type growthWatch struct {
	growth *checker.Growth
	stop   func() []checker.Report
}

func (w *World) watchGrowth() *growthWatch {
	w.Helper()
	g := checker.NewGrowth(checker.GrowthOptions{Targets: w.Targets(""), Bounds: checker.GrowthBounds{Goroutines: maxConnections * perConnection}})
	watch := &growthWatch{g, sync.OnceValue(checker.Together(context.Background(), g))}
	w.Cleanup(func() { watch.stop() })
	return watch
}

// longRun is the row of what is looked at for as long as a world lasts.
const longRun = "all of them, one after the other"

// End judges what needs a long time, when all scenarios were played.
func (w *World) End() {
	w.Helper()
	report := w.growth.stop()[0]
	if report.Total > 0 {
		w.Errorf("expected agents that do not grow, found\n%v", report)
	}
	w.story.Say("%v", report)
	row := Row{Scenario: longRun + " (" + w.opt.Name + ")", World: w.opt.Name, Reports: []checker.Report{report}, Seconds: time.Since(w.story.began).Seconds()}
	if err := w.record(row); err != nil {
		w.Error(err)
	}
}
