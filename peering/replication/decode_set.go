package replication

import (
	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/peering/pb"
)

var (
	protocolToPB = map[catalog.Protocol]pb.Protocol{
		catalog.TCP:  pb.Protocol_PROTOCOL_TCP,
		catalog.UDP:  pb.Protocol_PROTOCOL_UDP,
		catalog.SCTP: pb.Protocol_PROTOCOL_SCTP,
	}
	checkKindToPB = map[catalog.CheckKind]pb.CheckKind{
		catalog.CheckHTTP: pb.CheckKind_CHECK_KIND_HTTP,
		catalog.CheckTCP:  pb.CheckKind_CHECK_KIND_TCP,
		catalog.CheckGRPC: pb.CheckKind_CHECK_KIND_GRPC,
	}
	protocolFromPB  = inverse(protocolToPB)
	checkKindFromPB = inverse(checkKindToPB)
)

func inverse[A, B comparable](m map[A]B) map[B]A {
	out := make(map[B]A, len(m))
	for a, b := range m {
		out[b] = a
	}
	return out
}

// SetFromPB converts an endpoint set from outside.
func SetFromPB(p *pb.EndpointSet) (*catalog.EndpointSet, error) {
	var f fields
	s := &catalog.EndpointSet{
		SetKey: catalog.SetKey{
			Cluster: f.cluster("cluster", p.GetCluster()),
			Service: f.service(p.GetService()),
		},
		Source:          shared(f.label("source", p.GetSource())),
		Headless:        p.GetHeadless(),
		Check:           f.check("check", p.GetCheck()),
		CreatedAt:       f.time("created_at", p.GetCreatedAt()),
		AffinitySeconds: f.between("affinity_seconds", p.GetAffinitySeconds(), 0, catalog.MaxAffinitySeconds),
		Properties:      f.properties("properties", p.GetProperties()),
	}
	if f.count("ports", len(p.GetPorts()), maxPorts) {
		for i, port := range p.GetPorts() {
			var g fields
			s.Ports = append(s.Ports, g.servicePort(port))
			f.item("ports", i, g)
		}
	}
	if f.count("endpoints", len(p.GetEndpoints()), maxEndpoints) {
		s.Endpoints = f.endpoints(p.GetEndpoints())
	}
	return s, f.err
}

func (f *fields) properties(field string, p *pb.Properties) *catalog.Properties {
	out := &catalog.Properties{
		Labels: p.GetLabels(), Annotations: p.GetAnnotations(),
		NodeLocal: p.GetNodeLocal(), TrafficDistribution: p.GetTrafficDistribution(),
		IPv4: p.GetIpv4(), IPv6: p.GetIpv6(),
	}
	if out.Empty() {
		return nil
	}
	f.fail(field, out.Validate())
	return out
}

func (f *fields) servicePort(p *pb.Port) catalog.Port {
	protocol, ok := protocolFromPB[p.GetProtocol()]
	if !ok {
		f.failf("protocol", "%d: expected TCP, UDP or SCTP", p.GetProtocol())
	}
	return catalog.Port{
		Name:        f.optionalLabel("name", p.GetName()),
		Protocol:    protocol,
		Number:      f.port("number", p.GetNumber()),
		AppProtocol: f.text("app_protocol", p.GetAppProtocol(), maxName),
	}
}

func (f *fields) endpoints(list []*pb.Endpoint) []catalog.Endpoint {
	if len(list) == 0 {
		return nil
	}
	out := make([]catalog.Endpoint, len(list))
	seen := make(map[string]bool, len(list))
	for i, p := range list {
		var g fields
		out[i] = g.endpoint(p)
		if seen[out[i].ID] {
			g.failf("id", "%q twice", printable(out[i].ID, maxName))
		}
		seen[out[i].ID] = true
		f.item("endpoints", i, g)
	}
	catalog.SharePorts(out)
	return out
}

func (f *fields) endpoint(p *pb.Endpoint) catalog.Endpoint {
	e := catalog.Endpoint{
		ID:       f.required("id", p.GetId(), maxName),
		Address:  f.address("address", p.GetAddress()),
		Zone:     f.zone(p.GetZone()),
		Hostname: f.optionalLabel("hostname", p.GetHostname()),
		Weight:   f.between("weight", p.GetWeight(), 1, 65535),
		Health:   f.health("health", p.GetHealth()),
	}
	if n := len(p.GetPorts()); n > 0 && f.count("ports", n, maxPorts) {
		e.Ports = make(map[string]uint16, n)
		for name, number := range p.GetPorts() {
			e.Ports[f.optionalLabel("ports", name)] = f.port("ports", number)
		}
	}
	return e
}

func (f *fields) check(field string, p *pb.Check) *catalog.Check {
	if p == nil {
		return nil
	}
	var g fields
	kind, ok := checkKindFromPB[p.GetKind()]
	if !ok {
		g.failf("kind", "%d: expected HTTP, TCP or gRPC", p.GetKind())
	}
	c := &catalog.Check{
		Kind:               kind,
		Port:               g.optionalLabel("port", p.GetPort()),
		Path:               g.text("path", p.GetPath(), maxText),
		Host:               g.text("host", p.GetHost(), maxName),
		Service:            g.text("service", p.GetService(), maxName),
		Interval:           g.duration("interval", p.GetInterval(), minCheckInterval, maxCheckInterval),
		Timeout:            g.duration("timeout", p.GetTimeout(), minCheckInterval, maxCheckInterval),
		HealthyThreshold:   int(g.between("healthy_threshold", p.GetHealthyThreshold(), 1, maxThreshold)),
		UnhealthyThreshold: int(g.between("unhealthy_threshold", p.GetUnhealthyThreshold(), 1, maxThreshold)),
	}
	f.nested(field, g)
	return c
}

func healthFromPB(p *pb.HealthTable) (*catalog.HealthTable, error) {
	var f fields
	t := &catalog.HealthTable{SetKey: catalog.SetKey{
		Cluster: f.cluster("cluster", p.GetCluster()),
		Service: f.service(p.GetService()),
	}}
	if n := len(p.GetHealth()); n > 0 && f.count("health", n, maxEndpoints) {
		t.Health = make(map[string]catalog.Health, n)
		for _, id := range sortedKeys(p.GetHealth()) {
			t.Health[f.required("health", id, maxName)] = f.health("health", p.GetHealth()[id])
		}
	}
	return t, f.err
}

func clusterFromPB(p *pb.Cluster) (*catalog.Cluster, error) {
	var f fields
	c := &catalog.Cluster{
		Name:        f.cluster("name", p.GetName()),
		HealthOwner: f.optionalLabel("health_owner", p.GetHealthOwner()),
		HealthTerm:  p.GetHealthTerm(),
		Confirmed:   healthVersionFromPB(p.GetConfirmed()),
		SourceError: f.text("source_error", p.GetSourceError(), maxText),
		StaleSince:  f.time("stale_since", p.GetStaleSince()),
	}
	if f.count("prefixes", len(p.GetPrefixes()), maxPrefixes) {
		for i, cp := range p.GetPrefixes() {
			var g fields
			c.Prefixes = append(c.Prefixes, catalog.ClientPrefix{
				Prefix: g.prefix(cp.GetAddress(), cp.GetLength()),
				Zone:   g.zone(cp.GetZone()),
			})
			f.item("prefixes", i, g)
		}
	}
	return c, f.err
}

// ReplicaFromPB converts a replica from outside.
func ReplicaFromPB(p *pb.Replica) (*catalog.Replica, error) {
	var f fields
	r := &catalog.Replica{
		Name:          f.label("name", p.GetName()),
		Region:        f.label("region", p.GetRegion()),
		Cluster:       f.cluster("cluster", p.GetCluster()),
		Zone:          f.zone(p.GetZone()),
		DiskID:        f.text("disk_id", p.GetDiskId(), maxName),
		PeerAddress:   f.hostPort("peer_address", p.GetPeerAddress()),
		GossipAddress: f.hostPort("gossip_address", p.GetGossipAddress()),
		DNSAddress:    f.optionalHostPort("dns_address", p.GetDnsAddress()),
		Recipient:     f.text("recipient", p.GetRecipient(), maxText),
		PublicKey:     f.blob("public_key", p.GetPublicKey(), maxDERBytes),
		MinProtocol:   int(f.between("min_protocol", p.GetMinProtocol(), 0, maxProtocol)),
		MaxProtocol:   int(f.between("max_protocol", p.GetMaxProtocol(), p.GetMinProtocol(), maxProtocol)),
		Build:         f.text("build", p.GetBuild(), maxText),
		JoinedAt:      f.time("joined_at", p.GetJoinedAt()),
	}
	return r, f.err
}
