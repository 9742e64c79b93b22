package federation

import (
	"context"
	"testing"
	"time"

	"github.com/federator/federator/federation/state"
)

// A replica that was removed must not decide for its region any more.
func TestARemovedReplicaProposesNothing(t *testing.T) {
	west := initialise(t, "us-west", "a", "")
	b := west.admit(t, "us-west", "b", "")
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Second)
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
