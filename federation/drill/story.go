package drill

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/federator/federator/federation/catalog"
)

// Story is everything that is kept of one drill.
type Story struct {
	Drill catalog.DrillView
	// Samples is what the regions answered, at most one entry per region.
	Samples []catalog.DrillSamples
	// Regions are those that had a vote, in order.
	Regions []string
	// Now is when the story is told.
	Now time.Time
}

// times are the moments of a drill, by the clock of the region that coordinates
// it; zero if they did not come.
type times struct {
	begun, shifted, deadline, restored, ended time.Time
}

// when returns the moments of the drill as it went.
func (s *Story) when() times {
	d := &s.Drill
	if d.Begun.IsZero() {
		return times{ended: d.Ended}
	}
	t := times{begun: d.Begun}
	t.ended = d.Begun.Add(d.Shape.Length())
	for _, early := range []time.Time{d.Ended, s.endWanted()} {
		if !early.IsZero() && early.Before(t.ended) {
			t.ended = early
		}
	}
	within := func(at time.Time) time.Time {
		if at.After(t.ended) {
			return time.Time{}
		}
		return at
	}
	t.shifted = within(d.Begun.Add(time.Duration(d.Shape.Ramp)))
	if !t.shifted.IsZero() {
		t.deadline = within(t.shifted.Add(time.Duration(d.Objective)))
	}
	t.restored = t.ended
	if at := d.Begun.Add(time.Duration(d.Shape.Ramp) + time.Duration(d.Shape.Hold)); at.Before(t.ended) {
		t.restored = at
	}
	return t
}

// endWanted is when the first region wanted the drill to end; zero if none did.
func (s *Story) endWanted() time.Time {
	if s.Drill.End == nil {
		return time.Time{}
	}
	return s.Drill.End.At
}

// over reports whether the drill is over, so that its report does not change.
func (s *Story) over() bool {
	return s.Drill.State == catalog.DrillEnded || s.Drill.Phase == catalog.PhaseOver
}

// outcome is how the drill ended: by its coordinator's word, else by that of a
// region that ended it, else by its countdown; "" while it goes on.
func (s *Story) outcome() (catalog.DrillOutcome, string) {
	d := &s.Drill
	switch {
	case d.Outcome != "":
		return d.Outcome, d.Detail
	case d.End != nil:
		return d.End.Outcome, d.End.Reason
	case s.over() && d.State == catalog.DrillRunning:
		return catalog.OutcomeSucceeded, "ended by its countdown; region " + d.Region + " has yet to say so"
	}
	return "", ""
}

// samplesOf returns what a region answered, or nil.
func (s *Story) samplesOf(region string) *catalog.DrillSamples {
	for i := range s.Samples {
		if s.Samples[i].Region == region && s.Samples[i].Step > 0 {
			return &s.Samples[i]
		}
	}
	return nil
}

// regions returns every region that had a vote or said something, in order.
func (s *Story) regions() []string {
	names := slices.Clone(s.Regions)
	for _, b := range s.Drill.Ballots {
		names = append(names, b.Region)
	}
	for i := range s.Samples {
		names = append(names, s.Samples[i].Region)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// Event is something that happened, at a time by its region's clock.
type Event struct {
	At     time.Time `json:"at"`
	Region string    `json:"region"`
	What   string    `json:"what"`
}

// phaseWords say what took effect in a region's answers.
func phaseWords(p catalog.DrillPhase) string {
	switch p {
	case catalog.PhaseRamp:
		return "its answers began to shift"
	case catalog.PhaseHold:
		return "its answers have shifted"
	case catalog.PhaseReturn:
		return "its answers began to return"
	case catalog.PhaseOver:
		return "its answers are as before"
	}
	return string(p)
}

// events lists what happened, in order.
func (s *Story) events() []Event {
	d := &s.Drill
	by := "started by " + d.Actor
	if d.Schedule != "" {
		by = "started by schedule " + d.Schedule
	}
	out := []Event{{d.Created, d.Region, by}}
	if !d.Begun.IsZero() {
		out = append(out, Event{d.Begun, d.Region, "a majority of the regions has granted it; it runs"})
	}
	for _, b := range d.Ballots {
		for _, a := range b.Acks {
			out = append(out, Event{a.At, b.Region, phaseWords(a.Phase)})
		}
		if b.End != nil {
			what := string(b.End.Outcome) + ": " + b.End.Reason
			if b.End.Actor != "" {
				what += " (" + b.End.Actor + ")"
			}
			out = append(out, Event{b.End.At, b.Region, what})
		}
	}
	if !d.Ended.IsZero() {
		what := "ended, " + string(d.Outcome)
		if d.Detail != "" {
			what += ": " + d.Detail
		}
		out = append(out, Event{d.Ended, d.Region, what})
	}
	slices.SortStableFunc(out, func(a, b Event) int {
		return cmp.Or(a.At.Compare(b.At), strings.Compare(a.Region, b.Region))
	})
	return out
}
