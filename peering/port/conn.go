package port

import (
	"crypto/tls"
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
	close    func() error
}

// newConn wraps a connection after a handshake with a configuration of package
// identity, and has it watched by both guards. onClose runs once, when it is closed. Without an
// error the connection is the Conn's to close, else it is still the caller's.
func newConn(c *tls.Conn, guard *identity.Guard, gate *Gate, onClose func()) (*Conn, error) {
	state := c.ConnectionState()
	conn := &Conn{Conn: c, protocol: state.NegotiatedProtocol}
	release := func() {}
	if conn.protocol != Enroll {
		id, err := identity.PeerID(state)
		if err != nil {
			return nil, err
		}
		conn.peer = id
		leave, err := gate.enter(conn, func() { _ = c.NetConn().Close() })
		if err != nil {
			return nil, err
		}
		// The guard closes what is below TLS: that never blocks, and the owner of
		// the Conn notices and closes it.
		untrack := guard.Track(c.NetConn(), state)
		release = func() { untrack(); leave() }
	}
	conn.close = sync.OnceValue(func() error {
		release()
		onClose()
		return c.Close()
	})
	return conn, nil
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
