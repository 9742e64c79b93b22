package drill

import (
	"slices"
	"time"

	"github.com/federator/federator/federation/catalog"
)

// World is everything that a drill is judged by.
type World struct {
	// Services is everything that is exported, ordered by name.
	Services []*catalog.Service
	// Conditions are those of now; what the judged drill itself does is left out.
	Conditions *catalog.Conditions
	// Gates by name, and the drills that are known, ended ones included.
	Gates  map[string]catalog.Gate
	Drills []catalog.DrillView
	Now    time.Time
}

// without returns the conditions as if the drill did not act.
func (w *World) without(id string) *catalog.Conditions {
	if !slices.ContainsFunc(w.Conditions.Drills, func(d catalog.DrillInForce) bool { return d.ID == id }) {
		return w.Conditions
	}
	c := *w.Conditions
	c.Drills = slices.DeleteFunc(slices.Clone(c.Drills), func(d catalog.DrillInForce) bool { return d.ID == id })
	return &c
}

// during returns the conditions while the drill holds its scope away in full.
func (w *World) during(d catalog.Drill, forced bool) *catalog.Conditions {
	c := *w.without(d.ID)
	begun := d.Begun
	if begun.IsZero() {
		begun = w.Now
	}
	c.Drills = append(slices.Clone(c.Drills), catalog.DrillInForce{
		ID: d.ID, Scope: d.Scope, Share: 1_000_000, Begun: begun, Forced: forced,
	})
	slices.SortFunc(c.Drills, catalog.DrillInForce.Compare)
	return &c
}

// rivals returns the other drills that are not over and overlap with the drill.
func (w *World) rivals(d catalog.Drill) []catalog.DrillView {
	var out []catalog.DrillView
	for _, o := range w.Drills {
		over := o.State == catalog.DrillEnded || o.End != nil || o.Phase == catalog.PhaseOver
		if o.ID != d.ID && !over && o.Scope.Overlaps(d.Scope) {
			out = append(out, o)
		}
	}
	return out
}

// GivingWay returns the drills that a drill of an operator ends: those of users of
// Kubernetes namespaces, who practise with one service each and must not keep
// operators from practising with all. For any other drill there are none.
func (w *World) GivingWay(d catalog.Drill) []catalog.DrillView {
	if d.Schedule != "" || d.ByUser() {
		return nil
	}
	return slices.DeleteFunc(w.rivals(d), func(o catalog.DrillView) bool { return !o.ByUser() })
}

// holds reports whether an endpoint is in the scope.
func holds(s catalog.Scope, region, cluster, zone string) bool {
	return region == s.Region && (s.Zone == "" || zone == s.Zone) && (s.Cluster == "" || cluster == s.Cluster)
}

// touched reports whether a drill of the scope takes anything away from a service.
func touched(s catalog.Scope, service *catalog.Service) bool {
	if !s.Concerns(service.Name) {
		return false
	}
	for i := range service.Backends {
		b := &service.Backends[i]
		if b.Set == nil || b.Region != s.Region || s.Cluster != "" && b.Set.Cluster != s.Cluster {
			continue
		}
		for j := range b.Set.Endpoints {
			if holds(s, b.Region, b.Set.Cluster, b.Set.Endpoints[j].Zone) {
				return true
			}
		}
	}
	return false
}

// healthOf is the effective health of an endpoint.
func healthOf(b *catalog.Backend, i int) catalog.Health {
	if i < len(b.Health) {
		return b.Health[i]
	}
	return b.Set.Endpoints[i].Health
}
