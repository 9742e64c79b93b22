package locality

import (
	"time"

	"github.com/federator/federator/federation/catalog"
)

// plan is a resolution in the making.
type plan struct {
	in      Input
	client  catalog.Locality
	policy  catalog.Policy
	name    string // of the policy
	regions []region
	places  []place
	omitted []Omission
	ignored []Omission
}

// region is one region that has endpoints of the service.
type region struct {
	name           string
	total, serving uint64 // endpoints, and those not known to be dead
	out            bool   // left out of the ladder
	stale          bool
	why            Reason
	position       int // in the policy's order
	rtt            time.Duration
	rank           int // in the ladder, once ranked
	// What the policy's weights say: weighted if they name the region or one of its
	// zones; weight where they name the region itself, ownWeight then is set.
	weighted, zoned, ownWeight bool
	weight                     uint64
}

// place is one (region, zone) that has endpoints of the service.
type place struct {
	catalog.Locality
	region                           int // index into plan.regions
	level                            int // index into the priorities, -1 if left out
	total, healthy, degraded, doomed uint64
	// Sums of endpoint weights: of all, the healthy and the degraded.
	weightAll, weightHealthy, weightDegraded uint64
	factor                                   uint64 // ramp, parts per million
	weight                                   uint64 // among the places of its region
	configured                               uint64 // parts per million of the level
	shareHealthy, shareDegraded              uint64 // parts per million of all traffic
	stale                                    bool
	first, next                              int // where its endpoints go
}

func newPlan(in Input) plan {
	p := plan{in: in, client: in.Client}
	if p.in.Conditions == nil {
		p.in.Conditions = &catalog.Conditions{}
	}
	if p.in.Service == nil {
		p.in.Service = &catalog.Service{}
	}
	if p.client.Region == "" {
		p.client = catalog.Locality{Region: p.in.Conditions.Region}
	}
	if len(p.in.Conditions.Policies) > 0 {
		p.policy, p.name = p.in.Conditions.Policy(p.in.Service.Name)
	}
	return p
}

// The policy's bounds are enforced here too: it may come from a region that does
// not validate as we do, and the integers of package locality must not overflow.
func (p *plan) overprovisioning() uint64 {
	if p.policy.OverprovisioningPercent == 0 {
		return DefaultOverprovisioning
	}
	return uint64(min(max(p.policy.OverprovisioningPercent, 100), 1000))
}

func (p *plan) panicThreshold() uint64 {
	if p.policy.PanicThresholdPercent == nil {
		return DefaultPanicThreshold
	}
	return uint64(*p.policy.PanicThresholdPercent)
}

// gather counts the endpoints of every cluster per region and zone.
func (p *plan) gather() {
	n := len(p.in.Service.Backends)
	p.regions, p.places = make([]region, 0, n), make([]place, 0, 2*n)
	for i := range p.in.Service.Backends {
		b := &p.in.Service.Backends[i]
		if b.Set == nil || len(b.Set.Endpoints) == 0 {
			continue
		}
		r := p.regionIndex(b.Region)
		at := -1
		for j := range b.Set.Endpoints {
			ep := &b.Set.Endpoints[j]
			if at < 0 || p.places[at].Zone != ep.Zone {
				at = p.placeIndex(r, ep.Zone)
			}
			p.places[at].count(healthOf(b, j), weightOf(ep))
			p.places[at].stale = p.places[at].stale || b.Stale || p.regions[r].stale
		}
	}
	for i := range p.places {
		at := &p.places[i]
		p.regions[at.region].total += at.total
		p.regions[at.region].serving += at.total - at.doomed
	}
	p.weigh()
}

func (p *plan) regionIndex(name string) int {
	for i := range p.regions {
		if p.regions[i].name == name {
			return i
		}
	}
	p.regions = append(p.regions, region{name: name, stale: p.unconfirmed(name)})
	return len(p.regions) - 1
}

// unconfirmed reports whether the state of a region is only the last known one.
func (p *plan) unconfirmed(name string) bool {
	c := p.in.Conditions
	return c.Reach[name] >= catalog.ControlPlaneLost || c.Isolated && name != c.Region
}

func (p *plan) placeIndex(r int, zone string) int {
	for i := range p.places {
		if p.places[i].region == r && p.places[i].Zone == zone {
			return i
		}
	}
	loc := catalog.Locality{Region: p.regions[r].name, Zone: zone}
	p.places = append(p.places, place{Locality: loc, region: r, level: -1, factor: Unit})
	if f, ok := p.in.Ramp[loc]; ok {
		p.places[len(p.places)-1].factor = min(uint64(f), Unit)
	}
	return len(p.places) - 1
}

func (at *place) count(h catalog.Health, weight uint64) {
	at.total++
	at.weightAll += weight
	switch h {
	case catalog.Healthy:
		at.healthy++
		at.weightHealthy += weight
	case catalog.Degraded:
		at.degraded++
		at.weightDegraded += weight
	case catalog.Unhealthy, catalog.Draining:
		at.doomed++
	}
}

// healthOf returns the effective health of an endpoint.
func healthOf(b *catalog.Backend, i int) catalog.Health {
	if i < len(b.Health) {
		return b.Health[i]
	}
	return b.Set.Endpoints[i].Health
}

// weightOf returns the configured weight of an endpoint, within its bounds.
func weightOf(ep *catalog.Endpoint) uint64 { return uint64(min(max(1, ep.Weight), 65535)) }
