package locality

import "strings"

// MaxWeight is the largest weight that a policy can give a locality.
const MaxWeight = 1_000_000

// weigh notes what the policy's weights say of each region and place.
func (p *plan) weigh() {
	for i := range p.regions {
		r := &p.regions[i]
		w, ok := p.policy.Weights[r.name]
		r.weight, r.ownWeight = uint64(min(w, MaxWeight)), ok
		r.zoned = p.namesZoneOf(r.name)
		r.weighted = r.ownWeight || r.zoned
	}
	for i := range p.places {
		p.places[i].weight = p.zoneWeight(&p.places[i])
	}
}

// namesZoneOf reports whether the policy's weights name a zone of the region.
func (p *plan) namesZoneOf(name string) bool {
	for key := range p.policy.Weights {
		if region, _, zone := strings.Cut(key, "/"); zone && region == name {
			return true
		}
	}
	return false
}

// zoneWeight is the weight of a place among the places of its region: what the
// policy says of the zone; 1 where it speaks of other zones of the region only;
// else the sum of the endpoints' weights, so that all of them count alike.
func (p *plan) zoneWeight(at *place) uint64 {
	r := &p.regions[at.region]
	switch {
	case r.ownWeight && r.weight == 0:
		return 0
	case !r.zoned:
		return at.weightAll
	}
	if w, ok := p.policy.Weights[at.String()]; ok && at.Zone != "" {
		return uint64(min(w, MaxWeight))
	}
	return 1
}

// configure sets the configured weight of the places of one level, in parts per
// million of the level. A weight of a region is divided among its zones; without
// one, the weights of the zones stand for themselves.
func (p *plan) configure(level []place) {
	raw := func(i int) uint64 {
		at := &level[i]
		r := &p.regions[at.region]
		if !r.ownWeight {
			return at.weight * Unit
		}
		var sum uint64
		for j := range level {
			if level[j].region == at.region {
				sum += level[j].weight
			}
		}
		return mulDiv(r.weight*Unit, at.weight, sum)
	}
	split(Unit, len(level), raw, func(i int, part uint64) { level[i].configured = max(1, part) })
}
