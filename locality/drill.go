package locality

import (
	"slices"

	"github.com/federator/federator/federation/catalog"
)

// actingDrill returns the drill that acts on a service: the first of those that
// concern it by name, whether or not it has endpoints in the scope, so that every
// replica chooses the same one whatever else it knows. Nil if there is none.
func actingDrill(drills []catalog.DrillInForce, service catalog.ServiceName) *catalog.DrillInForce {
	var first *catalog.DrillInForce
	for i := range drills {
		d := &drills[i]
		if d.Share > 0 && d.Scope.Concerns(service) && (first == nil || d.Compare(*first) < 0) {
			first = d
		}
	}
	return first
}

// inScope reports whether an endpoint of a cluster is in the scope of a drill of
// its service.
func inScope(s *catalog.Scope, b *catalog.Backend, ep *catalog.Endpoint) bool {
	return s.Region == b.Region && (s.Zone == "" || s.Zone == ep.Zone) &&
		(s.Cluster == "" || s.Cluster == b.Set.Cluster)
}

// admitDrill decides whether the drill may act, as if it took all of its scope's
// traffic: whatever its share, the answer is the same. It is set aside where it
//
//   - would leave nothing, or nothing that serves while its scope does: practice
//     is never worth an answer,
//   - would break a rule of the policy's safety, also if that is broken already,
//     unless it was forced,
//   - or concerns a region that the name asks for expressly.
func (p *plan) admitDrill() {
	p.noteOtherDrills()
	if p.drill == nil {
		return
	}
	var rest, scope census
	for i := range p.places {
		if at := &p.places[i]; p.isIn(at) {
			rest.add(p.undrilled(at))
			scope.add(at.drilled)
		}
	}
	left := rest.total > 0 && (rest.available() > 0 || scope.available() == 0 && (rest.alive() > 0 || scope.alive() == 0))
	rule := ""
	switch {
	case scope.total == 0:
		p.release()
		return
	case p.in.Pin != "":
		rule = "does not count for a name that asks for region " + p.in.Pin
	case left && !p.drill.Forced:
		rule = p.broken(p.undrilled)
	}
	if !left || rule != "" {
		p.ignored = append(p.ignored, drilled(p.drill, rule))
		p.release()
	}
}

// noteOtherDrills notes those that would touch the service, had another not the
// precedence.
func (p *plan) noteOtherDrills() {
	drills := p.in.Conditions.Drills
	if p.drill == nil || len(drills) < 2 { // none acts where drills are left out, see Availability
		return
	}
	var others []*catalog.DrillInForce
	for i := range drills {
		d := &drills[i]
		if d != p.drill && d.Share > 0 && d.Scope.Concerns(p.in.Service.Name) && p.touches(&d.Scope) {
			others = append(others, d)
		}
	}
	slices.SortFunc(others, func(a, b *catalog.DrillInForce) int { return a.Compare(*b) })
	for _, d := range others {
		p.ignored = append(p.ignored, drilled(d, "would be the second drill on the service, beside "+p.drill.ID))
	}
}

// touches reports whether an endpoint that is still in is in the scope.
func (p *plan) touches(s *catalog.Scope) bool {
	for i := range p.in.Service.Backends {
		b := &p.in.Service.Backends[i]
		if b.Set == nil || b.Region != s.Region {
			continue
		}
		for j := range b.Set.Endpoints {
			ep := &b.Set.Endpoints[j]
			if inScope(s, b, ep) && slices.ContainsFunc(p.places, func(at place) bool {
				return at.Region == b.Region && at.Zone == ep.Zone && p.isIn(&at)
			}) {
				return true
			}
		}
	}
	return false
}

// isIn reports whether a place has not been left out.
func (p *plan) isIn(at *place) bool { return !p.regions[at.region].out && at.level != dropped }

// undrilled is what remains of a place once the drill has taken all it takes.
func (p *plan) undrilled(at *place) census { return at.census.less(at.drilled) }

// release sets the drill aside.
func (p *plan) release() {
	p.drill = nil
	for i := range p.places {
		p.places[i].drilled = census{}
	}
}

// takeOut takes the scope of the drill out of the service altogether.
func (p *plan) takeOut() {
	for i := range p.places {
		at := &p.places[i]
		switch {
		case at.drilled.total == 0 || !p.isIn(at):
		case at.drilled.total == at.total:
			at.level = dropped
		default:
			at.census, at.gone = p.undrilled(at), at.drilled.total
		}
	}
	p.weigh()
	p.omitted = append(p.omitted, drilled(p.drill, ""))
}

// effect describes the drill that acts, if one does.
func (p *plan) effect() *Drill {
	if p.drill == nil {
		return nil
	}
	return &Drill{ID: p.drill.ID, Scope: p.drill.Scope, Share: min(p.drill.Share, Unit)}
}

func drilled(d *catalog.DrillInForce, rule string) Omission {
	at := catalog.Locality{Region: d.Scope.Region, Zone: d.Scope.Zone}
	return Omission{Locality: at, Cluster: d.Scope.Cluster, Cause: Drilled, Drill: d.ID, Rule: rule}
}
