package state

import (
	"cmp"
	"time"

	"github.com/federator/federator/federation/catalog"
)

// The bounds of a cluster and of what it exports.
const (
	maxPrefixes  = 4096
	maxSets      = 10_000 // of one command
	maxEndpoints = 10_000 // of one set
	maxPorts     = 128
)

// leaseStep is the distance between lease terms; the terms between are for
// takeovers while the region has no Raft leader.
const leaseStep = 256

// AddCluster makes a cluster known that has no replica yet.
type AddCluster struct {
	Cluster string `json:"cluster"`
}

func (*AddCluster) kind() Type { return TypeAddCluster }

func (a *AddCluster) audit() (string, string) { return a.Cluster, "" }

func (a *AddCluster) validate() error { return clusterName(a.Cluster) }

func (a *AddCluster) apply(c *change) (any, error) {
	if c.Cluster(a.Cluster) == nil {
		c.put(catalog.Record{Cluster: &catalog.Cluster{Name: a.Cluster}})
	}
	return nil, nil
}

// RemoveCluster forgets a cluster and everything it exports. It is refused while
// a replica belongs to it.
type RemoveCluster struct {
	Cluster string `json:"cluster"`
}

func (*RemoveCluster) kind() Type { return TypeRemoveCluster }

func (r *RemoveCluster) audit() (string, string) { return r.Cluster, "" }

func (r *RemoveCluster) validate() error { return clusterName(r.Cluster) }

func (r *RemoveCluster) apply(c *change) (any, error) {
	for _, replica := range c.Replicas() {
		if replica.Cluster == r.Cluster {
			return nil, ErrConflict.withf("cluster %s still has replica %s; remove it first with federator leave", r.Cluster, replica.Name)
		}
	}
	for _, kind := range []catalog.RecordKind{catalog.RecordSet, catalog.RecordHealth} {
		for _, key := range c.keysOf(kind, r.Cluster) {
			c.drop(key)
		}
	}
	c.drop(clusterKey(r.Cluster))
	return nil, nil
}

// AnnouncePrefixes replaces the client networks of a cluster.
type AnnouncePrefixes struct {
	Cluster  string                 `json:"cluster"`
	Prefixes []catalog.ClientPrefix `json:"prefixes"`
}

func (*AnnouncePrefixes) kind() Type { return TypeAnnouncePrefixes }

func (*AnnouncePrefixes) audit() (string, string) { return "", "" }

func (a *AnnouncePrefixes) validate() error {
	if len(a.Prefixes) > maxPrefixes {
		return ErrInvalid.withf("cluster %s: %d prefixes exceed the bound of %d", a.Cluster, len(a.Prefixes), maxPrefixes)
	}
	for _, p := range a.Prefixes {
		if !p.Prefix.IsValid() || p.Prefix != p.Prefix.Masked() {
			return ErrInvalid.withf("cluster %s: %s is no network prefix; expected for example 10.1.0.0/16", a.Cluster, p.Prefix)
		}
		if p.Zone != "" {
			if err := label("zone", p.Zone); err != nil {
				return err
			}
		}
	}
	return clusterName(a.Cluster)
}

func (a *AnnouncePrefixes) apply(c *change) (any, error) {
	return nil, c.editCluster(a.Cluster, func(next *catalog.Cluster) error {
		next.Prefixes = a.Prefixes
		return nil
	})
}

// SetClusterStatus says whether the cluster's source can be read. The last good
// state stays published either way.
type SetClusterStatus struct {
	Cluster string `json:"cluster"`
	// SourceError says why not; empty means that the source is well.
	SourceError string `json:"sourceError,omitempty"`
	// Since is when the source was lost; zero means the time of the command.
	Since time.Time `json:"since,omitzero"`
	// Term fences off a replica that lost the lease; 0 is not fenced.
	Term uint64 `json:"term,omitempty"`
}

func (*SetClusterStatus) kind() Type { return TypeSetClusterStatus }

func (*SetClusterStatus) audit() (string, string) { return "", "" }

func (s *SetClusterStatus) validate() error { return clusterName(s.Cluster) }

func (s *SetClusterStatus) apply(c *change) (any, error) {
	return nil, c.editCluster(s.Cluster, func(next *catalog.Cluster) error {
		if err := fence(next, s.Term); err != nil {
			return err
		}
		next.SourceError = clip(s.SourceError, maxAuditDetail)
		switch {
		case s.SourceError == "":
			next.StaleSince = time.Time{}
		case next.StaleSince.IsZero():
			next.StaleSince = s.Since
			if s.Since.IsZero() {
				next.StaleSince = c.meta.Time
			}
		}
		return nil
	})
}

// GrantLease makes a replica the owner of a cluster's health and source. The
// term is the next multiple of 256 above the last; [LeaseGrant] is the result.
type GrantLease struct {
	Cluster string `json:"cluster"`
	// Owner is a replica of the cluster; empty takes the lease away.
	Owner string `json:"owner"`
	// Expect, when set, is the term the caller saw; another gives [ErrConflict].
	Expect *uint64 `json:"expect,omitempty"`
}

// LeaseGrant is the result of [GrantLease].
type LeaseGrant struct {
	Owner string `json:"owner"`
	Term  uint64 `json:"term"`
}

func (*GrantLease) kind() Type { return TypeGrantLease }

func (*GrantLease) audit() (string, string) { return "", "" }

func (g *GrantLease) validate() error {
	if g.Owner == "" {
		return clusterName(g.Cluster)
	}
	return cmp.Or(clusterName(g.Cluster), label("replica", g.Owner))
}

func (g *GrantLease) apply(c *change) (any, error) {
	if r := c.Replica(g.Owner); g.Owner != "" && (r == nil || r.Cluster != g.Cluster) {
		return nil, ErrNotFound.withf("replica %s is not registered in cluster %s", g.Owner, g.Cluster)
	}
	var grant LeaseGrant
	err := c.editCluster(g.Cluster, func(next *catalog.Cluster) error {
		if g.Expect != nil && *g.Expect != next.HealthTerm {
			return ErrConflict.withf("cluster %s is at lease term %d, not %d: another lease was granted meanwhile", g.Cluster, next.HealthTerm, *g.Expect)
		}
		next.HealthOwner = g.Owner
		next.HealthTerm = (next.HealthTerm/leaseStep + 1) * leaseStep
		grant = LeaseGrant{Owner: next.HealthOwner, Term: next.HealthTerm}
		return nil
	})
	return grant, err
}

// editCluster writes a changed copy of a cluster.
func (c *change) editCluster(name string, edit func(*catalog.Cluster) error) error {
	old := c.Cluster(name)
	if old == nil {
		return ErrNotFound.withf("cluster %s is not known in region %s; a replica must join with --cluster %s first", name, c.about.Region, name)
	}
	next := *old
	if err := edit(&next); err != nil {
		return err
	}
	c.put(catalog.Record{Cluster: &next})
	return nil
}

// fence refuses the word of a replica that lost the lease.
func fence(cluster *catalog.Cluster, term uint64) error {
	if term != 0 && term < cluster.HealthTerm {
		return ErrStale.withf("cluster %s: term %d is over, replica %s holds it in term %d", cluster.Name, term, cmp.Or(cluster.HealthOwner, "(none)"), cluster.HealthTerm)
	}
	return nil
}

func clusterName(name string) error {
	if err := catalog.ValidateCluster(name); err != nil {
		return ErrInvalid.withf("%v", err)
	}
	return nil
}
