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
	// TLS makes the client's configuration for peers that authorise admits.
	TLS func(authorise identity.Authoriser) *tls.Config
	// Guard watches the connections; required.
	Guard *Guard
	// Timeout bounds connecting and the handshake together; 0 means 5 s.
	Timeout time.Duration
}

// ErrUnreachable is wrapped by errors of connecting, before any handshake.
var ErrUnreachable = errors.New("unreachable")

// Dial connects to the port at address (host:port) and speaks the protocol to a
// peer that authorise admits. That the peer in turn refuses our certificate shows
// only at the first read (TLS 1.3).
func (d *Dialer) Dial(ctx context.Context, protocol, address string, authorise identity.Authoriser) (*Conn, error) {
	generation := d.Guard.generation()
	t, err := DialTLS(ctx, protocol, address, d.TLS(authorise), d.Timeout)
	if err != nil {
		return nil, err
	}
	c, err := newConn(t, d.Guard.remove)
	if err != nil {
		_ = t.Close()
		return nil, fmt.Errorf("connect to %s: %w", address, err)
	}
	if err := d.Guard.add(c, generation); err != nil {
		_ = c.Close()
		return nil, fmt.Errorf("connect to %s: %w", address, err)
	}
	return c, nil
}

// DialTLS connects to a port with a configuration of the caller's own, as a
// joiner does, who has no certificate. The configuration must verify the server.
func DialTLS(ctx context.Context, protocol, address string, config *tls.Config, timeout time.Duration) (*tls.Conn, error) {
	if timeout == 0 {
		timeout = 5 * time.Second
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	raw, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w: %s", address, ErrUnreachable, explain(err))
	}
	config = config.Clone()
	config.NextProtos = []string{protocol}
	config.MinVersion = tls.VersionTLS13
	t := tls.Client(raw, config)
	if err := t.HandshakeContext(ctx); err != nil {
		_ = raw.Close()
		return nil, fmt.Errorf("connect to %s: %s handshake: %w", address, protocol, err)
	}
	if got := t.ConnectionState().NegotiatedProtocol; got != protocol {
		_ = raw.Close()
		return nil, fmt.Errorf("connect to %s: expected protocol %s, found %q; is this a federator port?", address, protocol, got)
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
