package locality

import (
	"time"

	"github.com/federator/federator/federation/catalog"
)

// The ramp of returning capacity: it starts at rampFloor of the rise and is
// recomputed rampSteps times on its way, but not more often than rampPause.
const (
	rampFloor = Unit / 10
	rampSteps = 20
	rampPause = 100 * time.Millisecond
)

// maxRamp bounds how many localities one ramp remembers; what is beyond is
// admitted in full.
const maxRamp = 1024

// Ramp lets the returning capacity of one service take its share back slowly, so
// that one returning endpoint does not pull all traffic home at once. The zero
// Ramp has seen nothing. It has no clock, and no locks.
//
// A fall of a locality's availability takes effect at once. A rise is admitted
// linearly over a while, beginning with a tenth of it. Every further rise begins a
// new ramp from what is admitted by then, so that a locality which flaps starts
// over each time. That asymmetry is the hysteresis.
//
// What the first Step sees is admitted in full, so that nothing ramps when a
// replica starts. A locality that appears later comes from nothing and ramps.
type Ramp struct {
	seen    bool
	entries []climb
}

// climb is the state of one locality, in parts per million of its endpoints.
type climb struct {
	at       catalog.Locality
	target   uint32
	admitted uint32
	from     uint32    // admitted when the climb began
	since    time.Time // zero when not climbing
	present  bool
}

// Step takes the availability of every locality of the service now (see
// [Availability]), in parts per million, and over how long a rise is admitted
// (0: at once). It returns the factors for [Input], nil if nothing ramps, and
// when to step again if nothing else happens before, zero if nothing ramps.
func (r *Ramp) Step(now time.Time, over time.Duration, target map[catalog.Locality]uint32) (Factors, time.Time) {
	for i := range r.entries {
		r.entries[i].present = false
	}
	for at, t := range target {
		r.entry(at, min(t, Unit)).step(now, over, min(t, Unit))
	}
	r.seen = true
	r.forget()
	return r.factors(now, over)
}

// factors returns what is admitted of the localities that climb, and when to look again.
func (r *Ramp) factors(now time.Time, over time.Duration) (Factors, time.Time) {
	var factors Factors
	var next time.Time
	for i := range r.entries {
		c := &r.entries[i]
		if c.since.IsZero() {
			continue
		}
		if factors == nil {
			factors = Factors{}
		}
		factors[c.at] = uint32(uint64(c.admitted) * Unit / uint64(c.target))
		if at := c.next(now, over); next.IsZero() || at.Before(next) {
			next = at
		}
	}
	return factors, next
}

// entry returns the state of a locality, a new one if there is none.
func (r *Ramp) entry(at catalog.Locality, target uint32) *climb {
	for i := range r.entries {
		if r.entries[i].at == at {
			return &r.entries[i]
		}
	}
	if len(r.entries) >= maxRamp {
		return &climb{admitted: target}
	}
	c := climb{at: at}
	if !r.seen {
		c.admitted = target
	}
	r.entries = append(r.entries, c)
	return &r.entries[len(r.entries)-1]
}

// forget drops the localities that are gone: if they come back, they come from
// nothing.
func (r *Ramp) forget() {
	kept := r.entries[:0]
	for _, c := range r.entries {
		if c.present {
			kept = append(kept, c)
		}
	}
	clear(r.entries[len(kept):])
	r.entries = kept
}

func (c *climb) step(now time.Time, over time.Duration, target uint32) {
	c.present = true
	rise := target > c.target
	c.target = target
	switch {
	case target <= c.admitted || over <= 0:
		c.admitted, c.since = target, time.Time{}
		return
	case rise || c.since.IsZero():
		c.from, c.since = c.admitted, now
	}
	c.admitted = max(c.admitted, c.reached(now, over))
	if c.admitted == target {
		c.since = time.Time{}
	}
}

// reached is how far the climb has come: linear, from a tenth of the rise.
func (c *climb) reached(now time.Time, over time.Duration) uint32 {
	gone := min(max(now.Sub(c.since), 0), over)
	part := rampFloor + mulDiv(Unit-rampFloor, uint64(gone), uint64(over))
	return c.from + uint32(uint64(c.target-c.from)*part/Unit)
}

// next is when the climb should be looked at again.
func (c *climb) next(now time.Time, over time.Duration) time.Time {
	pause := max(over/rampSteps, rampPause)
	left := c.since.Add(over).Sub(now)
	return now.Add(max(time.Millisecond, min(pause, left)))
}

// Availability returns the healthy part of the endpoints of every locality of
// the service, in parts per million: what a [Ramp] follows. A locality that must
// not serve is at 0, and a region that is out is too, unless nothing else is
// left. Drills do not matter: their own shape is their ramp, and one that is aborted
// gives everything back at once. It depends on in.Service and in.Conditions only.
func Availability(in Input) map[catalog.Locality]uint32 {
	in.Client, in.Pin, in.Ramp = catalog.Locality{}, "", nil
	p := newPlan(in)
	p.drill = nil
	p.gather()
	p.choose()
	out := make(map[catalog.Locality]uint32, len(p.places))
	for i := range p.places {
		at := &p.places[i]
		out[at.Locality] = 0
		if !p.regions[at.region].out && at.level != dropped {
			out[at.Locality] = uint32(at.healthy * Unit / at.total)
		}
	}
	return out
}

// Ramps keeps one [Ramp] for every service. The zero value is ready; it is not
// safe for concurrent use.
type Ramps struct {
	services map[catalog.ServiceName]*Ramp
}

// Step steps the ramp of in.Service, over the time its policy says. in.Client and
// in.Ramp do not matter. The results are those of [Ramp.Step].
func (r *Ramps) Step(now time.Time, in Input) (Factors, time.Time) {
	if in.Service == nil || in.Conditions == nil {
		return nil, time.Time{}
	}
	if r.services == nil {
		r.services = make(map[catalog.ServiceName]*Ramp)
	}
	ramp := r.services[in.Service.Name]
	if ramp == nil {
		ramp = &Ramp{}
		r.services[in.Service.Name] = ramp
	}
	policy, _ := in.Conditions.Policy(in.Service.Name)
	return ramp.Step(now, RampOf(policy), Availability(in))
}

// Drop forgets a service.
func (r *Ramps) Drop(name catalog.ServiceName) { delete(r.services, name) }

// Len returns the number of services that are remembered.
func (r *Ramps) Len() int { return len(r.services) }

// RampOf returns over how long returning capacity ramps under a policy.
func RampOf(p catalog.Policy) time.Duration {
	if p.Ramp == nil {
		return DefaultRamp
	}
	return min(max(time.Duration(*p.Ramp), 0), MaxRamp)
}

// MaxRamp is the longest ramp that a policy can ask for.
const MaxRamp = 10 * time.Minute
