package catalog

import (
	"encoding/json"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"
)

func (c *Catalog) buildConditions() *Conditions {
	cond := &Conditions{
		Region:        c.region,
		Isolated:      c.reach.Isolated,
		Reach:         map[string]Reach{c.region: Reachable},
		RTT:           maps.Clone(c.reach.RTT),
		Policies:      map[string]Policy{},
		Evacuations:   map[string]Evacuation{},
		Prefixes:      map[netip.Prefix]Locality{},
		Networks:      map[string][]ClientPrefix{},
		ClusterRegion: map[string]string{},
	}
	places := map[Locality]struct{}{}
	for region, st := range c.regions {
		if c.removed(region, st) {
			continue
		}
		cond.Reach[region] = c.reach.Regions[region]
		for l := range st.places {
			places[l] = struct{}{}
		}
		for _, r := range st.facts {
			c.noteCluster(region, r, cond)
		}
	}
	cond.Reach[c.region] = Reachable
	cond.Localities = slices.SortedFunc(maps.Keys(places), Locality.Compare)
	objects := c.mergedObjects()
	for _, o := range objects {
		c.noteObject(o, cond)
	}
	c.noteClusterPolicies(objects, cond)
	c.noteDrills(objects, cond)
	return cond
}

func (c *Catalog) removed(region string, st *regionState) bool {
	auth := c.regions[c.authority]
	if auth == nil || region == c.region {
		return false
	}
	rec := auth.records[key(RecordRegion, region)]
	return rec != nil && rec.Region.Removed && st.version.Epoch <= rec.Region.Epoch
}

func (c *Catalog) noteCluster(region string, r *Record, cond *Conditions) {
	if r.Cluster == nil || !c.mayWrite(region, r.Cluster.Name) {
		return
	}
	cond.ClusterRegion[r.Cluster.Name] = region
	cond.Networks[r.Cluster.Name] = r.Cluster.Prefixes
	for _, p := range r.Cluster.Prefixes {
		at := Locality{Region: region, Zone: p.Zone}
		if other, twice := cond.Prefixes[p.Prefix]; !twice || c.nearer(at, other) {
			cond.Prefixes[p.Prefix] = at
		}
	}
}

// nearer reports whether a place counts for more than another of the same network.
func (c *Catalog) nearer(a, b Locality) bool {
	if own := a.Region == c.region; own != (b.Region == c.region) {
		return own
	}
	return a.Compare(b) < 0
}

func (c *Catalog) noteObject(o *Object, cond *Conditions) {
	if o.Deleted {
		return
	}
	switch o.Kind {
	case KindPolicy:
		var p Policy
		if json.Unmarshal(o.Spec, &p) == nil {
			cond.Policies[o.Name] = p
		}
	case KindEvacuation:
		var e Evacuation
		if json.Unmarshal(o.Spec, &e) == nil && c.evacuating(o, e) {
			cond.Evacuations[e.Region] = e
		}
	}
}

// sighting identifies one version of an object, to remember when it was learned.
type sighting struct {
	ObjectKey
	ObjectVersion
}

// evacuating reports whether the evacuation is still in force: it ends by the
// wall clock, and after its duration on this replica's own clock even if the
// clock that set it is ahead.
func (c *Catalog) evacuating(o *Object, e Evacuation) bool {
	id := sighting{o.ObjectKey, o.Version}
	first, ok := c.seen[id]
	if !ok {
		first = c.now
		c.seen[id] = first
	}
	return c.now.Before(e.Until()) && c.now.Before(first.Add(time.Duration(e.Duration)))
}

// Objects returns the winning version of every object, deleted ones included,
// ordered by key.
func (c *Catalog) Objects() []*Object {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.mergedObjects()
}

func (c *Catalog) mergedObjects() []*Object {
	best := map[ObjectKey]*Object{}
	for region, st := range c.regions {
		if c.removed(region, st) {
			continue
		}
		for _, r := range st.facts {
			if r.Object == nil {
				continue
			}
			if have := best[r.Object.ObjectKey]; have == nil || r.Object.Version.Compare(have.Version) > 0 {
				best[r.Object.ObjectKey] = r.Object
			}
		}
	}
	return slices.SortedFunc(maps.Values(best), func(a, b *Object) int {
		return strings.Compare(a.ObjectKey.String(), b.ObjectKey.String())
	})
}
