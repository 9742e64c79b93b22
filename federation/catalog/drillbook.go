package catalog

import (
	"cmp"
	"encoding/json"
	"slices"
	"strings"
	"time"
)

const (
	// clockSkew is how far the wall clocks of two regions may be apart while they
	// are still believed.
	clockSkew = 5 * time.Minute
	// voteGrace is how long after the vote a late word that a drill runs can arrive.
	voteGrace = 15 * time.Second
)

// drillBook is what this replica knows of all drills: what the regions wrote, and
// its own count of each.
type drillBook struct {
	drills  []Drill             // oldest first
	ballots map[string][]Ballot // by drill, ordered by region
	clocks  map[string]drillClock
	parsed  map[sighting]any // a Drill or a Ballot; nil what cannot be read
	shown   []drillMark
}

// drillClock is this replica's own count of one drill.
type drillClock struct {
	waiting time.Time // when it was first seen
	since   time.Time // when the count was last set; zero before it runs
	from    time.Duration
	over    bool // counted down; it stays so
}

// drillMark is what of a drill decides resolutions.
type drillMark struct {
	id    string
	state DrillState
	phase DrillPhase
	share uint32
}

// read takes over what the objects say; what was parsed before is not parsed
// again.
func (b *drillBook) read(objects []*Object) {
	parsed := map[sighting]any{}
	b.drills, b.ballots = nil, map[string][]Ballot{}
	for _, o := range objects {
		if o.Deleted || o.Kind != KindDrill && o.Kind != KindBallot {
			continue
		}
		id := sighting{o.ObjectKey, o.Version}
		said, known := b.parsed[id]
		if !known {
			said = parseDrillObject(o)
		}
		parsed[id] = said
		switch said := said.(type) {
		case Drill:
			b.drills = append(b.drills, said)
		case Ballot:
			b.ballots[said.Drill] = append(b.ballots[said.Drill], said)
		}
	}
	b.parsed = parsed
	slices.SortFunc(b.drills, func(x, y Drill) int { return cmp.Or(x.Created.Compare(y.Created), strings.Compare(x.ID, y.ID)) })
	for _, ballots := range b.ballots {
		slices.SortFunc(ballots, func(x, y Ballot) int { return strings.Compare(x.Region, y.Region) })
	}
}

// parseDrillObject returns the Drill or the Ballot that the object holds, nil if
// it is out of bounds or not from the only region that may write it.
func parseDrillObject(o *Object) any {
	if o.Kind == KindDrill {
		var d Drill
		if json.Unmarshal(o.Spec, &d) == nil && d.ID == o.Name && d.Region == o.Version.Region && ValidateDrill(d) == nil {
			return d
		}
		return nil
	}
	var b Ballot
	if json.Unmarshal(o.Spec, &b) == nil && BallotName(b.Drill, b.Region) == o.Name && b.Region == o.Version.Region {
		return b
	}
	return nil
}

// views returns every drill as it is now, and sets the clocks of those that were
// not seen before.
func (b *drillBook) views(now time.Time) []DrillView {
	clocks := make(map[string]drillClock, len(b.drills))
	out := make([]DrillView, len(b.drills))
	for i, d := range b.drills {
		clock := b.clocks[d.ID]
		out[i] = viewDrill(d, b.ballots[d.ID], &clock, now)
		clocks[d.ID] = clock
	}
	b.clocks = clocks
	return out
}

// viewDrill says how a drill stands at a moment, by what the regions wrote of it
// and by this replica's own count, which it sets.
func viewDrill(d Drill, ballots []Ballot, clock *drillClock, now time.Time) DrillView {
	v := DrillView{Drill: d, Recorded: d.State, Ballots: ballots, End: firstEnd(ballots), Phase: PhaseOver}
	v.Shape = extended(d, ballots)
	if clock.waiting.IsZero() {
		clock.waiting = now
	}
	switch d.State {
	case DrillPending:
		v.wait(clock, now)
	case DrillRunning:
		v.count(clock, now)
	default:
		v.Elapsed = min(furthest(ballots), v.Shape.Length())
	}
	return v
}

// wait is a drill that the regions have not agreed on: whoever hears nothing of
// it for as long as it could take is done with it.
func (v *DrillView) wait(clock *drillClock, now time.Time) {
	limit := VoteWindow + voteGrace + v.Shape.Length()
	switch {
	case v.End != nil:
		v.finish(v.End.Outcome, v.End.Reason)
	case clock.over || now.Sub(clock.waiting) >= limit || now.Sub(v.Created) >= limit+clockSkew:
		clock.over = true
		v.finish(OutcomeRefused, "region "+v.Region+" never said that the regions agreed on it")
	default:
		v.Phase = PhasePending
	}
}

// count is a running drill, counted down on this replica's own clock. The count
// goes on from the furthest that any region has written, so that a replica which
// restarted, or was cut off, does not begin anew; and the wall clock of the region
// that began it bounds it, for one that heard nothing else.
func (v *DrillView) count(clock *drillClock, now time.Time) {
	elapsed := furthest(v.Ballots)
	if !clock.since.IsZero() {
		elapsed = max(elapsed, clock.from+max(0, now.Sub(clock.since)))
	}
	if !v.Begun.IsZero() {
		elapsed = max(elapsed, now.Sub(v.Begun)-clockSkew)
	}
	clock.since, clock.from = now, elapsed
	clock.over = clock.over || v.Shape.Phase(elapsed) == PhaseOver
	v.Elapsed = min(elapsed, v.Shape.Length())
	switch {
	case v.End != nil:
		v.finish(v.End.Outcome, v.End.Reason)
	case clock.over:
		v.finish(OutcomeSucceeded, "counted down by this replica; region "+v.Region+" has not written its end yet")
	default:
		v.Phase = v.Shape.Phase(elapsed)
	}
}

func (v *DrillView) finish(outcome DrillOutcome, detail string) {
	v.State, v.Outcome, v.Detail, v.Phase = DrillEnded, outcome, detail, PhaseOver
}

// furthest is the furthest that any region has counted.
func furthest(ballots []Ballot) (most time.Duration) {
	for i := range ballots {
		most = max(most, time.Duration(ballots[i].Elapsed))
	}
	return most
}

// extended is the shape with what the regions added to its hold, within the bound
// of its kind: two regions may add at once.
func extended(d Drill, ballots []Ballot) Shape {
	s := d.Shape
	for i := range ballots {
		room := d.Kind.Longest() - s.Length()
		s.Hold += Duration(max(0, min(time.Duration(ballots[i].Extended), room)))
	}
	return s
}

// firstEnd returns the earliest word that the drill has to end, nil if there is
// none.
func firstEnd(ballots []Ballot) (first *DrillEnd) {
	for i := range ballots {
		if e := ballots[i].End; e != nil && (first == nil || e.At.Before(first.At)) {
			first = e
		}
	}
	return first
}

// Share is which part of its traffic the scope has lost now, in parts per million.
func (v *DrillView) Share() uint32 {
	if v.State != DrillRunning || v.Kind != DrillEvacuate {
		return 0
	}
	return v.Shape.Share(v.Elapsed)
}

func (v *DrillView) mark() drillMark { return drillMark{v.ID, v.State, v.Phase, v.Share()} }

// noteDrills puts the drills that the objects describe into the conditions.
func (c *Catalog) noteDrills(objects []*Object, cond *Conditions) {
	c.drills.read(objects)
	c.drills.shown = nil
	for _, v := range c.drills.views(c.now) {
		c.drills.shown = append(c.drills.shown, v.mark())
		if share := v.Share(); share > 0 {
			cond.Drills = append(cond.Drills, DrillInForce{ID: v.ID, Scope: v.Scope, Share: share, Begun: v.Begun, Forced: v.Forced})
		}
		if v.State == DrillRunning && v.Kind == DrillIsolate && v.Scope.Region == c.region {
			cond.CutOff = v.ID
		}
	}
	slices.SortFunc(cond.Drills, DrillInForce.Compare)
}

// Tick tells the time while drills run, so that conditions follow their shape; it
// costs next to nothing when none does. Call it every 100 ms or so.
func (c *Catalog) Tick(now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !slices.ContainsFunc(c.drills.shown, func(m drillMark) bool { return m.state != DrillEnded }) {
		return
	}
	c.now = now
	for i, v := range c.drills.views(now) {
		if v.mark() != c.drills.shown[i] {
			dirty := newDirty()
			dirty.conditions = true
			c.settle(dirty)
			return
		}
	}
}

// Drills returns every drill that is known, as it was at the last moment that the
// catalog was told of, oldest first.
func (c *Catalog) Drills() []DrillView {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.drills.views(c.now)
}

// Drill returns the drill with the id; false if there is none.
func (c *Catalog) Drill(id string) (DrillView, bool) {
	drills := c.Drills()
	if i := slices.IndexFunc(drills, func(v DrillView) bool { return v.ID == id }); i >= 0 {
		return drills[i], true
	}
	return DrillView{}, false
}

// Samples returns what the regions answered around the drill, ordered by region.
func (c *Catalog) Samples(drill string) []DrillSamples {
	return specsOf(c, KindDrillSamples, func(o *Object, s *DrillSamples) bool {
		return s.Drill == drill && o.Name == BallotName(s.Drill, s.Region) && s.Region == o.Version.Region
	})
}

// Gates returns the gates by name.
func (c *Catalog) Gates() map[string]Gate {
	out := map[string]Gate{}
	specsOf(c, KindGate, func(o *Object, g *Gate) bool {
		out[o.Name] = *g
		return false
	})
	return out
}

// Schedules returns the schedules by name.
func (c *Catalog) Schedules() map[string]Schedule {
	out := map[string]Schedule{}
	specsOf(c, KindSchedule, func(o *Object, s *Schedule) bool {
		out[o.Name] = *s
		return false
	})
	return out
}

// specsOf decodes the living objects of a kind, ordered by name, and returns those
// that keep wants.
func specsOf[T any](c *Catalog, kind ObjectKind, keep func(*Object, *T) bool) (out []T) {
	for _, o := range c.Objects() {
		var spec T
		if o.Kind == kind && !o.Deleted && json.Unmarshal(o.Spec, &spec) == nil && keep(o, &spec) {
			out = append(out, spec)
		}
	}
	return out
}
