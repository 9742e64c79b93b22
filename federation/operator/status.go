package operator

import (
	"context"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/federation/state"
	"github.com/federator/federator/identity"
	"github.com/federator/federator/peering/pb"
	"github.com/federator/federator/peering/replication"
)

// Status tells how the federation is, as seen from here.
func (s *Server) Status(context.Context, *pb.StatusRequest) (*pb.StatusResponse, error) {
	v := s.look()
	out := v.status()
	out.Build = version(v.common)
	return out, nil
}

func (v *view) status() *pb.StatusResponse {
	out := &pb.StatusResponse{
		TrustDomain: v.trustDomain, Zone: v.zone, Self: replication.ReplicaToPB(&v.self),
		Time: timestamppb.New(v.now), Uptime: lasting(v.now.Sub(v.started)),
		Ready: len(v.waitingFor) == 0, WaitingFor: v.waitingFor, Isolated: v.cond.Isolated,
		Raft: v.raft(), Certificate: v.certificate(), Evacuations: v.evacuations(), Drills: v.liveDrills(),
		Services: uint32(len(v.services)), Imports: v.imports.wire(),
	}
	for _, r := range v.regions {
		out.Regions = append(out.Regions, v.regionStatus(r))
		out.Endpoints += uint32(r.endpoints)
	}
	for _, c := range v.clusters {
		out.Clusters = append(out.Clusters, c.wire())
	}
	return out
}

func (c *clusterView) wire() *pb.ClusterStatus {
	return &pb.ClusterStatus{
		Name: c.Name, Region: c.region, HealthOwner: c.HealthOwner,
		SourceError: c.SourceError, StaleSince: moment(c.StaleSince),
		Services: uint32(c.services), Endpoints: uint32(c.endpoints), Unhealthy: uint32(c.unhealthy), Refused: uint32(c.refused),
	}
}

// raft is this replica's part in its region's Raft.
func (v *view) raft() *pb.RaftStatus {
	out := &pb.RaftStatus{
		State: strings.ToLower(v.stats.State), Leader: nameOf(v.stats.Leader), Term: v.stats.Term,
		CommitIndex: v.stats.CommitIndex, AppliedIndex: v.stats.Applied, SnapshotIndex: v.stats.Snapshot,
	}
	for _, server := range v.stats.Servers {
		if server.Voter {
			out.Voters = append(out.Voters, nameOf(server.ID))
		} else {
			out.Standbys = append(out.Standbys, nameOf(server.ID))
		}
	}
	slices.Sort(out.Voters)
	slices.Sort(out.Standbys)
	if !slices.Contains(out.Voters, v.self.Name) {
		out.State = "standby"
	}
	if !v.stats.LastContact.IsZero() {
		out.LastContact = lasting(v.now.Sub(v.stats.LastContact))
	}
	for _, err := range v.health {
		if state.CodeOf(err) == state.ErrHalted.Code {
			out.State, out.Halted = "halted", err.Error()
		}
	}
	return out
}

// certificate is this replica's identity.
func (v *view) certificate() *pb.CertificateStatus {
	out := &pb.CertificateStatus{
		Id:        identity.ReplicaID(v.trustDomain, v.self.Region, v.self.Name).String(),
		NotBefore: moment(v.renewal.NotBefore), NotAfter: moment(v.renewal.NotAfter), RenewAt: moment(v.renewal.RenewAt),
	}
	if len(v.chain) == 3 {
		out.IntermediateNotAfter, out.RootNotAfter = moment(v.chain[1].NotAfter), moment(v.chain[2].NotAfter)
	}
	if v.renewal.LastError != nil {
		out.LastError = v.renewal.LastError.Error()
	}
	return out
}

// regionStatus is one region as seen from here.
func (v *view) regionStatus(r *regionView) *pb.RegionStatus {
	out := &pb.RegionStatus{
		Name: r.name, Own: r.own, Authority: r.authority, Removed: r.removed(),
		Epoch: r.version.Epoch, Seq: r.version.Seq,
		Reach: r.reach.String(), ReachSince: moment(r.since), Freshness: v.freshness(r),
		Replicas: uint32(r.replicas), ReplicasAlive: uint32(r.alive), Rtt: measured(r.rtt), Skew: measured(v.skew(r.name)),
		Clusters: uint32(r.clusters), Services: uint32(r.services), Endpoints: uint32(r.endpoints), Note: v.note(r),
	}
	_, out.Evacuated = v.cond.Evacuations[r.name]
	if r.own {
		out.Leader = nameOf(v.stats.Leader)
	}
	if l := r.link; l != nil {
		out.Lag, out.StreamFrom, out.StreamError = l.Lag(), l.Upstream, l.Error
		if l.Upstream != "" && !l.Direct {
			out.RelayedBy = v.self.Region // a sibling has the region imported
		}
		if !l.LastEvent.IsZero() {
			out.DataAge = lasting(max(0, v.now.Sub(l.LastEvent)))
		}
	}
	return out
}

const (
	// freshFor is how old a region's data may be without being called stale.
	freshFor = 5 * time.Second
	// lostAfter is when nobody should count on it any more.
	lostAfter = 10 * time.Minute
)

// freshness tells how far the data of a region can be relied on: by its age, and
// by the verdict on the region, which may be quicker.
func (v *view) freshness(r *regionView) string {
	if r.own {
		return "own"
	}
	last := v.started // data from the cache was not confirmed since
	if r.link != nil && !r.link.LastEvent.IsZero() {
		last = r.link.LastEvent
	}
	age := v.now.Sub(last)
	switch {
	case r.version == (catalog.Version{}) || age > lostAfter:
		return "lost"
	case r.link == nil || r.link.LastEvent.IsZero() || age > freshFor:
		return "stale"
	case r.reach != catalog.Reachable || v.cond.Isolated:
		return "stale"
	}
	return "fresh"
}

// skew is that of the region's replica whose clock is furthest from ours.
func (v *view) skew(region string) (worst time.Duration) {
	for i := range v.members {
		m := &v.members[i]
		if m.Replica.Region == region && !m.LastEvidence.IsZero() && m.Skew.Abs() > worst.Abs() {
			worst = m.Skew
		}
	}
	return worst
}
