package rpc

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"
)

// Servers is the gRPC of a replica: one server for those who are proven (the
// protocol h2 and the local socket) and one for strangers (fed-enroll), bounded
// more tightly.
type Servers struct {
	// Main and Enroll take the registrations of services.
	Main, Enroll *grpc.Server
}

// NewServers makes both; metrics may be nil.
func NewServers(a *Access, r prometheus.Registerer) (*Servers, error) {
	m, err := newMetrics(r)
	if err != nil {
		return nil, fmt.Errorf("register gRPC metrics: %w", err)
	}
	around := newSurround(a, m)
	return &Servers{
		Main:   newServer(around, mainLimits),
		Enroll: newServer(around, enrollLimits),
	}, nil
}

// limits bound what one connection may cost.
type limits struct {
	message   int
	streams   uint32
	keepalive keepalive.ServerParameters
}

var (
	// An open connection is never verified again, so it ends after an hour; long
	// streams resume.
	mainLimits = limits{message: MaxMessage, streams: 1024, keepalive: keepalive.ServerParameters{
		MaxConnectionAge: time.Hour, MaxConnectionAgeGrace: 5 * time.Minute,
		Time: 10 * time.Second, Timeout: 5 * time.Second,
	}}
	enrollLimits = limits{message: MaxEnrollMessage, streams: 4, keepalive: keepalive.ServerParameters{
		MaxConnectionIdle: 30 * time.Second, MaxConnectionAge: 2 * time.Minute, MaxConnectionAgeGrace: 10 * time.Second,
		Time: 10 * time.Second, Timeout: 5 * time.Second,
	}}
)

func newServer(around *surround, l limits) *grpc.Server {
	return grpc.NewServer(
		grpc.Creds(transport{}),
		grpc.UnaryInterceptor(around.unary),
		grpc.StreamInterceptor(around.stream),
		grpc.MaxRecvMsgSize(l.message),
		grpc.MaxSendMsgSize(MaxMessage),
		grpc.MaxConcurrentStreams(l.streams),
		grpc.MaxHeaderListSize(16<<10),
		grpc.ConnectionTimeout(5*time.Second),
		grpc.KeepaliveParams(l.keepalive),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 5 * time.Second, PermitWithoutStream: true}),
	)
}

// Serve serves s on the listeners until ctx ends, then lets calls finish for up
// to grace and closes all. It returns the first failure of a listener, or nil.
func Serve(ctx context.Context, s *grpc.Server, grace time.Duration, listeners ...net.Listener) error {
	failed := make(chan error, len(listeners))
	for _, l := range listeners {
		go func() { failed <- s.Serve(l) }()
	}
	left := len(listeners)
	var first error
	select {
	case <-ctx.Done():
	case first = <-failed:
		left--
	}
	timer := time.AfterFunc(grace, s.Stop)
	s.GracefulStop()
	timer.Stop()
	for range left {
		if err := <-failed; first == nil {
			first = err
		}
	}
	if ctx.Err() != nil || errors.Is(first, grpc.ErrServerStopped) || errors.Is(first, net.ErrClosed) {
		return nil
	}
	return first
}
