package replication

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/test/bufconn"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/peering/pb"
)

// network connects the replicas of a test in memory; pairs of them can be cut.
type network struct {
	t         *testing.T
	mu        sync.Mutex
	replicas  []*replica
	listeners map[string]*bufconn.Listener
	cuts      map[[2]string]bool
	conns     map[*wire]bool
}

// wire is one connection of the network; a frozen one carries nothing, and
// nobody is told.
type wire struct {
	net.Conn
	from, to string
	once     sync.Once
	closed   chan struct{}
	mu       sync.Mutex
	frozen   bool
}

func (w *wire) freeze() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.frozen = true
}

func (w *wire) Read(b []byte) (int, error) {
	n, err := w.Conn.Read(b)
	w.mu.Lock()
	frozen := w.frozen
	w.mu.Unlock()
	if frozen {
		<-w.closed
		return 0, io.EOF
	}
	return n, err
}

func (w *wire) Close() error {
	w.once.Do(func() { close(w.closed) })
	return w.Conn.Close()
}

func newNetwork(t *testing.T) *network {
	return &network{t: t, listeners: map[string]*bufconn.Listener{}, cuts: map[[2]string]bool{}, conns: map[*wire]bool{}}
}

// cut cuts a from b, or mends them; names may be regions.
func (n *network) cut(from, to string, cut bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cuts[[2]string{from, to}] = cut
	for w := range n.conns {
		if n.isCut(w.from, w.to) {
			_ = w.Close()
			delete(n.conns, w)
		}
	}
}

func (n *network) isCut(from, to string) bool { return n.cuts[[2]string{from, to}] }

func (n *network) freeze(from, to string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cuts[[2]string{from, to}] = true
	for w := range n.conns {
		if w.from == from && w.to == to {
			w.freeze()
		}
	}
}

func (n *network) connect(ctx context.Context, from, to string) (net.Conn, error) {
	n.mu.Lock()
	l, cut := n.listeners[to], n.isCut(from, to)
	n.mu.Unlock()
	if l == nil || cut {
		return nil, errors.New("unreachable")
	}
	c, err := l.DialContext(ctx)
	if err != nil {
		return nil, err
	}
	w := &wire{Conn: c, from: from, to: to, closed: make(chan struct{})}
	n.mu.Lock()
	n.conns[w] = true
	n.mu.Unlock()
	return w, nil
}

// replica is one replica of a test: the real catalog, feed, server and importer.
type replica struct {
	*Tee
	net      *network
	self     catalog.Replica
	catalog  *catalog.Catalog
	importer *Importer
	changed  chan struct{}
	epoch    atomic.Uint64
	registry *prometheus.Registry
	dials    atomic.Int64
	stops    []func()
}

// options change how a replica is built.
type options struct {
	cache   string
	removed func(string, uint64) bool
	sink    func(*Tee) Sink
	epoch   uint64
	noServe bool
	// protocol is what the replica understands.
	protocol int
}

// stall is long beside the 20 ms between two heartbeats, and beside what a busy machine
// may take to connect and answer: who does not within it is left.
const stall = 2 * time.Second

// start starts a replica. It publishes its own region only through publish.
func (n *network) start(region, name string, o options) *replica {
	r := &replica{net: n, changed: make(chan struct{}, 1), registry: prometheus.NewRegistry()}
	r.self = catalog.Replica{Name: name, Region: region, Cluster: "c1", PeerAddress: name + ":7443", GossipAddress: name + ":7946", MaxProtocol: o.protocol}
	r.epoch.Store(o.epoch)
	r.catalog = catalog.New(region, "eu")
	r.Tee = &Tee{View: r.catalog, Feed: NewFeed(r.catalog), Now: time.Now}
	if o.cache != "" {
		cache, err := OpenCache(o.cache, CacheConfig{Interval: time.Millisecond})
		must(err)
		r.Cache = cache
		_, err = r.Restore()
		must(err)
	}
	var sink Sink = r.Tee
	if o.sink != nil {
		sink = o.sink(r.Tee)
	}
	var err error
	r.importer, err = NewImporter(ImporterConfig{
		Region: region, Sink: sink, Dial: r.dial, Directory: r.directory, Changed: r.changed,
		Protocol: o.protocol, Epoch: r.epoch.Load, Removed: o.removed, Registerer: r.registry,
		Stall: stall, RetryBase: 5 * time.Millisecond, RetryLimit: 40 * time.Millisecond,
	})
	must(err)
	if !o.noServe {
		r.serve(o)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.importer.Run(ctx) }()
	r.stops = append(r.stops, func() {
		cancel()
		must(<-done)
		if r.Cache != nil {
			must(r.Cache.Close())
		}
	})
	n.mu.Lock()
	n.replicas = append(n.replicas, r)
	n.mu.Unlock()
	n.signal()
	n.t.Cleanup(r.stop)
	return r
}

func (r *replica) serve(o options) {
	server, err := NewServer(ServerConfig{
		Region: r.self.Region, Replica: r.self.Name, Exports: r.Feed, Caller: callerOf, Removed: o.removed,
		Evidence: r.importer.Evidence, Registerer: r.registry, Heartbeat: 20 * time.Millisecond,
	})
	must(err)
	g := grpc.NewServer()
	pb.RegisterReplicationServer(g, server)
	l := bufconn.Listen(64 << 10)
	r.net.mu.Lock()
	r.net.listeners[r.self.Name] = l
	r.net.mu.Unlock()
	done := make(chan error, 1)
	go func() { done <- g.Serve(l) }()
	r.stops = append(r.stops, func() {
		r.net.mu.Lock()
		delete(r.net.listeners, r.self.Name)
		r.net.mu.Unlock()
		g.Stop()
		<-done
	})
}

func callerOf(ctx context.Context) (Caller, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	if len(md.Get("region")) != 1 {
		return Caller{}, errors.New("no certificate")
	}
	return Caller{md.Get("region")[0], md.Get("replica")[0]}, nil
}

func (r *replica) stop() {
	for _, stop := range r.stops {
		stop()
	}
	r.stops = nil
	n := r.net
	n.mu.Lock()
	for i, other := range n.replicas {
		if other == r {
			n.replicas = append(n.replicas[:i:i], n.replicas[i+1:]...)
			break
		}
	}
	n.mu.Unlock()
}

// signal tells all that the directory changed.
func (n *network) signal() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, r := range n.replicas {
		select {
		case r.changed <- struct{}{}:
		default:
		}
	}
}

func (r *replica) directory() Directory {
	r.net.mu.Lock()
	defer r.net.mu.Unlock()
	d := Directory{Regions: map[string][]catalog.Replica{}}
	for _, o := range r.net.replicas {
		switch {
		case o.self.Region != r.self.Region:
			d.Regions[o.self.Region] = append(d.Regions[o.self.Region], o.self)
		case o != r:
			d.Siblings = append(d.Siblings, o.self)
		}
	}
	return d
}

func (r *replica) dial(_ context.Context, to catalog.Replica) (grpc.ClientConnInterface, io.Closer, error) {
	r.dials.Add(1)
	as := func(ctx context.Context, d *grpc.StreamDesc, cc *grpc.ClientConn, m string, s grpc.Streamer, o ...grpc.CallOption) (grpc.ClientStream, error) {
		return s(metadata.AppendToOutgoingContext(ctx, "region", r.self.Region, "replica", r.self.Name), d, cc, m, o...)
	}
	cc, err := grpc.NewClient("passthrough:///"+to.Name,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithStreamInterceptor(as),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			return r.net.connect(ctx, r.self.Name, to.Name)
		}))
	return cc, cc, err
}

// publish makes one change of the own region, found begins an epoch of it.
func (r *replica) publish(upserts ...catalog.Record) {
	v := r.Version(r.self.Region)
	v.Seq++
	must(r.Apply(catalog.Delta{Region: r.self.Region, Version: v, Upserts: upserts}))
}

func (r *replica) found(epoch uint64, records ...catalog.Record) {
	r.epoch.Store(epoch)
	must(r.Reset(catalog.Snapshot{Region: r.self.Region, Version: catalog.Version{Epoch: epoch, Seq: 1}, Records: records}))
}

// link returns the state of the link to a region.
func (r *replica) link(region string) LinkStatus {
	for _, s := range r.importer.Status() {
		if s.Region == region {
			return s
		}
	}
	return LinkStatus{}
}

// holds reports whether a replica is synced with a region as a replica of that has it.
func (r *replica) holds(o *replica) bool {
	return r.importer.Synced(o.self.Region) && r.Version(o.self.Region) == o.Version(o.self.Region)
}

// region starts the replicas of a region, which all publish the same.
func (n *network) region(name string, count int, records ...catalog.Record) []*replica {
	var out []*replica
	for i := range count {
		r := n.start(name, fmt.Sprintf("%s-%d", name, i), options{epoch: 1})
		r.found(1, records...)
		out = append(out, r)
	}
	return out
}

// metric reads a metric of a region; zero if there is none.
func (r *replica) metric(name, region string) float64 {
	families, err := r.registry.Gather()
	must(err)
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == metricName(name) && len(m.GetLabel()) > 0 && m.GetLabel()[0].GetValue() == region {
				return m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return 0
}

func cachePath(t *testing.T) string { return filepath.Join(t.TempDir(), "imports.db") }
