package gossip

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"time"

	"github.com/hashicorp/memberlist"
)

var (
	errForeign = errors.New("stream of another trust domain")
	errStream  = errors.New("unexpected message on a gossip stream")
)

// stream is an inbound connection that is closed with its transport.
type stream struct {
	net.Conn
	owner  *transport
	closed atomic.Bool
}

// Close implements net.Conn.
func (s *stream) Close() error {
	if s.closed.Swap(true) {
		return nil
	}
	s.owner.mu.Lock()
	delete(s.owner.open, s)
	s.owner.mu.Unlock()
	return s.Conn.Close()
}

// accept takes inbound streams until the listener is closed.
func (t *transport) accept() {
	for {
		conn, err := t.listener.Accept()
		switch {
		case t.ctx.Err() != nil:
			if err == nil {
				conn.Close()
			}
			return
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil:
			t.pause(err)
		default:
			t.admit(conn)
		}
	}
}

// admit starts to serve a stream unless there are too many.
func (t *transport) admit(conn net.Conn) {
	s := &stream{Conn: conn, owner: t}
	t.mu.Lock()
	full := len(t.open) >= maxStreams
	if !full {
		t.open[s] = struct{}{}
	}
	t.mu.Unlock()
	if full {
		t.metrics.drop(dropOverflow)
		conn.Close()
		return
	}
	t.work.Go(func() { t.serve(s) })
}

// serve reads the preamble and hands the stream to whom it is for.
func (t *transport) serve(s *stream) {
	if t.ctx.Err() != nil {
		s.Close()
		return
	}
	kind, err := t.preamble(s)
	if err != nil {
		t.metrics.drop(dropUndecodable)
		t.log.Debug("gossip stream refused", "peer", s.RemoteAddr().String(), "error", err)
		s.Close()
		return
	}
	if kind == kindReliable {
		defer s.Close()
		t.reliable(s)
		return
	}
	select {
	case t.streams <- t.guard(s):
	case <-t.ctx.Done():
		s.Close()
	}
}

// preamble reads the kind and the trust domain.
func (t *transport) preamble(s *stream) (kind byte, err error) {
	if err := s.SetDeadline(time.Now().Add(preambleTimeout)); err != nil {
		return 0, err
	}
	want := t.appendPreamble(nil, 0)
	got := make([]byte, len(want))
	if _, err := io.ReadFull(s, got[:2]); err != nil {
		return 0, err
	}
	if got[1] != want[1] {
		return 0, errForeign
	}
	if _, err := io.ReadFull(s, got[2:]); err != nil {
		return 0, err
	}
	if string(got[1:]) != string(want[1:]) {
		return 0, errForeign
	}
	if got[0] != kindReliable && got[0] != kindMemberlist {
		return 0, errStream
	}
	return got[0], nil
}

func (t *transport) appendPreamble(b []byte, kind byte) []byte {
	b = append(b, kind, byte(len(t.domain)))
	return append(b, t.domain...)
}

// connect opens a stream of a kind to a peer.
func (t *transport) connect(ctx context.Context, kind byte, addr memberlist.Address) (net.Conn, error) {
	if t.ctx.Err() != nil {
		return nil, errShutdown
	}
	address, err := t.resolve(addr)
	if err != nil {
		return nil, err
	}
	conn, err := t.dial(ctx, address)
	if err != nil {
		return nil, fmt.Errorf("gossip stream to %s at %s: %w", addr.String(), address, err)
	}
	if deadline, ok := ctx.Deadline(); ok {
		err = conn.SetDeadline(deadline)
	}
	if err == nil {
		_, err = conn.Write(t.appendPreamble(nil, kind))
	}
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("gossip stream to %s at %s: %w", addr.String(), address, err)
	}
	return conn, nil
}

// DialTimeout implements memberlist.Transport.
func (t *transport) DialTimeout(addr string, timeout time.Duration) (net.Conn, error) {
	return t.DialAddressTimeout(memberlist.Address{Addr: addr}, timeout)
}

// DialAddressTimeout implements memberlist.NodeAwareTransport.
func (t *transport) DialAddressTimeout(addr memberlist.Address, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(t.ctx, timeout)
	defer cancel()
	conn, err := t.connect(ctx, kindMemberlist, addr)
	if err != nil {
		return nil, err
	}
	return t.guard(conn), nil // the answer comes from outside, too
}
