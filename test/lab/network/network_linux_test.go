package network_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/federator/federator/test/lab/network"
	"github.com/federator/federator/test/lab/network/wan"
	"github.com/federator/federator/test/lab/reap"
	"github.com/federator/federator/test/leaks"
)

func TestMain(m *testing.M) {
	if reap.Child() {
		return
	}
	if os.Getenv(crashVariable) != "" {
		os.Exit(crash())
	}
	os.Exit(run(m))
}

// run has the files of a run of the lab removed however it ends.
func run(m *testing.M) int {
	if network.Wanted() {
		_, end, err := reap.Files()
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer end.Close()
	}
	return leaks.Code(m.Run())
}

// host returns a host, or ends the test.
func host(t *testing.T, n *network.Network, region, name string) *network.Host {
	t.Helper()
	h, err := n.Host(region, name)
	ok(t, err)
	return h
}

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestARoundTripOverTheWANTakesWhatIsSet(t *testing.T) {
	n := network.Need(t, 1, "west", "east", "south")
	west, east, south, near := host(t, n, "west", "a"), host(t, n, "east", "a"), host(t, n, "south", "a"), host(t, n, "west", "b")
	for _, h := range []*network.Host{east, south, near} {
		echo(t, h)
	}
	ok(t, n.Base(wan.RTT(80*time.Millisecond)))
	ok(t, n.SetBoth("west", "south", wan.RTT(150*time.Millisecond)))
	for _, test := range []struct {
		to       *network.Host
		low, top time.Duration
	}{{near, 0, 70 * time.Millisecond}, {east, 79 * time.Millisecond, 160 * time.Millisecond}, {south, 149 * time.Millisecond, 230 * time.Millisecond}} {
		takes(t, n, west, test.to, test.low, test.top)
	}
}

// The packets of the first test are counted, as no packet that nobody wanted may
// be among them.
func TestACutIsOneWayAndHealed(t *testing.T) {
	t.Parallel()
	n := network.Need(t, 1, "west", "east")
	west, east := host(t, n, "west", "a"), host(t, n, "east", "a")
	echo(t, west)
	echo(t, east)
	ok(t, n.Cut("west", "east"))
	stats := func(from, to string) wan.Stats {
		t.Helper()
		s, err := n.Stats(from, to)
		ok(t, err)
		return s
	}
	cut := func() uint64 { return uint64(stats("west", "east").Cut) }
	misses(t, "cut", west, east, cut)
	misses(t, "cut", east, west, cut)
	until(t, "what arrived to be counted", func() bool { return stats("east", "west").Delivered >= 3 })
	there, back := stats("west", "east"), stats("east", "west")
	// Three pings from west are lost; three from east arrive and their echoes are lost.
	if there.Sent != 6 || there.Cut != 6 || there.Delivered != 0 || back.Sent != 3 || back.Delivered != 3 {
		t.Errorf("expected 6 packets cut there and 3 delivered back, found %+v and %+v", there, back)
	}
	ok(t, n.Heal())
	reaches(t, "healed", west, east)
}

func TestAHostIsCutFromOthersOfItsRegionOnly(t *testing.T) {
	t.Parallel()
	n := network.Need(t, 1, "west", "east")
	leader, follower, third, far := host(t, n, "west", "leader"), host(t, n, "west", "follower"), host(t, n, "west", "third"), host(t, n, "east", "far")
	all := []*network.Host{leader, follower, third, far}
	for _, h := range all {
		echo(t, h)
	}
	dropped := func() uint64 {
		found, err := network.Dropped(n)
		ok(t, err)
		return found
	}
	look := func(when string, lost ...[2]*network.Host) {
		t.Helper()
		for _, from := range all {
			for _, to := range all {
				if from == to {
					continue
				}
				if slices.Contains(lost, [2]*network.Host{from, to}) || slices.Contains(lost, [2]*network.Host{to, from}) {
					misses(t, when, from, to, dropped)
				} else {
					reaches(t, when, from, to)
				}
			}
		}
	}
	look("before")
	ok(t, leader.CutFrom(follower, third))
	look("the leader cut from its followers", [2]*network.Host{leader, follower}, [2]*network.Host{leader, third})
	ok(t, leader.MendWith(third))
	ok(t, leader.MendWith(follower))
	ok(t, follower.CutFrom(far))
	look("a follower cut from another region", [2]*network.Host{follower, far})
	ok(t, n.Heal())
	ok(t, third.Freeze())
	look("frozen", [2]*network.Host{third, leader}, [2]*network.Host{third, follower}, [2]*network.Host{third, far})
	ok(t, third.Thaw())
	look("after")
}

func TestAShareOfPacketsIsLostWithinARegionInOneDirection(t *testing.T) {
	t.Parallel()
	n := network.Need(t, 1, "west")
	a, b := host(t, n, "west", "a"), host(t, n, "west", "b")
	echo(t, a)
	echo(t, b)
	reaches(t, "before", a, b)
	const count = 600
	for _, share := range []float64{0.2, 0} {
		ok(t, a.Drop(share, b))
		for _, from := range []*network.Host{a, b} { // one way suffices to lose an echo
			to := map[*network.Host]*network.Host{a: b, b: a}[from]
			lost := float64(lostOf(t, n, from, to, count)) / count
			if lost < share*0.6 || lost > share*1.4 {
				t.Errorf("%s to %s: expected %v lost, found %v", from, to, share, lost)
			}
		}
	}
}

// transfer sends bytes over TCP from one host to another and returns what arrived.
func transfer(t *testing.T, from, to *network.Host, data []byte) []byte {
	t.Helper()
	l, err := to.Listen("tcp", to.Address()+":9000")
	ok(t, err)
	defer l.Close()
	arrived := make(chan []byte, 1)
	go func() {
		defer close(arrived)
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(time.Minute))
		all, _ := io.ReadAll(c) // what is missing is seen by the test
		arrived <- all
	}()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	c, err := from.DialContext(ctx, "tcp", l.Addr().String())
	ok(t, err)
	ok(t, c.SetDeadline(time.Now().Add(time.Minute)))
	_, err = c.Write(data)
	ok(t, err)
	ok(t, c.Close())
	return <-arrived
}

func TestAMegabyteArrivesIntactOverALossyWAN(t *testing.T) {
	t.Parallel()
	n := network.Need(t, 1, "west", "east")
	west, east := host(t, n, "west", "a"), host(t, n, "east", "a")
	data := make([]byte, 1<<20)
	r := rand.NewChaCha8([32]byte{1})
	_, _ = r.Read(data) // never fails
	ok(t, n.Base(wan.Link{Delay: 5 * time.Millisecond, Jitter: 5 * time.Millisecond, Overtake: true, Loss: 0.02, Duplicate: 0.02, Reorder: 0.02, HoldBack: 5 * time.Millisecond}))
	if found := transfer(t, west, east, data); !bytes.Equal(found, data) {
		t.Errorf("expected %d bytes, found %d, or others", len(data), len(found))
	}
	s, err := n.Stats("west", "east")
	ok(t, err)
	if s.Lost == 0 || s.Duplicated == 0 || s.HeldBack == 0 {
		t.Errorf("the WAN lost, doubled or held back nothing: %+v", s)
	}
}

func TestWithinARegionPacketsAreLostOneByOneAndTCPSurvives(t *testing.T) {
	t.Parallel()
	n := network.Need(t, 1, "west")
	a, b := host(t, n, "west", "a"), host(t, n, "west", "b")
	data := bytes.Repeat([]byte("federator"), 100_000)
	ok(t, a.Drop(0.02, b))
	if found := transfer(t, a, b, data); !bytes.Equal(found, data) {
		t.Errorf("expected %d bytes, found %d, or others", len(data), len(found))
	}
	if found, want := received(t, b), len(data)/1500; found < want {
		t.Errorf("expected %d packets or more for %d bytes, found %d", want, len(data), found)
	}
}

// received is how many packets have come to a host.
func received(t *testing.T, h *network.Host) int {
	t.Helper()
	cmd := exec.Command("cat", "/proc/net/dev")
	var out strings.Builder
	cmd.Stdout = &out
	ok(t, h.Start(cmd))
	ok(t, cmd.Wait())
	_, counts, _ := strings.Cut(out.String(), "eth0:")
	fields := strings.Fields(counts)
	if len(fields) < 2 {
		t.Fatalf("expected the counts of eth0, found %q", out.String())
	}
	packets, err := strconv.Atoi(fields[1])
	ok(t, err)
	return packets
}

func TestBandwidthBoundsATransfer(t *testing.T) {
	t.Parallel()
	n := network.Need(t, 1, "west", "east")
	west, east := host(t, n, "west", "a"), host(t, n, "east", "a")
	ok(t, n.Base(wan.Link{Delay: 5 * time.Millisecond, Rate: 500_000}))
	start := time.Now()
	transfer(t, west, east, make([]byte, 500_000))
	if took := time.Since(start); took < time.Second || took > 10*time.Second {
		t.Errorf("500 kB at 500 kB/s: expected a second or a little more, found %v", took)
	}
}

func TestAPortWhereNobodyListensRefusesAndAFrozenHostDoesNotAnswer(t *testing.T) {
	t.Parallel()
	n := network.Need(t, 1, "west", "east")
	west, east := host(t, n, "west", "a"), host(t, n, "east", "a")
	dial := func(within time.Duration) error {
		ctx, cancel := context.WithTimeout(context.Background(), within)
		defer cancel()
		c, err := west.DialContext(ctx, "tcp", east.Address()+":81")
		if err == nil {
			_ = c.Close()
		}
		return err
	}
	if err := dial(10 * time.Second); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("expected a refusal, found %v", err)
	}
	ok(t, east.Freeze())
	var timeout net.Error
	if err := dial(500 * time.Millisecond); !errors.As(err, &timeout) || !timeout.Timeout() {
		t.Errorf("expected a timeout, found %v", err)
	}
}

func TestTheWorldOutsideCannotBeReached(t *testing.T) {
	t.Parallel()
	n := network.Need(t, 1, "west")
	a := host(t, n, "west", "a")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ok(t, err)
	defer l.Close()
	c, err := a.DialContext(context.Background(), "tcp", l.Addr().String())
	if err == nil {
		_ = c.Close()
		t.Error("a host of the lab reaches a loopback listener of this machine")
	}
}

func TestANetworkRefusesWhatItCannotBe(t *testing.T) {
	t.Parallel()
	for _, regions := range [][]string{{""}, {"west", "west"}, make([]string, 201)} {
		if n, err := network.New(1, regions...); err == nil {
			t.Errorf("%d regions %q: expected an error", len(regions), regions)
			_ = n.Close()
		}
	}
	n := network.Need(t, 1, "west", "east")
	if _, err := n.Host("north", "a"); err == nil || !strings.Contains(err.Error(), "north") {
		t.Errorf("a host of an unknown region: found %v", err)
	}
	for name, err := range map[string]error{
		"isolate": n.Isolate("north"), "cut": n.Cut("west", "north"), "itself": n.Cut("west", "west"),
		"link": n.Set("west", "east", wan.Link{Loss: 2}), "share": host(t, n, "west", "a").Drop(2),
	} {
		if err == nil {
			t.Errorf("%s: expected an error", name)
		}
	}
	if first, second := host(t, n, "west", "a"), host(t, n, "west", "a"); first != second {
		t.Error("a name stands for two hosts")
	}
	if hosts, err := n.Hosts("west"); err != nil || len(hosts) != 1 {
		t.Errorf("expected one host of west, found %v, %v", hosts, err)
	}
}
