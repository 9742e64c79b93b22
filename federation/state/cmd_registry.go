package state

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/federator/federator/federation/catalog"
)

// maxClusters bounds the clusters of one region.
const maxClusters = 1000

// MaxEpoch bounds an epoch that is asked for, so that the ones after it never run
// out.
const MaxEpoch = 1 << 62

// Issued is the result of the commands that issue an epoch.
type Issued struct {
	Region string `json:"region"`
	Epoch  uint64 `json:"epoch"`
}

// RegisterRegion enters a region in the registry and issues its epoch, one above
// any it had. The same founder gets the same epoch again; another founder gives
// [ErrRegionTaken] and a cluster of another region [ErrClusterTaken].
type RegisterRegion struct {
	Region string `json:"region"`
	// Founder is the hex SHA-256 of the founding replica's SPKI.
	Founder  string   `json:"founder"`
	Clusters []string `json:"clusters,omitempty"`
	// Intermediate is the DER of the region's CA certificate, if it has one yet.
	Intermediate []byte `json:"intermediate,omitempty"`
	// Seed is the founding replica, where the others reach the region at first.
	Seed *catalog.Replica `json:"seed,omitempty"`
	// Epoch and Removed are set when a registry that was restored from a backup
	// enters what the other regions hold: the region's record is then as given if
	// that is newer, else it stays.
	Epoch   uint64 `json:"epoch,omitempty"`
	Removed bool   `json:"removed,omitempty"`
}

func (*RegisterRegion) kind() Type { return TypeRegisterRegion }

func (r *RegisterRegion) audit() (string, string) {
	return r.Region, "founder " + r.Founder + ", clusters " + strings.Join(r.Clusters, " ")
}

func (r *RegisterRegion) validate() error {
	if r.Founder == "" || len(r.Founder) > maxIDBytes {
		return ErrInvalid.withf("region %s: expected the founder's key hash", r.Region)
	}
	if len(r.Clusters) > maxClusters || r.Epoch > MaxEpoch {
		return ErrInvalid.withf("region %s: %d clusters or epoch %d exceed the bounds of %d and %d", r.Region, len(r.Clusters), r.Epoch, maxClusters, uint64(MaxEpoch))
	}
	for _, name := range r.Clusters {
		if err := clusterName(name); err != nil {
			return err
		}
	}
	if r.Seed != nil {
		if err := checkReplica(r.Seed); err != nil {
			return err
		}
	}
	return cmp.Or(checkDER(r.Intermediate), label("region", r.Region))
}

func (r *RegisterRegion) apply(c *change) (any, error) {
	issued, err := r.register(c)
	if err != nil {
		return nil, err
	}
	return issued, nil
}

func (r *RegisterRegion) register(c *change) (Issued, error) {
	if err := c.authority(); err != nil {
		return Issued{}, err
	}
	if r.Epoch > 0 {
		return r.reenter(c)
	}
	next := catalog.Region{Name: r.Region, Epoch: 1, Founder: r.Founder, Intermediate: r.Intermediate, Since: c.meta.Time, Seed: r.Seed}
	if old := c.Region(r.Region); old != nil {
		switch {
		case old.Removed:
			next.Epoch = old.Epoch + 1
		case old.Founder != r.Founder:
			return Issued{}, ErrRegionTaken.withf("region %s was founded by another replica (key %s); join that region with a token of it, or choose another name", r.Region, old.Founder)
		default:
			next = *old
			if len(r.Intermediate) > 0 {
				next.Intermediate = r.Intermediate
			}
		}
	}
	for _, cluster := range r.Clusters {
		if err := c.claim(&next, cluster); err != nil {
			return Issued{}, err
		}
	}
	c.put(catalog.Record{Region: &next})
	return Issued{Region: next.Name, Epoch: next.Epoch}, nil
}

// reenter takes over a record that the other regions hold. Clusters that another
// region has taken since stay with that one.
func (r *RegisterRegion) reenter(c *change) (Issued, error) {
	next := catalog.Region{
		Name: r.Region, Epoch: r.Epoch, Founder: r.Founder, Clusters: r.Clusters,
		Removed: r.Removed, Intermediate: r.Intermediate, Since: c.meta.Time, Seed: r.Seed,
	}
	old := c.Region(r.Region)
	switch {
	case old == nil:
	case old.Authority || old.Epoch > r.Epoch || old.Epoch == r.Epoch && old.Removed:
		return Issued{Region: old.Name, Epoch: old.Epoch}, nil
	case old.Epoch < r.Epoch:
	default: // of the same epoch: removed, or with more clusters, since the backup
		next = *old
		next.Removed = r.Removed
	}
	claims := slices.Concat(next.Clusters, r.Clusters)
	next.Clusters = nil
	for _, cluster := range claims {
		if !next.Removed {
			_ = c.claim(&next, cluster) // taken: it stays with its new owner
		}
	}
	c.put(catalog.Record{Region: &next})
	if next.Removed {
		c.then(func() { c.noteRemoved(next.Name, next.Epoch) })
	}
	return Issued{Region: next.Name, Epoch: next.Epoch}, nil
}

// noteRemoved remembers an epoch that was removed.
func (s *State) noteRemoved(region string, epoch uint64) {
	note := s.registry[region]
	note.Removed = append(slices.Clone(note.Removed), epoch)
	s.registry[region] = note
}

// claim adds a cluster to a region, unless another region owns it.
func (c *change) claim(region *catalog.Region, cluster string) error {
	for _, other := range c.Regions() {
		if other.Name != region.Name && !other.Removed && slices.Contains(other.Clusters, cluster) {
			return ErrClusterTaken.withf("cluster %s belongs to region %s; cluster names are unique in the federation, choose another for region %s", cluster, other.Name, region.Name)
		}
	}
	if !slices.Contains(region.Clusters, cluster) {
		region.Clusters = append(slices.Clone(region.Clusters), cluster)
		slices.Sort(region.Clusters)
	}
	if len(region.Clusters) > maxClusters {
		return ErrInvalid.withf("region %s: %d clusters exceed the bound of %d", region.Name, len(region.Clusters), maxClusters)
	}
	return nil
}

// ClaimCluster records that a region owns a cluster name; [ErrClusterTaken] if
// another does.
type ClaimCluster struct {
	Region  string `json:"region"`
	Cluster string `json:"cluster"`
}

func (*ClaimCluster) kind() Type { return TypeClaimCluster }

func (cl *ClaimCluster) audit() (string, string) { return cl.Cluster, "region " + cl.Region }

func (cl *ClaimCluster) validate() error { return clusterName(cl.Cluster) }

func (cl *ClaimCluster) apply(c *change) (any, error) {
	return nil, c.editRegion(cl.Region, func(next *catalog.Region) error { return c.claim(next, cl.Cluster) })
}

// SetIntermediate records the current CA certificate of a region.
type SetIntermediate struct {
	Region       string `json:"region"`
	Intermediate []byte `json:"intermediate"`
}

func (*SetIntermediate) kind() Type { return TypeSetIntermediate }

func (s *SetIntermediate) audit() (string, string) {
	return s.Region, fmt.Sprintf("sha256 %x", hash(s.Intermediate))
}

func (s *SetIntermediate) validate() error { return checkDER(s.Intermediate) }

func (s *SetIntermediate) apply(c *change) (any, error) {
	return nil, c.editRegion(s.Region, func(next *catalog.Region) error {
		next.Intermediate = s.Intermediate
		return nil
	})
}

// RemoveRegion removes a region. Its (name, epoch) never comes back, and its
// cluster names are free. Removing it again changes nothing.
type RemoveRegion struct {
	Region string `json:"region"`
}

func (*RemoveRegion) kind() Type { return TypeRemoveRegion }

func (r *RemoveRegion) audit() (string, string) { return r.Region, "" }

func (r *RemoveRegion) validate() error { return label("region", r.Region) }

func (r *RemoveRegion) apply(c *change) (any, error) {
	if err := c.authority(); err != nil {
		return nil, err
	}
	old := c.Region(r.Region)
	switch {
	case old == nil:
		return nil, ErrNotFound.withf("region %s is not registered", r.Region)
	case old.Authority:
		return nil, ErrInvalid.withf("region %s is the authority region, which owns the registry and the trust list: it cannot be removed", r.Region)
	case old.Removed:
		return nil, nil
	}
	next := *old
	next.Removed, next.Clusters, next.Since = true, nil, c.meta.Time
	c.put(catalog.Record{Region: &next})
	c.then(func() { c.noteRemoved(r.Region, old.Epoch) })
	return nil, nil
}

// NextEpoch issues a higher epoch to a region that was recovered or restored.
type NextEpoch struct {
	Region string `json:"region"`
	// Founder is the hex SHA-256 of the SPKI of the replica that recovered it.
	Founder string `json:"founder"`
	// Attempt names this recovery; the same one gets the same epoch again.
	Attempt string `json:"attempt"`
	// AtLeast, when higher, is the epoch to issue: for an authority region whose
	// own registry was restored and is behind what the others know.
	AtLeast uint64 `json:"atLeast,omitempty"`
	// Seed is the replica that carries the region on, where the others reach it.
	Seed *catalog.Replica `json:"seed,omitempty"`
}

func (*NextEpoch) kind() Type { return TypeNextEpoch }

func (n *NextEpoch) audit() (string, string) { return n.Region, "founder " + n.Founder }

func (n *NextEpoch) validate() error {
	if n.Founder == "" || len(n.Founder) > maxIDBytes || n.Attempt == "" || len(n.Attempt) > maxIDBytes {
		return ErrInvalid.withf("region %s: expected a founder and an attempt of 1 to %d bytes", n.Region, maxIDBytes)
	}
	if n.AtLeast > MaxEpoch {
		return ErrInvalid.withf("region %s: epoch %d exceeds the bound of %d", n.Region, n.AtLeast, uint64(MaxEpoch))
	}
	if n.Seed != nil {
		if err := checkReplica(n.Seed); err != nil {
			return err
		}
	}
	return label("region", n.Region)
}

func (n *NextEpoch) apply(c *change) (any, error) {
	var issued Issued
	err := c.editRegion(n.Region, func(next *catalog.Region) error {
		note := c.registry[n.Region]
		if note.Attempt != n.Attempt {
			next.Epoch = max(next.Epoch+1, n.AtLeast)
			next.Founder, next.Since = n.Founder, c.meta.Time
			if n.Seed != nil {
				next.Seed = n.Seed
			}
			note.Attempt = n.Attempt
			c.then(func() { c.registry[n.Region] = note })
		}
		issued = Issued{Region: n.Region, Epoch: next.Epoch}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return issued, nil
}

// editRegion writes a changed copy of a registered region.
func (c *change) editRegion(name string, edit func(*catalog.Region) error) error {
	if err := c.authority(); err != nil {
		return err
	}
	old := c.Region(name)
	switch {
	case old == nil:
		return ErrNotFound.withf("region %s is not registered", name)
	case old.Removed:
		return ErrRegionRemoved.withf("region %s (epoch %d) was removed; it must rejoin with a new token", name, old.Epoch)
	}
	next := *old
	if err := edit(&next); err != nil {
		return err
	}
	c.put(catalog.Record{Region: &next})
	return nil
}
