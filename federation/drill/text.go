package drill

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"github.com/federator/federator/federation/catalog"
)

// Text writes the report for a terminal. Control characters of what operators
// gave are left out.
func (r *Report) Text(to io.Writer) error {
	w := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	line := func(format string, args ...any) {
		for i, a := range args {
			if text, ok := a.(string); ok {
				args[i] = flat(text)
			}
		}
		fmt.Fprintf(w, format+"\n", args...)
	}
	line("%s: %s", strings.ToUpper(string(r.Verdict)), strings.Join(r.Why, "; "))
	line("")
	line("drill\t%s, %s", r.ID, r.what())
	line("by\t%s", r.by())
	if r.Reason != "" {
		line("reason\t%s", r.Reason)
	}
	line("shape\t%s", shapeWords(r.Shape))
	if r.Objective > 0 {
		line("objective\t%s after the ramp no answer names %s", time.Duration(r.Objective), r.Scope)
	}
	line("ran\t%s", r.ran())
	line("outcome\t%s", r.outcome())
	line("answers\t%d lookups, %d failed, %d named %s, %d of them late", r.Totals.Lookups, r.Totals.Failed, r.Totals.Scope, r.Scope, r.Totals.Late)
	line("")
	_ = w.Flush() // the last one reports
	line("REGION\tVOTE\tSHIFTED AFTER\tLOOKUPS\tFAILED\tNAMED IT\tLATE\tP50\tP99\tVERDICT\tWHY")
	for i := range r.Regions {
		g := &r.Regions[i]
		line("%s\t%s\t%s\t%d\t%d\t%d\t%d\t%s\t%s\t%s\t%s", g.Region, g.Vote, or(r.shift(g), "-"), g.Tally.Lookups, g.Tally.Failed,
			g.Tally.Scope, g.Tally.Late, latency(g.P50), latency(g.P99), g.Verdict, strings.Join(append(reasonOf(g), g.Why...), "; "))
	}
	line("")
	_ = w.Flush()
	for _, e := range r.Events {
		line("%s\t%s\t%s", e.At.UTC().Format("2006-01-02 15:04:05.000"), e.Region, e.What)
	}
	return w.Flush()
}

// flat drops control characters, so that a reason can neither move the cursor nor
// pass for a line of its own.
func flat(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t':
			return ' '
		case unicode.IsControl(r) || unicode.Is(unicode.Cf, r):
			return -1
		}
		return r
	}, s)
}

func reasonOf(g *RegionReport) []string {
	if g.Reason == "" {
		return nil
	}
	return []string{g.Vote + ": " + g.Reason}
}

// what says what the drill did.
func (r *Report) what() string {
	if r.Kind == catalog.DrillIsolate {
		return "isolation of " + r.Scope
	}
	return "evacuation of " + r.Scope
}

func (r *Report) by() string {
	out := r.Actor
	if r.Schedule != "" {
		out = "schedule " + r.Schedule
	}
	if r.Forced {
		out += ", forced although its plan was unsafe"
	}
	return out + ", coordinated by " + r.Coordinator
}

func shapeWords(s catalog.Shape) string {
	return fmt.Sprintf("ramp %s, hold %s, return %s", time.Duration(s.Ramp), time.Duration(s.Hold), time.Duration(s.Return))
}

// ran says from when to when it ran.
func (r *Report) ran() string {
	switch {
	case r.Begun.IsZero():
		return "never"
	case r.Ended.IsZero():
		return fmt.Sprintf("since %s, now in phase %s", clock(r.Begun), r.Phase)
	}
	return fmt.Sprintf("%s to %s (%s)", clock(r.Begun), clock(r.Ended), about(r.Ended.Sub(r.Begun)))
}

func (r *Report) outcome() string {
	out := or(string(r.Outcome), string(r.State))
	if r.Detail != "" {
		out += ": " + r.Detail
	}
	return out
}

// shift says how long after the start the region's answers had shifted; "" if it
// did not say so.
func (r *Report) shift(g *RegionReport) string {
	for _, a := range g.Acks {
		if a.Phase == catalog.PhaseHold && !r.Begun.IsZero() {
			return about(a.At.Sub(r.Begun)).String()
		}
	}
	return ""
}

func clock(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") }

// latency writes a short duration, "-" for none.
func latency(d catalog.Duration) string {
	if d == 0 {
		return "-"
	}
	return time.Duration(d).Round(time.Microsecond).String()
}
