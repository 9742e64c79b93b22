package locality

import (
	"cmp"
	"slices"
	"strings"
)

// Levels of places that are not in the ladder.
const (
	unranked = -1
	dropped  = -2 // weighs 0, or a drill has taken it out
)

// rank makes the ladder: it gives every place a level, so that the levels have
// no gaps, orders the places by level, region rank and zone, and returns how
// many levels there are.
func (p *plan) rank() int {
	for i := range p.regions {
		p.judge(&p.regions[i])
	}
	var room [8]*region
	order := room[:0]
	for i := range p.regions {
		order = append(order, &p.regions[i])
	}
	slices.SortFunc(order, compareRegions)
	levels, shared := 0, -1
	for rank, r := range order {
		r.rank = rank
		switch {
		case r.out:
		case r.weighted && shared >= 0:
			p.enter(r, shared, shared)
		case r.weighted:
			if p.enter(r, levels, levels) {
				shared, levels = levels, levels+1
			}
		case r.why == SameRegion && p.hasZone(r):
			levels = p.enterOwn(r, levels)
		case p.enter(r, levels, levels):
			levels++
		}
	}
	slices.SortFunc(p.places, func(a, b place) int {
		return cmp.Or(cmp.Compare(a.level, b.level),
			cmp.Compare(p.regions[a.region].rank, p.regions[b.region].rank), strings.Compare(a.Zone, b.Zone))
	})
	return levels
}

// judge finds out by what a region is ranked.
func (p *plan) judge(r *region) {
	c := p.in.Conditions
	order, ok := p.policy.RegionOrderFrom[p.client.Region]
	if !ok {
		order = p.policy.RegionOrder
	}
	rtt, measured := c.RTT[r.name]
	r.position = slices.Index(order, r.name)
	switch {
	case r.name == p.client.Region:
		r.why = SameRegion
	case r.position >= 0:
		r.why = ByPolicy
	case measured || r.name == c.Region:
		r.why, r.rtt = ByMeasurement, rtt
	default:
		r.why = ByName
	}
}

func compareRegions(a, b *region) int {
	if c := cmp.Compare(a.why, b.why); c != 0 {
		return c
	}
	switch a.why {
	case ByPolicy:
		return cmp.Compare(a.position, b.position)
	case ByMeasurement:
		return cmp.Or(cmp.Compare(a.rtt, b.rtt), strings.Compare(a.name, b.name))
	}
	return strings.Compare(a.name, b.name)
}

// hasZone reports whether the client's own zone has endpoints in r.
func (p *plan) hasZone(r *region) bool {
	if p.client.Zone == "" {
		return false
	}
	for i := range p.places {
		at := &p.places[i]
		if &p.regions[at.region] == r && at.level != dropped && at.Zone == p.client.Zone {
			return true
		}
	}
	return false
}

// enterOwn enters the client's region as two levels, its zone and the rest, and
// returns the next free level.
func (p *plan) enterOwn(r *region, level int) int {
	p.enter(r, level, level+1)
	for i := range p.places {
		if p.places[i].level == level+1 {
			return level + 2
		}
	}
	return level + 1
}

// enter gives the places of r their level: own for the client's zone, rest for
// the others. It reports whether there was any place to enter.
func (p *plan) enter(r *region, own, rest int) bool {
	any := false
	for i := range p.places {
		at := &p.places[i]
		if &p.regions[at.region] != r || at.level == dropped {
			continue
		}
		any = true
		at.level = rest
		if at.Zone == p.client.Zone && r.name == p.client.Region {
			at.level = own
		}
	}
	return any
}
