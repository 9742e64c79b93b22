package state

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"
)

// Propose runs a command on the leader and returns its result once it is durable
// on a majority and applied here. A refusal by the rules is returned as an error
// with a code. On any other replica the error is a [NotLeaderError]: encode the
// command with [NewEnvelope] and forward it to the leader's [Node.ProposeEncoded].
//
// The leader stamps the time; an empty id is filled in. After [ErrUncertain] or
// [ErrBusy] retry with the same id.
func (n *Node) Propose(ctx context.Context, meta Meta, cmd Command) (Result, error) {
	if meta.ID == "" {
		meta.ID = NewID()
	}
	env, err := NewEnvelope(meta, cmd)
	if err != nil {
		return Result{}, err
	}
	return n.propose(ctx, env)
}

// ProposeEncoded is [Node.Propose] for a command that another replica forwarded.
// The caller vouches for its actor and origin.
func (n *Node) ProposeEncoded(ctx context.Context, encoded []byte) (Result, error) {
	env, err := DecodeEnvelope(encoded)
	if err != nil {
		return Result{}, err
	}
	if _, err := env.Command(); err != nil {
		return Result{}, err
	}
	return n.propose(ctx, env)
}

// NewID returns a fresh command id.
func NewID() string { return rand.Text() }

func (n *Node) propose(ctx context.Context, env Envelope) (Result, error) {
	if err := n.mayPropose(env); err != nil {
		return Result{}, err
	}
	env.Time = n.opts.Clock()
	data, err := env.Encode()
	if err != nil {
		return Result{}, err
	}
	future := n.raft.Apply(data, n.enqueueTimeout(ctx))
	if err := n.wait(ctx, future); err != nil {
		return Result{}, err
	}
	switch response := future.Response().(type) {
	case Result:
		return response, response.Err()
	case error:
		return Result{}, response
	default:
		return Result{}, fmt.Errorf("command %s: unexpected response %T", env.Type, response)
	}
}

// mayPropose refuses what would only fail, or halt an older replica.
func (n *Node) mayPropose(env Envelope) error {
	if err := n.machine.haltedErr(); err != nil {
		return err
	}
	if !n.IsLeader() {
		return n.notLeader()
	}
	var common int
	n.Read(func(s *State) { common = s.CommonProtocol() })
	if common = min(common, n.opts.protocol); env.Version > common {
		return ErrProtocol.withf("command %q needs protocol %d, the oldest replica of this region understands %d: upgrade it first", env.Type, env.Version, common)
	}
	return nil
}

func (n *Node) notLeader() error {
	leader, _ := n.Leader()
	if leader == n.opts.RaftID {
		leader = "" // stepping down
	}
	return &NotLeaderError{Leader: leader}
}

func (n *Node) enqueueTimeout(ctx context.Context) time.Duration {
	if deadline, ok := ctx.Deadline(); ok {
		return max(min(time.Until(deadline), n.opts.Timing.Apply), time.Millisecond)
	}
	return n.opts.Timing.Apply
}

// wait waits for Raft, or for the context: then the outcome is uncertain.
func (n *Node) wait(ctx context.Context, future raft.Future) error {
	done := make(chan error, 1)
	go func() { done <- future.Error() }() // ends with Raft at the latest
	select {
	case err := <-done:
		return n.translate(err)
	case <-n.closing:
		return ErrShutdown
	case <-ctx.Done():
		return ErrUncertain.withf("gave up waiting for Raft (%v); retry with the same command id", context.Cause(ctx))
	}
}

// translate turns Raft's errors into ours.
func (n *Node) translate(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, raft.ErrNotLeader), errors.Is(err, raft.ErrLeadershipTransferInProgress):
		return n.notLeader()
	case errors.Is(err, raft.ErrLeadershipLost), errors.Is(err, raft.ErrAbortedByRestore):
		return ErrUncertain
	case errors.Is(err, raft.ErrEnqueueTimeout):
		return ErrBusy
	case errors.Is(err, raft.ErrRaftShutdown):
		if halted := n.machine.haltedErr(); halted != nil {
			return halted
		}
		return ErrShutdown
	default:
		return ErrUncertain.withf("the leader could not store the command: %v; retry with the same command id", err)
	}
}

// Barrier waits until everything acknowledged so far is applied on this replica,
// which must be the leader, and returns the log index reached. A read after it is
// linearizable here, and on another replica after [Node.WaitApplied]. It commits an
// entry, which only a leader that still leads can.
func (n *Node) Barrier(ctx context.Context) (uint64, error) {
	if !n.IsLeader() {
		return 0, n.notLeader()
	}
	if err := n.wait(ctx, n.raft.Barrier(n.enqueueTimeout(ctx))); err != nil {
		return 0, err
	}
	_, index := n.machine.position()
	return index, n.machine.haltedErr()
}

// WaitApplied waits until this replica has applied the log up to index.
func (n *Node) WaitApplied(ctx context.Context, index uint64) error {
	for {
		next, at := n.machine.position()
		if at >= index {
			return nil
		}
		if err := n.machine.haltedErr(); err != nil {
			return err
		}
		select {
		case <-next:
		case <-n.closing:
			return ErrShutdown
		case <-ctx.Done():
			return fmt.Errorf("wait for log index %d, this replica is at %d: %w", index, at, context.Cause(ctx))
		}
	}
}
