package catalog

import (
	"net/netip"
	"strings"
	"time"
)

// RecordKind says which field of a [Record] is set.
type RecordKind string

// The kinds of record that a region publishes.
const (
	RecordSet     RecordKind = "set"
	RecordHealth  RecordKind = "health"
	RecordCluster RecordKind = "cluster"
	RecordReplica RecordKind = "replica"
	RecordObject  RecordKind = "object"
	RecordRegion  RecordKind = "region" // authority region only
	RecordTrust   RecordKind = "trust"  // authority region only
)

// Record is one keyed fact that a region publishes. Exactly one of the pointers
// is set. Records are immutable once published.
type Record struct {
	Set     *EndpointSet `json:"set,omitempty"`
	Health  *HealthTable `json:"health,omitempty"`
	Cluster *Cluster     `json:"cluster,omitempty"`
	Replica *Replica     `json:"replica,omitempty"`
	Object  *Object      `json:"object,omitempty"`
	Region  *Region      `json:"region,omitempty"`
	Trust   *Trust       `json:"trust,omitempty"`
}

// RecordKey identifies a record within its region: the kind, a slash, and the
// key of the noun.
type RecordKey string

// Kind returns the part of the key before the first slash.
func (k RecordKey) Kind() RecordKind {
	kind, _, _ := strings.Cut(string(k), "/")
	return RecordKind(kind)
}

// Key returns the record's key, or "" when no field is set.
func (r *Record) Key() RecordKey {
	switch {
	case r.Set != nil:
		return key(RecordSet, r.Set.SetKey.String())
	case r.Health != nil:
		return key(RecordHealth, r.Health.SetKey.String())
	case r.Cluster != nil:
		return key(RecordCluster, r.Cluster.Name)
	case r.Replica != nil:
		return key(RecordReplica, r.Replica.Name)
	case r.Object != nil:
		return key(RecordObject, r.Object.ObjectKey.String())
	case r.Region != nil:
		return key(RecordRegion, r.Region.Name)
	case r.Trust != nil:
		return key(RecordTrust, "list")
	}
	return ""
}

func key(kind RecordKind, name string) RecordKey { return RecordKey(string(kind) + "/" + name) }

// Snapshot is the complete state of one region at a version.
type Snapshot struct {
	Region  string   `json:"region"`
	Version Version  `json:"version"`
	Records []Record `json:"records"`
	// Partial: a build that did not know all fields of the records took them over, so
	// that some may be missing. A snapshot of the same version that is not replaces it.
	Partial bool `json:"-"`
}

// Replaces reports whether a snapshot is news to who holds a region at a version,
// perhaps in part.
func (s *Snapshot) Replaces(held Version, partial bool) bool {
	n := s.Version.Compare(held)
	return n > 0 || n == 0 && partial && !s.Partial
}

// Delta is one change of one region. It applies only to the state at
// (Version.Epoch, Version.Seq-1), so that a gap is seen.
type Delta struct {
	Region  string      `json:"region"`
	Version Version     `json:"version"`
	Upserts []Record    `json:"upserts,omitempty"`
	Deletes []RecordKey `json:"deletes,omitempty"`
}

// Cluster is a source of services in one region.
type Cluster struct {
	Name string `json:"name"`
	// Prefixes are the client networks of the cluster; a DNS client in one of
	// them is placed in the cluster's region, and in the zone if it names one.
	Prefixes []ClientPrefix `json:"prefixes,omitempty"`
	// HealthOwner is the replica whose word on the cluster's health counts, and
	// HealthTerm the term of its lease.
	HealthOwner string `json:"healthOwner,omitempty"`
	HealthTerm  uint64 `json:"healthTerm,omitempty"`
	// Confirmed is the health version up to which every change has been folded
	// into the region's records.
	Confirmed HealthVersion `json:"confirmed"`
	// SourceError says why the source cannot be read, and since when; the last
	// good state stays published.
	SourceError string    `json:"sourceError,omitempty"`
	StaleSince  time.Time `json:"staleSince,omitzero"`
}

// ClientPrefix places clients by source address.
type ClientPrefix struct {
	Prefix netip.Prefix `json:"prefix"`
	Zone   string       `json:"zone,omitempty"`
}

// Replica is one federator agent.
type Replica struct {
	Name    string `json:"name"`
	Region  string `json:"region"`
	Cluster string `json:"cluster"`
	Zone    string `json:"zone,omitempty"`
	// DiskID is made with the data directory; Name and DiskID together are the
	// Raft server id, so that an emptied disk is never mistaken for the old one.
	DiskID string `json:"diskID"`
	// PeerAddress is host:port of the mTLS port, GossipAddress of the UDP port,
	// both as others reach them. DNSAddress is for people.
	PeerAddress   string `json:"peerAddress"`
	GossipAddress string `json:"gossipAddress"`
	DNSAddress    string `json:"dnsAddress,omitempty"`
	// Recipient is the age public key that region secrets are sealed to.
	Recipient string `json:"recipient"`
	// PublicKey is the SPKI (DER) of the replica's enrolled key: the proof by
	// which it may renew an expired certificate.
	PublicKey []byte `json:"publicKey"`
	// MinProtocol and MaxProtocol bound the state-machine versions it understands.
	MinProtocol int       `json:"minProtocol"`
	MaxProtocol int       `json:"maxProtocol"`
	Build       string    `json:"build,omitempty"`
	JoinedAt    time.Time `json:"joinedAt"`
}

// RaftID is the replica's Raft server id.
func (r *Replica) RaftID() string { return r.Name + "." + r.DiskID }

// Region is an entry of the region registry, owned by the authority region.
type Region struct {
	Name  string `json:"name"`
	Epoch uint64 `json:"epoch"`
	// Founder is the hex SHA-256 of the SPKI that founded this epoch, so that two
	// joins cannot found one region twice.
	Founder string `json:"founder"`
	// Clusters are the cluster names that the region owns.
	Clusters  []string `json:"clusters,omitempty"`
	Authority bool     `json:"authority,omitempty"`
	// Removed is set for good: a removed (name, epoch) never comes back.
	Removed bool `json:"removed,omitempty"`
	// Intermediate is the DER of the region's current CA certificate.
	Intermediate []byte    `json:"intermediate,omitempty"`
	Since        time.Time `json:"since"`
	// Seed is the founding replica as it was then: where the others reach the
	// region until they hold its own records.
	Seed *Replica `json:"seed,omitempty"`
}

// Trust carries the signed trust list of package identity, which verifies it;
// to the catalog it is opaque.
type Trust struct {
	List []byte `json:"list"`
}
