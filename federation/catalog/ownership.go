package catalog

import (
	"maps"
	"slices"
)

// mayWrite reports whether the registry lets the region write the cluster's
// sets. Before the registry is known every region may.
func (c *Catalog) mayWrite(region, cluster string) bool {
	auth := c.regions[c.authority]
	if auth == nil {
		return true
	}
	rec := auth.records[key(RecordRegion, region)]
	if rec == nil {
		return region == c.region || region == c.authority
	}
	st := c.regions[region]
	if rec.Region.Removed && st != nil && st.version.Epoch <= rec.Region.Epoch && region != c.region {
		return false
	}
	return slices.Contains(rec.Region.Clusters, cluster)
}

// sameOwnership reports whether two values of a registry record give a region the
// same rights.
func sameOwnership(a, b *Record) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.Region.Removed == b.Region.Removed && (!a.Region.Removed || a.Region.Epoch == b.Region.Epoch) &&
		slices.Equal(a.Region.Clusters, b.Region.Clusters)
}

// reindex decides anew whose sets count, after the registry changed.
func (c *Catalog) reindex(d *dirty) {
	before := c.byName
	c.byName = make(map[ServiceName]map[SetKey]string, len(before))
	for region, st := range c.regions {
		for _, r := range st.records {
			if r.Set != nil {
				c.indexSet(region, r.Set)
			}
		}
	}
	for name, sets := range c.byName {
		if !maps.Equal(sets, before[name]) {
			d.services[name] = struct{}{}
		}
	}
	for name := range before {
		if c.byName[name] == nil {
			d.services[name] = struct{}{}
		}
	}
}
