package operator

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"google.golang.org/grpc/codes"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/locality"
	"github.com/federator/federator/peering/pb"
	"github.com/federator/federator/peering/rpc"
)

// Resolve explains what clients in a place are answered.
func (s *Server) Resolve(_ context.Context, r *pb.ResolveRequest) (*pb.ResolveResponse, error) {
	service, err := s.service(r.GetService())
	if err != nil {
		return nil, err
	}
	cond := s.Catalog.Conditions()
	from, err := s.place(cond, r)
	if err != nil {
		return nil, err
	}
	res := locality.Resolve(locality.Input{Service: service, Conditions: cond, Client: from.Locality})
	out := resolution(res, cond)
	out.Headless, out.From, out.FromReason = service.Headless, from.String(), from.reason
	out.DnsAnswers = dnsAnswers(res, service.Headless, from.known)
	if vips := s.virtual(service, from); len(vips) > 0 {
		out.DnsAnswers = vips
		out.Explanation = append(out.Explanation, fmt.Sprintf("DNS answers clients in cluster %s with its clusterset IP %s, which leads there", s.Self.Cluster, strings.Join(vips, ", ")))
	}
	for _, refusal := range s.Catalog.RefusalsOf(service.Name) {
		why := fmt.Sprintf("cluster %s of %s exports it, refused by %s", refusal.Cluster, refusal.Region, rulesNamed(refusal.Rules))
		out.Omissions = append(out.Omissions, &pb.Omission{Subject: "cluster " + refusal.Cluster, Reason: why})
		out.Explanation = append(out.Explanation, why)
	}
	return out, nil
}

// virtual returns the clusterset IPs with which DNS answers for a service; none
// where it answers with endpoints.
func (s *Server) virtual(service *catalog.Service, from place) (out []string) {
	if s.VIPs == nil || service.Headless || !from.inside {
		return nil
	}
	for _, ip := range s.VIPs(service.Name) {
		out = append(out, ip.String())
	}
	return out
}

// service finds a service by its written name.
func (s *Server) service(written string) (*catalog.Service, error) {
	name, err := catalog.ParseServiceName(written)
	if err != nil {
		return nil, invalid("%v", err)
	}
	if service := s.Catalog.Service(name); service != nil {
		return service, nil
	}
	if refusals := s.Catalog.RefusalsOf(name); len(refusals) > 0 {
		return nil, refusedEverywhere(name, refusals)
	}
	return nil, missing("service", written, s.serviceNames())
}

// refusedEverywhere says why a service that is exported does not exist.
func refusedEverywhere(name catalog.ServiceName, refusals []catalog.Refusal) error {
	var by []string
	for _, r := range refusals {
		by = append(by, fmt.Sprintf("cluster %s exports it, refused by %s", r.Cluster, rulesNamed(r.Rules)))
	}
	return rpc.Error(codes.NotFound, "REFUSED", fmt.Sprintf("service %s does not exist: %s; allow the cluster in one of these rules if it may", name, strings.Join(most(by, maxSuggested), "; ")))
}

func (s *Server) serviceNames() []string {
	var names []string
	for _, service := range s.Catalog.Services() {
		names = append(names, service.Name.String())
	}
	return names
}

// place is where a client is, and how that is known. known tells whether DNS
// would treat it as one client rather than as a resolver that many share.
type place struct {
	catalog.Locality
	reason string
	known  bool
	inside bool // in the replica's own cluster
}

// place finds out where the question is asked from.
func (s *Server) place(cond *catalog.Conditions, r *pb.ResolveRequest) (place, error) {
	switch {
	case r.GetFrom() != "" && r.GetClientAddress() != "":
		return place{}, invalid("expected a place or a client's address, found both; leave one out")
	case r.GetClientAddress() != "":
		return s.placeAddress(cond, r.GetClientAddress())
	case r.GetFrom() == "":
		return place{Locality: s.own(), reason: "(where this replica is)", known: true}, nil
	}
	from, err := catalog.ParseLocality(r.GetFrom())
	if err != nil {
		return place{}, invalid("%v", err)
	}
	if known := s.knownRegions(); !slices.Contains(known, from.Region) {
		return place{}, missing("region", from.Region, known)
	}
	reason := ""
	if from.Zone != "" && !slices.Contains(cond.Localities, from) {
		reason = "(nothing is known to be in that zone)"
	}
	return place{Locality: from, reason: reason, known: true}, nil
}

func (s *Server) own() catalog.Locality {
	return catalog.Locality{Region: s.Self.Region, Zone: s.Self.Zone}
}

// placeAddress applies the rule of DNS: the longest matching prefix, else where
// the replica is.
func (s *Server) placeAddress(cond *catalog.Conditions, written string) (place, error) {
	addr, err := netip.ParseAddr(written)
	if err != nil {
		return place{}, invalid("client address %q: expected an IP address, for example 10.1.2.3", written)
	}
	addr = addr.Unmap().WithZone("")
	best := netip.Prefix{}
	found := place{Locality: s.own(), reason: fmt.Sprintf("(no cluster announces a network with %s, so where this replica is)", addr)}
	for prefix, at := range cond.Prefixes {
		if prefix.Contains(addr) && (!best.IsValid() || prefix.Bits() > best.Bits()) {
			best = prefix
			found = place{Locality: at, reason: fmt.Sprintf("(%s is in %s)", addr, best), known: true}
		}
	}
	for _, own := range cond.Networks[s.Self.Cluster] { // which count where another is as narrow
		if own.Prefix.Contains(addr) && (!best.IsValid() || own.Prefix.Bits() >= best.Bits()) {
			best = own.Prefix
			found = place{Locality: catalog.Locality{Region: s.Self.Region, Zone: own.Zone}, reason: fmt.Sprintf("(%s is in %s of this cluster)", addr, best), known: true, inside: true}
		}
	}
	return found, nil
}

// resolution puts a resolution and its reasons on the wire.
func resolution(res locality.Resolution, cond *catalog.Conditions) *pb.ResolveResponse {
	out := &pb.ResolveResponse{Service: res.Service.String(), Policy: res.Policy, Panic: res.Panic, Stale: res.Stale}
	if d := res.Drill; d != nil {
		out.Drill = fmt.Sprintf("%s takes %d %% of the traffic of %s", d.ID, d.Share/(locality.Unit/100), d.Scope)
	}
	steps := locality.Explain(res)
	for i := range res.Priorities {
		out.Priorities = append(out.Priorities, priority(uint32(i), &res.Priorities[i], cond))
	}
	for _, step := range steps {
		switch step.Kind {
		case locality.StepOmitted, locality.StepEndpoint:
			out.Omissions = append(out.Omissions, &pb.Omission{Subject: step.Locality, Reason: step.Text})
		}
		out.Explanation = append(out.Explanation, step.Text)
	}
	return out
}

func priority(i uint32, p *locality.Priority, cond *catalog.Conditions) *pb.ResolvedPriority {
	out := &pb.ResolvedPriority{Priority: i, HealthPercent: p.Health, LoadPercent: p.Load, Panic: p.Panic, Reason: loadReason(i, p)}
	for j := range p.Localities {
		out.Localities = append(out.Localities, resolvedLocality(p, &p.Localities[j], cond))
	}
	return out
}

// loadReason says why a priority has the load it has.
func loadReason(i uint32, p *locality.Priority) string {
	switch {
	case p.Panic:
		return "panic: too little is available, so health is ignored"
	case p.Load == 0 && p.Health == 0:
		return "nothing in it is available"
	case p.Load == 0:
		return "stands by"
	case i == 0:
		return "first choice"
	}
	return "takes over what the priorities before it cannot"
}

// rankWords say why a locality has its rank.
var rankWords = map[locality.Reason]string{
	locality.SameZone:      "same zone",
	locality.SameRegion:    "same region",
	locality.ByPolicy:      "policy's order",
	locality.ByMeasurement: "nearest by round-trip time",
	locality.ByName:        "by name, for want of a measurement",
}

func resolvedLocality(p *locality.Priority, l *locality.Locality, cond *catalog.Conditions) *pb.ResolvedLocality {
	reason := rankWords[l.Why]
	if p.Weighted {
		reason = "policy's weights"
	}
	if l.Admitted < locality.Unit {
		reason += fmt.Sprintf(", returning: %d %% of its capacity is let in", l.Admitted/(locality.Unit/100))
	}
	if l.Drilled > 0 && l.Serving&locality.ServeUndrilled != 0 {
		reason += fmt.Sprintf(", %d drilled", l.Drilled)
	} else if l.Drilled > 0 {
		reason += ", drilled"
	}
	out := &pb.ResolvedLocality{
		Region: l.Region, Zone: l.Zone, Weight: l.Configured, ShareBp: l.Weight / (locality.Unit / 10_000),
		Rtt: measured(cond.RTT[l.Region]), Reason: reason,
	}
	for i := range l.Endpoints {
		out.Endpoints = append(out.Endpoints, resolvedEndpoint(p, l, &l.Endpoints[i]))
	}
	return out
}

func resolvedEndpoint(p *locality.Priority, l *locality.Locality, e *locality.Endpoint) *pb.ResolvedEndpoint {
	out := &pb.ResolvedEndpoint{
		Id: e.ID, Address: e.Address.String(), Cluster: e.Cluster, Health: e.Health.String(),
		Weight: e.Endpoint.Weight, Serves: e.Weight > 0 && l.Weight > 0, Stale: l.Stale,
	}
	switch {
	case out.Serves && p.Panic && !answers(e.Health):
		out.Reason = "panic"
	case e.Drilled && l.Serving&locality.ServeUndrilled != 0:
		out.Reason = "drilled"
	case e.Weight == 0:
		out.Reason = e.Health.String()
	case l.Weight == 0:
		out.Reason = "stands by"
	}
	return out
}
