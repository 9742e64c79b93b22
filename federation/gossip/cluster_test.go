package gossip

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/federator/federator/federation/catalog"
)

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
			w.within(8*time.Second, name+" everywhere", w.everyone(func(n *node) bool { _, ok := n.view.health(name); return ok }))
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

// A pod has another address after every start. memberlist takes the new address of a
// replica that left, and otherwise only once it is sure that the old one is dead.
func TestAReplicaThatLeftAndComesBackElsewhereIsFoundThereAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "us eu", 2)
	w.within(10*time.Second, "all see all", w.converged)
	before := w.get("eu", 0)
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if err := before.Leave(ctx); err != nil {
		t.Fatal(err)
	}
	before.kill()
	after := w.add(before.name)
	after.start()
	w.within(4*time.Second, "all gossip to where it is now", w.everyone(func(n *node) bool {
		n.directory.mu.RLock()
		defer n.directory.mu.RUnlock()
		return n == after || n.directory.members[after.name].UDP.String() == after.record.GossipAddress
	}))
	w.within(10*time.Second, "all see all again", w.converged)
}

// What a replica behind a load balancer tells memberlist is fixed when it starts. The
// name of the balancer may have had no address then, and gets others.
func TestMemberlistFindsAReplicaWhereItsNameLeadsAndNotWhereItSaidAtItsStart(t *testing.T) {
	t.Parallel()
	deaf, err := net.ListenPacket("udp", "127.0.0.1:0") // nobody reads it
	if err != nil {
		t.Fatal(err)
	}
	defer deaf.Close()
	w := newWorld(t, "us eu", 1)
	asia := w.addAs(NodeName{"asia", "r0"}, func(c *Config, record *catalog.Replica) {
		c.Advertise = deaf.LocalAddr().(*net.UDPAddr).AddrPort()
		record.GossipAddress = fmt.Sprintf("balancer.test:%d", c.Conn.LocalAddr().(*net.UDPAddr).Port)
	})
	asia.start()
	w.within(20*time.Second, "all see all", w.converged)
	us := w.get("us", 0)
	for _, ask := range []struct {
		who, whom *node
		at        net.Addr
	}{{us, asia, deaf.LocalAddr()}, {asia, us, us.cfg.Conn.LocalAddr()}} {
		w.within(20*time.Second, fmt.Sprintf("memberlist's probe of %s by %s is answered", ask.whom.name, ask.who.name), func() bool {
			_, err := ask.who.list.Load().Ping(ask.whom.name.String(), ask.at)
			return err == nil
		})
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
