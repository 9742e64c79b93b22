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
	drill   *catalog.DrillInForce // that acts on the service, nil if none does
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
	region      int    // index into plan.regions
	level       int    // index into the priorities, below 0 if left out
	census             // of all its endpoints that count
	drilled     census // of those that the drill takes traffic from
	gone        uint64 // endpoints that the drill has taken out: they no longer count
	factor      uint64 // ramp, parts per million
	weight      uint64 // among the places of its region
	configured  uint64 // parts per million of the level
	share       shares
	kept        shares // the part of share that is left to the drilled endpoints
	panic       bool
	stale       bool
	first, next int // where its endpoints go
}

// census counts endpoints, and sums their weights: of all, the healthy and the
// degraded ones.
type census struct {
	total, healthy, degraded, doomed         uint64
	weightAll, weightHealthy, weightDegraded uint64
}

// shares are parts per million of all traffic. In panic, healthy is that of all
// endpoints.
type shares struct{ healthy, degraded uint64 }

func (s shares) sum() uint64 { return s.healthy + s.degraded }

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
	p.drill = actingDrill(p.in.Conditions.Drills, p.in.Service.Name)
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
			if p.drill != nil && inScope(&p.drill.Scope, b, ep) {
				p.places[at].drilled.count(healthOf(b, j), weightOf(ep))
			}
			p.places[at].stale = p.places[at].stale || b.Stale || p.regions[r].stale
		}
	}
	for i := range p.places {
		at := &p.places[i]
		p.regions[at.region].total += at.total
		p.regions[at.region].serving += at.alive()
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

func (t *census) count(h catalog.Health, weight uint64) {
	t.total++
	t.weightAll += weight
	switch h {
	case catalog.Healthy:
		t.healthy++
		t.weightHealthy += weight
	case catalog.Degraded:
		t.degraded++
		t.weightDegraded += weight
	case catalog.Unhealthy, catalog.Draining:
		t.doomed++
	}
}

func (t *census) add(o census) {
	t.total += o.total
	t.healthy += o.healthy
	t.degraded += o.degraded
	t.doomed += o.doomed
	t.weightAll += o.weightAll
	t.weightHealthy += o.weightHealthy
	t.weightDegraded += o.weightDegraded
}

// less returns the census without those of o, which are among them.
func (t census) less(o census) census {
	return census{
		t.total - o.total, t.healthy - o.healthy, t.degraded - o.degraded, t.doomed - o.doomed,
		t.weightAll - o.weightAll, t.weightHealthy - o.weightHealthy, t.weightDegraded - o.weightDegraded,
	}
}

// available counts the endpoints that can take traffic outside panic.
func (t census) available() uint64 { return t.healthy + t.degraded }

// alive counts the endpoints that are not known to be dead.
func (t census) alive() uint64 { return t.total - t.doomed }

// healthOf returns the effective health of an endpoint.
func healthOf(b *catalog.Backend, i int) catalog.Health {
	if i < len(b.Health) {
		return b.Health[i]
	}
	return b.Set.Endpoints[i].Health
}

// weightOf returns the configured weight of an endpoint, within its bounds.
func weightOf(ep *catalog.Endpoint) uint64 { return uint64(min(max(1, ep.Weight), 65535)) }
