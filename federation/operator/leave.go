package operator

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/federation/state"
	"github.com/federator/federator/peering/pb"
)

const (
	// leaveWait is how long a replica that leaves may take to be out of Raft.
	leaveWait = 10 * time.Second
	leavePoll = 50 * time.Millisecond
)

// Leave takes a replica of this region out for good: its record goes, the leader
// takes it out of Raft, and the region's secrets are sealed anew without it. Of one
// that is compromised the key is revoked first, and the gossip key rotated.
func (s *Server) Leave(ctx context.Context, r *pb.LeaveRequest) (*pb.LeaveResponse, error) {
	siblings := s.siblings()
	leaver, removed, err := s.leaver(cmp.Or(r.GetName(), s.Self.Name), siblings)
	if err != nil {
		return nil, err
	}
	self, votes := leaver.Name == s.Self.Name, roleOf(s.Raft.Stats(), leaver.RaftID()) != "standby"
	out := &pb.LeaveResponse{}
	if !removed {
		if out.Warnings, err = s.remove(ctx, r, leaver, siblings); err != nil {
			return nil, err
		}
	}
	if self && s.spared(leaver) {
		s.MarkLeft() // before it waits: it may be killed
	}
	if len(siblings) > 1 || removed { // else nobody is left to take it out
		out.Voters = s.awaitGone(ctx, leaver.RaftID())
	}
	if slices.Contains(out.GetVoters(), leaver.Name) && len(out.GetVoters()) > 1 {
		out.Warnings = append(out.Warnings, fmt.Sprintf("%s still votes: the leader takes it out as soon as another can take its place", leaver.Name))
	}
	if r.GetCompromised() {
		out.Warnings = append(out.Warnings, s.rekey(ctx, leaver, votes)...)
	}
	if self {
		s.Left()
	}
	return out, nil
}

// leaver finds the replica that is to leave. This one is removed already if it asked
// for that while it was a member, whatever it was answered, and is none any more.
func (s *Server) leaver(name string, siblings []catalog.Replica) (leaver catalog.Replica, removed bool, err error) {
	var known []string
	for _, c := range siblings {
		if c.Name == name {
			return c, false, nil
		}
		known = append(known, c.Name)
	}
	if name == s.Self.Name && s.removing.Load() {
		return s.Self, true, nil
	}
	return leaver, false, missing("replica of region "+s.Self.Region+" named", name, known)
}

// remove takes a replica out of those of the region, and says what the region can no
// longer do without it.
func (s *Server) remove(ctx context.Context, r *pb.LeaveRequest, leaver catalog.Replica, siblings []catalog.Replica) ([]string, error) {
	warnings := s.afterLoss(leaver, siblings)
	if len(warnings) > 0 && !r.GetForce() {
		return nil, unmet("NEEDS_FORCE", "%s; join another replica first, or leave all the same with --force", warnings[0])
	}
	reason := "left"
	if r.GetCompromised() {
		if err := s.revoke(ctx, leaver); err != nil {
			return nil, err
		}
		reason = "compromised"
	}
	if leaver.Name == s.Self.Name {
		s.removing.Store(true)
	}
	_, err := s.propose(ctx, &state.RemoveReplica{Name: leaver.Name, DiskID: leaver.DiskID, Reason: reason})
	return warnings, err
}

// spared reports whether the others can take this replica out of Raft without its vote,
// now that it is removed: else it must be able to run again, with its disk, until they
// have. Others that leave, too, do not count: of several that do at once, each comes
// after the removals of those before it.
func (s *Server) spared(leaver catalog.Replica) bool {
	staying := map[string]bool{}
	for _, c := range s.siblings() {
		staying[c.RaftID()] = true
	}
	voters, others, votes := 0, 0, false
	for _, m := range s.Raft.Stats().Servers {
		switch {
		case !m.Voter:
			continue
		case m.ID == leaver.RaftID():
			votes = true
		case staying[m.ID] && s.Gossip.Alive(nameOf(m.ID)):
			others++
		}
		voters++
	}
	return !votes || others > voters/2
}

// rekey begins to replace what a compromised replica knew, now that it is no
// longer among those that secrets are sealed to, and says what that leaves: nothing
// takes back a key of a certificate authority but founding the region anew.
func (s *Server) rekey(ctx context.Context, leaver catalog.Replica, voted bool) []string {
	var out []string
	if voted {
		out = append(out, fmt.Sprintf("%s voted, so it held the key of the certificate authority of region %s: whoever has it can make certificates of the region. To end that, remove the region in another one and let its replicas join anew", leaver.Name, s.Self.Region))
	}
	if voted && s.Self.Region == s.Authority {
		out = append(out, "it also held the root key of the trust domain, which can vouch for anybody: found the federation anew")
	}
	_, keys, _ := s.Keyring(ctx)
	switch {
	case s.Self.Region != s.Authority:
		return append(out, fmt.Sprintf("it held the gossip key: run federator keyring rotate on a replica of region %s", s.Authority))
	case len(keys) > 1:
		return append(out, "it held the gossip key, and the next one, because a rotation is under way: run federator keyring rotate again once federator keyring status shows one key")
	}
	if err := s.Config.RotateKeyring(ctx, nil); err != nil {
		return append(out, fmt.Sprintf("it held the gossip key, and no rotation could be begun (%v): run federator keyring rotate", err))
	}
	return append(out, "it held the gossip key: a rotation has begun, see federator keyring status")
}

// revoke has the authority region refuse the replica's key everywhere.
func (s *Server) revoke(ctx context.Context, r catalog.Replica) error {
	if s.Revoke == nil {
		return unmet("NO_REVOCATION", "this build cannot revoke the key of a single replica; let it leave without --compromised, which re-seals the region's secrets without it, and rotate the gossip key with federator keyring rotate")
	}
	return refused(s.Revoke(ctx, r, s.actor(ctx), s.origin(ctx)))
}

// afterLoss says what the region could no longer do without the replica.
func (s *Server) afterLoss(leaver catalog.Replica, siblings []catalog.Replica) []string {
	stats := s.Raft.Stats()
	voters, usable := 0, 0
	for _, server := range stats.Servers {
		if server.Voter {
			voters++
		}
	}
	for _, c := range siblings {
		if c.Name != leaver.Name && (c.Name == s.Self.Name || s.Gossip.Alive(c.Name)) {
			usable++
		}
	}
	return lossWarnings(s.Self.Region, leaver.Name, len(siblings)-1, usable, voters, roleOf(stats, leaver.RaftID()) != "standby")
}

// lossWarnings is the rule of [Server.afterLoss]: remaining replicas, those of
// them that answer, and the voters that there are now.
func lossWarnings(region, leaver string, remaining, usable, voters int, votes bool) []string {
	switch need := (max(voters-1, 1))/2 + 1; {
	case remaining == 0:
		return []string{fmt.Sprintf("%s is the last replica of region %s: nobody would be left to serve it; to take the region out, use federator region remove %s in another region", leaver, region, region)}
	case votes && usable < need:
		return []string{fmt.Sprintf("without %s only %d of the %d other replicas of region %s answer, and %d are needed for a quorum", leaver, usable, remaining, region, need)}
	}
	return nil
}

// awaitGone waits for the leader to take a replica out of Raft, for a bounded
// time, and returns the names of the voters then.
func (s *Server) awaitGone(ctx context.Context, raftID string) []string {
	ctx, cancel := context.WithTimeout(ctx, leaveWait)
	defer cancel()
	tick := time.NewTicker(leavePoll)
	defer tick.Stop()
	for {
		servers := s.Raft.Stats().Servers
		gone := !slices.ContainsFunc(servers, func(m state.Server) bool { return m.ID == raftID })
		if gone || ctx.Err() != nil {
			return votersOf(servers)
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
}

func votersOf(servers []state.Server) []string {
	var out []string
	for _, m := range servers {
		if m.Voter {
			out = append(out, nameOf(m.ID))
		}
	}
	slices.Sort(out)
	return out
}
