package replication

import (
	"maps"
	"slices"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/peering/pb"
)

// RecordToPB converts a record. Free texts are made printable and cut to the
// length that others accept.
func RecordToPB(r *catalog.Record) *pb.Record {
	switch {
	case r.Set != nil:
		return &pb.Record{Fact: &pb.Record_Set{Set: SetToPB(r.Set)}}
	case r.Health != nil:
		return &pb.Record{Fact: &pb.Record_Health{Health: healthToPB(r.Health)}}
	case r.Cluster != nil:
		return &pb.Record{Fact: &pb.Record_Cluster{Cluster: clusterToPB(r.Cluster)}}
	case r.Replica != nil:
		return &pb.Record{Fact: &pb.Record_Replica{Replica: ReplicaToPB(r.Replica)}}
	case r.Object != nil:
		return &pb.Record{Fact: &pb.Record_Object{Object: ObjectToPB(r.Object)}}
	case r.Region != nil:
		return &pb.Record{Fact: &pb.Record_Region{Region: RegionToPB(r.Region)}}
	case r.Trust != nil:
		return &pb.Record{Fact: &pb.Record_Trust{Trust: &pb.Trust{List: r.Trust.List}}}
	}
	return &pb.Record{}
}

// DeltaToPB converts a delta.
func DeltaToPB(d catalog.Delta) *pb.Delta {
	out := &pb.Delta{Region: d.Region, Version: VersionToPB(d.Version)}
	for i := range d.Upserts {
		out.Upserts = append(out.Upserts, RecordToPB(&d.Upserts[i]))
	}
	for _, k := range d.Deletes {
		out.Deletes = append(out.Deletes, string(k))
	}
	return out
}

// HealthDeltaToPB converts a health delta.
func HealthDeltaToPB(d catalog.HealthDelta) *pb.HealthDelta {
	out := &pb.HealthDelta{Cluster: d.Cluster}
	for _, c := range d.Changes {
		out.Changes = append(out.Changes, &pb.HealthChange{
			Service:  serviceToPB(c.Service),
			Endpoint: c.Endpoint,
			Health:   healthStateToPB(c.Health),
			Version:  healthVersionToPB(c.Version),
		})
	}
	return out
}

// VersionToPB converts a version; the zero version is nil.
func VersionToPB(v catalog.Version) *pb.Version {
	if v == (catalog.Version{}) {
		return nil
	}
	return &pb.Version{Epoch: v.Epoch, Seq: v.Seq}
}

func healthVersionToPB(v catalog.HealthVersion) *pb.HealthVersion {
	if v == (catalog.HealthVersion{}) {
		return nil
	}
	return &pb.HealthVersion{Epoch: v.Epoch, Term: v.Term, Seq: v.Seq}
}

func healthStateToPB(h catalog.Health) pb.Health { return pb.Health(h) + pb.Health_HEALTH_UNKNOWN }

func serviceToPB(n catalog.ServiceName) *pb.ServiceName {
	return &pb.ServiceName{Namespace: n.Namespace, Name: n.Name}
}

// SetToPB converts an endpoint set.
func SetToPB(s *catalog.EndpointSet) *pb.EndpointSet {
	out := &pb.EndpointSet{
		Cluster:         s.Cluster,
		Service:         serviceToPB(s.Service),
		Source:          s.Source,
		Headless:        s.Headless,
		Check:           checkToPB(s.Check),
		CreatedAt:       timeToPB(s.CreatedAt),
		AffinitySeconds: s.AffinitySeconds,
		Properties:      propertiesToPB(s.Properties),
		Endpoints:       make([]*pb.Endpoint, len(s.Endpoints)),
	}
	for _, p := range s.Ports {
		out.Ports = append(out.Ports, &pb.Port{
			Name: p.Name, Protocol: protocolToPB[p.Protocol], Number: uint32(p.Number), AppProtocol: p.AppProtocol,
		})
	}
	for i := range s.Endpoints {
		out.Endpoints[i] = endpointToPB(&s.Endpoints[i])
	}
	return out
}

func propertiesToPB(p *catalog.Properties) *pb.Properties {
	if p.Empty() {
		return nil
	}
	return &pb.Properties{Labels: p.Labels, Annotations: p.Annotations, NodeLocal: p.NodeLocal, TrafficDistribution: p.TrafficDistribution, Ipv4: p.IPv4, Ipv6: p.IPv6}
}

func endpointToPB(e *catalog.Endpoint) *pb.Endpoint {
	out := &pb.Endpoint{
		Id:       e.ID,
		Address:  e.Address.AsSlice(),
		Zone:     e.Zone,
		Hostname: e.Hostname,
		Weight:   e.Weight,
		Health:   healthStateToPB(e.Health),
	}
	if len(e.Ports) > 0 {
		out.Ports = make(map[string]uint32, len(e.Ports))
		for name, n := range e.Ports {
			out.Ports[name] = uint32(n)
		}
	}
	return out
}

func checkToPB(c *catalog.Check) *pb.Check {
	if c == nil {
		return nil
	}
	return &pb.Check{
		Kind:               checkKindToPB[c.Kind],
		Port:               c.Port,
		Path:               c.Path,
		Host:               c.Host,
		Service:            c.Service,
		Interval:           durationpb.New(c.Interval),
		Timeout:            durationpb.New(c.Timeout),
		HealthyThreshold:   uint32(c.HealthyThreshold),
		UnhealthyThreshold: uint32(c.UnhealthyThreshold),
	}
}

func healthToPB(t *catalog.HealthTable) *pb.HealthTable {
	out := &pb.HealthTable{Cluster: t.Cluster, Service: serviceToPB(t.Service)}
	if len(t.Health) > 0 {
		out.Health = make(map[string]pb.Health, len(t.Health))
		for id, h := range t.Health {
			out.Health[id] = healthStateToPB(h)
		}
	}
	return out
}

func clusterToPB(c *catalog.Cluster) *pb.Cluster {
	out := &pb.Cluster{
		Name:        c.Name,
		HealthOwner: c.HealthOwner,
		HealthTerm:  c.HealthTerm,
		Confirmed:   healthVersionToPB(c.Confirmed),
		SourceError: printable(c.SourceError, maxText),
		StaleSince:  timeToPB(c.StaleSince),
	}
	for _, p := range c.Prefixes {
		out.Prefixes = append(out.Prefixes, &pb.ClientPrefix{
			Address: p.Prefix.Addr().AsSlice(), Length: uint32(max(p.Prefix.Bits(), 0)), Zone: p.Zone,
		})
	}
	return out
}

// ReplicaToPB converts a replica.
func ReplicaToPB(r *catalog.Replica) *pb.Replica {
	return &pb.Replica{
		Name:          r.Name,
		Region:        r.Region,
		Cluster:       r.Cluster,
		Zone:          r.Zone,
		DiskId:        r.DiskID,
		PeerAddress:   r.PeerAddress,
		GossipAddress: r.GossipAddress,
		DnsAddress:    r.DNSAddress,
		Recipient:     r.Recipient,
		PublicKey:     r.PublicKey,
		MinProtocol:   uint32(r.MinProtocol),
		MaxProtocol:   uint32(r.MaxProtocol),
		Build:         printable(r.Build, maxText),
		JoinedAt:      timeToPB(r.JoinedAt),
	}
}

// ObjectToPB converts an object.
func ObjectToPB(o *catalog.Object) *pb.Object {
	return &pb.Object{
		Kind:    string(o.Kind),
		Name:    o.Name,
		Version: &pb.ObjectVersion{Generation: o.Version.Generation, Hlc: o.Version.HLC, Region: o.Version.Region},
		Spec:    o.Spec,
		Deleted: o.Deleted,
		Acks:    o.Acks,
		Actor:   printable(o.Actor, maxText),
	}
}

// RegionToPB converts an entry of the region registry.
func RegionToPB(r *catalog.Region) *pb.Region {
	p := &pb.Region{
		Name:         r.Name,
		Epoch:        r.Epoch,
		Founder:      r.Founder,
		Clusters:     r.Clusters,
		Authority:    r.Authority,
		Removed:      r.Removed,
		Intermediate: r.Intermediate,
		Since:        timeToPB(r.Since),
	}
	if r.Seed != nil {
		p.Seed = ReplicaToPB(r.Seed)
	}
	return p
}

// sortedKeys makes what depends on the order of a map repeatable.
func sortedKeys[K ~string, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }
