package port

import (
	"context"
	"crypto/x509"
	"log/slog"
	"sync"
)

// Judge says whether the holder of a certificate chain (leaf first), proven when
// the connection was made, may keep it. It is asked about revocation and removal,
// not about expiry: renewal must not cut connections.
type Judge func(chain []*x509.Certificate) error

// Guard knows every open connection with a proven peer, in both directions, and
// closes those whose peer has lost its right.
type Guard struct {
	judge Judge
	log   *slog.Logger

	mu   sync.Mutex
	gen  uint64 // counts sweeps
	open map[*Conn]struct{}
}

// NewGuard makes a guard that asks judge.
func NewGuard(judge Judge, log *slog.Logger) *Guard {
	return &Guard{judge: judge, log: log, open: map[*Conn]struct{}{}}
}

// Run sweeps whenever changed delivers, until ctx ends or changed is closed.
func (g *Guard) Run(ctx context.Context, changed <-chan struct{}) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case _, ok := <-changed:
			if !ok {
				return nil
			}
			g.Sweep()
		}
	}
}

// Sweep judges every open connection again and returns how many it closed.
func (g *Guard) Sweep() int {
	n := 0
	for _, c := range g.snapshot() {
		if err := g.judge(c.chain); err != nil {
			g.log.Warn("closing a connection whose peer is no longer trusted", "peer", c.peer, "protocol", c.protocol, "error", err)
			_ = c.Close()
			n++
		}
	}
	return n
}

// Open is the number of connections that the guard watches.
func (g *Guard) Open() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.open)
}

func (g *Guard) snapshot() []*Conn {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.gen++
	all := make([]*Conn, 0, len(g.open))
	for c := range g.open {
		all = append(all, c)
	}
	return all
}

// generation is taken before a handshake and given to add after it.
func (g *Guard) generation() uint64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.gen
}

// add watches c. If a sweep passed while c shook hands, c is judged now.
func (g *Guard) add(c *Conn, generation uint64) error {
	if len(c.chain) == 0 {
		return nil
	}
	g.mu.Lock()
	g.open[c] = struct{}{}
	missed := g.gen != generation
	g.mu.Unlock()
	if missed {
		return g.judge(c.chain)
	}
	return nil
}

func (g *Guard) remove(c *Conn) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.open, c)
}
