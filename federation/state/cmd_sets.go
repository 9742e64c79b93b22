package state

import (
	"cmp"
	"maps"
	"slices"

	"github.com/federator/federator/federation/catalog"
)

// PutSets changes what one source exports in one cluster: upserts and deletes
// coalesced into one entry. A service that another source owns in the cluster
// refuses the whole command with [ErrSourceTaken].
type PutSets struct {
	Cluster string `json:"cluster"`
	// Source is "file", "api" or "kube"; it owns the services it upserts.
	Source string `json:"source"`
	// Term is the lease term of the writer; an older one gives [ErrStale]. 0 is
	// not fenced (the operator API).
	Term    uint64                `json:"term,omitempty"`
	Upserts []catalog.EndpointSet `json:"upserts,omitempty"`
	Deletes []catalog.ServiceName `json:"deletes,omitempty"`
}

func (*PutSets) kind() Type { return TypePutSets }

func (*PutSets) audit() (string, string) { return "", "" }

// needs is the protocol of the newest field that is used.
func (p *PutSets) needs() int {
	need := MinProtocol
	for i := range p.Upserts {
		switch set := &p.Upserts[i]; {
		case set.Properties != nil:
			return PropertiesProtocol
		case set.AffinitySeconds != 0:
			need = AffinityProtocol
		}
	}
	return need
}

func (p *PutSets) validate() error {
	if len(p.Upserts)+len(p.Deletes) > maxSets {
		return ErrInvalid.withf("cluster %s: %d sets in one command exceed the bound of %d; send them in several", p.Cluster, len(p.Upserts)+len(p.Deletes), maxSets)
	}
	touched := map[catalog.ServiceName]bool{}
	for i := range p.Upserts {
		set := &p.Upserts[i]
		if set.Cluster != p.Cluster || set.Source != p.Source {
			return ErrInvalid.withf("set %s of source %q does not belong to cluster %s and source %q", set.SetKey, set.Source, p.Cluster, p.Source)
		}
		if err := checkSet(set); err != nil {
			return err
		}
		if touched[set.Service] {
			return ErrInvalid.withf("set %s is listed twice", set.SetKey)
		}
		touched[set.Service] = true
	}
	for _, name := range p.Deletes {
		if touched[name] {
			return ErrInvalid.withf("service %s is both written and deleted", name)
		}
	}
	return cmp.Or(label("source", p.Source), clusterName(p.Cluster))
}

func (p *PutSets) apply(c *change) (any, error) {
	cluster := c.Cluster(p.Cluster)
	if cluster == nil {
		return nil, ErrNotFound.withf("cluster %s is not known in region %s; a replica must join with --cluster %s first", p.Cluster, c.about.Region, p.Cluster)
	}
	if err := fence(cluster, p.Term); err != nil {
		return nil, err
	}
	for i := range p.Upserts {
		if err := c.putSet(&p.Upserts[i]); err != nil {
			return nil, err
		}
	}
	for _, name := range p.Deletes {
		key := catalog.SetKey{Cluster: p.Cluster, Service: name}
		if err := c.owned(key, p.Source); err != nil {
			return nil, err
		}
		c.drop(setKey(key))
		c.drop(healthKey(key))
	}
	return nil, nil
}

func (c *change) putSet(set *catalog.EndpointSet) error {
	if err := c.owned(set.SetKey, set.Source); err != nil {
		return err
	}
	old := c.Set(set.SetKey)
	catalog.SharePorts(set.Endpoints)
	c.put(catalog.Record{Set: set})
	if table := c.Health(set.SetKey); table != nil && old != nil {
		c.putHealth(set.SetKey, keepHealth(table.Health, old, set))
	}
	return nil
}

// owned refuses a source that does not own the set.
func (c *change) owned(key catalog.SetKey, source string) error {
	if old := c.Set(key); old != nil && old.Source != source {
		return ErrSourceTaken.withf("service %s in cluster %s is owned by source %q; delete it there before source %q may write it", key.Service, key.Cluster, old.Source, source)
	}
	return nil
}

// keepHealth returns what of the folded health still holds: an endpoint that is
// gone, has moved, or of which the source itself says something new starts over,
// and so does a set that is no longer checked.
func keepHealth(health map[string]catalog.Health, old, now *catalog.EndpointSet) map[string]catalog.Health {
	kept := map[string]catalog.Health{}
	if old.Check != nil && now.Check == nil {
		return kept
	}
	before := endpointsByID(old)
	for _, e := range now.Endpoints {
		was, ok := before[e.ID]
		if h, known := health[e.ID]; ok && known && was.Address == e.Address && was.Health == e.Health {
			kept[e.ID] = h
		}
	}
	return kept
}

func endpointsByID(set *catalog.EndpointSet) map[string]catalog.Endpoint {
	out := make(map[string]catalog.Endpoint, len(set.Endpoints))
	for _, e := range set.Endpoints {
		out[e.ID] = e
	}
	return out
}

func (c *change) putHealth(key catalog.SetKey, health map[string]catalog.Health) {
	if len(health) == 0 {
		c.drop(healthKey(key))
		return
	}
	c.put(catalog.Record{Health: &catalog.HealthTable{SetKey: key, Health: health}})
}

// FoldHealth makes flips durable that gossip has carried already.
type FoldHealth struct {
	Cluster string `json:"cluster"`
	// Owner is the replica that found the flips. With a takeover term (one
	// between two lease terms) it becomes the owner.
	Owner string `json:"owner"`
	// UpTo is the version up to which every flip is in this command or an earlier
	// one. Its term must be the current one or a takeover of it, else [ErrStale].
	UpTo catalog.HealthVersion `json:"upTo"`
	// Changes of services or endpoints that are no longer there are ignored.
	Changes []catalog.HealthChange `json:"changes,omitempty"`
}

func (*FoldHealth) kind() Type { return TypeFoldHealth }

func (*FoldHealth) audit() (string, string) { return "", "" }

func (f *FoldHealth) validate() error {
	if len(f.Changes) > maxSets {
		return ErrInvalid.withf("cluster %s: %d health changes in one command exceed the bound of %d", f.Cluster, len(f.Changes), maxSets)
	}
	for _, ch := range f.Changes {
		if ch.Version.Compare(f.UpTo) > 0 {
			return ErrInvalid.withf("cluster %s: the change of %s has version %s, above %s", f.Cluster, ch.Endpoint, ch.Version, f.UpTo)
		}
	}
	return cmp.Or(clusterName(f.Cluster), label("replica", f.Owner))
}

func (f *FoldHealth) apply(c *change) (any, error) {
	err := c.editCluster(f.Cluster, func(next *catalog.Cluster) error {
		if err := f.current(c, next); err != nil {
			return err
		}
		if f.UpTo.Term > next.HealthTerm {
			next.HealthOwner, next.HealthTerm = f.Owner, f.UpTo.Term
		}
		next.Confirmed = f.UpTo
		return nil
	})
	if err != nil {
		return nil, err
	}
	tables := map[catalog.SetKey]map[string]catalog.Health{}
	for _, ch := range f.Changes {
		c.fold(tables, catalog.SetKey{Cluster: f.Cluster, Service: ch.Service}, ch)
	}
	for key, table := range tables {
		c.putHealth(key, table)
	}
	return nil, nil
}

// current refuses flips that are older than what is agreed.
func (f *FoldHealth) current(c *change, cluster *catalog.Cluster) error {
	if f.UpTo.Epoch != c.about.Epoch {
		return ErrStale.withf("cluster %s: health of epoch %d, the region is in epoch %d", f.Cluster, f.UpTo.Epoch, c.about.Epoch)
	}
	if err := fence(cluster, max(f.UpTo.Term, 1)); err != nil {
		return err
	}
	if limit := (cluster.HealthTerm/leaseStep + 1) * leaseStep; f.UpTo.Term >= limit {
		return ErrInvalid.withf("cluster %s: health term %d was never granted; the last was %d", f.Cluster, f.UpTo.Term, cluster.HealthTerm)
	}
	if f.UpTo.Compare(cluster.Confirmed) < 0 {
		return ErrStale.withf("cluster %s: health up to %s is folded already, %s is older", f.Cluster, cluster.Confirmed, f.UpTo)
	}
	return nil
}

// fold enters one flip into the tables, if its endpoint is known.
func (c *change) fold(tables map[catalog.SetKey]map[string]catalog.Health, key catalog.SetKey, ch catalog.HealthChange) {
	set := c.Set(key)
	if set == nil {
		return
	}
	if !slices.ContainsFunc(set.Endpoints, func(e catalog.Endpoint) bool { return e.ID == ch.Endpoint }) {
		return
	}
	if tables[key] == nil {
		tables[key] = map[string]catalog.Health{}
		if old := c.Health(key); old != nil {
			tables[key] = maps.Clone(old.Health)
		}
	}
	tables[key][ch.Endpoint] = ch.Health
}

func checkSet(set *catalog.EndpointSet) error {
	if err := set.Service.Validate(); err != nil {
		return ErrInvalid.withf("%v", err)
	}
	if len(set.Endpoints) > maxEndpoints || len(set.Ports) > maxPorts {
		return ErrInvalid.withf("set %s: %d endpoints and %d ports exceed the bounds of %d and %d", set.SetKey, len(set.Endpoints), len(set.Ports), maxEndpoints, maxPorts)
	}
	if set.AffinitySeconds > catalog.MaxAffinitySeconds {
		return ErrInvalid.withf("set %s: session affinity of %d seconds, expected at most %d", set.SetKey, set.AffinitySeconds, catalog.MaxAffinitySeconds)
	}
	if err := set.Properties.Validate(); err != nil {
		return ErrInvalid.withf("set %s: properties: %v", set.SetKey, err)
	}
	ids := make(map[string]bool, len(set.Endpoints))
	for i := range set.Endpoints {
		e := &set.Endpoints[i]
		if e.ID == "" || len(e.ID) > maxField || ids[e.ID] {
			return ErrInvalid.withf("set %s: endpoint id %q is empty, too long or listed twice", set.SetKey, clip(e.ID, 64))
		}
		ids[e.ID] = true
		if !e.Address.IsValid() || e.Weight < 1 || e.Weight > 65535 {
			return ErrInvalid.withf("set %s: endpoint %s needs an address and a weight of 1 to 65535", set.SetKey, e.ID)
		}
		if len(e.Ports) > maxPorts || len(e.Zone) > maxField || len(e.Hostname) > maxField {
			return ErrInvalid.withf("set %s: endpoint %s exceeds a bound", set.SetKey, e.ID)
		}
	}
	return nil
}
