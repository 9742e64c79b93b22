package operator

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/federation/state"
	"github.com/federator/federator/peering/rpc"
)

// proposeTimeout bounds how long a change waits for the region's leader. It is
// shorter than the command line's patience, so that the reason arrives.
const proposeTimeout = 15 * time.Second

// actor names the caller for good: a user id means something on one replica only.
func (s *Server) actor(ctx context.Context) string {
	name := rpc.Actor(ctx)
	if strings.HasPrefix(name, "uid:") {
		return name + "@" + s.Self.Name
	}
	return name
}

// via separates where a call came from from the replica that took it.
const via = " via replica "

func (s *Server) origin(ctx context.Context) string { return rpc.Origin(ctx) + via + s.Self.Name }

// propose makes a change in the caller's name.
func (s *Server) propose(ctx context.Context, cmd state.Command) (state.Result, error) {
	ctx, cancel := context.WithTimeout(ctx, proposeTimeout)
	defer cancel()
	result, err := s.Proposer.Propose(ctx, state.Meta{Actor: s.actor(ctx), From: s.origin(ctx)}, cmd)
	if err != nil {
		return result, refused(err)
	}
	s.settle(ctx)
	return result, nil
}

const (
	// settleWait is how long an answer waits until this replica serves the change.
	settleWait = 2 * time.Second
	settlePoll = 5 * time.Millisecond
)

// settle waits until the catalog has what the region's Raft has, so that whoever
// changes something here sees it in the next answer from here.
func (s *Server) settle(ctx context.Context) {
	var want catalog.Version
	s.Raft.Read(func(st *state.State) { want = st.Version() })
	ctx, cancel := context.WithTimeout(ctx, settleWait)
	defer cancel()
	tick := time.NewTicker(settlePoll)
	defer tick.Stop()
	for s.Catalog.Version(s.Self.Region).Compare(want) < 0 {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// note adds a line to the audit trail for a change that is made elsewhere, or by
// a command that the trail does not list.
func (s *Server) note(ctx context.Context, action, target, detail string) (state.Result, error) {
	return s.propose(ctx, &state.Audit{Action: action, Target: target, Detail: detail})
}

// grpcCodes translates the codes of state errors. Unavailable is not among them:
// to a client it means that no agent answers.
var grpcCodes = map[string]codes.Code{
	state.ErrInvalid.Code:      codes.InvalidArgument,
	state.ErrNotFound.Code:     codes.NotFound,
	state.ErrTokenUnknown.Code: codes.NotFound,
	state.ErrNameTaken.Code:    codes.AlreadyExists,
	state.ErrRegionTaken.Code:  codes.AlreadyExists,
	state.ErrClusterTaken.Code: codes.AlreadyExists,
	state.ErrStale.Code:        codes.Aborted,
	state.ErrConflict.Code:     codes.Aborted,
	state.ErrUncertain.Code:    codes.Aborted,
	state.ErrBusy.Code:         codes.Aborted,
	state.ErrCorrupt.Code:      codes.DataLoss,
	"internal":                 codes.Internal,
}

// refused makes an error of the state, or of the way to it, one that crosses the
// wire: with its code in capitals as the reason. Errors that do so already stay.
func refused(err error) error {
	if err == nil || rpc.Reason(err) != "" {
		return err
	}
	code := state.CodeOf(err)
	grpcCode, ok := grpcCodes[code]
	if !ok {
		grpcCode = codes.FailedPrecondition
	}
	if code == "internal" && (errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)) {
		grpcCode, code = codes.FailedPrecondition, "no-answer"
	}
	return rpc.Error(grpcCode, strings.ToUpper(strings.ReplaceAll(code, "-", "_")), err.Error())
}

// invalid says what is wrong with a request.
func invalid(format string, args ...any) error {
	return rpc.Error(codes.InvalidArgument, "INVALID", fmt.Sprintf(format, args...))
}

// unmet says what must be different before the request can be granted.
func unmet(reason, format string, args ...any) error {
	return rpc.Error(codes.FailedPrecondition, reason, fmt.Sprintf(format, args...))
}

// missing says that a thing does not exist, and which ones do.
func missing(kind, name string, known []string) error {
	return rpc.Error(codes.NotFound, "NOT_FOUND", fmt.Sprintf("%s %s does not exist; %s", kind, name, suggestion(kind, name, known)))
}
