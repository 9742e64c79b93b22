package federation

import (
	"bytes"
	"context"
	"os"
	"testing"
	"time"

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
	eventually(t, 10*time.Second, "founded", func() bool { return west.vault.keys().Version > 0 })
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
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
	eventually(t, 15*time.Second, "the new epoch, and the objects are no longer suspect", func() bool {
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
	eventually(t, 15*time.Second, "eu trusts", func() bool { return eu.importsKnown() })
	key, err := identity.NewSealKey()
	if err != nil {
		t.Fatal(err)
	}
	path := west.backup(t, key.Recipient())
	west.admit(t, "asia-east", "a", "") // after the backup
	time.Sleep(time.Second)
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
	eventually(t, 20*time.Second, "a new epoch", func() bool {
		again.node.Read(func(s *state.State) { about = s.About() })
		return about.Epoch > 1 && !about.NeedsEpoch
	})
	time.Sleep(8 * time.Second)
	var signed []byte
	again.node.Read(func(s *state.State) { signed, _ = s.Trust() })
	list, err := identity.ReadList(signed)
	t.Logf("held by eu before: sequence %d, %d intermediates, %d revoked; verifier of the restored: %d; published by the restored: sequence %d, %d intermediates, %d revoked %v",
		before.Sequence, len(before.Intermediates), len(before.Revoked), again.verifier.List().Sequence, list.Sequence, len(list.Intermediates), len(list.Revoked), err)
	t.Logf("eu now: sequence %d, of us-west %v", eu.verifier.List().Sequence, eu.catalog.Version("us-west"))
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	mars := place(t, "mars", "a")
	if _, err := Join(ctx, JoinOptions{Place: mars, Token: again.invite(t)}); err != nil {
		t.Error("join after the restore:", err)
	}
	again.node.Read(func(s *state.State) { signed, _ = s.Trust() })
	list, _ = identity.ReadList(signed)
	time.Sleep(3 * time.Second)
	t.Logf("after one more region: published %d with %d intermediates; eu is at %d with %d", list.Sequence, len(list.Intermediates), eu.verifier.List().Sequence, len(eu.verifier.List().Intermediates))
	if list.Sequence < before.Sequence {
		t.Error("the restored authority's list is older than what the others hold: they will refuse what it signs next")
	}
}
