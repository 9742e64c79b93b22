package gossip

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/memberlist"
	"golang.org/x/sync/errgroup"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/federation/gossip/verdict"
)

// Gossip is this replica's part in the gossip of the federation.
type Gossip struct {
	cfg       Config
	self      NodeName
	log       *slog.Logger
	metrics   *metrics
	began     time.Time
	observer  *observer
	directory *directory
	transport *transport
	outbox    *outbox
	puller    *puller
	limiter   sourceLimiter
	list      atomic.Pointer[memberlist.Memberlist]
}

// New prepares the gossip; [Gossip.Run] starts it.
func New(cfg Config) (*Gossip, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg, err := cfg.withDefaults(rand.Uint64)
	if err != nil {
		return nil, err
	}
	self := NodeName{Region: cfg.Region, Name: cfg.Name}
	g := &Gossip{
		cfg:       cfg,
		self:      self,
		log:       cfg.Logger,
		began:     cfg.Clock(),
		observer:  newObserver(self, verdict.Standard(), randomNonce),
		directory: newDirectory(self),
		puller:    newPuller(),
	}
	g.outbox = newOutbox(g.directory.size)
	if g.metrics, err = newMetrics(cfg.Registerer, g.outbox.pending); err != nil {
		return nil, fmt.Errorf("gossip metrics: %w", err)
	}
	g.transport = &transport{
		conn: cfg.Conn, listener: cfg.Listener, dial: cfg.Dial, resolve: g.directory.dial,
		where: g.directory.where, passes: g.passes,
		advertise: cfg.Advertise, keyring: cfg.Keyring, domain: []byte(cfg.TrustDomain),
		echo: g.handleEcho, reliable: g.answer, log: g.log, metrics: g.metrics,
	}
	return g, nil
}

// Run gossips until ctx is done. It closes the Conn and the Listener of the
// Config before it returns, and must be called once. memberlist's probes
// do nothing more by then, but may wait up to two seconds for their last timeouts.
func (g *Gossip) Run(ctx context.Context) error {
	g.transport.start()
	list, err := memberlist.Create(g.memberlistConfig())
	if err != nil {
		return errors.Join(fmt.Errorf("gossip: %w", err), g.transport.Shutdown())
	}
	g.list.Store(list)
	var work sync.WaitGroup
	for _, loop := range []func(context.Context){g.observe, g.keepDirectory, g.join, g.pull} {
		work.Go(func() { loop(ctx) })
	}
	<-ctx.Done()
	err = list.Shutdown()
	work.Wait()
	return err
}

// Leave tells the others that this replica goes, for good or to come back, perhaps
// elsewhere, until ctx is done. Run goes on; nothing is gossiped any more.
func (g *Gossip) Leave(ctx context.Context) error {
	list := g.list.Load()
	if list == nil || g.transport.ctx.Err() != nil {
		return nil // not begun, or ended already
	}
	timeout := 5 * time.Second
	if deadline, ok := ctx.Deadline(); ok {
		timeout = time.Until(deadline)
	}
	if err := list.Leave(timeout); err != nil {
		return fmt.Errorf("leave the gossip: %w", err)
	}
	return nil
}

// Keyring returns the keyring, which may be changed while gossip goes on.
func (g *Gossip) Keyring() *Keyring { return g.cfg.Keyring }

// memberlistConfig tunes memberlist for a wide area: patient with deaths, which
// decide nothing, and quick to spread news.
func (g *Gossip) memberlistConfig() *memberlist.Config {
	c := memberlist.DefaultWANConfig()
	c.Name = g.self.String()
	c.Transport = g.transport
	c.Logger = memberlistLogger(g.log)
	d := delegate{g}
	c.Delegate, c.Events, c.Alive, c.Conflict = d, d, d, d
	c.DelegateProtocolVersion, c.DelegateProtocolMin, c.DelegateProtocolMax = wireVersion, wireVersion, wireVersion
	c.AdvertiseAddr, c.AdvertisePort = g.cfg.Advertise.Addr().String(), int(g.cfg.Advertise.Port())
	c.BindAddr, c.BindPort = c.AdvertiseAddr, c.AdvertisePort
	c.UDPBufferSize = packetRoom
	c.EnableCompression = false
	c.TCPTimeout = 5 * time.Second
	c.GossipInterval = 100 * time.Millisecond
	c.GossipNodes = 4
	c.ProbeInterval = time.Second
	c.ProbeTimeout = 600 * time.Millisecond
	c.AwarenessMaxMultiplier = 2
	c.DisableTcpPings = true
	c.PushPullInterval = 10 * time.Second
	c.DeadNodeReclaimTime = time.Second
	c.HandoffQueueDepth = 4096
	return c
}

// passes reports whether packets from or to the address may pass now.
func (g *Gossip) passes(a netip.AddrPort) bool { return !g.cfg.Shut() || g.directory.sibling(a) }

// since is the moment on the observer's clock.
func (g *Gossip) since(t time.Time) time.Duration { return t.Sub(g.began) }

// moment returns now on the observer's clock and on the wall.
func (g *Gossip) moment() (now time.Duration, clock int64) {
	t := g.cfg.Clock()
	return g.since(t), t.UnixNano()
}

// keepDirectory renews the directory every second.
func (g *Gossip) keepDirectory(ctx context.Context) {
	for {
		g.refresh(ctx)
		if !sleep(ctx, time.Second) {
			return
		}
	}
}

// refresh takes over the regions' records of replicas.
func (g *Gossip) refresh(ctx context.Context) {
	records := g.cfg.Peers()
	targets := make([]target, len(records))
	var lookups errgroup.Group
	lookups.SetLimit(resolveAtOnce)
	for i, r := range records {
		lookups.Go(func() error {
			targets[i] = g.locate(ctx, r)
			return nil
		})
	}
	_ = lookups.Wait() // a name that does not resolve is logged, and tried again
	g.directory.record(targets)
	now, _ := g.moment()
	g.observer.direct(now, g.permitted())
}

// locate finds the addresses of a replica. One whose name does not resolve is
// still observed: its silence counts.
func (g *Gossip) locate(ctx context.Context, r catalog.Replica) target {
	n := NodeName{Region: r.Region, Name: r.Name}
	udp, err := g.directory.locate(ctx, g.cfg.Clock(), r.GossipAddress)
	if err != nil {
		g.log.Debug("gossip address not resolved", "peer", n.String(), "address", r.GossipAddress, "error", err)
		return target{NodeName: n, TCP: r.PeerAddress}
	}
	_, literal := netip.ParseAddrPort(r.GossipAddress)
	return target{NodeName: n, UDP: netip.AddrPortFrom(udp.Addr().Unmap(), udp.Port()), TCP: r.PeerAddress, Named: literal != nil}
}

// permitted is the directory without replicas that are no longer allowed.
func (g *Gossip) permitted() []target {
	var list []target
	for _, t := range g.directory.all() {
		if g.cfg.Allowed(t.Region, t.Name) == nil {
			list = append(list, t)
		}
	}
	return list
}
