package devlab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
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
	// reportWithin is how long the drill, its tail and the gathering of what was
	// answered may take.
	reportWithin = 2 * time.Minute
)

// drilled is what the story reads of a drill's report.
type drilled struct {
	Verdict  string    `json:"verdict"`
	Why      []string  `json:"why"`
	Outcome  string    `json:"outcome"`
	Begun    time.Time `json:"begun"`
	Deadline time.Time `json:"deadline"`
	Restored time.Time `json:"restored"`
	Totals   struct {
		Lookups, Failed, Late uint64
	} `json:"totals"`
}

// practise drills the loss of the victim and holds its report against what the
// story itself was answered meanwhile.
func (s *Story) practise(ctx context.Context) error {
	socket := s.in("eu-central")[0].Socket
	start := time.Now()
	if _, err := s.Federator(ctx, "drill", "plan", "--evacuate", victim, "--socket", socket); err != nil {
		return err
	}
	if _, err := s.Federator(ctx, "drill", "start", "--evacuate", victim, "--id", "story", "--reason", "the story",
		"--ramp", drillRamp.String(), "--hold", drillHold.String(), "--return", drillReturn.String(), "--objective", drillObjective.String(),
		"--socket", socket); err != nil {
		return err
	}
	report, err := s.reported(ctx, socket)
	if err != nil {
		return err
	}
	s.unharmed(start, "lookups everywhere during a drill")
	s.record(figure{what: "the regions agree on a drill", took: report.Begun.Sub(start), bound: drillStart})
	s.record(s.kept(report))
	s.record(report.figure())
	return s.keepReport(ctx, socket)
}

// reported waits until the drill is over and every region has told what it
// answered, which takes half a minute more.
func (s *Story) reported(ctx context.Context, socket string) (*drilled, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, reportWithin, fmt.Errorf("%v have passed", reportWithin))
	defer cancel()
	report := &drilled{}
	return report, s.await(ctx, "the regions to tell what they answered", func() error {
		out, err := s.quietly(ctx, "drill", "report", "story", "-o", "json", "--socket", socket)
		if err != nil {
			return err
		}
		*report = drilled{}
		if err := json.Unmarshal(out, report); err != nil {
			return fmt.Errorf("federator drill report -o json: %w", err)
		}
		if report.Outcome == "" || report.Verdict == "unproven" || report.Verdict == "open" {
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
		f.err = errors.New("nothing was looked up")
	case late > 0:
		f.err = fmt.Errorf("%d of %d", late, asked)
	}
	return f
}

// figure is what the report says itself.
func (d *drilled) figure() figure {
	f := figure{what: "the drill's own report", note: fmt.Sprintf("%s; %d lookups, %d failed, %d late", d.Verdict, d.Totals.Lookups, d.Totals.Failed, d.Totals.Late)}
	if d.Verdict != "passed" || d.Outcome != "succeeded" || d.Totals.Lookups == 0 {
		f.err = fmt.Errorf("%s, %s: %v", d.Outcome, f.note, d.Why)
	}
	return f
}

// keepReport fetches the page, too.
func (s *Story) keepReport(ctx context.Context, socket string) error {
	path := filepath.Join(s.dir, "drill-report.html")
	if _, err := s.Federator(ctx, "drill", "report", "story", "-o", "html", "--file", path, "--socket", socket); err != nil {
		return err
	}
	page, err := os.Stat(path)
	if err != nil {
		return err
	}
	s.record(figure{what: "the drill's report as a page", note: fmt.Sprintf("%d KiB", page.Size()>>10)})
	return nil
}
