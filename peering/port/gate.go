package port

import (
	"errors"
	"sync"

	"github.com/federator/federator/identity"
)

// ErrShut is wrapped by errors about a peer that the [Gate] does not let through.
var ErrShut = errors.New("this replica practises being cut off from the peer")

// Gate refuses connections by who their peer is, for as long as it is shut. It
// knows the connections that are open, in and out, so that shutting it closes
// those that it would refuse. The zero Gate is open.
type Gate struct {
	mu      sync.Mutex
	refuses func(identity.ID) bool // nil: nobody
	open    map[*Conn]func()       // closes at once, and never blocks
}

// Shut refuses the peers for which refuses reports true from now on, and closes
// the connections to them; nil opens the gate. It returns how many it closed.
func (g *Gate) Shut(refuses func(identity.ID) bool) int {
	g.mu.Lock()
	g.refuses = refuses
	var cut []func()
	for c, end := range g.open {
		if refuses != nil && refuses(c.peer) {
			cut = append(cut, end)
		}
	}
	g.mu.Unlock()
	for _, end := range cut { // outside the lock: the owner may close it now
		end()
	}
	return len(cut)
}

// enter lets a connection through, until leave is called. A nil Gate is open.
func (g *Gate) enter(c *Conn, end func()) (leave func(), err error) {
	if g == nil {
		return func() {}, nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.refuses != nil && g.refuses(c.peer) {
		return nil, ErrShut
	}
	if g.open == nil {
		g.open = map[*Conn]func(){}
	}
	g.open[c] = end
	return func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		delete(g.open, c)
	}, nil
}
