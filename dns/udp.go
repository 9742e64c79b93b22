package dns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"time"
)

// sockets are all that a server listens on.
type sockets struct {
	udp   []*udpSocket
	tcp   []net.Listener
	addrs []netip.AddrPort
}

func (s *sockets) close() {
	for _, u := range s.udp {
		u.conn.Close()
	}
	for _, l := range s.tcp {
		l.Close()
	}
}

const (
	maxReaders  = 16
	bindRetries = 16
	readBuffer  = 1 << 20 // a burst waits rather than being lost
)

// listen opens the sockets: for every address one TCP listener and a few UDP
// sockets that share the port.
func (s *Server) listen(ctx context.Context) (*sockets, error) {
	socks := &sockets{}
	for _, a := range s.cfg.Listen {
		if err := socks.open(ctx, netip.MustParseAddrPort(a)); err != nil {
			socks.close()
			return nil, fmt.Errorf("opening DNS at %s: %w (is another server there? choose another address with the DNS listen setting)", a, err)
		}
	}
	return socks, nil
}

// open opens one address. Port 0 means any port that is free for both protocols.
// An IPv4 address may be written as a mapped one (RFC 4291 2.5.5.2): it is what
// answers call the name server, in A records.
func (s *sockets) open(ctx context.Context, a netip.AddrPort) error {
	a = netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
	var err error
	for range bindRetries {
		if err = s.try(ctx, a); err == nil || a.Port() != 0 {
			return err
		}
	}
	return err
}

func (s *sockets) try(ctx context.Context, a netip.AddrPort) error {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, network("tcp", a), a.String())
	if err != nil {
		return err
	}
	bound := netip.AddrPortFrom(a.Addr(), l.Addr().(*net.TCPAddr).AddrPort().Port())
	udp, err := openUDP(ctx, bound, min(maxReaders, runtime.GOMAXPROCS(0)))
	if err != nil {
		l.Close()
		return err
	}
	s.tcp, s.udp, s.addrs = append(s.tcp, l), append(s.udp, udp...), append(s.addrs, bound)
	return nil
}

// network keeps 0.0.0.0 to IPv4, which would mean both families otherwise.
func network(protocol string, a netip.AddrPort) string {
	if a.Addr().Is4() {
		return protocol + "4"
	}
	return protocol
}

// openUDP opens sockets that share a port. The port must not be in use by
// anyone else: sharing would silently halve the questions.
func openUDP(ctx context.Context, a netip.AddrPort, n int) ([]*udpSocket, error) {
	var plain net.ListenConfig
	probe, err := plain.ListenPacket(ctx, network("udp", a), a.String())
	if err != nil {
		return nil, err
	}
	probe.Close()
	if !canShare {
		n = 1
	}
	lc := net.ListenConfig{Control: controlUDP(a.Addr().IsUnspecified())}
	var out []*udpSocket
	for range n {
		c, err := lc.ListenPacket(ctx, network("udp", a), a.String())
		if err != nil {
			for _, u := range out {
				u.conn.Close()
			}
			return nil, err
		}
		u := &udpSocket{conn: c.(*net.UDPConn), local: a.Addr()}
		_ = u.conn.SetReadBuffer(readBuffer) // a smaller one serves too
		out = append(out, u)
	}
	return out, nil
}

// udpSocket is one socket and its address, unspecified where the answer's source
// has to be looked up packet by packet.
type udpSocket struct {
	conn  *net.UDPConn
	local netip.Addr
}

// serve answers questions until the socket closes.
func (u *udpSocket) serve(ctx context.Context, w *worker) error {
	in, out, oob := make([]byte, maxMessage), make([]byte, 0, maxUDP), make([]byte, 128)
	if !u.local.IsUnspecified() {
		oob = nil
	}
	for {
		n, control, from, err := u.read(in, oob)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, net.ErrClosed):
			return err
		case err != nil:
			w.s.log.Debug("DNS cannot read a packet", "error", err)
			pause(ctx, time.Millisecond)
			continue
		}
		p := peer{from: from.Addr().Unmap().WithZone(""), local: u.local}
		if oob != nil {
			p.local = replyFrom(control)
		}
		out = w.timed(in[:n], p, out[:0])
		if len(out) > 0 && from.Port() != 0 {
			u.write(out, control, from)
		}
	}
}

func (u *udpSocket) read(in, oob []byte) (n int, control []byte, from netip.AddrPort, err error) {
	if oob == nil {
		n, from, err = u.conn.ReadFromUDPAddrPort(in)
		return n, nil, from, err
	}
	n, oobn, _, from, err := u.conn.ReadMsgUDPAddrPort(in, oob)
	return n, oob[:max(0, oobn)], from, err
}

// write sends an answer. One that cannot be sent is as good as lost: the client
// asks again.
func (u *udpSocket) write(out, control []byte, to netip.AddrPort) {
	if control == nil {
		u.conn.WriteToUDPAddrPort(out, to)
		return
	}
	u.conn.WriteMsgUDPAddrPort(out, control, to)
}

// timed is answer with a sample of the answers timed, see [sampleEvery].
func (w *worker) timed(packet []byte, p peer, out []byte) []byte {
	if turn := w.s.second.Load(); w.turn != turn {
		w.turn, w.count = turn, 0
	}
	if w.count++; w.count > sampleEvery && w.count%sampleEvery != 0 {
		return w.answer(packet, p, out)
	}
	start := w.s.clock()
	out = w.answer(packet, p, out)
	w.stats.time(w.s.clock().Sub(start))
	return out
}
