package state

import (
	"context"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

// gate holds back what one replica receives, and then what it sends, and lets all
// of it through afterwards, as the sockets of a process that is stopped do.
type gate struct {
	mu           sync.Mutex
	reads, sends chan struct{} // closed while they pass
	held         int           // reads that wait
}

func newGate() *gate {
	open := make(chan struct{})
	close(open)
	return &gate{reads: open, sends: open}
}

// holdReads leaves what comes in from now on unread.
func (g *gate) holdReads() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.reads = make(chan struct{})
}

// holdSends does the same with what goes out.
func (g *gate) holdSends() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.sends = make(chan struct{})
}

func (g *gate) reopen() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, passing := range []chan struct{}{g.reads, g.sends} {
		select {
		case <-passing:
		default:
			close(passing)
		}
	}
}

func (g *gate) passRead() {
	g.mu.Lock()
	open := g.reads
	g.held++
	g.mu.Unlock()
	<-open
	g.mu.Lock()
	g.held--
	g.mu.Unlock()
}

func (g *gate) passSend() {
	g.mu.Lock()
	open := g.sends
	g.mu.Unlock()
	<-open
}

// waiting is how many reads are held.
func (g *gate) waiting() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.held
}

// gatedStream is Raft through a gate.
type gatedStream struct {
	raft.StreamLayer
	gate *gate
}

func (s gatedStream) Accept() (net.Conn, error) {
	c, err := s.StreamLayer.Accept()
	return gatedConn{c, s.gate}, err
}

func (s gatedStream) Dial(address raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	s.gate.passSend()
	c, err := s.StreamLayer.Dial(address, timeout)
	return gatedConn{c, s.gate}, err
}

type gatedConn struct {
	net.Conn
	gate *gate
}

func (c gatedConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.gate.passRead()
	return n, err
}

func (c gatedConn) Write(b []byte) (int, error) {
	c.gate.passSend()
	return c.Conn.Write(b)
}

// A leader that was stopped for a while still believes that it leads, and finds
// old answers of its followers in its sockets. With raft's VerifyLeader in the
// place of the barrier it takes them for confirmations, in some runs of this.
func TestALeaderThatWasPausedDoesNotConfirmAReadOfWhatIsOld(t *testing.T) {
	t.Parallel()
	const tries = 5
	for range tries {
		why := askPaused(t)
		if why == "" || t.Failed() {
			return
		}
		t.Log("once more, with another region: " + why)
	}
	t.Fatalf("the region was never as this needs it, %d times: this proves nothing", tries)
}

// slowToNotice is how long the leader that is paused would lead without hearing its
// followers, as if its clock stood still. They hear from it more often, because a
// leader tells how far it has come after the CommitTimeout already.
const slowToNotice = time.Minute

// askPaused asks c for a barrier when it was paused and another one leads. It
// returns why that was not so, on a machine that itself stood still.
func askPaused(t *testing.T) (why string) {
	g := newGate()
	r := newRegion(t, func(o *Options) {
		o.Timing.Heartbeat = time.Second
		if o.RaftID == "c.dc" {
			o.Timing.Heartbeat, o.Timing.Lease = slowToNotice, slowToNotice
			o.Stream = gatedStream{o.Stream, g}
		}
	})
	defer r.stopAll()
	defer g.reopen()
	r.three()
	old := r.nodes["c"]
	r.until("c to lead", func() bool {
		if _, l := r.mustLead(); l != old { // what fails is tried again
			_ = l.raft.LeadershipTransferToServer(raft.ServerID(old.opts.RaftID), raft.ServerAddress(old.opts.RaftID)).Error()
		}
		return old.IsLeader()
	})
	r.write(0)
	if index, err := old.Barrier(t.Context()); err != nil || index == 0 {
		return fmt.Sprintf("c does not lead any more: %d, %v", index, err)
	}
	g.holdReads()
	r.until("answers of both followers that wait to be read", func() bool { return g.waiting() >= 2 })
	g.holdSends()
	written, took := r.writeOver([]string{"a", "b"}, old)
	if !took {
		return "c noticed before another one took a write"
	}
	confirmed, last := make(chan uint64, 1), old.raft.LastIndex()
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		index, err := old.Barrier(ctx)
		if err != nil {
			index = 0
		}
		confirmed <- index
	}()
	// The old answers are read only when the question has been put: when its entry is
	// in the log, or after a while if it makes none.
	asked := time.Now().Add(5 * time.Second)
	r.until("the question to be put", func() bool { return old.raft.LastIndex() > last || time.Now().After(asked) })
	led := old.IsLeader()
	g.reopen()
	if index := <-confirmed; index != 0 && index < written.Index {
		t.Errorf("the old leader confirmed a read at index %d, when %d was acknowledged", index, written.Index)
	}
	r.until("the old leader to follow", func() bool { return !old.IsLeader() })
	if err := old.WaitApplied(t.Context(), written.Index); err != nil {
		t.Error(err)
	}
	if !led {
		return "c noticed before it was asked"
	}
	return ""
}

// writeOver waits until one of the named replicas takes a write, unless old ceases
// to lead before.
func (r *testRegion) writeOver(names []string, old *Node) (written Result, took bool) {
	r.until("another leader that takes writes", func() bool {
		for _, name := range names {
			ctx, cancel := context.WithTimeout(r.t.Context(), patience)
			result, err := r.nodes[name].Propose(ctx, Meta{}, putSet("west-1", "file", "newer", "e1"))
			cancel()
			if err == nil {
				written, took = result, true
				break
			}
		}
		return took || !old.IsLeader()
	})
	return written, took && old.IsLeader()
}
