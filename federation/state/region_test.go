package state

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/federator/federator/federation/catalog"
	"github.com/hashicorp/raft"
	"github.com/prometheus/client_golang/prometheus"
)

// stream is Raft over plain loopback TCP.
type stream struct{ net.Listener }

func (stream) Dial(address raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	return net.DialTimeout("tcp", string(address), timeout)
}

// testRegion is some replicas of one region in this process.
type testRegion struct {
	t     *testing.T
	mu    sync.Mutex
	addr  map[string]string
	dirs  map[string]string
	nodes map[string]*Node
	loops map[string]context.CancelFunc
	tweak func(*Options)
}

func newTestRegion(t *testing.T, tweak func(*Options)) *testRegion {
	t.Parallel()
	return newRegion(t, tweak)
}

func newRegion(t *testing.T, tweak func(*Options)) *testRegion {
	r := &testRegion{
		t: t, addr: map[string]string{}, dirs: map[string]string{}, nodes: map[string]*Node{},
		loops: map[string]context.CancelFunc{}, tweak: tweak,
	}
	t.Cleanup(r.stopAll)
	return r
}

func (r *testRegion) stopAll() {
	for _, name := range r.running() {
		r.stop(name)
	}
}

func (r *testRegion) running() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []string
	for name := range r.nodes {
		out = append(out, name)
	}
	return out
}

func (r *testRegion) addressOf(raftID string) (string, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	a, ok := r.addr[raftID]
	return a, ok
}

func (r *testRegion) options(name string, bootstrap bool) Options {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		r.t.Fatal(err)
	}
	id := name + ".d" + name
	r.mu.Lock()
	defer r.mu.Unlock()
	r.addr[id] = l.Addr().String() // another port after every restart
	if r.dirs[name] == "" {
		r.dirs[name] = r.t.TempDir()
	}
	opts := Options{
		Dir: r.dirs[name], RaftID: id, Stream: stream{l}, AddressOf: r.addressOf, Registerer: prometheus.NewRegistry(),
		Timing: Timing{Voters: 20 * time.Millisecond, Apply: 5 * time.Second}, Bootstrap: bootstrap,
	}
	if r.tweak != nil {
		r.tweak(&opts)
	}
	return opts
}

func (r *testRegion) start(name string, bootstrap bool) *Node {
	r.t.Helper()
	n, err := Open(r.options(name, bootstrap))
	if err != nil {
		r.t.Fatalf("open %s: %v", name, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = n.MaintainVoters(ctx, VoterHooks{Alive: r.alive, Applied: r.applied})
	}()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.nodes[name] = n
	r.loops[name] = func() { cancel(); <-done }
	return n
}

func (r *testRegion) alive(c catalog.Replica) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.nodes[c.Name] != nil
}

func (r *testRegion) applied(c catalog.Replica) (uint64, bool) {
	r.mu.Lock()
	n := r.nodes[c.Name]
	r.mu.Unlock()
	if n == nil {
		return 0, false
	}
	return n.raft.AppliedIndex(), true
}

func (r *testRegion) stop(name string) {
	r.t.Helper()
	r.mu.Lock()
	n, loop := r.nodes[name], r.loops[name]
	delete(r.nodes, name)
	r.mu.Unlock()
	loop()
	if err := n.Shutdown(); err != nil {
		r.t.Errorf("shut down %s: %v", name, err)
	}
}

// three starts a founded region of a, b and c, all of which vote.
func (r *testRegion) three() {
	r.t.Helper()
	r.start("a", true)
	r.do(foundUSWest())
	for _, name := range []string{"b", "c"} {
		r.start(name, false)
		r.do(&AdmitReplica{replica(name, "west-"+name)})
	}
	r.until("three voters, who all know", func() bool {
		for _, name := range []string{"a", "b", "c"} {
			if r.voters(r.nodes[name]) != 3 {
				return false
			}
		}
		return true
	})
}

func (r *testRegion) voters(n *Node) int {
	count := 0
	for _, s := range n.Servers() {
		if s.Voter {
			count++
		}
	}
	return count
}

func (r *testRegion) leader() *Node {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, n := range r.nodes {
		if n.IsLeader() {
			return n
		}
	}
	return nil
}

// mustLead waits for a leader: there is none while an election runs, which may be
// at any time, on a machine that stands still for as long as a heartbeat may take.
func (r *testRegion) mustLead() (name string, leader *Node) {
	r.t.Helper()
	r.until("somebody to lead", func() bool {
		leader = r.leader()
		return leader != nil
	})
	name, _, _ = strings.Cut(leader.opts.RaftID, ".")
	return name, leader
}

// patience is for what takes milliseconds or seconds, on a machine that may stand
// still meanwhile.
const patience = time.Minute

// until waits for a condition.
func (r *testRegion) until(what string, ok func() bool) {
	r.t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			r.t.Fatalf("never: %s", what)
		}
	}
}

// do proposes as a forwarder does: to whoever leads, with one id, until it is
// accepted.
func (r *testRegion) do(cmd Command) Result {
	r.t.Helper()
	env, err := NewEnvelope(Meta{ID: NewID(), Actor: "op"}, cmd)
	if err != nil {
		r.t.Fatal(err)
	}
	encoded, err := env.Encode()
	if err != nil {
		r.t.Fatal(err)
	}
	var result Result
	r.until(fmt.Sprintf("%T accepted", cmd), func() bool {
		l := r.leader()
		if l == nil {
			return false
		}
		result, err = l.ProposeEncoded(context.Background(), encoded)
		for _, retry := range []error{ErrNotLeader, ErrUncertain, ErrBusy, ErrShutdown} {
			if errors.Is(err, retry) {
				return false
			}
		}
		if err != nil {
			r.t.Fatalf("%T: %v", cmd, err)
		}
		return true
	})
	return result
}

func (r *testRegion) write(i int) { r.do(putSet("west-1", "file", fmt.Sprint("s", i), "e1")) }

// holds waits until the replica has exactly the services up to i.
func (r *testRegion) holds(n *Node, i int) {
	r.t.Helper()
	r.until(fmt.Sprintf("%d services", i), func() bool { return services(n) == i })
}

// services is how many of them the replica has.
func services(n *Node) (count int) {
	n.Read(func(s *State) { count = len(s.Sets()) })
	return count
}
