package port

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"sync"

	"github.com/federator/federator/identity"
)

// The protocols of the port, as ALPN names them.
const (
	Raft   = "fed-raft"
	Gossip = "fed-gossip"
	GRPC   = "h2"
	Enroll = "fed-enroll"
)

// Conn is a connection after its handshake.
type Conn struct {
	net.Conn
	protocol string
	peer     identity.ID
	chain    []*x509.Certificate
	close    func() error
}

// newConn wraps a handshaken connection; onClose runs once, when it is closed.
func newConn(c *tls.Conn, onClose func(*Conn)) (*Conn, error) {
	state := c.ConnectionState()
	conn := &Conn{Conn: c, protocol: state.NegotiatedProtocol, chain: state.PeerCertificates}
	if len(conn.chain) > 0 {
		id, err := leafID(conn.chain[0])
		if err != nil {
			return nil, err
		}
		conn.peer = id
	}
	conn.close = sync.OnceValue(func() error {
		onClose(conn)
		return c.Close()
	})
	return conn, nil
}

func leafID(leaf *x509.Certificate) (identity.ID, error) {
	if len(leaf.URIs) != 1 {
		return identity.ID{}, fmt.Errorf("peer certificate: expected one SPIFFE ID, found %d", len(leaf.URIs))
	}
	return identity.ParseID(leaf.URIs[0])
}

// Protocol is the ALPN protocol of the connection.
func (c *Conn) Protocol() string { return c.protocol }

// Peer is the proven identity of the other end; false if it showed no
// certificate, as clients of [Enroll] do.
func (c *Conn) Peer() (identity.ID, bool) { return c.peer, c.peer != identity.ID{} }

// Close closes the connection; further calls do nothing.
func (c *Conn) Close() error { return c.close() }

// CloseWrite tells the other end that nothing more will come.
func (c *Conn) CloseWrite() error { return c.Conn.(*tls.Conn).CloseWrite() }
