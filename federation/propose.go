package federation

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/federation/state"
	"github.com/federator/federator/peering/pb"
)

// proposeRetry is the pause before a command is tried again after the leader was
// lost on the way.
const proposeRetry = 50 * time.Millisecond

// proposer gets commands into the region's Raft from any of its replicas.
type proposer struct {
	node     *state.Node
	peers    *peers
	siblings func() []catalog.Replica
}

// Propose runs a command here if this replica leads, else has the leader run it.
// It tries again, with the same id, so that the command takes effect once, until
// ctx ends.
func (p *proposer) Propose(ctx context.Context, meta state.Meta, cmd state.Command) (state.Result, error) {
	if meta.ID == "" {
		meta.ID = state.NewID()
	}
	meta.Time = time.Now()
	env, err := state.NewEnvelope(meta, cmd)
	if err != nil {
		return state.Result{}, err
	}
	encoded, err := env.Encode()
	if err != nil {
		return state.Result{}, err
	}
	ctx, cancel := ownDeadline(ctx)
	defer cancel()
	for {
		result, err := p.node.ProposeEncoded(ctx, encoded)
		var elsewhere *state.NotLeaderError
		if errors.As(err, &elsewhere) && elsewhere.Leader != "" {
			result, err = p.forward(ctx, elsewhere.Leader, encoded)
		}
		if err == nil || !passing(err) {
			return result, err
		}
		select {
		case <-ctx.Done():
			return state.Result{}, fmt.Errorf("the region did not take the command in time: %w; a majority of its voters has to run, see federator status", err)
		case <-time.After(proposeRetry):
		}
	}
}

// proposeLimit is the longest that a command is tried.
const proposeLimit = 15 * time.Second

// ownDeadline ends a little before the caller's deadline, so that the caller
// hears why.
func ownDeadline(ctx context.Context) (context.Context, context.CancelFunc) {
	limit := proposeLimit
	if deadline, ok := ctx.Deadline(); ok {
		limit = min(limit, time.Until(deadline)*9/10)
	}
	return context.WithTimeout(ctx, limit)
}

// passing reports errors that another try can cure.
func passing(err error) bool {
	return errors.Is(err, state.ErrNotLeader) || errors.Is(err, state.ErrUncertain) || errors.Is(err, state.ErrBusy) || errors.Is(err, errForward)
}

var errForward = errors.New("the leader could not be reached")

// proposeUnled is Propose for a replica that hears of no leader, though the region
// may have one that cannot find it: any sibling may know who leads.
func (p *proposer) proposeUnled(ctx context.Context, meta state.Meta, cmd state.Command) (state.Result, error) {
	meta.ID, meta.Time = state.NewID(), time.Now()
	env, err := state.NewEnvelope(meta, cmd)
	if err != nil {
		return state.Result{}, err
	}
	encoded, err := env.Encode()
	if err != nil {
		return state.Result{}, err
	}
	var errs []error
	for _, s := range p.siblings() {
		result, err := p.forward(ctx, s.RaftID(), encoded)
		var elsewhere *state.NotLeaderError
		if errors.As(err, &elsewhere) && elsewhere.Leader != "" {
			result, err = p.forward(ctx, elsewhere.Leader, encoded)
		}
		if err == nil || !passing(err) {
			return result, err
		}
		errs = append(errs, err)
	}
	return state.Result{}, errors.Join(append(errs, errNobody)...)
}

// forwardTimeout bounds one call to the leader.
const forwardTimeout = 3 * time.Second

// connect returns a connection to a sibling, named by its Raft id.
func (p *proposer) connect(leader string) (*grpc.ClientConn, error) {
	for _, r := range p.siblings() {
		if r.RaftID() != leader {
			continue
		}
		c, err := p.peers.client(r)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", errForward, err)
		}
		return c, nil
	}
	return nil, fmt.Errorf("%w: replica %s is not known", errForward, leader)
}

// forward hands a command to the leader, named by its Raft id.
func (p *proposer) forward(ctx context.Context, leader string, encoded []byte) (state.Result, error) {
	c, err := p.connect(leader)
	if err != nil {
		return state.Result{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, forwardTimeout)
	defer cancel()
	answer, err := pb.NewSiblingsClient(c).Propose(ctx, &pb.ProposeRequest{Command: encoded})
	switch {
	case err != nil:
		return state.Result{}, fmt.Errorf("%w: %w", errForward, err)
	case answer.GetNotLeader():
		return state.Result{}, &state.NotLeaderError{Leader: answer.GetLeaderId()}
	case answer.GetCode() != "":
		return state.Result{}, state.FromCode(answer.GetCode(), answer.GetMessage())
	}
	result := state.Result{Index: answer.GetIndex(), Value: answer.GetResult()}
	// What was written elsewhere is read here: wait until it has arrived. Should
	// that take too long, it is written all the same.
	_ = p.node.WaitApplied(ctx, result.Index)
	return result, nil
}
