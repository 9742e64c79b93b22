package catalog

import "slices"

// places lists the merged services that each cluster of each region has a part
// in, so that one cluster's are found without a walk over all.
type places map[string]map[string]map[ServiceName]struct{}

// move notes that a service has changed from old to next; nil is none.
func (p places) move(old, next *Service) {
	if old != nil && next != nil && slices.EqualFunc(old.Backends, next.Backends, samePlace) {
		return
	}
	if old != nil {
		for _, b := range old.Backends {
			p.remove(b.Region, b.Set.Cluster, old.Name)
		}
	}
	if next != nil {
		for _, b := range next.Backends {
			p.add(b.Region, b.Set.Cluster, next.Name)
		}
	}
}

func samePlace(a, b Backend) bool { return a.Region == b.Region && a.Set.Cluster == b.Set.Cluster }

func (p places) add(region, cluster string, name ServiceName) {
	if p[region] == nil {
		p[region] = map[string]map[ServiceName]struct{}{}
	}
	if p[region][cluster] == nil {
		p[region][cluster] = map[ServiceName]struct{}{}
	}
	p[region][cluster][name] = struct{}{}
}

func (p places) remove(region, cluster string, name ServiceName) {
	delete(p[region][cluster], name)
	if len(p[region][cluster]) == 0 {
		delete(p[region], cluster)
	}
	if len(p[region]) == 0 {
		delete(p, region)
	}
}

// Backends returns one cluster's part of every service, in no order.
func (c *Catalog) Backends(region, cluster string) []Backend {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.backends(region, cluster)
}

func (c *Catalog) backends(region, cluster string) []Backend {
	names := c.places[region][cluster]
	out := make([]Backend, 0, len(names))
	for name := range names {
		for _, b := range c.services[name].Backends {
			if b.Region == region && b.Set.Cluster == cluster {
				out = append(out, b)
			}
		}
	}
	return out
}

// Exporting returns the clusters through which a region exports services, in no
// order.
func (c *Catalog) Exporting(region string) []string {
	c.mu.RLock()
	defer c.mu.RUnlock()
	out := make([]string, 0, len(c.places[region]))
	for cluster := range c.places[region] {
		out = append(out, cluster)
	}
	return out
}

// exports reports whether an endpoint is known.
func (c *Catalog) exports(region, cluster string, service ServiceName, endpoint string) bool {
	r := c.regions[region].record(key(RecordSet, SetKey{Cluster: cluster, Service: service}.String()))
	return r != nil && slices.ContainsFunc(r.Set.Endpoints, func(e Endpoint) bool { return e.ID == endpoint })
}

func (c *Catalog) touchCluster(region, cluster string, d *dirty) {
	for name := range c.places[region][cluster] {
		d.services[name] = struct{}{}
	}
}

func (c *Catalog) touchRegion(region string, d *dirty) {
	for cluster := range c.places[region] {
		c.touchCluster(region, cluster, d)
	}
}
