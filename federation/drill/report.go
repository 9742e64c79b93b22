package drill

import (
	"fmt"
	"time"

	"github.com/federator/federator/federation/catalog"
)

// Verdict is what became of the objective.
type Verdict string

// The verdicts.
const (
	Passed Verdict = "passed"
	Failed Verdict = "failed"
	// Open: the drill is not over, or it was over before it could tell.
	Open Verdict = "open"
	// Unproven: what was answered is not known everywhere.
	Unproven Verdict = "unproven"
)

// Report is what happened in a drill. Times are by the clock of the region they
// belong to, durations are text such as "1m30s".
type Report struct {
	ID          string            `json:"id"`
	Kind        catalog.DrillKind `json:"kind"`
	Scope       string            `json:"scope"`
	Region      string            `json:"region"` // of the scope
	Reason      string            `json:"reason,omitempty"`
	Actor       string            `json:"actor"`
	Schedule    string            `json:"schedule,omitempty"`
	Forced      bool              `json:"forced,omitempty"`
	Coordinator string            `json:"coordinator"`
	// Shape is with all extensions.
	Shape     catalog.Shape        `json:"shape"`
	Objective catalog.Duration     `json:"objective,omitempty"`
	State     catalog.DrillState   `json:"state"`
	Phase     catalog.DrillPhase   `json:"phase"`
	Outcome   catalog.DrillOutcome `json:"outcome,omitempty"`
	Detail    string               `json:"detail,omitempty"`
	Created   time.Time            `json:"created"`
	Begun     time.Time            `json:"begun,omitzero"`
	// Shifted is when the ramp was over, Deadline that and the objective, Restored
	// when traffic began to return, Ended when nothing was taken away any more.
	Shifted  time.Time `json:"shifted,omitzero"`
	Deadline time.Time `json:"deadline,omitzero"`
	Restored time.Time `json:"restored,omitzero"`
	Ended    time.Time `json:"ended,omitzero"`

	Verdict Verdict `json:"verdict"`
	// Why explains the verdict, one sentence each.
	Why     []string       `json:"why"`
	Totals  Tally          `json:"totals"`
	Regions []RegionReport `json:"regions"`
	Events  []Event        `json:"events"`
	// Made is when the report was made.
	Made time.Time `json:"made"`
}

// Tally counts answers while the drill ran.
type Tally struct {
	Lookups uint64 `json:"lookups"`
	Failed  uint64 `json:"failed"`
	// Scope counts the answers that named the scope, Late those of them after the
	// deadline and before traffic began to return.
	Scope uint64 `json:"scope"`
	Late  uint64 `json:"late"`
}

// RegionReport is one region's part.
type RegionReport struct {
	Region string `json:"region"`
	// Vote is granted, refused or silent.
	Vote     string             `json:"vote"`
	Reason   string             `json:"reason,omitempty"`
	Extended catalog.Duration   `json:"extended,omitempty"`
	Acks     []catalog.PhaseAck `json:"acks,omitempty"`
	End      *catalog.DrillEnd  `json:"end,omitempty"`

	Verdict Verdict  `json:"verdict"`
	Why     []string `json:"why"`
	Tally   Tally    `json:"tally"`
	// P50 and P99 are the worst of any bucket while the drill ran.
	P50 catalog.Duration `json:"p50,omitempty"`
	P99 catalog.Duration `json:"p99,omitempty"`
	// Samples is what the region answered, before, during and after.
	Samples *catalog.DrillSamples `json:"samples,omitempty"`
}

// MakeReport reports what happened in a drill.
func MakeReport(s Story) Report {
	d, t := &s.Drill, s.when()
	r := Report{
		ID: d.ID, Kind: d.Kind, Scope: d.Scope.String(), Region: d.Scope.Region, Reason: d.Reason, Actor: d.Actor, Schedule: d.Schedule, Forced: d.Forced,
		Coordinator: d.Region, Shape: d.Shape, Objective: d.Objective, State: d.State, Phase: d.Phase,
		Created: d.Created, Begun: d.Begun, Shifted: t.shifted, Deadline: t.deadline, Restored: t.restored,
		Events: s.events(), Made: s.Now,
	}
	r.Outcome, r.Detail = s.outcome()
	if s.over() || d.End != nil {
		r.Ended = t.ended
	}
	for _, region := range s.regions() {
		rr := s.region(region, t)
		r.Regions = append(r.Regions, rr)
		r.Totals.add(rr.Tally)
	}
	r.Verdict, r.Why = s.verdict(&r)
	return r
}

func (t *Tally) add(o Tally) {
	t.Lookups += o.Lookups
	t.Failed += o.Failed
	t.Scope += o.Scope
	t.Late += o.Late
}

// region reports one region's part.
func (s *Story) region(name string, t times) RegionReport {
	r := RegionReport{Region: name, Vote: "silent", Samples: s.samplesOf(name)}
	if b := s.Drill.Ballot(name); b != nil {
		r.Reason, r.Extended, r.Acks, r.End = b.Reason, b.Extended, b.Acks, b.End
		switch {
		case b.Granted:
			r.Vote = "granted"
		case b.Reason != "":
			r.Vote = "refused"
		}
	}
	var latest time.Time
	if r.Samples != nil && !t.begun.IsZero() {
		latest = r.tally(t)
	}
	r.Verdict, r.Why = s.judge(&r, t, latest)
	return r
}

// tally counts what was answered while the drill ran and returns when the last
// answer after the deadline named the scope.
func (r *RegionReport) tally(t times) (latest time.Time) {
	step := time.Duration(r.Samples.Step)
	for i, b := range r.Samples.Buckets {
		from := r.Samples.Start.Add(time.Duration(i) * step)
		to := from.Add(step)
		if !to.After(t.begun) || !from.Before(t.ended) {
			continue
		}
		r.Tally.add(Tally{Lookups: b.Lookups, Failed: b.Failed, Scope: b.Scope})
		r.P50, r.P99 = max(r.P50, b.P50), max(r.P99, b.P99)
		// A bucket that the deadline cuts through may hold earlier answers.
		if b.Scope > 0 && !t.deadline.IsZero() && !from.Before(t.deadline) && !to.After(t.restored) {
			r.Tally.Late += b.Scope
			latest = to
		}
	}
	return latest
}

// judge passes or fails one region.
func (s *Story) judge(r *RegionReport, t times, latest time.Time) (Verdict, []string) {
	switch {
	case t.begun.IsZero():
		return Open, []string{"the drill did not run"}
	case !s.over() && s.Drill.End == nil:
		return Open, []string{"the drill is not over"}
	case r.Samples == nil:
		return Unproven, []string{"the region has not told what it answered"}
	}
	var why []string
	if r.Tally.Failed > 0 {
		why = append(why, plural(int(r.Tally.Failed), "lookup")+" failed")
	}
	if s.timed() && r.Tally.Late > 0 {
		why = append(why, fmt.Sprintf("%s named %s after the objective of %s, the last %s after the ramp",
			plural(int(r.Tally.Late), "answer"), s.Drill.Scope, time.Duration(s.Drill.Objective), about(latest.Sub(t.shifted))))
	}
	switch {
	case len(why) > 0:
		return Failed, why
	case r.Tally.Lookups == 0:
		return Unproven, []string{"nobody asked, so nothing was shown"}
	case s.timed() && (t.deadline.IsZero() || !t.deadline.Before(t.restored)):
		return Open, []string{"the drill ended before the objective could be measured"}
	case s.timed():
		return Passed, []string{fmt.Sprintf("no lookup failed, and no answer named %s later than %s after the ramp", s.Drill.Scope, time.Duration(s.Drill.Objective))}
	}
	return Passed, []string{"no lookup failed"}
}

// timed reports whether the drill has an objective that answers can miss.
func (s *Story) timed() bool { return s.Drill.Kind == catalog.DrillEvacuate && s.Drill.Objective > 0 }

// verdict is that of the whole drill: failed if any region is, passed only if all
// are and it ran to its end.
func (s *Story) verdict(r *Report) (Verdict, []string) {
	count := map[Verdict][]string{}
	for _, region := range r.Regions {
		count[region.Verdict] = append(count[region.Verdict], region.Region)
	}
	switch {
	case r.Begun.IsZero() && r.Outcome != "":
		return Open, []string{fmt.Sprintf("it did not run: %s", or(r.Detail, string(r.Outcome)))}
	case len(count[Failed]) > 0:
		var why []string
		for _, region := range r.Regions {
			if region.Verdict == Failed {
				for _, w := range region.Why {
					why = append(why, region.Region+": "+w)
				}
			}
		}
		return Failed, why
	case r.Outcome == catalog.OutcomeAborted || r.Outcome == catalog.OutcomeFailed:
		return Failed, []string{fmt.Sprintf("it was %s: %s", r.Outcome, r.Detail)}
	case len(count[Open]) > 0:
		return Open, []string{r.Regions[indexOf(r.Regions, Open)].Why[0]}
	case len(count[Unproven]) > 0:
		i := indexOf(r.Regions, Unproven)
		return Unproven, []string{fmt.Sprintf("%s: %s", r.Regions[i].Region, r.Regions[i].Why[0])}
	case len(r.Regions) == 0:
		return Unproven, []string{"nothing is known of what was answered"}
	}
	return Passed, []string{r.Regions[0].Why[0] + ", in " + plural(len(r.Regions), "region")}
}

func indexOf(regions []RegionReport, v Verdict) int {
	for i := range regions {
		if regions[i].Verdict == v {
			return i
		}
	}
	return 0
}

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}
