package port

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
	"time"

	"github.com/federator/federator/identity"
)

// Dialer opens connections to the ports of other replicas.
type Dialer struct {
	// TLS proves both ends.
	TLS identity.TLS
	// Guard closes connections whose peer loses its trust; required.
	Guard *identity.Guard
	// Gate may refuse peers; nil refuses nobody.
	Gate *Gate
	// Timeout bounds connecting and the handshake together; 0 means 5 s.
	Timeout time.Duration
}

// ErrUnreachable is wrapped by errors of connecting, before any handshake.
var ErrUnreachable = errors.New("unreachable")

// DialError says which address could not be connected to, and why.
type DialError struct {
	Address string
	Err     error
}

func (e *DialError) Error() string { return "connect to " + e.Address + ": " + e.Err.Error() }
func (e *DialError) Unwrap() error { return e.Err }

// Dial connects to the port at address (host:port) and speaks the protocol to a
// peer that authorise admits. That the peer in turn refuses our certificate shows
// only at the first read (TLS 1.3).
func (d *Dialer) Dial(ctx context.Context, protocol, address string, authorise identity.Authoriser) (*Conn, error) {
	t, err := DialTLS(ctx, address, d.TLS.Client(protocol, authorise), d.Timeout)
	if err != nil {
		return nil, err
	}
	c, err := newConn(t, d.Guard, d.Gate, func() {})
	if err != nil {
		_ = t.Close()
		return nil, &DialError{address, err}
	}
	return c, nil
}

// DialTLS connects to a port with a configuration of the caller's own, as a
// joiner does, who has no certificate. The configuration must verify the server
// and name one protocol, as those of package identity do.
// Errors are of type [*DialError].
func DialTLS(ctx context.Context, address string, config *tls.Config, timeout time.Duration) (*tls.Conn, error) {
	if timeout == 0 {
		timeout = 5 * time.Second
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	t, err := dialTLS(ctx, address, config)
	if err != nil {
		return nil, &DialError{address, err}
	}
	return t, nil
}

func dialTLS(ctx context.Context, address string, config *tls.Config) (*tls.Conn, error) {
	raw, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("%w: %s", ErrUnreachable, explain(err))
	}
	t := tls.Client(raw, config)
	if err := t.HandshakeContext(ctx); err != nil {
		_ = raw.Close()
		return nil, fmt.Errorf("%v handshake: %w", config.NextProtos, err)
	}
	return t, nil
}

// explain says what a failure to connect commonly means.
func explain(err error) string {
	var dns *net.DNSError
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection refused; is the replica running, and is this its peer port?"
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded):
		return "no answer in time; does a firewall let TCP through?"
	case errors.As(err, &dns):
		return "the name does not resolve: " + dns.Error()
	}
	return err.Error()
}
