package catalog

import (
	"maps"
	"reflect"
	"slices"
	"strings"
)

// Refusal is a set that does not count, because export rules name its service
// and none of them allows its cluster.
type Refusal struct {
	Region string
	SetKey
	// Rules are the rules that name the service, in order; at least one.
	Rules []string
}

// refusals are the sets that the rules refuse, by service, and an index by
// cluster.
type refusals struct {
	byName    map[ServiceName][]Refusal // ordered by cluster
	byCluster map[string]map[ServiceName]struct{}
}

func newRefusals() refusals {
	return refusals{map[ServiceName][]Refusal{}, map[string]map[ServiceName]struct{}{}}
}

// replace puts the refusals of a service in the place of those before.
func (r *refusals) replace(name ServiceName, next []Refusal) {
	for _, old := range r.byName[name] {
		delete(r.byCluster[old.Cluster], name)
		if len(r.byCluster[old.Cluster]) == 0 {
			delete(r.byCluster, old.Cluster)
		}
	}
	delete(r.byName, name)
	if len(next) == 0 {
		return
	}
	r.byName[name] = next
	for _, one := range next {
		if r.byCluster[one.Cluster] == nil {
			r.byCluster[one.Cluster] = map[ServiceName]struct{}{}
		}
		r.byCluster[one.Cluster][name] = struct{}{}
	}
}

func isAmong(refused []Refusal, cluster string) bool {
	return slices.ContainsFunc(refused, func(r Refusal) bool { return r.Cluster == cluster })
}

// judge returns which of a service's sets the rules refuse, by cluster.
func (c *Catalog) judge(name ServiceName) []Refusal {
	naming := c.rules.naming(name)
	if len(naming) == 0 {
		return nil
	}
	var out []Refusal
	for k, region := range c.byName[name] {
		if rules := c.rules.refusing(naming, region, k.Cluster); rules != nil {
			out = append(out, Refusal{region, k, rules})
		}
	}
	slices.SortFunc(out, func(a, b Refusal) int { return strings.Compare(a.Cluster, b.Cluster) })
	return out
}

// reconsider reads the rules anew and notes the services for which they, or whose
// a cluster is, make a difference.
func (c *Catalog) reconsider(d *dirty) {
	rules := map[string]ExportRule{}
	for _, o := range c.mergedObjects() {
		if o.Kind != KindExportRule || o.Deleted {
			continue
		}
		if r, err := ReadExportRule(o); err == nil {
			rules[o.Name] = r
		}
	}
	if d.ownership || !reflect.DeepEqual(rules, c.written) {
		c.rules, c.written = NewExportRules(rules), rules
		for name := range c.byName {
			if !reflect.DeepEqual(c.judge(name), c.refusals.byName[name]) {
				d.services[name] = struct{}{}
			}
		}
	}
}

// ExportRules returns the rules that are enforced now.
func (c *Catalog) ExportRules() *ExportRules {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.rules
}

// Refusals returns the sets of all clusters that the rules refuse now, ordered by
// service and cluster.
func (c *Catalog) Refusals() []Refusal {
	c.mu.RLock()
	defer c.mu.RUnlock()
	var out []Refusal
	for _, name := range slices.SortedFunc(maps.Keys(c.refusals.byName), ServiceName.Compare) {
		out = append(out, c.refusals.byName[name]...)
	}
	return out
}

// RefusalsOf returns the sets of a service that the rules refuse now, ordered by
// cluster.
func (c *Catalog) RefusalsOf(name ServiceName) []Refusal {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return slices.Clone(c.refusals.byName[name])
}

// Refused returns the services that a cluster exports in vain now, each with the
// names of the rules that refuse it, joined by ", ". A watch names a service when
// that changes.
func (c *Catalog) Refused(cluster string) map[ServiceName]string {
	c.mu.RLock()
	defer c.mu.RUnlock()
	out := map[ServiceName]string{}
	for name := range c.refusals.byCluster[cluster] {
		for _, r := range c.refusals.byName[name] {
			if r.Cluster == cluster {
				out[name] = strings.Join(r.Rules, ", ")
			}
		}
	}
	return out
}

// Published returns one cluster's part of every service as its region published
// it, refused or not, in no order. Its owner looks after all of it.
func (c *Catalog) Published(region, cluster string) []Backend {
	c.mu.RLock()
	defer c.mu.RUnlock()
	out := c.backends(region, cluster)
	for name := range c.refusals.byCluster[cluster] {
		if k := (SetKey{cluster, name}); c.byName[name][k] == region {
			out = append(out, c.backend(region, k))
		}
	}
	return out
}

// Part is Published for one service; false if the cluster has no part of it, or is
// not the region's.
func (c *Catalog) Part(region string, k SetKey) (Backend, bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if of, ok := c.byName[k.Service][k]; !ok || of != region {
		return Backend{}, false
	}
	return c.backend(region, k), true
}

// Set returns what a cluster of a region published of a service, refused or not;
// nil if it did not, or if the cluster is not the region's.
func (c *Catalog) Set(region string, k SetKey) *EndpointSet {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if of, ok := c.byName[k.Service][k]; !ok || of != region {
		return nil
	}
	return c.regions[region].records[key(RecordSet, k.String())].Set
}

// Exports calls yield for the sets of all clusters, refused or not, in no order,
// with the region that each cluster is of, until it returns false. It must not
// call the catalog.
func (c *Catalog) Exports(yield func(region string, k SetKey) bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	for _, sets := range c.byName {
		for k, region := range sets {
			if !yield(region, k) {
				return
			}
		}
	}
}
