package state

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/federator/federator/federation/catalog"
)

// MarkBallot adds to what the own region says of a drill. It makes the ballot,
// not granted, if there is none and End is set, so that any region can end a
// drill.
type MarkBallot struct {
	Drill string `json:"drill"`
	// Ack is a phase that took effect; each counts once.
	Ack *catalog.PhaseAck `json:"ack,omitempty"`
	// Elapsed is how much of the drill is counted down; it only rises.
	Elapsed catalog.Duration `json:"elapsed,omitempty"`
	// Extend is added to the hold, within what a drill of its kind may take.
	Extend catalog.Duration `json:"extend,omitempty"`
	// End ends the drill everywhere; the first stays.
	End *catalog.DrillEnd `json:"end,omitempty"`
	// Release frees the region's vote for other drills.
	Release bool `json:"release,omitempty"`
}

func (*MarkBallot) kind() Type { return TypeMarkBallot }

func (m *MarkBallot) audit() (string, string) {
	var said []string
	if m.Extend > 0 {
		said = append(said, "extended by "+time.Duration(m.Extend).String())
	}
	if m.End != nil {
		said = append(said, fmt.Sprintf("to end, %s: %s", m.End.Outcome, m.End.Reason))
	}
	if len(said) == 0 {
		return "", ""
	}
	return drillKey(m.Drill).String(), strings.Join(said, ", ")
}

func (m *MarkBallot) validate() error {
	if err := catalog.ValidateDrillID(m.Drill); err != nil {
		return ErrInvalid.withf("%v", err)
	}
	phases := []catalog.DrillPhase{catalog.PhaseRamp, catalog.PhaseHold, catalog.PhaseReturn, catalog.PhaseOver}
	switch {
	case m.Ack != nil && !slices.Contains(phases, m.Ack.Phase):
		return ErrInvalid.withf("drill %s: expected a phase of a running drill, found %.40q", m.Drill, m.Ack.Phase)
	case m.Elapsed < 0 || time.Duration(m.Elapsed) > catalog.MaxDrill:
		return ErrInvalid.withf("drill %s: expected 0 to %s elapsed, found %s", m.Drill, catalog.MaxDrill, time.Duration(m.Elapsed))
	case m.Extend < 0 || time.Duration(m.Extend) > catalog.MaxDrill:
		return ErrInvalid.withf("drill %s: expected an extension of 0 to %s, found %s", m.Drill, catalog.MaxDrill, time.Duration(m.Extend))
	case m.End != nil && (!validOutcome(m.End.Outcome) || m.End.Reason == "" || len(m.End.Reason) > maxDrillReason || len(m.End.Actor) > maxActorBytes):
		return ErrInvalid.withf("drill %s: expected an outcome and a reason of at most %d bytes for its end", m.Drill, maxDrillReason)
	}
	return nil
}

func (m *MarkBallot) apply(c *change) (any, error) {
	b := catalog.Ballot{Drill: m.Drill, Region: c.about.Region}
	var d catalog.Drill
	known := c.readSpec(drillKey(m.Drill), &d)
	if !c.readSpec(c.ballotKey(m.Drill), &b) {
		if m.End == nil {
			return nil, ErrNotFound.withf("region %s has no ballot for drill %s", c.about.Region, m.Drill)
		}
		b.Scope = d.Scope
	}
	if known && d.State == catalog.DrillEnded && (m.End != nil || m.Extend > 0) {
		return nil, ErrConflict.withf("drill %s has ended already", m.Drill)
	}
	if m.Extend > 0 {
		if err := c.extend(&b, d, m.Extend); err != nil {
			return nil, err
		}
	}
	if a := m.Ack; a != nil && !slices.ContainsFunc(b.Acks, func(old catalog.PhaseAck) bool { return old.Phase == a.Phase }) {
		b.Acks = append(slices.Clone(b.Acks), *a)
	}
	if b.End == nil {
		b.End = m.End
	}
	b.Elapsed = max(b.Elapsed, m.Elapsed)
	b.Released = b.Released || m.Release
	if !c.saysAlready(b) {
		c.writeOwn(c.ballotKey(m.Drill), b)
	}
	return b, nil
}

// saysAlready reports whether the ballot is there as it is.
func (c *change) saysAlready(b catalog.Ballot) bool {
	r, ok := c.get(objectKey(c.ballotKey(b.Drill)))
	return ok && !r.Object.Deleted && string(r.Object.Spec) == string(encodeValue(b))
}

// extend adds to the hold of a drill that goes on, within the bound of its kind.
// A drill that was just begun elsewhere may not be adopted here yet: then it is
// bounded where it is counted down.
func (c *change) extend(b *catalog.Ballot, d catalog.Drill, by catalog.Duration) error {
	whole := d.Shape.Length() + time.Duration(by)
	for _, o := range c.Objects() {
		var other catalog.Ballot
		if o.Kind != catalog.KindBallot || !c.readSpec(o.ObjectKey, &other) || other.Drill != b.Drill {
			continue
		}
		if other.End != nil {
			return ErrConflict.withf("drill %s is ending: region %s wants it to (%s)", b.Drill, other.Region, other.End.Reason)
		}
		whole += time.Duration(other.Extended)
	}
	if whole > d.Kind.Longest() {
		return ErrInvalid.withf("drill %s would take %s in all; the bound is %s", b.Drill, whole, d.Kind.Longest())
	}
	b.Extended += by
	return nil
}

// PutSamples is what the replicas of the own region answered around a drill.
type PutSamples struct {
	Samples catalog.DrillSamples `json:"samples"`
}

func (*PutSamples) kind() Type { return TypePutSamples }

func (*PutSamples) audit() (string, string) { return "", "" }

func (p *PutSamples) validate() error {
	s := &p.Samples
	if err := catalog.ValidateDrillID(s.Drill); err != nil {
		return ErrInvalid.withf("%v", err)
	}
	if n := len(s.Buckets); n == 0 || n > catalog.MaxSampleBuckets || s.Step <= 0 {
		return ErrInvalid.withf("samples of drill %s: expected 1 to %d buckets of some length, found %d of %s", s.Drill, catalog.MaxSampleBuckets, n, time.Duration(s.Step))
	}
	if n := len(encodeValue(s)); n > maxSpec {
		return ErrInvalid.withf("samples of drill %s: %d bytes exceed the bound of %d; merge buckets", s.Drill, n, maxSpec)
	}
	return nil
}

func (p *PutSamples) spec() (string, int) {
	return "samples of drill " + p.Samples.Drill, len(encodeValue(&p.Samples))
}

func (p *PutSamples) apply(c *change) (any, error) {
	s := p.Samples
	if s.Region != c.about.Region {
		return nil, ErrInvalid.withf("samples of drill %s are of region %s, this is region %s", s.Drill, s.Region, c.about.Region)
	}
	c.writeOwn(catalog.ObjectKey{Kind: catalog.KindDrillSamples, Name: catalog.BallotName(s.Drill, s.Region)}, s)
	return nil, nil
}
