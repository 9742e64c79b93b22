package gossip

import (
	"context"
	"fmt"
	"hash/fnv"
	"maps"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/federator/federator/federation/catalog"
)

// memberlist's probes notice a shutdown only when they time out, within two
// seconds; nothing may be left after that.
func TestMain(m *testing.M) {
	code := m.Run()
	err := goleak.Find()
	for deadline := time.Now().Add(5 * time.Second); err != nil && time.Now().Before(deadline); {
		err = goleak.Find()
	}
	if code == 0 && err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// world is a federation on the loopback interface, whose links can be cut.
type world struct {
	t     *testing.T
	mu    sync.Mutex
	nodes map[NodeName]*node
	cuts  map[[2]string]bool // regions that cannot reach each other
	loss  atomic.Int64       // percent of packets lost
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
	n.Gossip, err = New(Config{
		Region: name.Region, Name: name.Name, TrustDomain: "acme.example",
		Conn: &lossyConn{udp, n}, PeerAddress: tcp.Addr().String(), Listener: tcp, Keyring: ring,
		Dial:        n.dial,
		Peers:       w.records,
		ApplyHealth: n.view.apply, Pending: n.view.pending, Digest: n.view.digest,
	})
	if err != nil {
		w.t.Fatal(err)
	}
	w.mu.Lock()
	w.nodes[name] = n
	w.mu.Unlock()
	return n
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

// within waits for a condition.
func (w *world) within(limit time.Duration, what string, ok func() bool) time.Duration {
	w.t.Helper()
	begin := time.Now()
	for !ok() {
		if time.Since(begin) > limit {
			w.t.Fatalf("not within %v: %s", limit, what)
		}
		time.Sleep(5 * time.Millisecond)
	}
	return time.Since(begin)
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

func TestAFederationOfThreeRegionsGossips(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "us eu asia", 2)
	w.within(15*time.Second, "all see all", w.converged)
	us := w.get("us", 0)

	t.Run("a flip reaches everybody at once", func(t *testing.T) {
		us.emit(flip("e1", 1))
		took := w.within(2*time.Second, "e1 everywhere", w.everyone(func(n *node) bool { _, ok := n.view.health("e1"); return ok }))
		t.Logf("took %v", took)
	})
	t.Run("round-trip times and clock skew are measured", func(t *testing.T) {
		w.within(3*time.Second, "rtt of eu and asia", func() bool { return us.RTT("eu") > 0 && us.RTT("asia") > 0 })
		for peer, skew := range us.Skew() {
			if skew.Abs() > 500*time.Millisecond {
				t.Errorf("skew of %s is %v on one machine", peer, skew)
			}
		}
		if !us.Alive("r1") || !us.Alive("r0") || us.Alive("r9") {
			t.Error("Alive is wrong about siblings")
		}
		silent, isolated := us.Reach()
		if silent["eu"] || silent["asia"] || isolated || len(silent) != 2 {
			t.Errorf("reach is %v, %v", silent, isolated)
		}
	})
	t.Run("keys rotate while gossip goes on", func(t *testing.T) { rotate(t, w) })
	t.Run("a flip reaches asia through eu while us and asia are cut", func(t *testing.T) {
		w.setCut("us", "asia", true)
		us.emit(flip("e2", 50))
		w.within(2*time.Second, "e2 everywhere", w.everyone(func(n *node) bool { _, ok := n.view.health("e2"); return ok }))
		took := w.within(4*time.Second, "asia silent for us only", func() bool {
			us, _ := w.get("us", 0).Reach()
			eu, _ := w.get("eu", 0).Reach()
			return us["asia"] && !us["eu"] && !eu["asia"] && !eu["us"]
		})
		t.Logf("silent after %v", took)
		w.setCut("us", "asia", false)
		w.within(8*time.Second, "asia back", func() bool { s, _ := us.Reach(); return !s["asia"] })
	})
	t.Run("flips reach everybody at 20 % loss", func(t *testing.T) {
		w.loss.Store(20)
		defer w.loss.Store(0)
		for i := range uint64(10) {
			name := fmt.Sprintf("lossy%d", i)
			us.emit(flip(name, 60+i))
			w.within(3*time.Second, name+" everywhere", w.everyone(func(n *node) bool { _, ok := n.view.health(name); return ok }))
		}
	})
	t.Run("too many flips become a resync", func(t *testing.T) { flood(t, w) })
	t.Run("a region that is killed is silent within three seconds, and nobody else", func(t *testing.T) {
		for i := range 2 {
			w.get("asia", i).kill()
		}
		took := w.within(4*time.Second, "asia silent for all", func() bool {
			for _, r := range []string{"us", "eu"} {
				for i := range 2 {
					if s, _ := w.get(r, i).Reach(); !s["asia"] || s["us"] || s["eu"] {
						return false
					}
				}
			}
			return true
		})
		t.Logf("took %v", took)
	})
	t.Run("the last region left is isolated", func(t *testing.T) {
		w.setCut("us", "eu", true)
		w.within(4*time.Second, "us isolated", func() bool { _, isolated := us.Reach(); return isolated })
	})
}

// rotate puts a new key into use while flips go on.
func rotate(t *testing.T, w *world) {
	next := []byte("another key of thirty-two bytes.")
	for _, n := range w.all() {
		if _, err := n.Keyring().Install(next); err != nil {
			t.Fatal(err)
		}
	}
	seq := uint64(10)
	step := func(n *node) {
		seq++
		name := fmt.Sprintf("k%d", seq)
		n.emit(flip(name, seq))
		w.within(3*time.Second, name+" everywhere", w.everyone(func(n *node) bool { _, ok := n.view.health(name); return ok }))
	}
	for _, n := range w.all() {
		if err := n.Keyring().Use(KeyID(next)); err != nil {
			t.Fatal(err)
		}
		step(n)
	}
	for _, n := range w.all() {
		if err := n.Keyring().Remove(KeyID(testKey)); err != nil {
			t.Fatal(err)
		}
		step(n)
	}
	if got := w.get("us", 0).Keyring().List(); !slices.Equal(got, []string{KeyID(next)}) {
		t.Errorf("keyring is %v", got)
	}
}

// flood flips more endpoints than gossip carries.
func flood(t *testing.T, w *world) {
	d := catalog.HealthDelta{Cluster: testCluster}
	for i := range uint64(2000) {
		d.Changes = append(d.Changes, flip(fmt.Sprintf("f%d", i), 100+i).Changes...)
	}
	us := w.get("us", 1)
	us.emit(d)
	want := us.view.digest()
	took := w.within(5*time.Second, "all have all", w.everyone(func(n *node) bool { return slices.Equal(n.view.digest(), want) }))
	t.Logf("2000 flips took %v", took)
}

func TestALateReplicaLearnsByDigestWhatItMissed(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "us eu", 1)
	w.get("us", 0).emit(flip("before", 1))
	w.within(10*time.Second, "all see all", w.converged)
	late := w.add(NodeName{"asia", "r0"})
	late.start()
	w.within(10*time.Second, "the late one has the flip", func() bool { _, ok := late.view.health("before"); return ok })
}

func TestALeavingReplicaIsGoneFromTheGossipAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "us eu", 1)
	w.within(10*time.Second, "all see all", w.converged)
	us, eu := w.get("us", 0), w.get("eu", 0)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if err := eu.Leave(ctx); err != nil {
		t.Fatal(err)
	}
	w.within(2*time.Second, "eu left", func() bool { return !us.directory.member(eu.name) })
	eu.kill()
	if err := eu.Leave(ctx); err != nil {
		t.Errorf("leaving after the end: %v", err)
	}
}

func TestAReplicaOfAnotherTrustDomainOrKeyStaysOut(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "us eu", 1)
	w.within(10*time.Second, "all see all", w.converged)
	us := w.get("us", 0)
	conn, err := net.Dial("udp", us.record.GossipAddress)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ring, _ := NewKeyring([]byte("a key that nobody else here has.."[:32]))
	for _, tr := range []*transport{
		{keyring: ring, domain: []byte("acme.example")},
		{keyring: us.cfg.Keyring, domain: []byte("other.example")},
	} {
		for kind := range byte(4) {
			packet := tr.keyring.seal([]byte{kind}, encodeRequest(echoRequest{From: NodeName{"eu", "r0"}}), tr.additional(kind))
			if _, err := conn.Write(packet); err != nil {
				t.Fatal(err)
			}
		}
	}
	conn.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
	if n, err := conn.Read(make([]byte, 2000)); err == nil {
		t.Errorf("a foreign packet was answered with %d bytes", n)
	}
}

func TestAnAddressThatCannotBeReachedIsRefused(t *testing.T) {
	udp, err := net.ListenPacket("udp", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	defer udp.Close()
	_, err = Config{Conn: udp}.withDefaults(rand.Uint64)
	if err == nil || !strings.Contains(err.Error(), "set the advertised gossip address") {
		t.Errorf("error is %v", err)
	}
	c, err := Config{Conn: udp, Advertise: netip.MustParseAddrPort("192.0.2.1:7946")}.withDefaults(rand.Uint64)
	if err != nil || c.Advertise.Port() != 7946 {
		t.Errorf("advertise is %v, %v", c.Advertise, err)
	}
}
