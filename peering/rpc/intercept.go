package rpc

import (
	"context"
	"log/slog"
	"runtime/debug"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// maxUnary bounds a call with one answer, whatever deadline the caller set.
const maxUnary = 2 * time.Minute

// unary is around every call with one answer.
func (s *surround) unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (resp any, err error) {
	ctx, cancel := context.WithTimeout(ctx, maxUnary)
	defer cancel()
	defer func() { s.finish(ctx, info.FullMethod, err) }()
	defer s.recover(ctx, info.FullMethod, &err)
	if err := s.access.Authorise(ctx, info.FullMethod); err != nil {
		return nil, err
	}
	return handle(ctx, req)
}

// stream is around every call with a stream of answers. Its length is bounded by
// the age of its connection.
func (s *surround) stream(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, handle grpc.StreamHandler) (err error) {
	ctx := ss.Context()
	defer func() { s.finish(ctx, info.FullMethod, err) }()
	defer s.recover(ctx, info.FullMethod, &err)
	if err := s.access.Authorise(ctx, info.FullMethod); err != nil {
		return err
	}
	return handle(srv, ss)
}

// surround is what goes around every call.
type surround struct {
	access  *Access
	log     *slog.Logger
	metrics *metrics
	limit   *rate.Limiter
	dropped atomic.Uint64
}

func newSurround(a *Access, m *metrics) *surround {
	return &surround{access: a, log: a.Log, metrics: m, limit: rate.NewLimiter(1, 20)}
}

// recover turns a panic into an error of the one call.
func (s *surround) recover(ctx context.Context, method string, err *error) {
	if v := recover(); v != nil {
		s.log.Error("a call panicked", "method", method, "peer", Actor(ctx), "panic", v, "stack", string(debug.Stack()))
		*err = status.Error(codes.Internal, "internal error; the replica's log says more")
	}
}

// finish counts the call, and logs its failure unless too many fail.
func (s *surround) finish(ctx context.Context, method string, err error) {
	code := status.Code(err)
	if _, known := methods[method]; !known {
		method = "unknown"
	}
	s.metrics.calls.WithLabelValues(method, code.String()).Inc()
	if err == nil || code == codes.Canceled {
		return
	}
	if !s.limit.Allow() {
		s.dropped.Add(1)
		return
	}
	s.log.Warn("a call failed", "method", method, "peer", Actor(ctx), "origin", Origin(ctx),
		"code", code.String(), "error", status.Convert(err).Message(), "unlogged", s.dropped.Swap(0))
}
