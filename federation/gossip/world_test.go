package gossip

import (
	"context"
	"fmt"
	"hash/fnv"
	"maps"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/test/leaks"
)

func TestMain(m *testing.M) { leaks.Main(m) }

// world is a federation on the loopback interface, whose links can be cut.
type world struct {
	t     *testing.T // of the subtest that runs
	mu    sync.Mutex
	nodes map[NodeName]*node
	cuts  map[[2]string]bool // regions that cannot reach each other
	loss  atomic.Int64       // percent of packets lost
	// noDigests: what replicas tell each other of all that they know, every ten
	// seconds, holds nothing, so that what arrives has come with the gossip.
	noDigests atomic.Bool
}

// node is one replica, with a reference overlay in the place of the catalog.
type node struct {
	*Gossip
	name   NodeName
	record catalog.Replica
	view   overlay
	world  *world
	stop   context.CancelFunc
	done   chan error
}

// overlay is the dumb reference of what the catalog does with health.
type overlay struct {
	mu      sync.Mutex
	changes map[string]catalog.HealthChange
}

const testCluster = "west-1"

func (o *overlay) apply(d catalog.HealthDelta) (fresh []catalog.HealthChange) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.changes == nil {
		o.changes = map[string]catalog.HealthChange{}
	}
	for _, c := range d.Changes {
		key := c.Service.String() + "/" + c.Endpoint
		if have, ok := o.changes[key]; !ok || c.Version.Compare(have.Version) > 0 {
			o.changes[key] = c
			fresh = append(fresh, c)
		}
	}
	return fresh
}

func (o *overlay) pending(string) []catalog.HealthChange {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.SortedFunc(maps.Values(o.changes), func(a, b catalog.HealthChange) int {
		return a.Version.Compare(b.Version)
	})
}

func (o *overlay) digest() []catalog.HealthDigest {
	d := catalog.HealthDigest{Cluster: testCluster}
	h := fnv.New64a()
	for _, c := range o.pending(testCluster) {
		fmt.Fprintln(h, c)
		d.Highest, d.Hash = c.Version, h.Sum64()
	}
	return []catalog.HealthDigest{d}
}

func (o *overlay) health(endpoint string) (catalog.Health, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	c, ok := o.changes["shop/checkout/"+endpoint]
	return c.Health, ok
}

func flip(endpoint string, seq uint64) catalog.HealthDelta {
	return catalog.HealthDelta{Cluster: testCluster, Changes: []catalog.HealthChange{{
		Service:  catalog.ServiceName{Namespace: "shop", Name: "checkout"},
		Endpoint: endpoint, Health: catalog.Unhealthy,
		Version: catalog.HealthVersion{Epoch: 1, Term: 1, Seq: seq},
	}}}
}

// lossyConn drops packets between regions that are cut, and some others.
type lossyConn struct {
	net.PacketConn
	node *node
}

func (c *lossyConn) WriteTo(b []byte, to net.Addr) (int, error) {
	if c.node.world.cut(c.node.name.Region, to.String()) || int64(rand.IntN(100)) < c.node.world.loss.Load() {
		return len(b), nil
	}
	return c.PacketConn.WriteTo(b, to)
}

// cut reports whether region cannot reach the replica at an address.
func (w *world) cut(region, address string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, n := range w.nodes {
		if n.record.GossipAddress == address || n.record.PeerAddress == address {
			return w.cuts[[2]string{region, n.name.Region}] || w.cuts[[2]string{n.name.Region, region}]
		}
	}
	return false
}

func (w *world) setCut(a, b string, cut bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cuts[[2]string{a, b}] = cut
}

func (w *world) records() []catalog.Replica {
	w.mu.Lock()
	defer w.mu.Unlock()
	var list []catalog.Replica
	for _, n := range w.nodes {
		list = append(list, n.record)
	}
	return list
}

func (w *world) get(region string, i int) *node {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.nodes[NodeName{region, fmt.Sprintf("r%d", i)}]
}

func (w *world) all() []*node {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Collect(maps.Values(w.nodes))
}

var testKey = []byte("0123456789abcdef0123456789abcdef")

func newWorld(t *testing.T, regions string, replicas int) *world {
	w := &world{t: t, nodes: map[NodeName]*node{}, cuts: map[[2]string]bool{}}
	for r := range strings.SplitSeq(regions, " ") {
		for i := range replicas {
			w.add(NodeName{r, fmt.Sprintf("r%d", i)})
		}
	}
	for _, n := range w.all() {
		n.start()
	}
	t.Cleanup(func() {
		for _, n := range w.all() {
			n.kill()
		}
	})
	return w
}

// add prepares a replica without starting it.
func (w *world) add(name NodeName) *node {
	return w.addAs(name, func(*Config, *catalog.Replica) {})
}

// addAs is add with something changed of how the replica runs, and of its record.
func (w *world) addAs(name NodeName, change func(*Config, *catalog.Replica)) *node {
	udp, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		w.t.Fatal(err)
	}
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		w.t.Fatal(err)
	}
	n := &node{name: name, world: w, record: catalog.Replica{
		Name: name.Name, Region: name.Region,
		GossipAddress: udp.LocalAddr().String(), PeerAddress: tcp.Addr().String(),
	}}
	ring, err := NewKeyring(testKey)
	if err != nil {
		w.t.Fatal(err)
	}
	cfg := Config{
		Region: name.Region, Name: name.Name, TrustDomain: "acme.example",
		Conn: &lossyConn{udp, n}, PeerAddress: tcp.Addr().String(), Listener: tcp, Keyring: ring,
		Dial:        n.dial,
		Peers:       w.records,
		ApplyHealth: n.view.apply, Pending: n.view.pending, Digest: n.digests,
	}
	change(&cfg, &n.record)
	if n.Gossip, err = New(cfg); err != nil {
		w.t.Fatal(err)
	}
	n.directory.lookup = func(context.Context, string) (netip.Addr, error) { return netip.MustParseAddr("127.0.0.1"), nil }
	w.mu.Lock()
	w.nodes[name] = n
	w.mu.Unlock()
	return n
}

func (n *node) digests() []catalog.HealthDigest {
	if n.world.noDigests.Load() {
		return nil
	}
	return n.view.digest()
}

func (n *node) dial(ctx context.Context, address string) (net.Conn, error) {
	if n.world.cut(n.name.Region, address) {
		return nil, fmt.Errorf("%s is cut off", address)
	}
	return new(net.Dialer).DialContext(ctx, "tcp", address)
}

func (n *node) start() {
	ctx, cancel := context.WithCancel(context.Background())
	n.stop, n.done = cancel, make(chan error, 1)
	go func() { n.done <- n.Run(ctx) }()
}

func (n *node) kill() {
	if n.stop == nil {
		return
	}
	n.stop()
	if err := <-n.done; err != nil {
		n.world.t.Errorf("%s: run: %v", n.name, err)
	}
	n.stop = nil
}

// emit flips an endpoint as its owner does.
func (n *node) emit(d catalog.HealthDelta) {
	n.view.apply(d)
	n.BroadcastHealth(d)
}

// sub runs a subtest, whose failures are its own.
func (w *world) sub(name string, step func(t *testing.T)) {
	whole := w.t
	defer func() { w.t = whole }()
	whole.Run(name, func(t *testing.T) {
		w.t = t
		step(t)
	})
}

// patience is for what takes milliseconds or seconds, on a machine that may stand
// still meanwhile.
const patience = time.Minute

// until waits for a condition, and returns how long that took.
func (w *world) until(what string, ok func() bool) time.Duration {
	w.t.Helper()
	begin := time.Now()
	for !ok() {
		if time.Since(begin) > patience {
			w.t.Fatalf("not within %v: %s", patience, what)
		}
		time.Sleep(5 * time.Millisecond)
	}
	return time.Since(begin)
}

// holding is how many of the replicas have a flip of each of the endpoints.
func (w *world) holding(endpoints ...string) (pairs int) {
	for _, n := range w.all() {
		for _, e := range endpoints {
			if _, ok := n.view.health(e); ok {
				pairs++
			}
		}
	}
	return pairs
}

// everywhere waits until every replica has the flip.
func (w *world) everywhere(endpoint string) time.Duration {
	w.t.Helper()
	return w.until(endpoint+" everywhere", func() bool { return w.holding(endpoint) == len(w.all()) })
}

// converged: every replica sees every other one, in both ways.
func (w *world) converged() bool {
	nodes := w.all()
	for _, n := range nodes {
		list := n.Members()
		if len(list) != len(nodes)-1 {
			return false
		}
		for _, m := range list {
			if m.State != MemberAlive || !m.Gossiping {
				return false
			}
		}
	}
	return true
}

func (w *world) everyone(ok func(*node) bool) func() bool {
	return func() bool {
		for _, n := range w.all() {
			if !ok(n) {
				return false
			}
		}
		return true
	}
}
