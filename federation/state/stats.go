package state

import (
	"strconv"
	"time"

	"github.com/federator/federator/federation/catalog"
	"github.com/hashicorp/raft"
)

// Server is a member of the Raft configuration.
type Server struct {
	ID    string `json:"id"`
	Voter bool   `json:"voter"`
}

// Stats is what status shows of the region's Raft as this replica sees it.
type Stats struct {
	// State is "Leader", "Follower", "Candidate" or "Shutdown".
	State  string `json:"state"`
	Leader string `json:"leader,omitempty"`
	Term   uint64 `json:"term"`
	// LastIndex is the end of the log, CommitIndex what a majority has, Applied what
	// the state contains, Snapshot what the newest snapshot covers.
	LastIndex   uint64 `json:"lastIndex"`
	CommitIndex uint64 `json:"commitIndex"`
	Applied     uint64 `json:"applied"`
	Snapshot    uint64 `json:"snapshot"`
	// LastContact is when a follower last heard the leader.
	LastContact time.Time `json:"lastContact,omitzero"`
	Servers     []Server  `json:"servers"`
	// Version is of what the region exports.
	Version catalog.Version `json:"version"`
	// Problems are what an operator should know, each with what to do.
	Problems []string `json:"problems,omitempty"`
}

// Stats returns the figures of now.
func (n *Node) Stats() Stats {
	st := Stats{
		State: n.raft.State().String(), Servers: n.Servers(),
		LastIndex: n.raft.LastIndex(), CommitIndex: n.raft.CommitIndex(), LastContact: n.raft.LastContact(),
	}
	st.Leader, _ = n.Leader()
	figures := n.raft.Stats()
	st.Term = number(figures["term"])
	st.Snapshot = number(figures["last_snapshot_index"])
	st.Applied = n.raft.AppliedIndex()
	n.Read(func(s *State) { st.Version = s.Version() })
	for _, err := range n.Health() {
		st.Problems = append(st.Problems, err.Error())
	}
	return st
}

// Health returns what is wrong with this replica's Raft now: a halt, a disk that
// cannot be written or soon cannot, an epoch that is missing, no leader.
func (n *Node) Health() []error {
	var out []error
	if err := n.machine.haltedErr(); err != nil {
		out = append(out, err)
	}
	for _, err := range n.troubles.list() {
		out = append(out, &Error{Code: "disk", Message: err.Error() + ": free space on the disk of " + n.opts.Dir + ", or replace it; nothing that was acknowledged is lost"})
	}
	if at, err := spaceOf(n.opts.Dir); err != nil {
		out = append(out, &Error{Code: "disk", Message: err.Error()})
	} else if low := at.trouble(n.opts.Dir); low != nil {
		out = append(out, low)
	}
	if _, ok := n.Leader(); !ok {
		out = append(out, &NotLeaderError{})
	}
	var about About
	n.Read(func(s *State) { about = s.About() })
	if about.NeedsEpoch {
		out = append(out, &Error{Code: "needs-epoch", Message: "region " + about.Region + " was recovered or restored and does not publish until the authority region issues it a new epoch"})
	}
	return out
}

// Servers returns the Raft configuration.
func (n *Node) Servers() []Server {
	future := n.raft.GetConfiguration()
	if future.Error() != nil {
		return nil
	}
	var out []Server
	for _, s := range future.Configuration().Servers {
		out = append(out, Server{ID: string(s.ID), Voter: s.Suffrage == raft.Voter})
	}
	return out
}

func number(s string) uint64 {
	v, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		return 0
	}
	return v
}
