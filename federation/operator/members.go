package operator

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/federation/gossip"
	"github.com/federator/federator/federation/state"
	"github.com/federator/federator/peering/pb"
	"github.com/federator/federator/peering/replication"
)

// Members lists the replicas of all regions, or of one.
func (s *Server) Members(_ context.Context, r *pb.MembersRequest) (*pb.MembersResponse, error) {
	if r.GetRegion() != "" && !slices.Contains(s.knownRegions(), r.GetRegion()) {
		return nil, missing("region", r.GetRegion(), s.knownRegions())
	}
	out := &pb.MembersResponse{}
	for _, m := range s.members(s.Raft.Stats()) {
		if r.GetRegion() == "" || m.Replica.Region == r.GetRegion() {
			out.Members = append(out.Members, m.wire())
		}
	}
	return out, nil
}

func (m *memberView) wire() *pb.Member {
	out := &pb.Member{Replica: replication.ReplicaToPB(&m.Replica), Role: m.role, State: m.state, Self: m.self}
	if m.RTT > 0 {
		out.Rtt = lasting(m.RTT)
	}
	if !m.LastEvidence.IsZero() {
		out.LastSeen = timestamppb.New(m.LastEvidence)
	}
	return out
}

// members joins the records of the regions, the registration of the own one, and
// what gossip sees.
func (s *Server) members(stats state.Stats) []memberView {
	seen := map[string]gossip.Member{}
	for _, m := range s.Gossip.Members() {
		seen[m.Region+"/"+m.Name] = m
	}
	reach := s.Catalog.Conditions().Reach
	var out []memberView
	for _, r := range s.replicas() {
		m := memberView{Replica: r, Member: seen[r.Region+"/"+r.Name], role: "unknown"}
		m.self = r.Region == s.Self.Region && r.Name == s.Self.Name
		m.state = stateOf(m.Member)
		if m.state == "alive" && reach[r.Region] != catalog.Reachable {
			m.state = "suspect" // the verdict on a region is quicker than single echoes
		}
		if r.Region == s.Self.Region {
			m.role = roleOf(stats, r.RaftID())
			m.state = siblingState(m.Member, m.self || s.Gossip.Alive(r.Name))
		}
		out = append(out, m)
	}
	return out
}

// replicas returns the records of all replicas of all members, by region and name.
func (s *Server) replicas() []catalog.Replica {
	var out []catalog.Replica
	for _, region := range s.knownRegions() {
		if region == s.Self.Region {
			out = append(out, s.siblings()...)
			continue
		}
		s.Catalog.Records(region, catalog.RecordReplica, func(rec *catalog.Record) bool {
			out = append(out, *rec.Replica)
			return true
		})
	}
	slices.SortFunc(out, func(a, b catalog.Replica) int {
		return cmp.Or(strings.Compare(a.Region, b.Region), strings.Compare(a.Name, b.Name))
	})
	return out
}

// siblings returns the registered replicas of the own region, this one included,
// as the region's Raft has them.
func (s *Server) siblings() (out []catalog.Replica) {
	s.Raft.Read(func(st *state.State) {
		for _, r := range st.Replicas() {
			out = append(out, *r)
		}
	})
	return out
}

// roleOf is the part of a replica of the own region in Raft.
func roleOf(stats state.Stats, raftID string) string {
	if stats.Leader == raftID {
		return "leader"
	}
	for _, server := range stats.Servers {
		if server.ID == raftID && server.Voter {
			return "voter"
		}
	}
	return "standby"
}

// stateOf puts what echoes and memberlist say into a word.
func stateOf(m gossip.Member) string {
	switch {
	case m.State == gossip.MemberAlive:
		return "alive"
	case m.State == gossip.MemberSilent && m.Gossiping:
		return "suspect"
	case m.State == gossip.MemberSilent:
		return "dead"
	}
	return "unknown"
}

// siblingState is the same for a sibling, of which more is known: it is asked
// several times a second.
func siblingState(m gossip.Member, alive bool) string {
	switch {
	case alive:
		return "alive"
	case m.State == gossip.MemberAlive:
		return "suspect"
	case m.State == gossip.MemberSilent:
		return "dead"
	}
	return "unknown"
}
