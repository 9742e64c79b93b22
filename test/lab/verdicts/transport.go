package verdicts

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"

	"github.com/federator/federator/test/lab/network"
)

// transport is memberlist's own over UDP and TCP, from within a host of the lab.
type transport struct {
	host     *network.Host
	port     int
	packets  net.PacketConn
	listener net.Listener
	arrived  chan *memberlist.Packet
	streams  chan net.Conn
	done     chan struct{}
	end      func() error
	readers  sync.WaitGroup
}

func newTransport(h *network.Host, port int) (*transport, error) {
	t := &transport{host: h, port: port, arrived: make(chan *memberlist.Packet), streams: make(chan net.Conn), done: make(chan struct{})}
	address := fmt.Sprintf("%s:%d", h.Address(), port)
	var err error
	if t.packets, err = h.ListenPacket("udp", address); err != nil {
		return nil, err
	}
	if c, ok := t.packets.(*net.UDPConn); ok {
		_ = c.SetReadBuffer(2 << 20) // as memberlist does; the kernel gives what it may
	}
	if t.listener, err = h.Listen("tcp", address); err != nil {
		return nil, errors.Join(err, t.packets.Close())
	}
	t.end = sync.OnceValue(func() error {
		close(t.done)
		err := errors.Join(t.packets.Close(), t.listener.Close())
		t.readers.Wait()
		return err
	})
	t.readers.Go(t.read)
	t.readers.Go(t.accept)
	return t, nil
}

// read hands packets over until the socket is closed.
func (t *transport) read() {
	buffer := make([]byte, 1<<16)
	for {
		n, from, err := t.packets.ReadFrom(buffer)
		now := time.Now()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil || n == 0 {
			continue // it is of one packet only
		}
		select {
		case t.arrived <- &memberlist.Packet{Buf: append([]byte(nil), buffer[:n]...), From: from, Timestamp: now}:
		case <-t.done:
			return
		}
	}
}

// accept hands connections over until the socket is closed.
func (t *transport) accept() {
	for {
		c, err := t.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // it is of one connection only
		}
		select {
		case t.streams <- c:
		case <-t.done:
			_ = c.Close()
			return
		}
	}
}

// FinalAdvertiseAddr is where the member is.
func (t *transport) FinalAdvertiseAddr(string, int) (net.IP, int, error) {
	return t.host.IP().AsSlice(), t.port, nil
}

// WriteTo sends a packet to an address and a port.
func (t *transport) WriteTo(b []byte, address string) (time.Time, error) {
	to, err := net.ResolveUDPAddr("udp", address)
	if err != nil {
		return time.Time{}, err
	}
	_, err = t.packets.WriteTo(b, to)
	return time.Now(), err
}

// PacketCh is where packets arrive.
func (t *transport) PacketCh() <-chan *memberlist.Packet { return t.arrived }

// DialTimeout connects to an address and a port.
func (t *transport) DialTimeout(address string, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	return t.host.DialContext(ctx, "tcp", address)
}

// StreamCh is where connections arrive.
func (t *transport) StreamCh() <-chan net.Conn { return t.streams }

// Shutdown closes the sockets.
func (t *transport) Shutdown() error { return t.end() }
