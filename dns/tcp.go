package dns

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

const (
	tcpIdle      = 10 * time.Second // for the next question (RFC 7766 6.2.3)
	tcpWrite     = 5 * time.Second
	maxConns     = 1024
	maxPerClient = 64
	maxQuestion  = 4096 // bytes of one question over TCP
	maxPipelined = 10_000
)

// conns counts TCP connections, in all and by client.
type conns struct {
	open    atomic.Int64
	refused atomic.Uint64
	mu      sync.Mutex
	clients map[netip.Addr]int
}

func (c *conns) add(a netip.Addr) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.open.Load() >= maxConns || c.clients[a] >= maxPerClient {
		c.refused.Add(1)
		return false
	}
	if c.clients == nil {
		c.clients = map[netip.Addr]int{}
	}
	c.clients[a]++
	c.open.Add(1)
	return true
}

func (c *conns) remove(a netip.Addr) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.open.Add(-1)
	if c.clients[a]--; c.clients[a] == 0 {
		delete(c.clients, a)
	}
}

// serveTCP accepts connections until the listener closes, and returns when the
// last one has ended.
func (s *Server) serveTCP(ctx context.Context, l net.Listener, st *stats) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	for {
		c, err := l.Accept()
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil && errors.Is(err, net.ErrClosed):
			return err
		case err != nil: // such as too many open files
			s.log.Warn("DNS cannot accept a connection", "error", err)
			pause(ctx, 100*time.Millisecond)
			continue
		}
		from := addrOf(c.RemoteAddr())
		if !s.conns.add(from) {
			c.Close()
			continue
		}
		wg.Go(func() {
			defer s.conns.remove(from)
			stop := context.AfterFunc(ctx, func() { c.Close() })
			defer stop()
			defer c.Close()
			s.serveConn(c, st)
		})
	}
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// serveConn answers the questions of one connection in order. Answers gather
// while more questions wait.
func (s *Server) serveConn(c net.Conn, st *stats) {
	w := s.newWorker(st)
	p := peer{from: addrOf(c.RemoteAddr()), local: addrOf(c.LocalAddr()), tcp: true}
	in, packet := bufio.NewReaderSize(c, maxQuestion+2), make([]byte, maxQuestion)
	var out []byte
	for range maxPipelined {
		if in.Buffered() == 0 {
			c.SetReadDeadline(time.Now().Add(tcpIdle))
		}
		n, err := readQuestion(in, packet)
		if err != nil {
			return
		}
		at := len(out)
		out = w.answer(packet[:n], p, append(out, 0, 0))
		if len(out) == at+2 {
			return // not a question: nothing good comes after it
		}
		binary.BigEndian.PutUint16(out[at:], uint16(len(out)-at-2))
		if in.Buffered() > 0 && len(out) < maxMessage {
			continue
		}
		c.SetWriteDeadline(time.Now().Add(tcpWrite))
		if _, err := c.Write(out); err != nil {
			return
		}
		out = out[:0]
	}
}

// readQuestion reads one message with its length before it (RFC 1035 4.2.2).
func readQuestion(r io.Reader, b []byte) (int, error) {
	if _, err := io.ReadFull(r, b[:2]); err != nil {
		return 0, err
	}
	n := int(binary.BigEndian.Uint16(b))
	if n > len(b) {
		return 0, errors.New("question too long")
	}
	return io.ReadFull(r, b[:n])
}

func addrOf(a net.Addr) netip.Addr {
	t, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.Addr{}
	}
	return t.AddrPort().Addr().Unmap().WithZone("")
}
