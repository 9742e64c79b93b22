package state

import (
	"crypto/sha256"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/federator/federator/federation/catalog"
)

// The bounds of what a region remembers.
const (
	// AuditLimit is how many audit entries are kept.
	AuditLimit = 10_000
	// dedupeLimit is how many command ids are remembered with their results.
	dedupeLimit = 2048
	// historyLimit is how many overwritten versions of one object are kept.
	historyLimit = 10
	// tokenLimit bounds the tokens; long expired ones make room.
	tokenLimit = 10_000
	// gravesLimit bounds the memory of dropped tombstones.
	gravesLimit = 4096
	// ringDeltas and ringRecords bound what a stream can resume from.
	ringDeltas  = 4096
	ringRecords = 100_000
)

// MaxClockSkew is how far ahead a clock may be and still be believed.
const MaxClockSkew = 5 * time.Minute

// About says what the region is.
type About struct {
	TrustDomain string `json:"trustDomain"`
	Region      string `json:"region"`
	// Epoch is issued by the authority region; 0 means that the region is not founded.
	Epoch     uint64 `json:"epoch"`
	Authority bool   `json:"authority,omitempty"`
	// Founder is the hex SHA-256 of the SPKI that founded the region.
	Founder string    `json:"founder,omitempty"`
	Founded time.Time `json:"founded,omitzero"`
	// Protocol is the version in force; see [RaiseProtocol].
	Protocol int `json:"protocol"`
	// NeedsEpoch: the region was recovered or restored and must not publish until
	// [SetEpoch].
	NeedsEpoch bool `json:"needsEpoch,omitempty"`
	// ObjectsSuspect: the objects may be older than what other regions hold;
	// [MergeObjects] with Replace refills them.
	ObjectsSuspect bool `json:"objectsSuspect,omitempty"`
}

// State is everything the region has agreed on. It is not safe for concurrent
// use; [Node] guards it. Records it hands out are shared and must not be changed.
type State struct {
	about   About
	seq     uint64
	applied uint64 // the log index of the last command
	facts   map[catalog.RecordKind]map[catalog.RecordKey]catalog.Record

	history  map[catalog.ObjectKey][]Overwritten
	graves   fifo[catalog.ObjectKey, catalog.ObjectVersion]
	acked    map[catalog.ObjectKey]time.Time // since when a tombstone is fully acknowledged
	secrets  map[string]Secret
	tokens   map[string]Token
	registry map[string]registryNote
	trustGen uint64

	audit    []AuditEntry
	auditSeq uint64
	seen     fifo[string, Result]

	ring    []catalog.Delta
	ringLen int // records in ring
}

// registryNote is what the authority region remembers of a region beside its
// published record.
type registryNote struct {
	// Removed lists the epochs that were removed; they never come back.
	Removed []uint64 `json:"removed,omitempty"`
	// Attempt names the request that the last epoch was issued to.
	Attempt string `json:"attempt,omitempty"`
}

// NewState returns the state of a region that is not founded yet.
func NewState() *State {
	return &State{
		about:    About{Protocol: MinProtocol},
		facts:    map[catalog.RecordKind]map[catalog.RecordKey]catalog.Record{},
		history:  map[catalog.ObjectKey][]Overwritten{},
		graves:   newFIFO[catalog.ObjectKey, catalog.ObjectVersion](gravesLimit),
		acked:    map[catalog.ObjectKey]time.Time{},
		secrets:  map[string]Secret{},
		tokens:   map[string]Token{},
		registry: map[string]registryNote{},
		seen:     newFIFO[string, Result](dedupeLimit),
	}
}

// clone returns a copy that later changes do not touch. Values are immutable,
// so it copies maps and slices only, and not the ring.
func (s *State) clone() *State {
	c := *s
	c.facts = make(map[catalog.RecordKind]map[catalog.RecordKey]catalog.Record, len(s.facts))
	for kind, records := range s.facts {
		c.facts[kind] = maps.Clone(records)
	}
	c.history = make(map[catalog.ObjectKey][]Overwritten, len(s.history))
	for key, lost := range s.history {
		c.history[key] = slices.Clone(lost)
	}
	c.graves, c.seen = s.graves.clone(), s.seen.clone()
	c.acked, c.secrets = maps.Clone(s.acked), maps.Clone(s.secrets)
	c.tokens, c.registry = maps.Clone(s.tokens), maps.Clone(s.registry)
	c.audit = slices.Clone(s.audit)
	c.ring, c.ringLen = nil, 0
	return &c
}

// About returns what the region is.
func (s *State) About() About { return s.about }

// Admits reports whether a Raft server may speak to this replica: it is
// registered, or this replica has not received the state of its region yet. The
// listener for fed-raft asks it, because Raft itself would follow a server that
// was removed or left behind by a recovery.
func (s *State) Admits(raftID string) bool {
	name, _, _ := strings.Cut(raftID, ".")
	r := s.Replica(name)
	return s.about.Epoch == 0 || (r != nil && r.RaftID() == raftID)
}

// Version returns the version of what the region exports.
func (s *State) Version() catalog.Version {
	return catalog.Version{Epoch: s.about.Epoch, Seq: s.seq}
}

// Record returns the exported record with the key.
func (s *State) Record(key catalog.RecordKey) (catalog.Record, bool) {
	r, ok := s.facts[key.Kind()][key]
	return r, ok
}

// Replica returns the registered replica of that name, or nil.
func (s *State) Replica(name string) *catalog.Replica {
	return s.facts[catalog.RecordReplica][replicaKey(name)].Replica
}

// Replicas returns all registered replicas, ordered by name.
func (s *State) Replicas() []*catalog.Replica {
	return collect(s, catalog.RecordReplica, func(r catalog.Record) *catalog.Replica { return r.Replica })
}

// Cluster returns the cluster of that name, or nil.
func (s *State) Cluster(name string) *catalog.Cluster {
	return s.facts[catalog.RecordCluster][clusterKey(name)].Cluster
}

// Clusters returns all clusters, ordered by name.
func (s *State) Clusters() []*catalog.Cluster {
	return collect(s, catalog.RecordCluster, func(r catalog.Record) *catalog.Cluster { return r.Cluster })
}

// Set returns the endpoint set with the key, or nil.
func (s *State) Set(key catalog.SetKey) *catalog.EndpointSet {
	return s.facts[catalog.RecordSet][setKey(key)].Set
}

// Sets returns all endpoint sets, ordered by key.
func (s *State) Sets() []*catalog.EndpointSet {
	return collect(s, catalog.RecordSet, func(r catalog.Record) *catalog.EndpointSet { return r.Set })
}

// Health returns the folded health of the set, or nil.
func (s *State) Health(key catalog.SetKey) *catalog.HealthTable {
	return s.facts[catalog.RecordHealth][healthKey(key)].Health
}

// Object returns the object with the key, tombstones included, or nil.
func (s *State) Object(key catalog.ObjectKey) *catalog.Object {
	return s.facts[catalog.RecordObject][objectKey(key)].Object
}

// Objects returns all objects, tombstones included, ordered by key.
func (s *State) Objects() []*catalog.Object {
	return collect(s, catalog.RecordObject, func(r catalog.Record) *catalog.Object { return r.Object })
}

// Region returns the registry entry of that name, or nil. Only the authority
// region has any.
func (s *State) Region(name string) *catalog.Region {
	return s.facts[catalog.RecordRegion][regionKey(name)].Region
}

// Regions returns the registry, removed regions included, ordered by name.
func (s *State) Regions() []*catalog.Region {
	return collect(s, catalog.RecordRegion, func(r catalog.Record) *catalog.Region { return r.Region })
}

// RegionRemoved reports whether that epoch of the region was removed for good.
func (s *State) RegionRemoved(name string, epoch uint64) bool {
	return slices.Contains(s.registry[name].Removed, epoch)
}

// Trust returns the trust list and its generation (0 when there is none).
func (s *State) Trust() (list []byte, generation uint64) {
	if t := s.facts[catalog.RecordTrust][trustKey()].Trust; t != nil {
		list = t.List
	}
	return list, s.trustGen
}

// Audit returns up to limit of the newest audit entries, oldest first. A limit
// of 0 or less means all.
func (s *State) Audit(limit int) []AuditEntry {
	if limit <= 0 || limit > len(s.audit) {
		limit = len(s.audit)
	}
	return slices.Clone(s.audit[len(s.audit)-limit:])
}

// CommonProtocol returns the newest protocol that every registered replica
// understands; [Protocol] when there is none.
func (s *State) CommonProtocol() int {
	lowest := 0
	for _, r := range s.facts[catalog.RecordReplica] {
		if lowest == 0 || r.Replica.MaxProtocol < lowest {
			lowest = r.Replica.MaxProtocol
		}
	}
	if lowest == 0 {
		return Protocol
	}
	return lowest
}

// collect returns the records of a kind, ordered by key.
func collect[T any](s *State, kind catalog.RecordKind, get func(catalog.Record) T) []T {
	records := s.facts[kind]
	out := make([]T, 0, len(records))
	for _, key := range slices.Sorted(maps.Keys(records)) {
		out = append(out, get(records[key]))
	}
	return out
}

func clusterKey(name string) catalog.RecordKey {
	return (&catalog.Record{Cluster: &catalog.Cluster{Name: name}}).Key()
}

func setKey(key catalog.SetKey) catalog.RecordKey {
	return (&catalog.Record{Set: &catalog.EndpointSet{SetKey: key}}).Key()
}

func healthKey(key catalog.SetKey) catalog.RecordKey {
	return (&catalog.Record{Health: &catalog.HealthTable{SetKey: key}}).Key()
}

func objectKey(key catalog.ObjectKey) catalog.RecordKey {
	return (&catalog.Record{Object: &catalog.Object{ObjectKey: key}}).Key()
}

func regionKey(name string) catalog.RecordKey {
	return (&catalog.Record{Region: &catalog.Region{Name: name}}).Key()
}

func replicaKey(name string) catalog.RecordKey {
	return (&catalog.Record{Replica: &catalog.Replica{Name: name}}).Key()
}

func trustKey() catalog.RecordKey { return (&catalog.Record{Trust: &catalog.Trust{}}).Key() }

// prefixOf returns the key prefix of a cluster's sets or health tables.
func prefixOf(kind catalog.RecordKind, cluster string) string {
	return string(kind) + "/" + cluster + "/"
}

// keysOf returns the keys of a kind that belong to a cluster, in order.
func (s *State) keysOf(kind catalog.RecordKind, cluster string) []catalog.RecordKey {
	var out []catalog.RecordKey
	for key := range s.facts[kind] {
		if strings.HasPrefix(string(key), prefixOf(kind, cluster)) {
			out = append(out, key)
		}
	}
	slices.Sort(out)
	return out
}

// hash returns the SHA-256 of b.
func hash(b []byte) []byte {
	sum := sha256.Sum256(b)
	return sum[:]
}
