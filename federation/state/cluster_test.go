package state

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/federator/federator/federation/catalog"
)

func TestAcknowledgedWritesSurviveRestarts(t *testing.T) {
	r := newTestRegion(t, nil)
	r.three()
	written := 0
	for _, round := range [][]string{{"a"}, {"a", "b"}, {"c", "b"}, {"a", "b", "c"}} {
		r.write(written)
		written++
		for _, name := range round {
			r.stop(name)
		}
		if len(round) == 1 { // a majority is left and takes writes
			r.write(written)
			written++
		}
		for _, name := range round {
			r.start(name, name == "a") // Bootstrap is ignored where there is a state
		}
		r.write(written)
		written++
		for _, name := range r.running() {
			r.holds(r.nodes[name], written)
		}
	}
}

func TestALaggingFollowerIsRestoredFromASnapshot(t *testing.T) {
	r := newTestRegion(t, func(o *Options) { o.TrailingLogs = 4 })
	r.three()
	l := r.leader()
	lag := "b"
	if l.opts.RaftID == "b.db" {
		lag = "c"
	}
	r.stop(lag)
	for i := range 30 {
		r.write(i)
	}
	for _, name := range r.running() {
		if err := r.nodes[name].Snapshot(); err != nil {
			t.Fatal(err)
		}
	}
	if st := r.leader().Stats(); st.Snapshot == 0 {
		t.Fatalf("no snapshot: %+v", st)
	}
	first, err := r.leader().disk.log.FirstIndex()
	if err != nil || first < 20 {
		t.Fatalf("the log was not truncated: it begins at %d, %v", first, err)
	}
	n := r.start(lag, false)
	changed, cancel := n.Subscribe()
	defer cancel()
	r.holds(n, 30)
	<-changed
	r.stop(lag)
	n = r.start(lag, false) // from its own snapshot now
	var index uint64
	r.until("a barrier", func() (ok bool) {
		if l := r.leader(); l != nil {
			var err error
			index, err = l.Barrier(context.Background())
			ok = err == nil
		}
		return ok
	})
	if err := n.WaitApplied(context.Background(), index); err != nil || index == 0 {
		t.Fatalf("index %d: %v", index, err)
	}
	if got, want := mirrorOf(n.Own()), mirrorOf(r.leader().Own()); got.version != want.version || len(got.records) != len(want.records) {
		t.Fatalf("%v, leader %v", got.version, want.version)
	}
}

func TestLeaderLossIsShortAndLosesNothing(t *testing.T) {
	r := newTestRegion(t, nil)
	r.three()
	r.write(0)
	l := r.leader()
	var name string
	for n, node := range r.nodes {
		if node == l {
			name = n
		}
	}
	began := time.Now()
	r.stop(name)
	r.write(1)
	took := time.Since(began)
	t.Logf("leader stopped, next write confirmed after %v", took)
	if took > 10*time.Second { // a bound against hanging; the figure is logged
		t.Fatalf("took %v", took)
	}
	r.holds(r.leader(), 2)
}

func TestAFollowerNamesTheLeader(t *testing.T) {
	r := newTestRegion(t, nil)
	r.three()
	ctx := context.Background()
	for _, name := range r.running() {
		n := r.nodes[name]
		if n.IsLeader() {
			continue
		}
		r.until("the leader is named", func() bool {
			_, err := n.Propose(ctx, Meta{}, &AddCluster{Cluster: "x"})
			_, barrier := n.Barrier(ctx)
			var no *NotLeaderError
			return errors.As(err, &no) && errors.Is(barrier, ErrNotLeader) && no.Leader != "" && no.Leader != n.opts.RaftID
		})
		result := r.do(&AddCluster{Cluster: "written-" + name})
		if err := n.WaitApplied(ctx, result.Index); err != nil {
			t.Fatal(err)
		}
		n.Read(func(s *State) {
			if s.Cluster("written-"+name) == nil {
				t.Error("it does not read its own write")
			}
		})
	}
	r.until("a barrier on the leader", func() bool {
		l := r.leader()
		if l == nil {
			return false
		}
		index, err := l.Barrier(ctx)
		return err == nil && index > 0
	})
	gone, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := r.nodes["a"].Propose(gone, Meta{ID: "x"}, &AddCluster{Cluster: "x"}); err != nil && !errors.Is(err, ErrUncertain) && !errors.Is(err, ErrNotLeader) {
		t.Fatalf("%v", err)
	}
}

func TestARemovedReplicaLeavesTheVoters(t *testing.T) {
	r := newTestRegion(t, nil)
	r.three()
	r.start("d", false)
	r.do(&AdmitReplica{replica("d", "west-d")})
	r.until("d is a standby", func() bool { l := r.leader(); return l != nil && len(l.Servers()) == 4 && r.voters(l) == 3 })
	var lead string
	l := r.leader()
	for name, n := range r.nodes {
		if n == l {
			lead = name
		}
	}
	r.do(&RemoveReplica{Name: lead}) // the leader itself: it hands over first
	r.until("the leader is gone and the standby votes", func() bool {
		l := r.leader()
		return l != nil && l.opts.RaftID != lead+".d"+lead && len(l.Servers()) == 3 && r.voters(l) == 3
	})
	r.write(0)
}

func TestAReplicaThatCannotUnsealDoesNotVote(t *testing.T) {
	r := newTestRegion(t, nil)
	r.start("a", true)
	r.do(foundUSWest())
	for _, name := range []string{"b", "c"} {
		r.start(name, false)
		r.do(&AdmitReplica{replica(name, "west-"+name)})
	}
	r.until("three voters", func() bool { return r.voters(r.nodes["a"]) == 3 })
	a := newVoterLoop(r.nodes["a"], VoterHooks{Alive: r.alive, Prove: func(context.Context, catalog.Replica) error { return errors.New("no key") }})
	if err := a.act(context.Background(), Plan{Action: ActPromote, ID: "b.db"}, replica("b", "west-b"), 0); err == nil {
		t.Fatal("promoted without proof")
	}
	if c := a.candidate("b.db", map[string]catalog.Replica{"b.db": replica("b", "west-b")}); c.Ready {
		t.Fatal("it is asked again at once")
	}
}

func TestAnUnknownCommandHaltsAndLosesNothing(t *testing.T) {
	halted := make(chan error, 1)
	r := newTestRegion(t, func(o *Options) { o.OnHalt = func(err error) { halted <- err } })
	n := r.start("a", true)
	r.do(foundUSWest())
	r.write(0)
	newer := Envelope{Type: TypeAudit, Version: Protocol + 1, Meta: Meta{ID: "x", Time: epoch0}, Body: []byte(`{"action":"a","target":"b"}`)}
	if _, err := n.propose(context.Background(), newer); !errors.Is(err, ErrProtocol) {
		t.Fatalf("a command above the region's protocol was proposed: %v", err)
	}
	encoded, err := newer.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if err := n.raft.Apply(encoded, time.Second).Error(); err != nil { // as a newer leader would
		t.Fatal(err)
	}
	if err := <-halted; !errors.Is(err, ErrHalted) {
		t.Fatalf("%v", err)
	}
	if _, err := n.Propose(context.Background(), Meta{}, &AddCluster{Cluster: "x"}); !errors.Is(err, ErrHalted) {
		t.Fatalf("%v", err)
	}
	if len(n.Health()) == 0 {
		t.Fatal("its health says nothing")
	}
	r.stop("a")
	// The same build halts again at the same place; a newer one goes on.
	r.start("a", false)
	<-halted
	r.holds(r.nodes["a"], 1)
	r.stop("a")
	r.tweak = func(o *Options) { o.protocol = Protocol + 1 }
	r.start("a", false)
	r.write(1)
	r.holds(r.nodes["a"], 2)
}

func TestAReplicaThatLagsIsNotPromoted(t *testing.T) {
	r := newTestRegion(t, nil)
	r.start("a", true)
	r.do(foundUSWest())
	behind := newVoterLoop(r.nodes["a"], VoterHooks{Applied: func(catalog.Replica) (uint64, bool) { return 0, true }})
	b := replica("b", "west-b")
	known := map[string]catalog.Replica{"b.db": b}
	if behind.has(b, 1) {
		t.Fatal("it is caught up")
	}
	voter := []Candidate{{ID: "b.db", Voter: true, Alive: true}}
	if !behind.holds(voter, known, 7) {
		t.Fatal("the next change does not wait for a voter that lags")
	}
	behind.since = behind.since.Add(-settleTime)
	if behind.holds(voter, known, 7) {
		t.Fatal("it waits for ever")
	}
}
