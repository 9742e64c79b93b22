package gossip

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"
)

// The first byte of every packet and stream.
const (
	kindMemberlist = 0x01
	kindEcho       = 0x02
	kindReliable   = 0x03 // streams only
)

const (
	// maxPacket bounds a UDP packet, everything included.
	maxPacket = 1400
	// packetRoom is what is left of it for memberlist, whose checksum of five
	// bytes it does not count itself.
	packetRoom = maxPacket - 1 - sealOverhead - 5
	// packetQueue bounds the packets that wait for memberlist.
	packetQueue = 1024
	// preambleTimeout bounds how long a stream may take to say what it is.
	preambleTimeout = 5 * time.Second
	// maxStreams bounds the inbound streams that are open at once.
	maxStreams = 128
	readBuffer = 1 << 20
)

var errShutdown = errors.New("gossip is shut down")

// transport carries memberlist's packets, sealed, and its streams, and beside
// them the echoes and the reliable messages. It is a
// memberlist.NodeAwareTransport.
type transport struct {
	conn      net.PacketConn
	listener  Listener
	dial      func(ctx context.Context, address string) (net.Conn, error)
	resolve   func(memberlist.Address) (string, error) // to a TCP address
	where     func(memberlist.Address) string          // to a UDP address
	passes    func(netip.AddrPort) bool                // whether packets from or to it do now
	advertise netip.AddrPort
	keyring   *Keyring
	domain    []byte
	echo      func(plain []byte, from netip.AddrPort)
	reliable  func(net.Conn) // must return soon after the conn is closed
	log       *slog.Logger
	metrics   *metrics

	packets chan *memberlist.Packet
	streams chan net.Conn
	ctx     context.Context
	cancel  context.CancelFunc
	work    sync.WaitGroup

	mu   sync.Mutex
	open map[*stream]struct{}
}

var _ memberlist.NodeAwareTransport = (*transport)(nil)

// start begins to receive. It must be called once, before the first use.
func (t *transport) start() {
	t.packets = make(chan *memberlist.Packet, packetQueue)
	t.streams = make(chan net.Conn)
	t.ctx, t.cancel = context.WithCancel(context.Background())
	t.open = map[*stream]struct{}{}
	if c, ok := t.conn.(interface{ SetReadBuffer(int) error }); ok {
		if err := c.SetReadBuffer(readBuffer); err != nil {
			t.log.Warn("gossip socket keeps its default read buffer", "error", err)
		}
	}
	t.work.Go(t.receive)
	t.work.Go(t.accept)
}

// receive reads packets until the socket is closed.
func (t *transport) receive() {
	buf := make([]byte, maxPacket+1)
	for {
		n, addr, err := t.conn.ReadFrom(buf)
		switch {
		case t.ctx.Err() != nil:
			return
		case err != nil:
			t.pause(err)
		case n > maxPacket:
			t.metrics.drop(dropOversize)
		default:
			t.packet(buf[:n], addr)
		}
	}
}

// packet opens one packet and hands it on. It keeps nothing of b.
func (t *transport) packet(b []byte, addr net.Addr) {
	from, err := addrPort(addr)
	if err != nil || len(b) == 0 {
		t.metrics.drop(dropUndecodable)
		return
	}
	if !t.passes(from) {
		t.metrics.drop(dropShut)
		return
	}
	kind := b[0]
	if kind != kindMemberlist && kind != kindEcho {
		t.metrics.drop(dropUndecodable)
		return
	}
	plain, err := t.keyring.open(b[1:], t.additional(kind))
	switch {
	case errors.Is(err, errUnopened):
		t.metrics.drop(dropUndecryptable)
	case err != nil || len(plain) == 0:
		t.metrics.drop(dropUndecodable)
	case kind == kindEcho:
		t.echo(plain, from)
	case checkPacket(plain) != nil:
		t.metrics.drop(dropUndecodable)
	default:
		t.enqueue(&memberlist.Packet{Buf: plain, From: addr, Timestamp: time.Now()})
	}
}

func (t *transport) enqueue(p *memberlist.Packet) {
	select {
	case t.packets <- p:
	default:
		t.metrics.drop(dropOverflow)
	}
}

// additional is authenticated with each packet, so that neither a packet of
// another trust domain nor one of another kind is ever taken in.
func (t *transport) additional(kind byte) []byte {
	return append([]byte{kind}, t.domain...)
}

// send seals and sends one packet.
func (t *transport) send(kind byte, plain []byte, to net.Addr) error {
	if at, err := addrPort(to); err == nil && !t.passes(at) {
		t.metrics.drop(dropShut)
		return nil // as if it were lost on the way
	}
	b := make([]byte, 1, 1+sealOverhead+len(plain))
	b[0] = kind
	b = t.keyring.seal(b, plain, t.additional(kind))
	if len(b) > maxPacket {
		t.metrics.drop(dropOversize)
		return fmt.Errorf("gossip packet: expected at most %d bytes, found %d", maxPacket, len(b))
	}
	_, err := t.conn.WriteTo(b, to)
	return err
}

// FinalAdvertiseAddr implements memberlist.Transport.
func (t *transport) FinalAdvertiseAddr(string, int) (net.IP, int, error) {
	return t.advertise.Addr().Unmap().AsSlice(), int(t.advertise.Port()), nil
}

// WriteTo implements memberlist.Transport.
func (t *transport) WriteTo(b []byte, addr string) (time.Time, error) {
	to, err := netip.ParseAddrPort(addr)
	if err != nil {
		return time.Time{}, fmt.Errorf("gossip packet to %q: %w", addr, err)
	}
	err = t.send(kindMemberlist, b, net.UDPAddrFromAddrPort(to))
	return time.Now(), err
}

// WriteToAddress implements memberlist.NodeAwareTransport.
func (t *transport) WriteToAddress(b []byte, addr memberlist.Address) (time.Time, error) {
	return t.WriteTo(b, t.where(addr))
}

// PacketCh implements memberlist.Transport.
func (t *transport) PacketCh() <-chan *memberlist.Packet { return t.packets }

// StreamCh implements memberlist.Transport.
func (t *transport) StreamCh() <-chan net.Conn { return t.streams }

// Shutdown implements memberlist.Transport: it closes everything and waits.
func (t *transport) Shutdown() error {
	t.cancel()
	err := errors.Join(ignoreClosed(t.conn.Close()), ignoreClosed(t.listener.Close()))
	t.mu.Lock()
	open := make([]*stream, 0, len(t.open))
	for s := range t.open {
		open = append(open, s)
	}
	t.mu.Unlock()
	for _, s := range open {
		s.Close()
	}
	t.work.Wait()
	return err
}

// pause keeps a failing socket from spinning.
func (t *transport) pause(err error) {
	t.log.Debug("gossip socket", "error", err)
	select {
	case <-t.ctx.Done():
	case <-time.After(10 * time.Millisecond):
	}
}

func addrPort(a net.Addr) (netip.AddrPort, error) {
	if u, ok := a.(*net.UDPAddr); ok {
		ap := u.AddrPort()
		return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port()), nil
	}
	return netip.ParseAddrPort(a.String())
}

func ignoreClosed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}
