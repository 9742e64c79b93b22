package state

import (
	"net"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// trackedStream closes every connection when Raft ends; hashicorp/raft leaves
// those open that others dialled.
type trackedStream struct {
	raft.StreamLayer
	mu     sync.Mutex
	open   map[*trackedConn]struct{}
	closed bool
}

func newTrackedStream(s raft.StreamLayer) *trackedStream {
	return &trackedStream{StreamLayer: s, open: map[*trackedConn]struct{}{}}
}

// Accept waits for the next connection.
func (t *trackedStream) Accept() (net.Conn, error) {
	conn, err := t.StreamLayer.Accept()
	if err != nil {
		return nil, err
	}
	return t.track(conn)
}

// Dial connects to another replica.
func (t *trackedStream) Dial(address raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	conn, err := t.StreamLayer.Dial(address, timeout)
	if err != nil {
		return nil, err
	}
	return t.track(conn)
}

func (t *trackedStream) track(conn net.Conn) (net.Conn, error) {
	c := &trackedConn{Conn: conn, by: t}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		_ = conn.Close() // nobody uses it
		return nil, net.ErrClosed
	}
	t.open[c] = struct{}{}
	return c, nil
}

// closeAll closes what is open and refuses more.
func (t *trackedStream) closeAll() {
	t.mu.Lock()
	t.closed = true
	conns := t.open
	t.open = map[*trackedConn]struct{}{}
	t.mu.Unlock()
	for c := range conns {
		_ = c.Conn.Close() // the process is done with it
	}
}

// trackedConn forgets itself when it is closed.
type trackedConn struct {
	net.Conn
	by *trackedStream
}

// Close closes the connection.
func (c *trackedConn) Close() error {
	c.by.mu.Lock()
	delete(c.by.open, c)
	c.by.mu.Unlock()
	return c.Conn.Close()
}
