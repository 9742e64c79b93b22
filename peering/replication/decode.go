package replication

import (
	"encoding/json"
	"errors"
	"fmt"

	"google.golang.org/protobuf/proto"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/peering/pb"
)

// RecordFromPB converts a record from outside. The error names the field that
// breaks a rule.
func RecordFromPB(p *pb.Record) (catalog.Record, error) {
	if n := proto.Size(p); n > maxRecordBytes {
		return catalog.Record{}, fmt.Errorf("record of %d bytes, expected at most %d", n, maxRecordBytes)
	}
	var r catalog.Record
	var err error
	kind := catalog.RecordKind("record")
	switch fact := p.GetFact().(type) {
	case *pb.Record_Set:
		kind = catalog.RecordSet
		r.Set, err = SetFromPB(fact.Set)
	case *pb.Record_Health:
		kind = catalog.RecordHealth
		r.Health, err = healthFromPB(fact.Health)
	case *pb.Record_Cluster:
		kind = catalog.RecordCluster
		r.Cluster, err = clusterFromPB(fact.Cluster)
	case *pb.Record_Replica:
		kind = catalog.RecordReplica
		r.Replica, err = ReplicaFromPB(fact.Replica)
	case *pb.Record_Object:
		kind = catalog.RecordObject
		r.Object, err = ObjectFromPB(fact.Object)
	case *pb.Record_Region:
		kind = catalog.RecordRegion
		r.Region, err = RegionFromPB(fact.Region)
	case *pb.Record_Trust:
		kind = catalog.RecordTrust
		r.Trust, err = trustFromPB(fact.Trust)
	default:
		err = errors.New("empty, or of a kind that only newer replicas know: upgrade this one")
	}
	if err != nil {
		return catalog.Record{}, within(string(kind), err)
	}
	return r, nil
}

// DeltaFromPB converts a delta of the given region from outside.
func DeltaFromPB(region string, p *pb.Delta) (catalog.Delta, error) {
	var f fields
	d := catalog.Delta{Region: p.GetRegion(), Version: VersionFromPB(p.GetVersion())}
	if d.Region != region {
		f.failf("region", "%q: expected %q", printable(d.Region, maxName), region)
	}
	if d.Version.Epoch == 0 || d.Version.Seq == 0 {
		f.failf("version", "%s: expected epoch and seq from 1", d.Version)
	}
	if !f.count("upserts", len(p.GetUpserts())+len(p.GetDeletes()), maxRecords) {
		return d, within("delta", f.err)
	}
	seen := make(map[catalog.RecordKey]bool, len(p.GetUpserts())+len(p.GetDeletes()))
	for i, u := range p.GetUpserts() {
		r, err := publishedFromPB(region, u)
		f.item("upserts", i, fields{err})
		f.unique("upserts", seen, r.Key())
		d.Upserts = append(d.Upserts, r)
	}
	for _, k := range p.GetDeletes() {
		f.required("deletes", k, maxKey)
		f.unique("deletes", seen, catalog.RecordKey(k))
		d.Deletes = append(d.Deletes, catalog.RecordKey(k))
	}
	if f.err != nil {
		return catalog.Delta{}, within("delta", f.err)
	}
	return d, nil
}

// publishedFromPB converts a record that a region publishes.
func publishedFromPB(region string, p *pb.Record) (catalog.Record, error) {
	r, err := RecordFromPB(p)
	if err == nil && r.Replica != nil && r.Replica.Region != region {
		err = &FieldError{"replica.region", fmt.Errorf("%q: expected the publishing region %q", r.Replica.Region, region)}
	}
	return r, err
}

func (f *fields) unique(field string, seen map[catalog.RecordKey]bool, k catalog.RecordKey) {
	if seen[k] {
		f.failf(field, "key %q twice", printable(string(k), maxKey))
	}
	seen[k] = true
}

// VersionFromPB converts a version; every value is valid, nil is the zero version.
func VersionFromPB(p *pb.Version) catalog.Version {
	return catalog.Version{Epoch: p.GetEpoch(), Seq: p.GetSeq()}
}

func healthVersionFromPB(p *pb.HealthVersion) catalog.HealthVersion {
	return catalog.HealthVersion{Epoch: p.GetEpoch(), Term: p.GetTerm(), Seq: p.GetSeq()}
}

// HealthDeltaFromPB converts a health delta from outside.
func HealthDeltaFromPB(p *pb.HealthDelta) (catalog.HealthDelta, error) {
	var f fields
	d := catalog.HealthDelta{Cluster: f.cluster("cluster", p.GetCluster())}
	if f.count("changes", len(p.GetChanges()), maxHealthChanges) {
		for i, c := range p.GetChanges() {
			var g fields
			d.Changes = append(d.Changes, catalog.HealthChange{
				Service:  g.service(c.GetService()),
				Endpoint: g.required("endpoint", c.GetEndpoint(), maxName),
				Health:   g.health("health", c.GetHealth()),
				Version:  healthVersionFromPB(c.GetVersion()),
			})
			f.item("changes", i, g)
		}
	}
	if f.err != nil {
		return catalog.HealthDelta{}, within("health_delta", f.err)
	}
	return d, nil
}

func (f *fields) health(field string, h pb.Health) catalog.Health {
	if h < pb.Health_HEALTH_UNKNOWN || h > pb.Health_HEALTH_DRAINING {
		f.failf(field, "%d: expected %d to %d", h, pb.Health_HEALTH_UNKNOWN, pb.Health_HEALTH_DRAINING)
		return catalog.Unknown
	}
	return catalog.Health(h - pb.Health_HEALTH_UNKNOWN)
}

func (f *fields) service(p *pb.ServiceName) catalog.ServiceName {
	return catalog.ServiceName{
		Namespace: shared(f.label("service.namespace", p.GetNamespace())),
		Name:      f.label("service.name", p.GetName()),
	}
}

// ObjectFromPB converts an object from outside. Its kind need not be known.
func ObjectFromPB(p *pb.Object) (*catalog.Object, error) {
	var f fields
	o := &catalog.Object{
		ObjectKey: catalog.ObjectKey{
			Kind: catalog.ObjectKind(f.label("kind", p.GetKind())),
			Name: f.required("name", p.GetName(), maxName),
		},
		Version: catalog.ObjectVersion{
			Generation: p.GetVersion().GetGeneration(),
			HLC:        p.GetVersion().GetHlc(),
			Region:     f.label("version.region", p.GetVersion().GetRegion()),
		},
		Spec:    f.blob("spec", p.GetSpec(), maxSpecBytes),
		Deleted: p.GetDeleted(),
		Actor:   f.text("actor", p.GetActor(), maxText),
	}
	if f.err == nil && !json.Valid(o.Spec) && (len(o.Spec) > 0 || !o.Deleted) {
		f.failf("spec", "expected JSON")
	}
	o.Acks = f.labels("acks", p.GetAcks(), maxAcks)
	return o, f.err
}

func (f *fields) labels(field string, list []string, limit int) []string {
	if !f.count(field, len(list), limit) || len(list) == 0 {
		return nil
	}
	for _, s := range list {
		f.label(field, s)
	}
	return list
}

// RegionFromPB converts an entry of the region registry from outside.
func RegionFromPB(p *pb.Region) (*catalog.Region, error) {
	var f fields
	r := &catalog.Region{
		Name:         f.label("name", p.GetName()),
		Epoch:        p.GetEpoch(),
		Founder:      f.hash("founder", p.GetFounder()),
		Authority:    p.GetAuthority(),
		Removed:      p.GetRemoved(),
		Intermediate: f.blob("intermediate", p.GetIntermediate(), maxDERBytes),
		Since:        f.time("since", p.GetSince()),
	}
	if r.Epoch == 0 {
		f.failf("epoch", "0: expected at least 1")
	}
	if f.count("clusters", len(p.GetClusters()), maxClusters) {
		for _, c := range p.GetClusters() {
			r.Clusters = append(r.Clusters, f.cluster("clusters", c))
		}
	}
	if p.GetSeed() != nil {
		seed, err := ReplicaFromPB(p.GetSeed())
		if err != nil {
			f.failf("seed", "%v", err)
		}
		r.Seed = seed
	}
	return r, f.err
}

func trustFromPB(p *pb.Trust) (*catalog.Trust, error) {
	var f fields
	t := &catalog.Trust{List: f.blob("list", p.GetList(), maxListBytes)}
	return t, f.err
}
