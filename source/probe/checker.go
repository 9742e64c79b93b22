package probe

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/federator/federator/federation/catalog"
)

// DialFunc opens a connection, as [net.Dialer.DialContext] does.
type DialFunc func(ctx context.Context, network, address string) (net.Conn, error)

// Checker makes single probes. Dial is required.
type Checker struct {
	Dial DialFunc
}

// Once probes the target once, within its check's timeout. A nil error means
// that the endpoint is healthy; an error says why not. If ctx ended it returns
// ctx's error, which says nothing about the endpoint.
func (c *Checker) Once(ctx context.Context, t Target) error {
	probe, cancel := context.WithTimeoutCause(ctx, t.Check.Timeout, fmt.Errorf("no answer in %v", t.Check.Timeout))
	defer cancel()
	var err error
	switch t.Check.Kind {
	case catalog.CheckHTTP:
		err = c.http(probe, t)
	case catalog.CheckTCP:
		err = c.tcp(probe, t)
	case catalog.CheckGRPC:
		err = c.grpc(probe, t)
	default:
		err = fmt.Errorf("check kind %q: expected http, tcp or grpc", t.Check.Kind)
	}
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil && probe.Err() != nil:
		return context.Cause(probe)
	}
	return err
}

func (c *Checker) tcp(ctx context.Context, t Target) error {
	conn, err := c.Dial(ctx, "tcp", t.Address)
	if err != nil {
		return err
	}
	_ = conn.Close() // the connection was the answer
	return nil
}

// maxHeader bounds the header of an HTTP answer, in bytes.
const maxHeader = 16 << 10

func (c *Checker) http(ctx context.Context, t Target) error {
	transport := &http.Transport{
		DialContext:            c.pinned(t.Address),
		DisableKeepAlives:      true,
		DisableCompression:     true,
		MaxResponseHeaderBytes: maxHeader,
	}
	defer transport.CloseIdleConnections()
	path, err := url.ParseRequestURI(t.Check.Path)
	if err != nil {
		return fmt.Errorf("check path: %w", err)
	}
	target := &url.URL{Scheme: "http", Host: t.Address, Path: path.Path, RawPath: path.RawPath, RawQuery: path.RawQuery}
	request := (&http.Request{
		Method: http.MethodGet, URL: target, Host: t.Check.Host,
		Header: http.Header{"User-Agent": {"federator-probe"}}, Close: true,
	}).WithContext(ctx)
	answer, err := transport.RoundTrip(request) // unlike a Client it follows nothing
	if err != nil {
		return err
	}
	_ = answer.Body.Close() // the status was the answer
	if answer.StatusCode < 200 || answer.StatusCode > 399 {
		return fmt.Errorf("expected an HTTP status from 200 to 399, found %d", answer.StatusCode)
	}
	return nil
}

// pinned dials address, whatever it is asked for.
func (c *Checker) pinned(address string) DialFunc {
	return func(ctx context.Context, _, _ string) (net.Conn, error) { return c.Dial(ctx, "tcp", address) }
}

// maxMessage bounds a gRPC health answer, in bytes.
const maxMessage = 4 << 10

func (c *Checker) grpc(ctx context.Context, t Target) (err error) {
	dial := c.pinned(t.Address)
	conn, err := grpc.NewClient("passthrough:///"+t.Address,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return dial(ctx, "tcp", "") }),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage)),
		grpc.WithMaxHeaderListSize(maxHeader),
		grpc.WithDisableServiceConfig(), grpc.WithDisableRetry(),
		grpc.WithUserAgent("federator-probe"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	answer, err := grpc_health_v1.NewHealthClient(conn).Check(ctx, &grpc_health_v1.HealthCheckRequest{Service: t.Check.Service})
	if err != nil {
		return err
	}
	if answer.Status != grpc_health_v1.HealthCheckResponse_SERVING {
		return fmt.Errorf("expected the gRPC health status SERVING, found %s", answer.Status)
	}
	return nil
}

// dialTimeout bounds a connection attempt that has no other bound.
const dialTimeout = 10 * time.Second

// NewChecker returns a Checker that dials with the system's network.
func NewChecker() *Checker {
	return &Checker{Dial: (&net.Dialer{Timeout: dialTimeout, KeepAlive: -1}).DialContext}
}
