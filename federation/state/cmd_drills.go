package state

import (
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/federator/federator/federation/catalog"
)

// The bounds of what is said of drills, in bytes.
const (
	maxDrillReason = 1024
	maxDrillDetail = 2048
)

// lateness is how much longer than [catalog.VoteWindow] a command that begins a
// drill may take to arrive; voters hold their vote at least that long.
const lateness = 15 * time.Second

// StartDrill begins a drill that this region coordinates: the drill and the own
// region's vote for it, together. It is refused with [ErrConflict] if the drill
// exists, or the region's vote is with another that overlaps; except that a
// drill of an operator ends a scheduled one that is in its way.
type StartDrill struct {
	// Drill is as [catalog.ValidateDrill] demands; its State and what comes after
	// are not taken from it.
	Drill catalog.Drill `json:"drill"`
	// Failed, when set, records that the drill could not even begin, and why: it
	// has ended, and there is no vote.
	Failed string `json:"failed,omitempty"`
}

func (*StartDrill) kind() Type { return TypeStartDrill }

func (s *StartDrill) audit() (string, string) {
	d := s.Drill
	detail := string(d.Kind) + " " + d.Scope.String() + " for " + d.Shape.Length().String()
	for _, extra := range []struct {
		is   bool
		text string
	}{{d.Forced, ", forced"}, {d.Schedule != "", ", by schedule " + d.Schedule}, {d.Reason != "", ": " + d.Reason}, {s.Failed != "", "; failed: " + s.Failed}} {
		if extra.is {
			detail += extra.text
		}
	}
	return drillKey(d.ID).String(), detail
}

func (s *StartDrill) validate() error {
	if err := catalog.ValidateDrill(s.Drill); err != nil {
		return ErrInvalid.withf("%v", err)
	}
	if len(s.Drill.Actor) > maxActorBytes || len(s.Failed) > maxDrillDetail {
		return ErrInvalid.withf("drill %s: actor and failure are bounded to %d and %d bytes", s.Drill.ID, maxActorBytes, maxDrillDetail)
	}
	return nil
}

func (s *StartDrill) apply(c *change) (any, error) {
	d := s.Drill
	if d.Region != c.about.Region {
		return nil, ErrInvalid.withf("drill %s is coordinated by region %s, this is region %s", d.ID, d.Region, c.about.Region)
	}
	if err := c.mayVote(); err != nil {
		return nil, err
	}
	if _, buried := c.graves.get(drillKey(d.ID)); buried || c.Object(drillKey(d.ID)) != nil {
		return nil, ErrConflict.withf("a drill %s exists already; choose another id", d.ID)
	}
	d.Created, d.Begun, d.Ended = c.meta.Time, time.Time{}, time.Time{}
	d.State, d.Outcome, d.Detail = catalog.DrillPending, "", ""
	if d.Actor == "" {
		d.Actor = c.meta.Actor
	}
	if s.Failed != "" {
		d.State, d.Outcome, d.Detail, d.Ended = catalog.DrillEnded, catalog.OutcomeFailed, s.Failed, c.meta.Time
		c.writeOwn(drillKey(d.ID), d)
		return d, nil
	}
	if err := c.makeWay(d); err != nil {
		return nil, err
	}
	c.writeOwn(drillKey(d.ID), d)
	c.writeOwn(c.ballotKey(d.ID), catalog.Ballot{Drill: d.ID, Region: c.about.Region, Granted: true, Scope: d.Scope})
	return d, nil
}

// makeWay ends the scheduled drills that are in the way of an operator's, and
// refuses if any other is.
func (c *change) makeWay(d catalog.Drill) error {
	for _, b := range c.holding(d.Scope, d.ID) {
		var other catalog.Drill
		known := c.readSpec(drillKey(b.Drill), &other)
		if d.Schedule != "" || !known || other.Schedule == "" {
			return c.heldBy(b)
		}
		b.Released = true
		if b.End == nil {
			b.End = &catalog.DrillEnd{Outcome: catalog.OutcomeInterrupted, Reason: "drill " + d.ID + " of an operator takes its place", Actor: c.meta.Actor, At: c.meta.Time}
		}
		c.writeOwn(c.ballotKey(b.Drill), b)
	}
	return nil
}

func (c *change) heldBy(b catalog.Ballot) *Error {
	return ErrConflict.withf("region %s has granted drill %s of %s, which overlaps and is not over; wait for its end, or stop it", c.about.Region, b.Drill, b.Scope)
}

// AdvanceDrill is the coordinating region's word on how far a drill is. Drills
// only go forward; what was said before changes nothing.
type AdvanceDrill struct {
	ID      string               `json:"id"`
	State   catalog.DrillState   `json:"state"`
	Begun   time.Time            `json:"begun,omitzero"`
	Ended   time.Time            `json:"ended,omitzero"`
	Outcome catalog.DrillOutcome `json:"outcome,omitempty"`
	Detail  string               `json:"detail,omitempty"`
}

func (*AdvanceDrill) kind() Type { return TypeAdvanceDrill }

func (a *AdvanceDrill) audit() (string, string) {
	return drillKey(a.ID).String(), strings.Join(slices.DeleteFunc([]string{string(a.State), string(a.Outcome), a.Detail}, func(s string) bool { return s == "" }), ": ")
}

func (a *AdvanceDrill) validate() error {
	if err := catalog.ValidateDrillID(a.ID); err != nil {
		return ErrInvalid.withf("%v", err)
	}
	ends := a.State == catalog.DrillEnded
	switch {
	case !ends && a.State != catalog.DrillRunning:
		return ErrInvalid.withf("drill %s: expected state %s or %s, found %.40q", a.ID, catalog.DrillRunning, catalog.DrillEnded, a.State)
	case ends != validOutcome(a.Outcome):
		return ErrInvalid.withf("drill %s: expected an outcome exactly when it ends, found %.40q", a.ID, a.Outcome)
	case len(a.Detail) > maxDrillDetail:
		return ErrInvalid.withf("drill %s: %d bytes of detail exceed the bound of %d", a.ID, len(a.Detail), maxDrillDetail)
	}
	return nil
}

func validOutcome(o catalog.DrillOutcome) bool {
	return slices.Contains([]catalog.DrillOutcome{catalog.OutcomeSucceeded, catalog.OutcomeStopped, catalog.OutcomeAborted,
		catalog.OutcomeInterrupted, catalog.OutcomeRefused, catalog.OutcomeFailed}, o)
}

func (a *AdvanceDrill) apply(c *change) (any, error) {
	var d catalog.Drill
	if !c.readSpec(drillKey(a.ID), &d) {
		return nil, ErrNotFound.withf("there is no drill %s", a.ID)
	}
	if d.Region != c.about.Region {
		return nil, ErrInvalid.withf("drill %s is coordinated by region %s, this is region %s", a.ID, d.Region, c.about.Region)
	}
	rank := []catalog.DrillState{catalog.DrillPending, catalog.DrillRunning, catalog.DrillEnded}
	if slices.Index(rank, a.State) <= slices.Index(rank, d.State) {
		return d, nil
	}
	if age := c.meta.Time.Sub(d.Created); a.State == catalog.DrillRunning && age > catalog.VoteWindow+lateness {
		return nil, ErrConflict.withf("drill %s was started %s ago; the votes for it may not count any more", a.ID, age.Round(time.Second))
	}
	d.State, d.Detail = a.State, a.Detail
	if a.State == catalog.DrillRunning {
		d.Begun = a.Begun
	} else {
		d.Ended, d.Outcome = a.Ended, a.Outcome
	}
	c.writeOwn(drillKey(a.ID), d)
	return d, nil
}

// CastBallot is the own region's vote on a drill. A region votes once; to grant
// is refused with [ErrConflict] while its vote is with another that overlaps.
type CastBallot struct {
	Drill   string        `json:"drill"`
	Scope   catalog.Scope `json:"scope"`
	Granted bool          `json:"granted"`
	// Reason says why the vote was not granted.
	Reason string `json:"reason,omitempty"`
}

func (*CastBallot) kind() Type { return TypeCastBallot }

func (b *CastBallot) audit() (string, string) {
	if b.Granted {
		return drillKey(b.Drill).String(), "granted: " + b.Scope.String()
	}
	return drillKey(b.Drill).String(), "refused: " + b.Reason
}

func (b *CastBallot) validate() error {
	if err := catalog.ValidateDrillID(b.Drill); err != nil {
		return ErrInvalid.withf("%v", err)
	}
	if err := b.Scope.Validate(); err != nil {
		return ErrInvalid.withf("drill %s: %v", b.Drill, err)
	}
	if len(b.Reason) > maxDrillDetail || b.Granted != (b.Reason == "") {
		return ErrInvalid.withf("drill %s: expected a reason of at most %d bytes exactly when the vote is refused", b.Drill, maxDrillDetail)
	}
	return nil
}

func (b *CastBallot) apply(c *change) (any, error) {
	if err := c.mayVote(); err != nil {
		return nil, err
	}
	next := catalog.Ballot{Drill: b.Drill, Region: c.about.Region}
	if c.readSpec(c.ballotKey(b.Drill), &next) && (next.Granted || next.Reason != "" || next.End != nil) {
		return next, nil // it has voted, or wants it to end
	}
	if held := c.holding(b.Scope, b.Drill); b.Granted && len(held) > 0 {
		return nil, c.heldBy(held[0])
	}
	next.Granted, next.Reason, next.Scope = b.Granted, b.Reason, b.Scope
	c.writeOwn(c.ballotKey(b.Drill), next)
	return next, nil
}

// mayVote refuses while the region may have forgotten how it voted.
func (c *change) mayVote() error {
	if c.about.NeedsEpoch || c.about.ObjectsSuspect {
		return ErrConflict.withf("region %s was restored or recovered and does not know yet how it voted; wait until it has heard from every other region", c.about.Region)
	}
	return nil
}

func drillKey(id string) catalog.ObjectKey {
	return catalog.ObjectKey{Kind: catalog.KindDrill, Name: id}
}

func (c *change) ballotKey(drill string) catalog.ObjectKey {
	return catalog.ObjectKey{Kind: catalog.KindBallot, Name: catalog.BallotName(drill, c.about.Region)}
}

// holding returns the region's votes that are with overlapping drills other than
// the one with the id, ordered by drill.
func (c *change) holding(scope catalog.Scope, id string) []catalog.Ballot {
	var out []catalog.Ballot
	for _, o := range c.Objects() {
		var b catalog.Ballot
		if o.Kind != catalog.KindBallot || !c.readSpec(o.ObjectKey, &b) {
			continue
		}
		if b.Region == c.about.Region && b.Granted && !b.Released && b.Drill != id && b.Scope.Overlaps(scope) {
			out = append(out, b)
		}
	}
	return out
}

// readSpec decodes the spec of a living object through the pending writes.
func (c *change) readSpec(key catalog.ObjectKey, into any) bool {
	r, ok := c.get(objectKey(key))
	return ok && !r.Object.Deleted && json.Unmarshal(r.Object.Spec, into) == nil
}

// writeOwn writes an object that only this region writes. Its older versions are
// nobody's loss, so they do not go into the history; and no clock holds it up,
// because the end of a drill must be writable whatever the clock says.
func (c *change) writeOwn(key catalog.ObjectKey, spec any) {
	var seen catalog.ObjectVersion
	if old, ok := c.get(objectKey(key)); ok {
		seen = old.Object.Version
	}
	if buried, ok := c.graves.get(key); ok && buried.Compare(seen) > 0 {
		seen = buried
	}
	c.put(catalog.Record{Object: &catalog.Object{
		ObjectKey: key, Spec: encodeValue(spec), Actor: c.meta.Actor,
		Version: catalog.ObjectVersion{Generation: seen.Generation + 1, HLC: max(c.meta.Time.UnixNano(), seen.HLC+1), Region: c.about.Region},
	}})
	c.then(func() { delete(c.acked, key) })
}
