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
	w.until("all see all", w.converged)
	us := w.get("us", 0)
	w.noDigests.Store(true)

	w.sub("a flip reaches everybody at once", func(t *testing.T) {
		us.emit(flip("e1", 1))
		t.Logf("took %v", w.everywhere("e1"))
	})
	w.sub("round-trip times and clock skew are measured", func(*testing.T) {
		w.until("rtt of eu and asia", func() bool { return us.RTT("eu") > 0 && us.RTT("asia") > 0 })
		w.until("no skew to speak of, on one machine", func() bool {
			for _, skew := range us.Skew() {
				if skew.Abs() > 500*time.Millisecond {
					return false
				}
			}
			return true
		})
		w.until("Alive to be right about siblings", func() bool { return us.Alive("r1") && us.Alive("r0") && !us.Alive("r9") })
		w.until("nobody to be silent", func() bool {
			silent, isolated := us.Reach()
			return !silent["eu"] && !silent["asia"] && !isolated && len(silent) == 2
		})
	})
	w.sub("keys rotate while gossip goes on", func(t *testing.T) { rotate(t, w) })
	w.sub("flips reach asia through eu while us and asia are cut", func(t *testing.T) { detour(t, w) })
	w.sub("flips reach everybody at 20 % loss", func(t *testing.T) { lossy(t, w) })
	w.sub("too many flips become a resync", func(t *testing.T) { flood(t, w) })
	w.sub("a region that is killed is silent for all others, and nobody else", func(t *testing.T) {
		for i := range 2 {
			w.get("asia", i).kill()
		}
		took := w.until("asia silent for all", func() bool {
			for _, r := range []string{"us", "eu"} {
				for i := range 2 {
					if s, _ := w.get(r, i).Reach(); !s["asia"] || s["us"] || s["eu"] {
						return false
					}
				}
			}
			return true
		})
		t.Logf("took %v", took) // within three seconds, by the test in simulated time
	})
	w.sub("the last region left is isolated", func(*testing.T) {
		w.setCut("us", "eu", true)
		w.until("us isolated", func() bool { _, isolated := us.Reach(); return isolated })
	})
}

// flipTen emits ten flips, and waits until gossip has brought so many of them to
// replicas: to nearly all. Who is passed over by chance, of those whom a packet can
// miss, is told when the digests are compared.
func flipTen(w *world, name string, first uint64, pairs int) {
	w.t.Helper()
	var names []string
	for i := range uint64(10) {
		names = append(names, fmt.Sprint(name, i))
		w.get("us", 0).emit(flip(names[i], first+i))
	}
	took := w.until("nearly all flips by gossip", func() bool { return w.holding(names...) >= pairs })
	w.t.Logf("took %v", took)
	w.noDigests.Store(false)
	defer w.noDigests.Store(true)
	w.until("all flips everywhere", func() bool { return w.holding(names...) == len(names)*len(w.all()) })
}

// detour cuts one way of two.
func detour(t *testing.T, w *world) {
	us := w.get("us", 0)
	w.setCut("us", "asia", true)
	flipTen(w, "detour", 50, 50) // 40 are in us and eu
	took := w.until("asia silent for us only", func() bool {
		us, _ := w.get("us", 0).Reach()
		eu, _ := w.get("eu", 0).Reach()
		return us["asia"] && !us["eu"] && !eu["asia"] && !eu["us"]
	})
	t.Logf("silent after %v", took)
	w.setCut("us", "asia", false)
	w.until("asia back", func() bool { s, _ := us.Reach(); return !s["asia"] })
}

func lossy(_ *testing.T, w *world) {
	w.loss.Store(20)
	defer w.loss.Store(0)
	flipTen(w, "lossy", 70, 55)
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
		w.everywhere(name)
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
	w.noDigests.Store(false) // a resync that fails is made up for by them
	d := catalog.HealthDelta{Cluster: testCluster}
	for i := range uint64(2000) {
		d.Changes = append(d.Changes, flip(fmt.Sprintf("f%d", i), 100+i).Changes...)
	}
	us := w.get("us", 1)
	us.emit(d)
	want := us.view.digest()
	took := w.until("all have all", w.everyone(func(n *node) bool { return slices.Equal(n.view.digest(), want) }))
	t.Logf("2000 flips took %v", took)
}

func TestALateReplicaLearnsByDigestWhatItMissed(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "us eu", 1)
	w.get("us", 0).emit(flip("before", 1))
	w.until("all see all", w.converged)
	late := w.add(NodeName{"asia", "r0"})
	late.start()
	w.until("the late one has the flip", func() bool { _, ok := late.view.health("before"); return ok })
}

func TestALeavingReplicaIsGoneFromTheGossipAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "us eu", 1)
	w.until("all see all", w.converged)
	us, eu := w.get("us", 0), w.get("eu", 0)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := eu.Leave(ctx); err != nil {
		t.Fatal(err)
	}
	w.until("eu left", func() bool { return !us.directory.member(eu.name) })
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
	w.until("all see all", w.converged)
	before := w.get("eu", 0)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := before.Leave(ctx); err != nil {
		t.Fatal(err)
	}
	// It still answers, so nobody finds it dead: they have heard that it left.
	w.until("all know that it left", w.everyone(func(n *node) bool { return n == before || !n.directory.member(before.name) }))
	before.kill()
	after := w.add(before.name)
	after.start()
	took := w.until("all gossip to where it is now", w.everyone(func(n *node) bool {
		n.directory.mu.RLock()
		defer n.directory.mu.RUnlock()
		return n == after || n.directory.members[after.name].UDP.String() == after.record.GossipAddress
	}))
	t.Logf("took %v", took)
	w.until("all see all again", w.converged)
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
	w.until("all see all", w.converged)
	us := w.get("us", 0)
	for _, ask := range []struct {
		who, whom *node
		at        net.Addr
	}{{us, asia, deaf.LocalAddr()}, {asia, us, us.cfg.Conn.LocalAddr()}} {
		w.until(fmt.Sprintf("memberlist's probe of %s by %s is answered", ask.whom.name, ask.who.name), func() bool {
			_, err := ask.who.list.Load().Ping(ask.whom.name.String(), ask.at)
			return err == nil
		})
	}
}

func TestAReplicaOfAnotherTrustDomainOrKeyStaysOut(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "us eu", 1)
	w.until("all see all", w.converged)
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
