package catalog

import (
	"cmp"
	"slices"
	"strings"
)

// dirty collects what a write touched, so that each is rebuilt once.
type dirty struct {
	services   map[ServiceName]struct{}
	conditions bool
	// ownership is set when the registry may give clusters to other regions.
	ownership bool
	// rules is set when the export rules may be others.
	rules bool
}

func newDirty() *dirty { return &dirty{services: map[ServiceName]struct{}{}} }

// replace puts a record of a region in the place of its old value and notes what
// that touches; a nil old is an addition, a nil next a removal.
func (c *Catalog) replace(region string, k RecordKey, old, next *Record, d *dirty) {
	st := c.regions[region]
	st.put(k, next)
	switch k.Kind() {
	case RecordSet:
		c.replaceSet(region, st, old, next, d)
	case RecordHealth:
		d.services[cmp.Or(next, old).Health.Service] = struct{}{}
	case RecordCluster:
		c.replaceCluster(region, old, next, d)
	case RecordReplica:
		if old != nil {
			st.unplace(Locality{Region: region, Zone: old.Replica.Zone}, d)
		}
		if next != nil {
			st.place(Locality{Region: region, Zone: next.Replica.Zone}, d)
		}
		d.conditions = true
	case RecordRegion:
		d.ownership = d.ownership || region == c.authority && !sameOwnership(old, next)
		d.conditions = true
	case RecordObject:
		d.rules = d.rules || cmp.Or(next, old).Object.Kind == KindExportRule
		d.conditions = true
	default:
		d.conditions = true
	}
}

func (st *regionState) put(k RecordKey, r *Record) {
	if r == nil {
		delete(st.records, k)
		delete(st.facts, k)
		return
	}
	st.records[k] = r
	if kind := k.Kind(); kind != RecordSet && kind != RecordHealth {
		st.facts[k] = r
	}
}

func (st *regionState) place(l Locality, d *dirty) {
	st.places[l]++
	d.conditions = d.conditions || st.places[l] == 1
}

func (st *regionState) unplace(l Locality, d *dirty) {
	if st.places[l]--; st.places[l] <= 0 {
		delete(st.places, l)
		d.conditions = true
	}
}

func (c *Catalog) replaceSet(region string, st *regionState, old, next *Record, d *dirty) {
	if next != nil {
		for i := range next.Set.Endpoints {
			st.place(Locality{Region: region, Zone: next.Set.Endpoints[i].Zone}, d)
		}
		c.indexSet(region, next.Set)
		d.services[next.Set.Service] = struct{}{}
	}
	if old != nil {
		for i := range old.Set.Endpoints {
			st.unplace(Locality{Region: region, Zone: old.Set.Endpoints[i].Zone}, d)
		}
		if sets := c.byName[old.Set.Service]; next == nil && sets[old.Set.SetKey] == region {
			delete(sets, old.Set.SetKey)
		}
		d.services[old.Set.Service] = struct{}{}
	}
}

func (c *Catalog) indexSet(region string, set *EndpointSet) {
	if !c.mayWrite(region, set.Cluster) {
		return
	}
	if c.byName[set.Service] == nil {
		c.byName[set.Service] = map[SetKey]string{}
	}
	c.byName[set.Service][set.SetKey] = region
}

func (c *Catalog) replaceCluster(region string, old, next *Record, d *dirty) {
	if next == nil {
		delete(c.overlays, old.Cluster.Name)
		c.touchCluster(region, old.Cluster.Name, d)
		d.conditions = true
		return
	}
	c.confirm(region, next.Cluster, d)
	if old == nil || old.Cluster.SourceError != next.Cluster.SourceError {
		c.touchCluster(region, next.Cluster.Name, d)
	}
	if old == nil || !slices.Equal(old.Cluster.Prefixes, next.Cluster.Prefixes) {
		d.conditions = true
	}
}

// settle rebuilds what is dirty and tells the watchers.
func (c *Catalog) settle(d *dirty) {
	if d.ownership {
		c.reindex(d)
	}
	if d.ownership || d.rules {
		c.reconsider(d)
	}
	for name := range d.services {
		s, refused := c.buildService(name)
		c.refusals.replace(name, refused)
		c.places.move(c.services[name], s)
		if s != nil {
			c.services[name] = s
		} else {
			delete(c.services, name)
			if len(c.byName[name]) == 0 {
				delete(c.byName, name)
			}
		}
	}
	if d.conditions {
		c.cond = c.buildConditions()
	}
	if d.conditions || len(d.services) > 0 {
		for w := range c.watches {
			w.note(d)
		}
	}
}

// buildService merges the sets of one service over all clusters that may export
// it, nil if there are none, and returns those that may not.
func (c *Catalog) buildService(name ServiceName) (*Service, []Refusal) {
	refused := c.judge(name)
	s := &Service{Name: name}
	for k, region := range c.byName[name] {
		if !isAmong(refused, k.Cluster) {
			s.Backends = append(s.Backends, c.backend(region, k))
		}
	}
	if len(s.Backends) == 0 {
		return nil, refused
	}
	slices.SortFunc(s.Backends, func(a, b Backend) int {
		if n := strings.Compare(a.Region, b.Region); n != 0 {
			return n
		}
		return strings.Compare(a.Set.Cluster, b.Set.Cluster)
	})
	mergeProperties(s)
	return s, refused
}

// backend is one cluster's part of a service.
func (c *Catalog) backend(region string, k SetKey) Backend {
	set := c.regions[region].records[key(RecordSet, k.String())].Set
	return Backend{Region: region, Set: set, Health: c.effectiveHealth(region, set), Stale: c.isStale(region, k.Cluster)}
}

// effectiveHealth lays the folded health, then newer gossip, then own probes
// over what the source says. A source's word that an endpoint drains stands
// against every probe: those of the owner, which a set with a check has, and the
// own ones. Where there is no check, whatever is laid over is the source's word,
// too, and newer.
func (c *Catalog) effectiveHealth(region string, set *EndpointSet) []Health {
	var table map[string]Health
	if r := c.regions[region].records[key(RecordHealth, set.SetKey.String())]; r != nil {
		table = r.Health.Health
	}
	over := c.overlays[set.Cluster]
	probed := c.probed[set.SetKey]
	out := make([]Health, len(set.Endpoints))
	for i := range set.Endpoints {
		e := &set.Endpoints[i]
		h := e.Health
		if h == Draining && set.Check != nil {
			out[i] = h
			continue
		}
		if v, ok := table[e.ID]; ok {
			h = v
		}
		if v, ok := over.lookup(set.Service, e.ID); ok {
			h = v
		}
		if v, ok := probed[e.ID]; ok && h != Draining {
			h = v
		}
		out[i] = h
	}
	return out
}

func (c *Catalog) isStale(region, cluster string) bool {
	if region != c.region && (c.reach.Isolated || c.reach.Regions[region] == ControlPlaneLost || c.reach.Regions[region] == Out) {
		return true
	}
	rec := c.regions[region].records[key(RecordCluster, cluster)]
	return rec != nil && rec.Cluster.SourceError != ""
}
