package locality

import "github.com/federator/federator/federation/catalog"

// Resolve says where the clients of a service at one place are sent; see the
// package comment for the rules. It changes nothing and can run concurrently.
// The result points into in.Service and keeps in for [Explain].
func Resolve(in Input) Resolution {
	p := newPlan(in)
	p.gather()
	p.choose()
	var rest *plan
	switch {
	case p.drill == nil:
	case p.drill.Share >= Unit:
		p.takeOut()
	default:
		rest = p.without()
	}
	levels := p.levels(p.rank())
	spread(levels, p.overprovisioning(), p.panicThreshold())
	p.load(levels)
	if rest != nil {
		p.blend(rest, levels)
	}
	res := Resolution{
		Service: p.in.Service.Name, Client: p.client, Policy: p.name, Drill: p.effect(),
		Omitted: p.omitted, Ignored: p.ignored, in: p.in,
	}
	p.describeLevels(&res, levels)
	p.fill(&res)
	return res
}

// levels sums up the places of each of the n levels that rank made.
func (p *plan) levels(n int) []level {
	levels := make([]level, n)
	places := p.places[p.ranked():]
	for i := range places {
		at := &places[i]
		l := &levels[at.level]
		l.total += at.total
		l.healthy += at.healthy
		l.degraded += at.degraded
		l.admitted += at.healthy * at.factor
	}
	return levels
}

// load divides the loads of the levels among their places.
func (p *plan) load(levels []level) {
	places := p.places[p.ranked():]
	for i := range levels {
		end := 0
		for end < len(places) && places[end].level == i {
			end++
		}
		p.share(&levels[i], places[:end])
		places = places[end:]
	}
}

// describeLevels makes the priorities, without their localities.
func (p *plan) describeLevels(res *Resolution, levels []level) {
	if len(levels) == 0 {
		return
	}
	res.Priorities = make([]Priority, len(levels))
	places := p.places[p.ranked():]
	for i := range places {
		at, l := &places[i], &levels[places[i].level]
		res.Priorities[at.level] = Priority{
			Load: uint32(l.load), DegradedLoad: uint32(l.sickLoad), Health: uint32(l.health),
			Panic: l.panic, Weighted: p.regions[at.region].weighted,
		}
		res.Panic = res.Panic || at.panic && at.share.sum() > 0
		res.Degraded = res.Degraded || at.share.degraded > 0
	}
}

// ranked returns the index of the first place that is in the ladder.
func (p *plan) ranked() int {
	i := 0
	for i < len(p.places) && p.places[i].level < 0 {
		i++
	}
	return i
}

// share divides the load of one level among its places: by configured weight
// times min(1, overprovisioning * available), or in panic by what there is.
func (p *plan) share(l *level, places []place) {
	const percent = Unit / 100
	p.configure(places)
	if l.panic {
		for i := range places {
			places[i].panic = true
		}
		split(l.load*percent, len(places), func(i int) uint64 { return places[i].weightAll },
			func(i int, part uint64) { places[i].share.healthy = part })
		return
	}
	effective := func(at *place, part, unit uint64) uint64 {
		if part == 0 {
			return 0
		}
		return at.configured * max(1, min(Unit, mulDiv(p.overprovisioning()*Unit/100, part, at.total*unit)))
	}
	split(l.healthyLoad*percent, len(places),
		func(i int) uint64 { return effective(&places[i], places[i].healthy*places[i].factor, Unit) },
		func(i int, part uint64) { places[i].share.healthy = part })
	split(l.sickLoad*percent, len(places),
		func(i int) uint64 { return effective(&places[i], places[i].degraded, 1) },
		func(i int, part uint64) { places[i].share.degraded = part })
}

// fill makes the localities and puts the endpoints into them.
func (p *plan) fill(res *Resolution) {
	places := p.places[p.ranked():]
	total := 0
	for i := range places {
		places[i].first, places[i].next = total, total
		total += int(places[i].total + places[i].gone)
	}
	endpoints := make([]Endpoint, total)
	localities := make([]Locality, len(places))
	for i := range places {
		at := &places[i]
		p.describe(&localities[i], at)
		res.Stale = res.Stale || at.stale && localities[i].Weight > 0
	}
	p.deal(places, localities, endpoints)
	first := 0
	for i := range places {
		localities[i].Endpoints = endpoints[places[i].first:places[i].next:places[i].next]
		if i+1 == len(places) || places[i+1].level != places[i].level {
			res.Priorities[places[i].level].Localities = localities[first : i+1 : i+1]
			first = i + 1
		}
	}
}

// describe sets everything of a locality but its endpoints.
func (p *plan) describe(to *Locality, at *place) {
	r := &p.regions[at.region]
	*to = Locality{
		Locality: at.Locality, Why: r.why, RTT: r.rtt,
		Configured: uint32(at.configured), Weight: uint32(at.share.sum()), Drilled: int(at.drilled.total),
		Total: int(at.total), Healthy: int(at.healthy), Degraded: int(at.degraded),
		Admitted: uint32(at.factor), Stale: at.stale,
	}
	if r.why == SameRegion && at.Zone != "" && at.Zone == p.client.Zone {
		to.Why = SameZone
	}
	switch {
	case at.panic:
		to.Serving = ServeAll
	case at.share.healthy > 0 || at.share.degraded == 0 && at.healthy > 0:
		to.Serving = ServeHealthy
	}
	if at.share.degraded > 0 {
		to.Serving |= ServeDegraded
	}
	if at.gone > 0 {
		to.Serving |= ServeUndrilled
	}
}

// deal puts every endpoint into its place.
func (p *plan) deal(places []place, localities []Locality, endpoints []Endpoint) {
	for i := range p.in.Service.Backends {
		b := &p.in.Service.Backends[i]
		if b.Set == nil {
			continue
		}
		at := -1
		for j := range b.Set.Endpoints {
			ep := &b.Set.Endpoints[j]
			if at < 0 || places[at].Zone != ep.Zone || places[at].Region != b.Region {
				if at = find(places, b.Region, ep.Zone); at < 0 {
					continue
				}
			}
			h, drilled := healthOf(b, j), p.drill != nil && inScope(&p.drill.Scope, b, ep)
			endpoints[places[at].next] = Endpoint{
				Endpoint: ep, Cluster: b.Set.Cluster, Health: h, Drilled: drilled,
				Weight: places[at].endpointWeight(ep, h, localities[at].Serving, drilled),
			}
			places[at].next++
		}
	}
}

func find(places []place, region, zone string) int {
	for i := range places {
		if places[i].Zone == zone && places[i].Region == region {
			return i
		}
	}
	return -1
}

// endpointWeight is the configured weight of an endpoint that serves, else 0.
// Where endpoints of several kinds share a locality (healthy and degraded,
// drilled and not), the weights are scaled so that each kind gets its share of
// the locality's traffic.
func (at *place) endpointWeight(ep *catalog.Endpoint, h catalog.Health, s Serving, drilled bool) uint32 {
	const scale = 1 << 10 // Unit * scale fits 32 bits
	mixed := at.gone == 0 && at.drilled.total > 0 && at.drilled.total < at.total && at.share.sum() > 0
	switch {
	case !s.includes(h) || drilled && at.gone > 0:
		return 0
	case s&(ServeHealthy|ServeDegraded) != ServeHealthy|ServeDegraded && !mixed:
		return uint32(weightOf(ep))
	}
	part, sum := at.share.of(h, s), at.census.weightOf(h, s)
	if mixed {
		part, sum = at.kept.of(h, s), at.drilled.weightOf(h, s)
		if !drilled {
			part, sum = at.share.of(h, s)-part, at.census.weightOf(h, s)-sum
		}
	}
	return uint32(max(1, mulDiv(weightOf(ep), part*scale, sum)))
}

// of returns the share of the endpoints that an endpoint of the given health is
// one of.
func (s shares) of(h catalog.Health, serving Serving) uint64 {
	if h == catalog.Degraded && serving&ServeAll == 0 {
		return s.degraded
	}
	return s.healthy
}

// weightOf returns the sum of their weights.
func (t *census) weightOf(h catalog.Health, serving Serving) uint64 {
	switch {
	case serving&ServeAll != 0:
		return t.weightAll
	case h == catalog.Degraded:
		return t.weightDegraded
	}
	return t.weightHealthy
}
