package federation

import (
	"bytes"
	"context"
	"os"
	"testing"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/federation/state"
	"github.com/federator/federator/identity"
)

// A federation of one region that is recovered keeps its policies and operators.
func TestARecoveredOnlyRegionKeepsItsObjects(t *testing.T) {
	p := place(t, "us-west", "a")
	if _, err := Init(InitOptions{Place: p, TrustDomain: "test.example"}); err != nil {
		t.Fatal(err)
	}
	west := start(t, p, "")
	eventually(t, patience, "founded", func() bool { return west.vault.keys().Version > 0 })
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	key := catalog.ObjectKey{Kind: catalog.KindPolicy, Name: "default"}
	if _, err := west.proposer.Propose(ctx, west.systemMeta(), &state.PutObject{ObjectKey: key, Spec: []byte(`{"panicThresholdPercent":0}`)}); err != nil {
		t.Fatal(err)
	}
	_ = west.stop()
	if _, err := RecoverRegion(p.DataDir); err != nil {
		t.Fatal(err)
	}
	west = start(t, p, "")
	var about state.About
	eventually(t, patience, "the new epoch, and the objects are no longer suspect", func() bool {
		west.node.Read(func(s *state.State) { about = s.About() })
		return about.Epoch > 1 && !about.NeedsEpoch && !about.ObjectsSuspect
	})
	var o *catalog.Object
	west.node.Read(func(s *state.State) { o = s.Object(key) })
	if o == nil {
		t.Error("the policy is gone after the recovery")
	}
}

// An authority region that is restored must not fall behind the list that others hold.
func TestARestoredAuthorityPublishesATrustListThatOthersTake(t *testing.T) {
	t.Parallel()
	west := initialise(t, "us-west", "a", "")
	eu := west.admit(t, "eu-central", "a", "")
	eventually(t, patience, "eu trusts", func() bool { return eu.importsKnown() })
	key, err := identity.NewSealKey()
	if err != nil {
		t.Fatal(err)
	}
	path := west.backup(t, key.Recipient())
	west.admit(t, "asia-east", "a", "") // after the backup
	eventually(t, patience, "eu trusts asia-east", func() bool { return len(eu.verifier.List().Intermediates) == 3 })
	before := eu.verifier.List()
	_ = west.stop()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	p := place(t, "us-west", "a")
	p.PeerAddress, p.GossipAddress = west.card.Replica.PeerAddress, west.card.Replica.GossipAddress
	if _, err := Restore(RestoreOptions{Place: p, Archive: bytes.NewReader(b), Key: key.Secret()}); err != nil {
		t.Fatal(err)
	}
	again := start(t, p, "")
	var about state.About
	eventually(t, patience, "a new epoch", func() bool {
		again.node.Read(func(s *state.State) { about = s.About() })
		return about.Epoch > 1 && !about.NeedsEpoch
	})
	published := func() (list identity.List) {
		var signed []byte
		again.node.Read(func(s *state.State) { signed, _ = s.Trust() })
		list, _ = identity.ReadList(signed)
		return list
	}
	eventually(t, patience, "its list is not older than what the others hold, who would refuse what it signs next", func() bool {
		return published().Sequence >= before.Sequence
	})
	again.join(t, place(t, "mars", "a"))
	eventually(t, patience, "eu takes the list with one more region", func() bool {
		list := eu.verifier.List()
		return len(list.Intermediates) == 4 && list.Sequence > before.Sequence
	})
}
