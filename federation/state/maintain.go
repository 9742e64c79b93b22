package state

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/federator/federator/federation/catalog"
	"github.com/hashicorp/raft"
)

// VoterHooks tell the leader what Raft itself does not know. They are called
// from one goroutine; Alive and Ready must answer at once.
type VoterHooks struct {
	// Alive reports whether the replica answers now. Of a Raft server that is not
	// registered any more only Name and DiskID are known.
	Alive func(catalog.Replica) bool
	// Ready reports whether a replica that does not vote is fit to; nil means
	// whenever it is alive.
	Ready func(catalog.Replica) bool
	// Applied returns the log index that the replica last said it has applied
	// ([Stats].Applied), false if it is not known; nil: never ask. A replica is
	// promoted only when it has the newest Raft configuration, and the next change
	// waits for all live voters to have it: hashicorp/raft elects nobody if the
	// leader is lost while one of the two others does not know that it votes.
	Applied func(catalog.Replica) (uint64, bool)
	// Prove has the replica prove that it can unseal the region's secrets, which
	// promotion requires; nil means that there is nothing to prove.
	Prove func(context.Context, catalog.Replica) error
	// Leaving reports whether the replica is about to leave; nil means none is.
	Leaving func(catalog.Replica) bool
	// Warn receives the warnings whenever they change; nil discards them.
	Warn func([]string)
	// CleanUpAfter is how long a non-voter must be dead before it is taken out of
	// the Raft configuration (it comes back by itself when it is alive); 0 never.
	CleanUpAfter time.Duration
	// ProveTimeout bounds one proof (default 10 s), ProveAgain is how long after a
	// failed proof the next one waits (default 30 s).
	ProveTimeout, ProveAgain time.Duration
}

// voterLoop is the leader's memory between looks.
type voterLoop struct {
	node   *Node
	hooks  VoterHooks
	dead   map[string]time.Time // since when, by Raft id
	unfit  map[string]time.Time // until when a failed proof counts
	warned []string
	held   uint64    // the configuration that voters are waited for to have,
	since  time.Time // and since when
}

// MaintainVoters keeps the Raft configuration by the rule of [Voters], while this
// replica leads. It returns when ctx ends.
func (n *Node) MaintainVoters(ctx context.Context, hooks VoterHooks) error {
	l := newVoterLoop(n, hooks)
	leadership, cancel := n.LeaderCh()
	defer cancel()
	changes, cancelChanges := n.Subscribe()
	defer cancelChanges()
	tick := time.NewTicker(n.opts.Timing.Voters)
	defer tick.Stop()
	for {
		if n.IsLeader() {
			l.look(ctx)
		} else {
			l.forget()
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-n.closing:
			return ErrShutdown
		case <-leadership:
		case <-changes:
		case <-tick.C:
		}
	}
}

func newVoterLoop(n *Node, hooks VoterHooks) *voterLoop {
	always := func(catalog.Replica) bool { return true }
	if hooks.Alive == nil {
		hooks.Alive = always
	}
	if hooks.Ready == nil {
		hooks.Ready = always
	}
	if hooks.Leaving == nil {
		hooks.Leaving = func(catalog.Replica) bool { return false }
	}
	if hooks.Prove == nil {
		hooks.Prove = func(context.Context, catalog.Replica) error { return nil }
	}
	if hooks.Warn == nil {
		hooks.Warn = func([]string) {}
	}
	if hooks.ProveTimeout == 0 {
		hooks.ProveTimeout = 10 * time.Second
	}
	if hooks.ProveAgain == 0 {
		hooks.ProveAgain = 30 * time.Second
	}
	return &voterLoop{node: n, hooks: hooks, dead: map[string]time.Time{}, unfit: map[string]time.Time{}}
}

// forget drops what was only known while leading.
func (l *voterLoop) forget() {
	clear(l.dead)
	clear(l.unfit)
	l.tell(nil)
}

func (l *voterLoop) tell(warnings []string) {
	if !slices.Equal(warnings, l.warned) {
		l.warned = warnings
		l.hooks.Warn(warnings)
	}
}

// look makes changes, one at a time, until there is none to make.
func (l *voterLoop) look(ctx context.Context) {
	for range 2 * maxVoters {
		candidates, replicas, index, err := l.candidates()
		if err != nil {
			return // not the leader any more, or shutting down
		}
		plan := Voters(candidates)
		l.tell(plan.Warnings)
		if plan.Action == ActNone || ctx.Err() != nil || l.holds(candidates, replicas, index) {
			return
		}
		if err := l.act(ctx, plan, replicas[plan.ID], index); err != nil {
			l.node.opts.Logger.Warn("change of the Raft members failed", "replica", plan.ID, "action", string(plan.Action), "error", err)
			return
		}
		l.node.opts.Logger.Info("Raft members changed", "replica", plan.ID, "action", string(plan.Action))
		if plan.Action == ActTransfer {
			return
		}
	}
}

// candidates joins Raft's configuration with the registered replicas.
func (l *voterLoop) candidates() ([]Candidate, map[string]catalog.Replica, uint64, error) {
	future := l.node.raft.GetConfiguration()
	if err := future.Error(); err != nil {
		return nil, nil, 0, err
	}
	replicas := map[string]catalog.Replica{}
	l.node.Read(func(s *State) {
		for _, r := range s.Replicas() {
			replicas[r.RaftID()] = *r
		}
	})
	if len(replicas) == 0 {
		return nil, nil, 0, ErrNotFounded // before Found is applied nobody is gone
	}
	var out []Candidate
	members := map[string]bool{}
	for _, s := range future.Configuration().Servers {
		id := string(s.ID)
		members[id] = true
		c := l.candidate(id, replicas)
		c.Member, c.Voter = true, s.Suffrage == raft.Voter
		c.Ready = c.Ready && l.has(replicas[id], future.Index())
		out = append(out, c)
	}
	for id := range replicas {
		if !members[id] {
			out = append(out, l.candidate(id, replicas))
		}
	}
	return out, replicas, future.Index(), nil
}

func (l *voterLoop) candidate(id string, replicas map[string]catalog.Replica) Candidate {
	r, registered := replicas[id]
	self := id == l.node.opts.RaftID
	if !registered {
		r.Name, r.DiskID, _ = strings.Cut(id, ".")
	}
	c := Candidate{ID: id, Name: r.Name, Cluster: r.Cluster, AddedAt: r.JoinedAt, Leader: self, Gone: !registered || l.hooks.Leaving(r)}
	c.Alive = self || l.hooks.Alive(r)
	now := l.node.opts.Clock()
	if c.Alive {
		delete(l.dead, id)
	} else if _, ok := l.dead[id]; !ok {
		l.dead[id] = now
	}
	c.Expired = l.hooks.CleanUpAfter > 0 && !c.Alive && now.Sub(l.dead[id]) >= l.hooks.CleanUpAfter
	c.Ready = registered && !now.Before(l.unfit[id]) && (self || l.hooks.Ready(r))
	return c
}

// settleTime is how long a change waits for a voter that lags.
const settleTime = 10 * time.Second

// holds reports whether the next change should wait, because a live voter does
// not have the last one yet. It does not wait for ever.
func (l *voterLoop) holds(candidates []Candidate, replicas map[string]catalog.Replica, index uint64) bool {
	now := l.node.opts.Clock()
	if l.held != index {
		l.held, l.since = index, now
	}
	lags := func(c Candidate) bool { return c.Voter && c.Alive && !c.Gone && !l.has(replicas[c.ID], index) }
	return slices.ContainsFunc(candidates, lags) && now.Sub(l.since) < settleTime
}

// has reports whether the replica has applied the log up to index.
func (l *voterLoop) has(r catalog.Replica, index uint64) bool {
	if l.hooks.Applied == nil || r.RaftID() == l.node.opts.RaftID {
		return true
	}
	applied, known := l.hooks.Applied(r)
	return known && applied >= index
}

// act makes one change of the configuration; index fences off other changes.
func (l *voterLoop) act(ctx context.Context, plan Plan, replica catalog.Replica, index uint64) error {
	id, address := raft.ServerID(plan.ID), raft.ServerAddress(plan.ID)
	timeout := l.node.opts.Timing.Apply
	switch plan.Action {
	case ActAdd:
		return l.node.raft.AddNonvoter(id, address, index, timeout).Error()
	case ActPromote:
		if err := l.prove(ctx, plan.ID, replica); err != nil {
			return err
		}
		return l.node.raft.AddVoter(id, address, index, timeout).Error()
	case ActDemote:
		return l.node.raft.DemoteVoter(id, index, timeout).Error()
	case ActRemove:
		return l.node.raft.RemoveServer(id, index, timeout).Error()
	case ActTransfer:
		return l.transfer(id)
	}
	return nil
}

// transfer hands the lead over, to an address as it is known now.
func (l *voterLoop) transfer(id raft.ServerID) error {
	address, err := addresses(l.node.opts.AddressOf).ServerAddr(id)
	if err != nil {
		return err
	}
	return l.node.raft.LeadershipTransferToServer(id, address).Error()
}

func (l *voterLoop) prove(ctx context.Context, id string, replica catalog.Replica) error {
	ctx, cancel := context.WithTimeout(ctx, l.hooks.ProveTimeout)
	defer cancel()
	if err := l.hooks.Prove(ctx, replica); err != nil {
		l.unfit[id] = l.node.opts.Clock().Add(l.hooks.ProveAgain)
		return fmt.Errorf("replica %s did not prove that it can unseal the region's secrets, so it does not vote: %w", replica.Name, err)
	}
	return nil
}
