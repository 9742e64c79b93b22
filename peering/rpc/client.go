package rpc

import (
	"context"
	"fmt"
	"net"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/keepalive"
)

// Bounds of messages, in bytes, in either direction.
const (
	MaxMessage = 8 << 20
	// MaxEnrollMessage is for those who have no certificate yet.
	MaxEnrollMessage = 256 << 10
)

// Connect opens a proven connection.
type Connect func(context.Context) (net.Conn, error)

// Client makes a gRPC client whose connections come from connect. It connects
// when it is first used, and again when a connection is lost.
func Client(connect Connect, extra ...grpc.DialOption) (*grpc.ClientConn, error) {
	options := append([]grpc.DialOption{
		grpc.WithTransportCredentials(transport{}),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return connect(ctx) }),
		grpc.WithNoProxy(),
		grpc.WithDisableServiceConfig(),
		grpc.WithIdleTimeout(5 * time.Minute),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(MaxMessage), grpc.MaxCallSendMsgSize(MaxMessage)),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 10 * time.Second, Timeout: 5 * time.Second}),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.3, MaxDelay: 5 * time.Second},
			MinConnectTimeout: 5 * time.Second,
		}),
	}, extra...)
	c, err := grpc.NewClient("passthrough:///federator", options...)
	if err != nil {
		return nil, fmt.Errorf("make a gRPC client: %w", err)
	}
	return c, nil
}

// LocalClient makes a client of the Unix socket at path.
func LocalClient(path string) (*grpc.ClientConn, error) {
	return Client(func(ctx context.Context) (net.Conn, error) {
		c, err := (&net.Dialer{}).DialContext(ctx, "unix", path)
		if err != nil {
			return nil, fmt.Errorf("connect to the agent's socket: %w; is the agent running, and is this its socket?", err)
		}
		return c, nil
	})
}
