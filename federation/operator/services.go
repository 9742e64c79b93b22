package operator

import (
	"context"
	"slices"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/peering/pb"
)

// Services lists the services of all regions, or some of them.
func (s *Server) Services(_ context.Context, r *pb.ServicesRequest) (*pb.ServicesResponse, error) {
	if known := s.knownRegions(); r.GetRegion() != "" && !slices.Contains(known, r.GetRegion()) {
		return nil, missing("region", r.GetRegion(), known)
	}
	cond := s.Catalog.Conditions()
	out := &pb.ServicesResponse{}
	for _, service := range s.Catalog.Services() {
		in := func(b catalog.Backend) bool { return b.Region == r.GetRegion() }
		if r.GetNamespace() != "" && service.Name.Namespace != r.GetNamespace() ||
			r.GetRegion() != "" && !slices.ContainsFunc(service.Backends, in) {
			continue
		}
		out.Services = append(out.Services, summary(service, cond, s.Zone))
	}
	return out, nil
}

func summary(s *catalog.Service, cond *catalog.Conditions, zone string) *pb.ServiceSummary {
	out := &pb.ServiceSummary{Name: s.Name.String(), Headless: s.Headless, DnsNames: dnsNames(s, zone)}
	_, out.Policy = cond.Policy(s.Name)
	for _, c := range s.Conflicts {
		out.Conflicts = append(out.Conflicts, c.Message)
	}
	for _, p := range s.Ports {
		out.Ports = append(out.Ports, &pb.ServicePort{Name: p.Name, Protocol: string(p.Protocol), Number: uint32(p.Number), AppProtocol: p.AppProtocol})
	}
	for _, b := range s.Backends {
		part := &pb.BackendSummary{Region: b.Region, Cluster: b.Set.Cluster, Source: b.Set.Source, Endpoints: uint32(len(b.Health)), Stale: b.Stale}
		for _, h := range b.Health {
			if h == catalog.Healthy {
				part.Healthy++
			}
		}
		out.Backends = append(out.Backends, part)
		out.Endpoints += part.Endpoints
		out.Healthy += part.Healthy
	}
	return out
}
