package federation

import (
	"bytes"
	"os"
	"slices"
	"testing"

	"github.com/federator/federator/federation/state"
	"github.com/federator/federator/identity"
)

// An authority region that is restored from before a region came, and a key was
// revoked, forgets neither, and issues no epoch twice from one backup.
func TestARestoredAuthorityForgetsNothingThatTheOthersKnow(t *testing.T) {
	west := initialise(t, "us-west", "a", "")
	eu := west.admit(t, "eu-central", "a", "")
	eventually(t, patience, "eu trusts", func() bool { return eu.importsKnown() })
	key, err := identity.NewSealKey()
	if err != nil {
		t.Fatal(err)
	}
	backup, err := os.ReadFile(west.backup(t, key.Recipient()))
	if err != nil {
		t.Fatal(err)
	}
	west.admit(t, "asia-east", "a", "") // after the backup
	stolen := identity.KeyID{1}
	if err := west.revokeKey(deadline(t, patience), "eu-central", stolen, "test", west.systemMeta()); err != nil {
		t.Fatal(err)
	}
	eventually(t, patience, "eu knows both", func() bool {
		return len(eu.verifier.List().Revoked) == 1 && len(eu.registry()) == 3
	})
	for epoch := uint64(2); epoch <= 3; epoch++ { // twice from the same backup
		_ = west.stop()
		p := place(t, "us-west", "a")
		p.PeerAddress, p.GossipAddress = west.card.Replica.PeerAddress, west.card.Replica.GossipAddress
		if _, err := Restore(RestoreOptions{Place: p, Archive: bytes.NewReader(backup), Key: key.Secret()}); err != nil {
			t.Fatal(err)
		}
		west = start(t, p, "")
		eventually(t, patience, "eu takes the new epoch", func() bool { return eu.catalog.Version("us-west").Epoch == epoch })
		if asia := west.regionRecord("asia-east"); asia == nil || asia.Removed || !slices.Contains(asia.Clusters, "asia-east-1") {
			t.Errorf("asia-east is not entered again: %+v", asia)
		}
		eventually(t, patience, "the list in force is that of the others, or newer", func() bool {
			var signed []byte
			west.node.Read(func(s *state.State) { signed, _ = s.Trust() })
			list, err := identity.ReadList(signed)
			return err == nil && list.Sequence >= eu.verifier.List().Sequence && len(list.Intermediates) == 3 && len(list.Revoked) == 1
		})
	}
}
