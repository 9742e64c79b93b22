package operator

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/peering/pb"
)

// Endpoints lists the endpoints of a service, and who decided their health.
func (s *Server) Endpoints(_ context.Context, r *pb.EndpointsRequest) (*pb.EndpointsResponse, error) {
	service, err := s.service(r.GetService())
	if err != nil {
		return nil, err
	}
	if known := s.knownRegions(); r.GetRegion() != "" && !slices.Contains(known, r.GetRegion()) {
		return nil, missing("region", r.GetRegion(), known)
	}
	out := &pb.EndpointsResponse{Service: service.Name.String()}
	var said *testimony
	for _, b := range service.Backends {
		if r.GetRegion() != "" && b.Region != r.GetRegion() {
			continue
		}
		if said == nil || said.region != b.Region { // backends are ordered by region
			said = s.testimony(b.Region, service.Name)
		}
		w := s.witnesses(said, b)
		for _, i := range byID(b.Set.Endpoints) {
			out.Endpoints = append(out.Endpoints, w.endpoint(b, i))
		}
	}
	return out, nil
}

// byID returns the indices of the endpoints in the order of their ids.
func byID(endpoints []catalog.Endpoint) []int {
	order := make([]int, len(endpoints))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(i, j int) int { return strings.Compare(endpoints[i].ID, endpoints[j].ID) })
	return order
}

// testimony is what a region says of the health of a service, by cluster.
type testimony struct {
	region string
	tables map[string]map[string]catalog.Health
	stale  map[string]time.Time // since when the source is not read
}

func (s *Server) testimony(region string, service catalog.ServiceName) *testimony {
	t := &testimony{region: region, tables: map[string]map[string]catalog.Health{}, stale: map[string]time.Time{}}
	s.Catalog.Records(region, catalog.RecordHealth, func(rec *catalog.Record) bool {
		if rec.Health.Service == service {
			t.tables[rec.Health.Cluster] = rec.Health.Health
		}
		return true
	})
	s.Catalog.Records(region, catalog.RecordCluster, func(rec *catalog.Record) bool {
		t.stale[rec.Cluster.Name] = rec.Cluster.StaleSince
		return true
	})
	return t
}

// witnesses is what is said of the health of one cluster's part of a service,
// besides what its source says.
type witnesses struct {
	table  map[string]catalog.Health // agreed on by the region
	gossip map[string]catalog.Health // newer, not confirmed yet
	since  time.Time                 // of the region's present state
	stale  time.Time                 // since when the source is not read
	silent bool                      // the region's endpoints are probed from here
}

func (s *Server) witnesses(t *testimony, b catalog.Backend) witnesses {
	w := witnesses{
		table: t.tables[b.Set.Cluster], gossip: map[string]catalog.Health{},
		since: s.ReachSince(b.Region), stale: t.stale[b.Set.Cluster],
	}
	for _, ch := range s.Catalog.PendingHealth(b.Set.Cluster) {
		if ch.Service == b.Set.Service {
			w.gossip[ch.Endpoint] = ch.Health
		}
	}
	switch s.Catalog.Conditions().Reach[b.Region] {
	case catalog.ControlPlaneLost, catalog.Out:
		w.silent = true
	}
	return w
}

// decided says who decided the effective health of an endpoint. The layers are
// those of package catalog; own probes come last and count only where they
// changed something, because the catalog does not tell them apart otherwise.
func (w *witnesses) decided(e *catalog.Endpoint, effective catalog.Health) string {
	by, health := "source", e.Health
	if e.Health == catalog.Draining && effective == catalog.Draining {
		return by
	}
	if h, ok := w.table[e.ID]; ok {
		by, health = "region", h
	}
	if h, ok := w.gossip[e.ID]; ok {
		by, health = "gossip", h
	}
	if w.silent && health != effective {
		return "probe"
	}
	return by
}

func (w *witnesses) endpoint(b catalog.Backend, i int) *pb.EndpointInfo {
	e := &b.Set.Endpoints[i]
	out := &pb.EndpointInfo{
		Id: e.ID, Address: e.Address.String(), Region: b.Region, Zone: e.Zone, Cluster: b.Set.Cluster,
		Hostname: e.Hostname, Weight: e.Weight, Health: b.Health[i].String(), HealthFrom: w.decided(e, b.Health[i]), Stale: b.Stale,
	}
	for _, p := range b.Set.Ports {
		if out.Ports == nil {
			out.Ports = map[string]uint32{}
		}
		out.Ports[p.Name] = uint32(e.PortNumber(p))
	}
	switch {
	case out.HealthFrom == "probe":
		out.Since = moment(w.since)
	case b.Stale && !w.stale.IsZero():
		out.Since = moment(w.stale)
	case b.Stale:
		out.Since = moment(w.since)
	}
	return out
}
