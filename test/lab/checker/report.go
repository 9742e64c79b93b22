package checker

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// Checker watches a federation. Run blocks until ctx ends and everything it
// started has ended; Report is called after that.
type Checker interface {
	Run(ctx context.Context)
	Report() Report
}

// Together runs checkers side by side. The returned function ends them and
// returns their reports, in the same order.
func Together(ctx context.Context, checkers ...Checker) (stop func() []Report) {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	for _, c := range checkers {
		wg.Go(func() { c.Run(ctx) })
	}
	return func() []Report {
		cancel()
		wg.Wait()
		reports := make([]Report, len(checkers))
		for i, c := range checkers {
			reports[i] = c.Report()
		}
		return reports
	}
}

// Report is what a checker found.
type Report struct {
	// Checker names it, for example "DNS".
	Checker string
	// Checked is how much was looked at; a report of nothing proves nothing.
	Checked Figure
	// Worst is the figure by which runs are compared.
	Worst Figure
	// More are other figures worth a line.
	More []Figure
	// Violations are the first of them, in the order they were found; Total counts
	// them all.
	Violations []Violation
	Total      int
	// Artefacts are files that show more.
	Artefacts []string
}

// OK reports whether something was looked at and nothing was violated.
func (r Report) OK() bool { return r.Total == 0 && r.Checked.Value > 0 }

// Timeless reports whether something is violated that must never be, however slow the
// machine is. Of what a report does not list it takes the worst for granted.
func (r Report) Timeless() bool {
	if !strings.HasPrefix(r.Checker, linearizability) && r.Checker != acknowledgedWrites {
		return false
	}
	return r.Total > len(r.Violations) || slices.ContainsFunc(r.Violations, func(v Violation) bool { return !v.Open })
}

// The checkers whose violations are [Report.Timeless].
const (
	linearizability    = "linearizability"
	acknowledgedWrites = "acknowledged writes"
)

// maxPrinted is how many violations a report prints.
const maxPrinted = 8

// String is the report in a few lines.
func (r Report) String() string {
	s := fmt.Sprintf("%s: %s, %s, %d violations", r.Checker, r.Checked, r.Worst, r.Total)
	for _, f := range r.More {
		s += "; " + f.String()
	}
	for _, v := range r.Violations[:min(len(r.Violations), maxPrinted)] {
		s += "\n  " + v.String()
	}
	if rest := r.Total - maxPrinted; rest > 0 {
		s += fmt.Sprintf("\n  and %d more", rest)
	}
	for _, a := range r.Artefacts {
		s += "\n  see " + a
	}
	return s
}

// Figure is a number with its name and unit, such as "longest wait 1.2 s".
type Figure struct {
	Name  string
	Value float64
	// Unit may be empty, for counts.
	Unit string
}

// String writes whole numbers as such and others with three digits.
func (f Figure) String() string {
	value := fmt.Sprintf("%.3g", f.Value)
	if f.Value == float64(int64(f.Value)) {
		value = fmt.Sprintf("%d", int64(f.Value))
	}
	if f.Unit != "" {
		value += " " + f.Unit
	}
	return f.Name + " " + value
}

// seconds makes a figure of a duration.
func seconds(name string, d time.Duration) Figure { return Figure{name, d.Seconds(), "s"} }

// count makes a figure of a number of things.
func count(name string, n int) Figure { return Figure{Name: name, Value: float64(n)} }

// Violation is a broken promise.
type Violation struct {
	At time.Time
	// Where is the replica, the pair, the key or whatever it is about.
	Where string
	// Expected and Found are in words.
	Expected, Found string
	// Open: no answer or decision came in time, or it came late. A slow machine may be
	// all that there is to it.
	Open bool `json:",omitempty"`
}

// String is the violation in one line.
func (v Violation) String() string {
	return fmt.Sprintf("%s %s: expected %s, found %s", v.At.Format("15:04:05.000"), v.Where, v.Expected, v.Found)
}

// maxViolations is how many a report lists.
const maxViolations = 50

// ledger collects violations. It is safe for concurrent use.
type ledger struct {
	mu    sync.Mutex
	first []Violation
	total int
}

func (l *ledger) add(all ...Violation) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, v := range all {
		if l.total++; len(l.first) < maxViolations {
			l.first = append(l.first, v)
		}
	}
}

// into completes a report with what was collected.
func (l *ledger) into(r Report) Report {
	l.mu.Lock()
	defer l.mu.Unlock()
	r.Violations, r.Total = append(r.Violations, l.first...), r.Total+l.total
	return r
}
