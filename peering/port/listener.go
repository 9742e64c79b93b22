package port

import (
	"net"
	"sync"
	"time"
)

// Bounds of the queue between the port and what listens behind it.
const (
	queueLength  = 64
	queueTimeout = 5 * time.Second
)

// listener is the net.Listener of one protocol.
type listener struct {
	addr  net.Addr
	queue chan *Conn
	done  chan struct{}
	once  sync.Once
}

func newListener(addr net.Addr) *listener {
	return &listener{addr: addr, queue: make(chan *Conn, queueLength), done: make(chan struct{})}
}

// Accept returns the next connection of the protocol, a [*Conn].
func (l *listener) Accept() (net.Conn, error) {
	select {
	case <-l.done:
		return nil, net.ErrClosed
	case c := <-l.queue:
		return c, nil
	}
}

// Close ends the protocol; what nobody accepted is closed.
func (l *listener) Close() error {
	l.once.Do(func() { close(l.done) })
	for {
		select {
		case c := <-l.queue:
			_ = c.Close()
		default:
			return nil
		}
	}
}

// Addr is the address of the port.
func (l *listener) Addr() net.Addr { return l.addr }

// deliver queues the connection, and reports whether it could.
func (l *listener) deliver(c *Conn) bool {
	t := time.NewTimer(queueTimeout)
	defer t.Stop()
	select {
	case <-l.done:
		return false
	case <-t.C:
		return false
	case l.queue <- c:
	}
	select {
	case <-l.done: // closed meanwhile: nobody will take it
		_ = l.Close()
	default:
	}
	return true
}
