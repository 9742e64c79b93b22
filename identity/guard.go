package identity

import (
	"crypto/tls"
	"io"
	"sync"
)

// Guard closes open connections whose peer has lost its trust: TLS never looks
// at a peer again after the handshake.
type Guard struct {
	verifier *Verifier
	cancel   func()

	mu    sync.Mutex
	conns map[io.Closer][][]byte
}

// NewGuard returns a guard that judges its connections anew whenever the trust
// list changes. Close ends it.
func NewGuard(v *Verifier) *Guard {
	g := &Guard{verifier: v, conns: map[io.Closer][][]byte{}}
	g.cancel = v.OnChange(g.sweep)
	return g
}

// Track watches a connection after its mutual handshake, until release is
// called. conn must be comparable, as pointers are, and closing it must not
// block: of a [tls.Conn], which sends a farewell first, give the NetConn.
func (g *Guard) Track(conn io.Closer, cs tls.ConnectionState) (release func()) {
	raw := make([][]byte, len(cs.PeerCertificates))
	for i, c := range cs.PeerCertificates {
		raw[i] = c.Raw
	}
	g.mu.Lock()
	g.conns[conn] = raw
	g.mu.Unlock()
	// The list may have changed between the handshake and now.
	if _, err := g.verifier.VerifyTrust(raw); err != nil {
		_ = conn.Close()
	}
	return func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		delete(g.conns, conn)
	}
}

// Close stops watching; the connections stay as they are.
func (g *Guard) Close() { g.cancel() }

// sweep closes the connections that the list no longer allows. The clock does
// not matter: a peer that renewed keeps its older connections.
func (g *Guard) sweep() {
	for _, conn := range g.distrusted() {
		_ = conn.Close() // outside the lock: it may call release
	}
}

func (g *Guard) distrusted() []io.Closer {
	g.mu.Lock()
	defer g.mu.Unlock()
	var out []io.Closer
	for conn, raw := range g.conns {
		if _, err := g.verifier.VerifyTrust(raw); err != nil {
			out = append(out, conn)
			delete(g.conns, conn)
		}
	}
	return out
}
