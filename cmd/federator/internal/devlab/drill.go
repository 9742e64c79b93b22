package devlab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// The drill of the story: short, so that the story stays so.
const (
	drillRamp      = 4 * time.Second
	drillHold      = 10 * time.Second
	drillReturn    = 4 * time.Second
	drillObjective = 2 * time.Second
	// drillStart is how long the vote, and the way of the start to every region,
	// may take before the ramp begins.
	drillStart = 5 * time.Second
	// maxRefusals is how often a drill may be refused: a region that seemed silent
	// for a moment is reason enough.
	maxRefusals = 3
	// reportWithin is how long the drill, its tail and the gathering of what was
	// answered may take.
	reportWithin = 2 * time.Minute
)

// drilled is what the story reads of a drill's report.
type drilled struct {
	Verdict  string    `json:"verdict"`
	Why      []string  `json:"why"`
	Outcome  string    `json:"outcome"`
	Detail   string    `json:"detail"`
	Begun    time.Time `json:"begun"`
	Deadline time.Time `json:"deadline"`
	Restored time.Time `json:"restored"`
	Totals   struct {
		Lookups, Failed, Late uint64
	} `json:"totals"`

	id    string
	start time.Time // of the command
}

// refusal is why a drill did not begin.
type refusal string

func (r refusal) Error() string { return "it did not begin: " + string(r) }

// practise drills the loss of the victim and holds its report against what the
// story itself was answered meanwhile.
func (s *Story) practise(ctx context.Context) error {
	if !s.healed(ctx) {
		return ctx.Err()
	}
	socket := s.in("eu-central")[0].Socket
	report, err := s.drill(ctx, socket, s.healed)
	var refused refusal
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.As(err, &refused), slow(err):
		s.record(figure{what: "a drill is practised", err: err})
		return nil
	case err != nil:
		return err
	}
	s.unharmed(report.start, "lookups everywhere during a drill")
	s.record(figure{what: "the regions agree on a drill", took: report.Begun.Sub(report.start), bound: drillStart})
	s.record(s.kept(report))
	s.record(report.figure())
	return s.keepReport(ctx, socket, report.id)
}

// drill runs one to its end, and begins another if it is refused.
func (s *Story) drill(ctx context.Context, socket string, heal func(context.Context) bool) (*drilled, error) {
	for refusals := 0; ; {
		report, err := s.attempt(ctx, socket)
		var refused refusal
		if !errors.As(err, &refused) {
			return report, err
		}
		if refusals++; refusals > maxRefusals || !heal(ctx) {
			return nil, err
		}
		s.progress("   %v; another is tried", err)
	}
}

// attempt begins a drill and waits until it is over everywhere. It returns a
// [refusal] if the drill did not begin.
func (s *Story) attempt(ctx context.Context, socket string) (*drilled, error) {
	s.drills++
	id := fmt.Sprintf("story-%d", s.drills)
	if _, err := s.Federator(ctx, "drill", "plan", "--evacuate", victim, "--socket", socket); err != nil {
		return nil, refusedAs(err)
	}
	start := time.Now()
	if _, err := s.Federator(ctx, "drill", "start", "--evacuate", victim, "--id", id, "--reason", "the story",
		"--ramp", drillRamp.String(), "--hold", drillHold.String(), "--return", drillReturn.String(), "--objective", drillObjective.String(),
		"--socket", socket); err != nil {
		return nil, refusedAs(err)
	}
	report, err := s.reported(ctx, socket, id, (*drilled).told)
	if err != nil || !report.Begun.IsZero() {
		report.id, report.start = id, start
		return report, err
	}
	for _, r := range s.Replicas { // whoever does not know that it is over refuses the next
		if _, err := s.reported(ctx, r.Socket, id, func(d *drilled) bool { return d.Outcome != "" }); err != nil {
			return nil, err
		}
	}
	return nil, refusal(fmt.Sprintf("%s: %s", report.Outcome, report.Detail))
}

// refusedAs makes a refusal of what the command line said, if it is that the plan is
// unsafe.
func refusedAs(err error) error {
	const unsafeToPlan, unsafeToStart = 3, "the plan of this drill is unsafe"
	var exit *exec.ExitError
	if errors.As(err, &exit) && (exit.ExitCode() == unsafeToPlan || strings.Contains(err.Error(), unsafeToStart)) {
		return refusal(err.Error())
	}
	return err
}

// told reports whether there is nothing to wait for: the drill did not begin and
// never will, or it is over and every region has told what it answered, which takes
// half a minute more.
func (d *drilled) told() bool {
	return d.Outcome != "" && (d.Begun.IsZero() || d.Verdict != "unproven" && d.Verdict != "open")
}

// reported waits until what a replica reports of a drill is enough.
func (s *Story) reported(ctx context.Context, socket, id string, enough func(*drilled) bool) (*drilled, error) {
	ctx, cancel := within(ctx, reportWithin)
	defer cancel()
	report := &drilled{}
	return report, s.await(ctx, "the regions to tell what they answered", func() error {
		out, err := s.quietly(ctx, "drill", "report", id, "-o", "json", "--socket", socket)
		if err != nil {
			return err
		}
		*report = drilled{}
		if err := json.Unmarshal(out, report); err != nil {
			return fmt.Errorf("federator drill report -o json: %w", err)
		}
		if !enough(report) {
			return fmt.Errorf("the report is %s: %v", report.Verdict, report.Why)
		}
		return nil
	})
}

// kept is the figure of whether any answer named the victim after the objective,
// by the story's own lookups.
func (s *Story) kept(report *drilled) figure {
	f := figure{what: "answers that name a drilled region after the objective"}
	asked, late := 0, 0
	network := networkOf(victimK)
	for _, l := range s.watch.since(report.Deadline, func(l *lookup) bool { return l.err == nil }) {
		if l.asked.Before(report.Deadline) || l.answered.After(report.Restored) {
			continue
		}
		asked++
		if l.has(network) {
			late++
		}
	}
	f.note = fmt.Sprintf("0 of %d", asked)
	switch {
	case asked == 0:
		f.err = errNobodyAsked
	case late > 0:
		f.err = tooLate(fmt.Sprintf("%d of %d", late, asked))
	}
	return f
}

// figure is what the report says itself.
func (d *drilled) figure() figure {
	f := figure{what: "the drill's own report", note: fmt.Sprintf("%s; %d lookups, %d failed, %d late", d.Verdict, d.Totals.Lookups, d.Totals.Failed, d.Totals.Late)}
	if d.Verdict != "passed" || d.Outcome != "succeeded" || d.Totals.Lookups == 0 {
		f.err = fmt.Errorf("%s, %s: %v", d.Outcome, f.note, d.Why)
		// A region that is late by seconds may seem lost, which ends a drill.
		if aborted := d.Outcome == "aborted"; d.Totals.Failed == 0 && (d.Totals.Late > 0 || aborted) {
			f.err = tooLate(f.err.Error())
		}
	}
	return f
}

// keepReport fetches the page, too.
func (s *Story) keepReport(ctx context.Context, socket, id string) error {
	path := filepath.Join(s.dir, "drill-report.html")
	if _, err := s.Federator(ctx, "drill", "report", id, "-o", "html", "--file", path, "--socket", socket); err != nil {
		return err
	}
	page, err := os.Stat(path)
	if err != nil {
		return err
	}
	s.record(figure{what: "the drill's report as a page", note: fmt.Sprintf("%d KiB", page.Size()>>10)})
	return nil
}
