package locality

import "slices"

// This file lets a drill take a part of its scope's traffic.
//
// Taking a part of the capacity away would not do: at the default overprovisioning
// of 140 % a fully healthy zone keeps all of its traffic until 29 % of its capacity
// is gone. So the service is resolved twice, as if there were no drill and as if
// the drill had taken all, and the shares of the two are blended. With s for the
// drill's share, 0 to 1, an endpoint whose share is a without the drill and b once
// it has taken all gets
//
//	(1-s) * a + s * b        and, as b is 0 there, in the scope (1-s) * a
//
// so the scope keeps exactly (1-s) of what it would have, however healthy it is
// (rounded down to a millionth), and what it loses goes where all of it will go in
// the end. Ladder, health and configured weights are those without the drill.
//
// Panic is decided on what is really there. The endpoints of the scope still are,
// so the second resolution panics only if the first does somewhere, or if nothing
// or next to nothing is available outside the scope.

// without returns the plan as it is once the drill has taken all of its scope.
func (p *plan) without() *plan {
	rest := *p
	rest.places, rest.regions = slices.Clone(p.places), slices.Clone(p.regions)
	rest.omitted, rest.ignored = nil, nil
	rest.takeOut()
	return &rest
}

// blend replaces the shares of p, which are those without the drill, by the blend
// with those of rest.
func (p *plan) blend(rest *plan, levels []level) {
	after := rest.levels(rest.rank())
	spread(after, p.overprovisioning(), p.thresholdAfter(levels, after))
	rest.load(after)
	places, others := p.places[p.ranked():], rest.places[rest.ranked():]
	share := min(uint64(p.drill.Share), Unit)
	var whole, kept uint64
	// What is not the scope's, by place and kind, in millionths of millionths.
	parts := make([]uint64, 2*len(places))
	for i := range places {
		at := &places[i]
		whole += at.share.sum()
		mine, then := at.drilledShare(), shares{}
		if j := find(others, at.Region, at.Zone); j >= 0 {
			then = others[j].share
			at.panic = at.panic || others[j].panic && then.sum() > 0
		}
		if at.panic { // then every endpoint serves
			at.share, mine, then = at.share.asOne(), mine.asOne(), then.asOne()
		}
		parts[2*i] = (at.share.healthy-mine.healthy)*(Unit-share) + then.healthy*share
		parts[2*i+1] = (at.share.degraded-mine.degraded)*(Unit-share) + then.degraded*share
		at.kept = shares{mine.healthy * (Unit - share) / Unit, mine.degraded * (Unit - share) / Unit}
		at.share = at.kept
		kept += at.kept.sum()
	}
	split(whole-kept, len(parts), func(i int) uint64 { return parts[i] }, func(i int, part uint64) {
		if at := &places[i/2]; i%2 == 0 {
			at.share.healthy += part
		} else {
			at.share.degraded += part
		}
	})
	reload(levels, places)
}

// thresholdAfter is the panic threshold for the levels without the scope.
func (p *plan) thresholdAfter(before, after []level) uint64 {
	available := uint64(0)
	for i := range after {
		available += availability(p.overprovisioning(), after[i].healthy+after[i].degraded, after[i].total, 1)
	}
	if available == 0 || slices.ContainsFunc(before, func(l level) bool { return l.panic }) {
		return p.panicThreshold()
	}
	return 0
}

// asOne is the share of all endpoints, whatever their health.
func (s shares) asOne() shares { return shares{healthy: s.sum()} }

// drilledShare is the part of the place's share that its drilled endpoints have by
// their weights.
func (at *place) drilledShare() shares {
	part := func(whole, weight, all uint64) uint64 {
		if weight == 0 {
			return 0
		}
		return mulDiv(whole, weight, all)
	}
	if at.panic {
		return shares{healthy: part(at.share.healthy, at.drilled.weightAll, at.weightAll)}
	}
	return shares{
		part(at.share.healthy, at.drilled.weightHealthy, at.weightHealthy),
		part(at.share.degraded, at.drilled.weightDegraded, at.weightDegraded),
	}
}

// reload sets the loads of the levels from the shares of their places, in percent.
func reload(levels []level, places []place) {
	sums := make([]shares, len(levels))
	for i := range places {
		at := &places[i]
		sums[at.level].healthy += at.share.healthy
		sums[at.level].degraded += at.share.degraded
		levels[at.level].panic = levels[at.level].panic || at.panic && at.share.sum() > 0
	}
	split(100, len(levels), func(i int) uint64 { return sums[i].sum() }, func(i int, load uint64) {
		l := &levels[i]
		l.load, l.sickLoad = load, 0
		if all := sums[i].sum(); all > 0 {
			l.sickLoad = (load*sums[i].degraded + all/2) / all
		}
		l.healthyLoad = load - l.sickLoad
	})
}
