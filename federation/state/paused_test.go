package state

import (
	"context"
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
	close(g.reads)
	close(g.sends)
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
// place of the barrier it takes them for confirmations, in most runs of this.
func TestALeaderThatWasPausedDoesNotConfirmAReadOfWhatIsOld(t *testing.T) {
	g := newGate()
	r := newTestRegion(t, func(o *Options) {
		o.Timing.Heartbeat = time.Second
		if o.RaftID == "a.da" { // it is slow to notice, as if its clock stood still
			o.Timing.Heartbeat, o.Timing.Lease = 4*time.Second, 4*time.Second
			o.Stream = gatedStream{o.Stream, g}
		}
	})
	r.three()
	old := r.nodes["a"]
	if !old.IsLeader() {
		t.Fatal("a does not lead")
	}
	r.write(0)
	if index, err := old.Barrier(t.Context()); err != nil || index == 0 {
		t.Fatalf("the leader does not confirm: %d, %v", index, err)
	}
	g.holdReads()
	r.until("answers of both followers that wait to be read", func() bool { return g.waiting() >= 2 })
	g.holdSends()
	var written Result
	r.until("another leader that takes writes", func() bool {
		if !old.IsLeader() {
			t.Fatal("the paused leader noticed too soon: this proves nothing")
		}
		for _, name := range []string{"b", "c"} {
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			result, err := r.nodes[name].Propose(ctx, Meta{}, putSet("west-1", "file", "newer", "e1"))
			cancel()
			if err == nil {
				written = result
				return true
			}
		}
		return false
	})
	confirmed, last := make(chan uint64, 1), old.raft.LastIndex()
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		index, err := old.Barrier(ctx)
		if err != nil {
			index = 0
		}
		confirmed <- index
	}()
	// The old answers are read only when the question has been put: when its entry is
	// in the log, or after a while if it makes none.
	patience := time.Now().Add(500 * time.Millisecond)
	r.until("the question to be put", func() bool { return old.raft.LastIndex() > last || time.Now().After(patience) })
	g.reopen()
	if index := <-confirmed; index != 0 && index < written.Index {
		t.Errorf("the old leader confirmed a read at index %d, when %d was acknowledged", index, written.Index)
	}
	r.until("the old leader to follow", func() bool { return !old.IsLeader() })
	if err := old.WaitApplied(t.Context(), written.Index); err != nil {
		t.Error(err)
	}
}
