package port

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"

	"github.com/federator/federator/identity"
	"github.com/federator/federator/peering/throttle"
)

// Options says what a port serves. Zero numbers mean the defaults.
type Options struct {
	// Address is host:port to listen on.
	Address string
	// TLS proves both ends.
	TLS identity.TLS
	// Protocols says who may speak each protocol that is served to proven peers.
	// [Enroll] is served always, and to anyone.
	Protocols map[string]identity.Authoriser
	// Guard closes connections whose peer loses its trust; required.
	Guard *identity.Guard
	// Gate may refuse proven peers; nil refuses nobody.
	Gate *Gate
	Log  *slog.Logger
	// Metrics may be nil.
	Metrics prometheus.Registerer

	// HandshakeTimeout bounds each handshake; 5 s.
	HandshakeTimeout time.Duration
	// MaxConnections and MaxHandshakes bound what is open, and what is being
	// proven, at a time: 4096 and 256. One address has at most half of either.
	MaxConnections, MaxHandshakes int
	// MaxEnroll bounds the connections of one address to [Enroll]; 16.
	MaxEnroll int
	// EnrollRate and EnrollBurst bound how often one address may open such a
	// connection: 5 a second, 30 at once.
	EnrollRate  float64
	EnrollBurst int
}

func (o Options) withDefaults() Options {
	def := func(n *int, d int) {
		if *n == 0 {
			*n = d
		}
	}
	def(&o.MaxConnections, 4096)
	def(&o.MaxHandshakes, 256)
	def(&o.MaxEnroll, 16)
	def(&o.EnrollBurst, 30)
	if o.EnrollRate == 0 {
		o.EnrollRate = 5
	}
	if o.HandshakeTimeout == 0 {
		o.HandshakeTimeout = 5 * time.Second
	}
	return o
}

// Port is a listening TCP port.
type Port struct {
	opt       Options
	tcp       net.Listener
	tls       *tls.Config
	listeners map[string]*listener
	metrics   *metrics

	connections, handshakes, enrolling *limiter
	enrolls                            *throttle.Table
	warnings                           *rate.Limiter
	work                               sync.WaitGroup
}

// Listen opens the port. Connections are taken by [Port.Run].
func Listen(opt Options) (*Port, error) {
	opt = opt.withDefaults()
	tcp, err := net.Listen("tcp", opt.Address)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", opt.Address, err)
	}
	p := &Port{
		opt: opt, tcp: tcp,
		listeners:   map[string]*listener{},
		connections: newLimiter(opt.MaxConnections, max(opt.MaxConnections/2, 1)),
		handshakes:  newLimiter(opt.MaxHandshakes, max(opt.MaxHandshakes/2, 1)),
		enrolling:   newLimiter(opt.MaxConnections, opt.MaxEnroll),
		enrolls:     throttle.New(opt.EnrollRate, opt.EnrollBurst, 4096, time.Now),
		warnings:    rate.NewLimiter(rate.Every(10*time.Second), 10),
	}
	p.listeners[Enroll] = newListener(tcp.Addr())
	for name := range opt.Protocols {
		p.listeners[name] = newListener(tcp.Addr())
	}
	p.tls = p.serverConfig()
	if p.metrics, err = newMetrics(opt.Metrics); err != nil {
		_ = tcp.Close()
		return nil, fmt.Errorf("listen on %s: %w", opt.Address, err)
	}
	return p, nil
}

// Addr is the address that the port listens on.
func (p *Port) Addr() net.Addr { return p.tcp.Addr() }

// Listener returns the listener of a protocol that the options name; its
// connections are of type [*Conn]. It panics for any other, a programmer's error.
func (p *Port) Listener(protocol string) net.Listener {
	l, ok := p.listeners[protocol]
	if !ok {
		panic("port: nobody may speak protocol " + protocol)
	}
	return l
}

// Close stops listening. Connections that were accepted stay open.
func (p *Port) Close() error {
	err := p.tcp.Close()
	for _, l := range p.listeners {
		_ = l.Close()
	}
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// Run accepts connections until ctx ends or the port is closed; then it closes
// the port and every listener, and waits for handshakes under way to end.
func (p *Port) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(ctx, func() { _ = p.Close() })
	defer func() {
		stop()
		cancel()
		_ = p.Close()
		p.work.Wait()
	}()
	for {
		c, err := p.tcp.Accept()
		switch {
		case err == nil:
			p.take(ctx, c)
		case errors.Is(err, net.ErrClosed):
			return nil
		default: // out of file descriptors, say: others may close some
			p.opt.Log.Error("cannot accept a connection", "error", err)
			pause(ctx, 100*time.Millisecond)
		}
	}
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// take counts the connection and starts its handshake, or drops it.
func (p *Port) take(ctx context.Context, raw net.Conn) {
	from := remote(raw.RemoteAddr())
	if !p.connections.take(from) {
		p.refuse(raw, "connections")
		return
	}
	if !p.handshakes.take(from) {
		p.connections.give(from)
		p.refuse(raw, "handshakes")
		return
	}
	release := sync.OnceFunc(func() { p.connections.give(from) })
	p.work.Go(func() { p.serve(ctx, raw, release) })
}

func (p *Port) refuse(raw net.Conn, reason string) {
	p.metrics.refused.WithLabelValues(reason).Inc()
	_ = raw.Close()
}

// serve shakes hands and delivers the connection to its protocol's listener.
// The connection calls release when it is closed.
func (p *Port) serve(ctx context.Context, raw net.Conn, release func()) {
	c, err := p.handshake(ctx, raw, release)
	p.handshakes.give(remote(raw.RemoteAddr()))
	if err != nil {
		p.complain(raw.RemoteAddr(), err)
		release()
		p.refuse(raw, "handshake")
		return
	}
	if !p.listeners[c.protocol].deliver(c) {
		p.metrics.refused.WithLabelValues("unserved").Inc()
		_ = c.Close()
	}
}

// complain logs a failed handshake, as a warning unless it is one of many or the
// other end just went away, as port scans and load balancers do.
func (p *Port) complain(from net.Addr, err error) {
	level := slog.LevelWarn
	if errors.Is(err, io.EOF) || errors.Is(err, ErrShut) || errors.Is(err, syscall.ECONNRESET) || !p.warnings.Allow() {
		level = slog.LevelDebug
	}
	p.opt.Log.Log(context.Background(), level, "a peer failed to prove itself", "peer", from, "error", err)
}

func (p *Port) handshake(ctx context.Context, raw net.Conn, release func()) (*Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, p.opt.HandshakeTimeout)
	defer cancel()
	t := tls.Server(raw, p.tls)
	if err := t.HandshakeContext(ctx); err != nil {
		return nil, err
	}
	return p.admit(t, release)
}

// admit makes the connection one of ours; from then on closing it undoes all
// that was counted for it.
func (p *Port) admit(t *tls.Conn, release func()) (*Conn, error) {
	protocol := t.ConnectionState().NegotiatedProtocol
	from := remote(t.RemoteAddr())
	if protocol == Enroll && !p.enrolling.take(from) {
		return nil, errors.New("too many enrolments from one address")
	}
	p.metrics.open.WithLabelValues(protocol).Inc()
	done := func() {
		p.metrics.open.WithLabelValues(protocol).Dec()
		if protocol == Enroll {
			p.enrolling.give(from)
		}
		release()
	}
	c, err := newConn(t, p.opt.Guard, p.opt.Gate, done)
	if err != nil {
		done()
	}
	return c, err
}

// serverConfig adds to the rules of package identity that a client names exactly
// one protocol, and that enrolment is rationed before it costs a signature.
func (p *Port) serverConfig() *tls.Config {
	config := p.opt.TLS.Server(p.opt.Protocols, Enroll)
	pick := config.GetConfigForClient
	known := slices.Sorted(maps.Keys(p.listeners))
	config.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		if len(hello.SupportedProtos) != 1 {
			return nil, fmt.Errorf("%w: expected exactly one of %v, found %.100q", identity.ErrALPN, known, hello.SupportedProtos)
		}
		if hello.SupportedProtos[0] == Enroll && !p.enrolls.Allow(remote(hello.Conn.RemoteAddr())) {
			return nil, errors.New("too many enrolments from one address in a short time")
		}
		return pick(hello)
	}
	return config
}
