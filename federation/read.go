package federation

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/federator/federator/federation/state"
	"github.com/federator/federator/peering/pb"
)

// CatchUp waits until this replica holds every change that its region had
// acknowledged when it was called, so that a read of the state after it is
// linearizable. It fails when the region has no leader before ctx ends.
//
// The leader commits a barrier for it. Asking the others whether they still
// follow (hashicorp/raft's VerifyLeader) would cost no log entry, but it counts
// answers to heartbeats sent before the question, which a leader that was paused
// finds in its sockets when it wakes (a test in package state has it), and those of
// replicas that do not vote.
func (p *proposer) CatchUp(ctx context.Context) error {
	ctx, cancel := ownDeadline(ctx)
	defer cancel()
	for {
		err := p.catchUp(ctx)
		if err == nil {
			return nil
		}
		if ctx.Err() == nil && !passing(err) {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: the region did not confirm in time what its newest change is: %w; a majority of its voters has to run, see federator status. Without the demand for consistency a replica answers with what it knows", errUnconfirmed, err)
		case <-time.After(proposeRetry):
		}
	}
}

// errUnconfirmed is a read that could not be made consistent.
var errUnconfirmed = &state.Error{Code: "no-quorum", Message: "not consistent"}

func (p *proposer) catchUp(ctx context.Context) error {
	index, err := p.node.Barrier(ctx)
	var elsewhere *state.NotLeaderError
	if errors.As(err, &elsewhere) && elsewhere.Leader != "" {
		index, err = p.readIndex(ctx, elsewhere.Leader)
	}
	if err != nil {
		return err
	}
	return p.node.WaitApplied(ctx, index)
}

// readIndex asks the leader, named by its Raft id.
func (p *proposer) readIndex(ctx context.Context, leader string) (uint64, error) {
	c, err := p.connect(leader)
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, forwardTimeout)
	defer cancel()
	answer, err := pb.NewSiblingsClient(c).ReadIndex(ctx, &pb.ReadIndexRequest{})
	switch {
	case err != nil:
		return 0, fmt.Errorf("%w: %w", errForward, err)
	case answer.GetNotLeader():
		return 0, &state.NotLeaderError{}
	case answer.GetCode() != "":
		return 0, state.FromCode(answer.GetCode(), answer.GetMessage())
	}
	return answer.GetIndex(), nil
}

// ReadIndex answers with a log index that holds all that is acknowledged, if this
// replica leads.
func (s *siblingsServer) ReadIndex(ctx context.Context, _ *pb.ReadIndexRequest) (*pb.ReadIndexResponse, error) {
	if err := s.member(ctx); err != nil && s.r.node.IsLeader() {
		return nil, err
	}
	index, err := s.r.node.Barrier(ctx)
	if errors.Is(err, state.ErrNotLeader) {
		return &pb.ReadIndexResponse{NotLeader: true}, nil
	}
	if err != nil {
		return &pb.ReadIndexResponse{Code: state.CodeOf(err), Message: err.Error()}, nil
	}
	return &pb.ReadIndexResponse{Index: index}, nil
}
