package federation

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/federator/federator/federation/state"
)

// A replica that was removed must not decide for its region any more.
func TestARemovedReplicaProposesNothing(t *testing.T) {
	west := initialise(t, "us-west", "a", "")
	b := west.admit(t, "us-west", "b", "")
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if _, err := west.proposer.Propose(ctx, west.systemMeta(), &state.RemoveReplica{Name: "b"}); err != nil {
		t.Fatal(err)
	}
	env, err := state.NewEnvelope(state.Meta{ID: state.NewID(), Actor: "uid:0@a", Time: time.Now()}, &state.Audit{Action: "forged", Target: "x"})
	if err != nil {
		t.Fatal(err)
	}
	encoded, err := env.Encode()
	if err != nil {
		t.Fatal(err)
	}
	c, err := b.peers.client(west.card.Replica)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := reviewPropose(ctx, c, encoded)
	t.Log(answer, err)
	if err == nil && answer == "" {
		t.Error("a removed replica wrote an entry in an operator's name")
	}
}

// It must not write for its cluster either, and keep those from it that know better.
func TestAReplicaThatWasRemovedOrHasHaltedMayNotWriteForItsCluster(t *testing.T) {
	t.Parallel()
	west := initialise(t, "us-west", "a", "")
	b := west.admit(t, "us-west", "b", "")
	eventually(t, patience, "both may write", func() bool { return west.mayWrite() && b.mayWrite() })
	if _, err := west.proposer.Propose(deadline(t, patience), west.systemMeta(), &state.RemoveReplica{Name: "b"}); err != nil {
		t.Fatal(err)
	}
	eventually(t, patience, "the removed replica may not write", func() bool { return !b.mayWrite() })
	if !west.mayWrite() {
		t.Error("the other replica is a member: expected that it may write")
	}
	if halted := (&Replica{halted: errors.New("halted at log entry 7")}); halted.mayWrite() {
		t.Error("a replica that has halted: expected that it may not write")
	}
}
