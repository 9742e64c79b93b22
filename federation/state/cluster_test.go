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
	lag := "b"
	if name, _ := r.mustLead(); name == lag {
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
	_, l := r.mustLead()
	if st := l.Stats(); st.Snapshot == 0 {
		t.Fatalf("no snapshot: %+v", st)
	}
	first, err := l.disk.log.FirstIndex()
	if err != nil || first < 20 {
		t.Fatalf("the log was not truncated: it begins at %d, %v", first, err)
	}
	n := r.start(lag, false)
	changed, cancel := n.Subscribe()
	defer cancel()
	if services(n) < 30 { // what comes after the subscription wakes who subscribed
		select {
		case <-changed:
		case <-time.After(patience):
			t.Fatal("never woken")
		}
	}
	r.holds(n, 30)
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
	r.until("the same as the leader has", func() bool { // who leads may have changed, too
		_, l := r.mustLead()
		got, want := mirrorOf(n.Own()), mirrorOf(l.Own())
		return got.version == want.version && len(got.records) == len(want.records)
	})
}

func TestLeaderLossIsShortAndLosesNothing(t *testing.T) {
	r := newTestRegion(t, nil)
	r.three()
	r.write(0)
	name, _ := r.mustLead()
	began := time.Now()
	r.stop(name)
	r.write(1) // waits so long that it fails if this hangs
	t.Logf("leader stopped, next write confirmed after %v", time.Since(began))
	_, l := r.mustLead()
	r.holds(l, 2)
}

func TestAFollowerNamesTheLeader(t *testing.T) {
	r := newTestRegion(t, nil)
	r.three()
	ctx := context.Background()
	named := 0
	for _, name := range r.running() {
		n := r.nodes[name]
		r.until("the leader is named, by all others", func() bool {
			if n.IsLeader() {
				return true // it may take the lead at any time
			}
			_, err := n.Propose(ctx, Meta{}, &AddCluster{Cluster: "x"})
			_, barrier := n.Barrier(ctx)
			var no *NotLeaderError
			if errors.As(err, &no) && errors.Is(barrier, ErrNotLeader) && no.Leader != "" && no.Leader != n.opts.RaftID {
				named++
				return true
			}
			return false
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
	if named == 0 {
		t.Fatal("each of the three led when it was asked: this proves nothing")
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
	if _, err := r.nodes["a"].Propose(gone, Meta{ID: "x"}, &AddCluster{Cluster: "gone"}); err != nil && !errors.Is(err, ErrUncertain) && !errors.Is(err, ErrNotLeader) {
		t.Fatalf("%v", err)
	}
}

func TestARemovedReplicaLeavesTheVoters(t *testing.T) {
	r := newTestRegion(t, nil)
	r.three()
	r.start("d", false)
	r.do(&AdmitReplica{replica("d", "west-d")})
	r.until("d is a standby", func() bool { l := r.leader(); return l != nil && len(l.Servers()) == 4 && r.voters(l) == 3 })
	lead, _ := r.mustLead()
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
	if err := n.raft.Apply(encoded, patience).Error(); err != nil { // as a newer leader would
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
