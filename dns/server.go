package dns

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	mathrand "math/rand/v2"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/locality"
)

// Catalog is what a [Server] reads. [catalog.Catalog] is one.
type Catalog interface {
	Service(catalog.ServiceName) *catalog.Service
	Services() []*catalog.Service
	Conditions() *catalog.Conditions
	Watch() *catalog.Watch
}

// Server answers DNS questions from a catalog. Make one with [New].
type Server struct {
	cfg        Config
	catalog    Catalog
	log        *slog.Logger
	clock      func() time.Time
	zone       []byte // wire form, with the root label
	zoneLabels int
	ttl        uint32 // seconds

	trusted, resolvers senders
	cookies            cookies
	limit              *limiter
	seed               uint64 // of the limiter

	index  *index
	tables *budget
	cells  cells
	world  atomic.Pointer[world]
	serial atomic.Uint32 // of the SOA
	salt   atomic.Uint64 // drawn anew every [pairing]
	second atomic.Uint32 // the current turn

	// Owned by the goroutine that applies changes.
	ids   localities
	ramps locality.Ramps
	climb map[catalog.ServiceName]time.Time // when to step a ramp next
	fresh uint64                            // the generation that refresh completed

	randMu sync.Mutex
	rand   mathrand.Source
	stats  atomic.Pointer[[]*stats]
	conns  conns
	ready  chan struct{}
	addrs  []netip.AddrPort // set before ready is closed
}

// New returns a server that is ready to [Server.Run]. It opens nothing. The
// error reports everything that is wrong with the configuration.
func New(cfg Config, cat Catalog) (*Server, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	s := &Server{
		cfg: cfg, catalog: cat, log: cfg.Logger, clock: cfg.Clock, rand: cfg.Rand,
		zone:       append(packName(nil, cfg.Zone), 0),
		zoneLabels: strings.Count(cfg.Zone, ".") + 1,
		ttl:        uint32(cfg.TTL / time.Second),
		trusted:    newSenders(cfg.TrustedECS...),
		resolvers:  newSenders(cfg.Resolvers...),
		cookies:    cookies{secret: cfg.CookieSecret},
		limit:      newLimiter(cfg.Rate),
		index:      newIndex(),
		tables:     newBudget(),
		climb:      map[catalog.ServiceName]time.Time{},
		ready:      make(chan struct{}),
	}
	s.seed = s.random()
	s.stats.Store(new([]*stats))
	s.serial.Store(uint32(s.clock().Unix()))
	s.turn()
	if cfg.Registerer != nil {
		if err := cfg.Registerer.Register(newCollector(s)); err != nil {
			return nil, fmt.Errorf("registering the DNS metrics: %w", err)
		}
	}
	return s, nil
}

// Run prepares the answers for all that the catalog holds, opens the sockets and
// serves until the context ends or a socket fails. It returns nil when the
// context ended it. Run may be called once.
func (s *Server) Run(ctx context.Context) error {
	w := s.catalog.Watch()
	defer w.Close()
	s.apply(w.Take(), s.clock())
	socks, err := s.listen(ctx)
	if err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	context.AfterFunc(ctx, socks.close)
	g.Go(func() error { return s.follow(ctx, w) })
	for _, u := range socks.udp {
		worker := s.newWorker(s.newStats())
		g.Go(func() error { return u.serve(ctx, worker) })
	}
	shared := s.newStats()
	for _, l := range socks.tcp {
		g.Go(func() error { return s.serveTCP(ctx, l, shared) })
	}
	s.addrs = socks.addrs
	close(s.ready)
	s.log.Info("DNS serves", "zone", s.cfg.Zone, "addresses", fmt.Sprint(s.addrs), "services", s.index.count.Load())
	err = g.Wait()
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// Ready is closed when the sockets are open.
func (s *Server) Ready() <-chan struct{} { return s.ready }

// Addr returns the addresses served, UDP and TCP alike, in the order of
// Config.Listen; nil until [Server.Ready].
func (s *Server) Addr() []netip.AddrPort {
	select {
	case <-s.ready:
		return s.addrs
	default:
		return nil
	}
}

func (s *Server) newWorker(st *stats) *worker {
	return &worker{s: s, stats: st, rand: *mathrand.NewPCG(s.random(), s.random())}
}

// newStats adds counters to those that are scraped.
func (s *Server) newStats() *stats {
	s.randMu.Lock()
	defer s.randMu.Unlock()
	st := &stats{}
	all := append([]*stats{st}, *s.stats.Load()...)
	s.stats.Store(&all)
	return st
}

func (s *Server) random() uint64 {
	s.randMu.Lock()
	defer s.randMu.Unlock()
	return s.rand.Uint64()
}

// turn draws what stays the same for one pairing.
func (s *Server) turn() {
	s.salt.Store(s.random())
	s.second.Add(1)
}
