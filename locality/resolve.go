package locality

import "github.com/federator/federator/federation/catalog"

// Resolve says where the clients of a service at one place are sent; see the
// package comment for the rules. It changes nothing and can run concurrently.
// The result points into in.Service and keeps in for [Explain].
func Resolve(in Input) Resolution {
	p := newPlan(in)
	p.gather()
	p.choose()
	levels := p.rank()
	res := Resolution{
		Service: p.in.Service.Name, Client: p.client, Policy: p.name,
		Omitted: p.omitted, Ignored: p.ignored, in: p.in,
	}
	p.load(&res, levels)
	p.fill(&res)
	return res
}

// load makes the priorities and sets their loads and those of their places.
func (p *plan) load(res *Resolution, n int) {
	if n == 0 {
		return
	}
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
	spread(levels, p.overprovisioning(), p.panicThreshold())
	res.Priorities = make([]Priority, n)
	for i := range levels {
		l := &levels[i]
		end := 0
		for end < len(places) && places[end].level == i {
			end++
		}
		p.share(l, places[:end])
		res.Priorities[i] = Priority{
			Load: uint32(l.load), DegradedLoad: uint32(l.sickLoad), Health: uint32(l.health),
			Panic: l.panic, Weighted: p.regions[places[0].region].weighted,
		}
		res.Panic = res.Panic || l.panic && l.load > 0
		res.Degraded = res.Degraded || !l.panic && l.sickLoad > 0
		places = places[end:]
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
		split(l.load*percent, len(places), func(i int) uint64 { return places[i].weightAll },
			func(i int, part uint64) { places[i].shareHealthy = part })
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
		func(i int, part uint64) { places[i].shareHealthy = part })
	split(l.sickLoad*percent, len(places),
		func(i int) uint64 { return effective(&places[i], places[i].degraded, 1) },
		func(i int, part uint64) { places[i].shareDegraded = part })
}

// fill makes the localities and puts the endpoints into them.
func (p *plan) fill(res *Resolution) {
	places := p.places[p.ranked():]
	total := 0
	for i := range places {
		places[i].first, places[i].next = total, total
		total += int(places[i].total)
	}
	endpoints := make([]Endpoint, total)
	localities := make([]Locality, len(places))
	for i := range places {
		at := &places[i]
		p.describe(&localities[i], at, res.Priorities[at.level].Panic)
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
func (p *plan) describe(to *Locality, at *place, panicking bool) {
	r := &p.regions[at.region]
	*to = Locality{
		Locality: at.Locality, Why: r.why, RTT: r.rtt,
		Configured: uint32(at.configured), Weight: uint32(at.shareHealthy + at.shareDegraded),
		Total: int(at.total), Healthy: int(at.healthy), Degraded: int(at.degraded),
		Admitted: uint32(at.factor), Stale: at.stale,
	}
	if r.why == SameRegion && at.Zone != "" && at.Zone == p.client.Zone {
		to.Why = SameZone
	}
	switch {
	case panicking:
		to.Serving = ServeAll
	case at.shareHealthy > 0 || at.shareDegraded == 0 && at.healthy > 0:
		to.Serving = ServeHealthy
	}
	if at.shareDegraded > 0 {
		to.Serving |= ServeDegraded
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
			h := healthOf(b, j)
			endpoints[places[at].next] = Endpoint{
				Endpoint: ep, Cluster: b.Set.Cluster, Health: h,
				Weight: places[at].endpointWeight(ep, h, localities[at].Serving),
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
// Where healthy and degraded endpoints share a locality, the weights are scaled
// so that each kind gets its share of the locality's traffic.
func (at *place) endpointWeight(ep *catalog.Endpoint, h catalog.Health, s Serving) uint32 {
	const scale = 1 << 10 // Unit * scale fits 32 bits
	switch {
	case !s.includes(h):
		return 0
	case s != ServeHealthy|ServeDegraded:
		return uint32(weightOf(ep))
	case h == catalog.Healthy:
		return uint32(max(1, mulDiv(weightOf(ep), at.shareHealthy*scale, at.weightHealthy)))
	}
	return uint32(max(1, mulDiv(weightOf(ep), at.shareDegraded*scale, at.weightDegraded)))
}
