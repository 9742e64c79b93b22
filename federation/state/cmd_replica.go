package state

import (
	"bytes"
	"cmp"

	"github.com/federator/federator/federation/catalog"
)

// The bounds of what one replica says of itself, in bytes.
const (
	maxField = 512
	maxDER   = 16 << 10
)

// AdmitReplica registers a replica of the region. It is idempotent for the same
// public key; [ErrNameTaken] if the name belongs to another.
type AdmitReplica struct {
	Replica catalog.Replica `json:"replica"`
}

func (*AdmitReplica) kind() Type { return TypeAdmitReplica }

func (a *AdmitReplica) audit() (string, string) {
	return a.Replica.Name, "cluster " + a.Replica.Cluster + ", disk " + a.Replica.DiskID
}

func (a *AdmitReplica) validate() error { return checkReplica(&a.Replica) }

func (a *AdmitReplica) apply(c *change) (any, error) {
	if err := c.admissible(&a.Replica); err != nil {
		return nil, err
	}
	return c.admit(a.Replica), nil
}

// admissible reports why a replica may not be admitted.
func (c *change) admissible(r *catalog.Replica) error {
	if r.Region != c.about.Region {
		return ErrInvalid.withf("replica %s asks to join region %q, this is region %q", r.Name, r.Region, c.about.Region)
	}
	if old := c.Replica(r.Name); old != nil && !bytes.Equal(old.PublicKey, r.PublicKey) {
		return ErrNameTaken.withf("the name %q is taken by another replica of region %s; choose another with --name, or remove the old one with federator leave", r.Name, c.about.Region)
	}
	return c.speaks(r)
}

// speaks reports whether the replica understands the protocol in force.
func (c *change) speaks(r *catalog.Replica) error {
	if r.MinProtocol > c.about.Protocol || r.MaxProtocol < c.about.Protocol {
		return ErrProtocol.withf("replica %s understands protocols %d to %d, region %s has %d in force: run a build that understands it", r.Name, r.MinProtocol, r.MaxProtocol, c.about.Region, c.about.Protocol)
	}
	return nil
}

// admit writes the replica, and its cluster if that is new.
func (c *change) admit(r catalog.Replica) catalog.Replica {
	r.JoinedAt = c.meta.Time
	if old := c.Replica(r.Name); old != nil {
		r.JoinedAt = old.JoinedAt
	}
	c.put(catalog.Record{Replica: &r})
	if c.Cluster(r.Cluster) == nil {
		c.put(catalog.Record{Cluster: &catalog.Cluster{Name: r.Cluster}})
	}
	return r
}

// UpdateReplica changes what a replica says of itself: addresses, zone, protocol
// range, build, and its recipient where it is set. Name, region, cluster, disk and
// key stay: a key is what the replica was admitted with.
type UpdateReplica struct {
	Replica catalog.Replica `json:"replica"`
}

func (*UpdateReplica) kind() Type { return TypeUpdateReplica }

func (*UpdateReplica) audit() (string, string) { return "", "" }

func (u *UpdateReplica) validate() error { return checkDetails(&u.Replica) }

func (u *UpdateReplica) apply(c *change) (any, error) {
	old := c.Replica(u.Replica.Name)
	if old == nil || old.DiskID != u.Replica.DiskID {
		return nil, ErrNotFound.withf("replica %s with disk %s is not registered in region %s; it must join again with a token", u.Replica.Name, u.Replica.DiskID, c.about.Region)
	}
	r := u.Replica
	r.Region, r.Cluster, r.JoinedAt, r.PublicKey = old.Region, old.Cluster, old.JoinedAt, old.PublicKey
	r.Recipient = cmp.Or(r.Recipient, old.Recipient)
	if err := c.speaks(&r); err != nil {
		return nil, err
	}
	c.put(catalog.Record{Replica: &r})
	return nil, nil
}

// RemoveReplica forgets a replica. Removing one that is not there changes
// nothing.
type RemoveReplica struct {
	Name string `json:"name"`
	// DiskID, when set, spares a replica that has joined anew under the name.
	DiskID string `json:"diskID,omitempty"`
	Reason string `json:"reason,omitempty"`
}

func (*RemoveReplica) kind() Type { return TypeRemoveReplica }

func (r *RemoveReplica) audit() (string, string) { return r.Name, r.Reason }

func (r *RemoveReplica) validate() error { return label("replica", r.Name) }

func (r *RemoveReplica) apply(c *change) (any, error) {
	old := c.Replica(r.Name)
	if old == nil || (r.DiskID != "" && r.DiskID != old.DiskID) {
		return nil, nil
	}
	c.drop(replicaKey(r.Name))
	for _, cluster := range c.Clusters() {
		if cluster.HealthOwner == r.Name {
			next := *cluster
			next.HealthOwner = ""
			c.put(catalog.Record{Cluster: &next})
		}
	}
	return nil, nil
}

func checkReplica(r *catalog.Replica) error {
	if len(r.PublicKey) == 0 {
		return ErrInvalid.withf("replica %s: expected a public key", r.Name)
	}
	if err := catalog.ValidateCluster(r.Cluster); err != nil {
		return ErrInvalid.withf("replica %s: %v", r.Name, err)
	}
	return cmp.Or(label("region", r.Region), checkDetails(r))
}

// checkDetails bounds what a replica may change of itself later.
func checkDetails(r *catalog.Replica) error {
	if r.DiskID == "" || len(r.DiskID) > maxIDBytes {
		return ErrInvalid.withf("replica %s: expected a disk id of 1 to %d bytes", r.Name, maxIDBytes)
	}
	for _, field := range []string{r.Zone, r.PeerAddress, r.GossipAddress, r.DNSAddress, r.Recipient, r.Build} {
		if len(field) > maxField {
			return ErrInvalid.withf("replica %s: a field of %d bytes exceeds the bound of %d", r.Name, len(field), maxField)
		}
	}
	if r.MinProtocol < 1 || r.MaxProtocol < r.MinProtocol {
		return ErrInvalid.withf("replica %s: protocols %d to %d are no range of versions from 1 up", r.Name, r.MinProtocol, r.MaxProtocol)
	}
	return cmp.Or(label("replica", r.Name), checkDER(r.PublicKey))
}

func checkDER(der []byte) error {
	if len(der) > maxDER {
		return ErrInvalid.withf("a key or certificate of %d bytes exceeds the bound of %d", len(der), maxDER)
	}
	return nil
}

// label checks a DNS label.
func label(what, name string) error {
	if err := catalog.ValidateLabel(what, name); err != nil {
		return ErrInvalid.withf("%v", err)
	}
	return nil
}
