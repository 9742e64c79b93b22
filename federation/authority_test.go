package federation

import (
	"context"
	"testing"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/identity"
	"github.com/federator/federator/peering/enroll"
	"github.com/federator/federator/peering/pb"
)

// What one region says holds for itself only.
func TestAReplicaOfOneRegionCannotTakeTheAuthorityOfAnother(t *testing.T) {
	west := initialise(t, "us-west", "a", "")
	eu := west.admit(t, "eu-central", "a", "")
	asia := west.admit(t, "asia-east", "a", "")
	eventually(t, patience, "asia knows eu", func() bool { return len(asia.replicasOf("eu-central")) > 0 && len(asia.replicasOf("us-west")) > 0 })
	victim := eu.card.Replica
	for _, r := range asia.replicasOf("eu-central") {
		victim = r // all of it public
	}
	victim.PublicKey = eu.card.Replica.PublicKey
	key, err := identity.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	csr, err := identity.NewRequest(key, identity.ID{}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	founder := enroll.ReplicaToWire(&victim)
	founder.PublicKey = victim.PublicKey
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c, err := asia.peers.client(west.card.Replica)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := pb.NewFederationClient(c).RegisterRegion(ctx, &pb.RegisterRegionRequest{Region: "eu-central", Cluster: victim.Cluster, Founder: founder, IntermediateCsr: csr, IssuingRegion: "asia-east", TokenId: "none"})
	if err == nil {
		t.Errorf("asia-east/a was given the authority of eu-central: certificate of %d bytes; eu-central's own is now distrusted: %v",
			len(answer.GetIntermediate()), eu.catalog.Version("us-west") != (catalog.Version{}))
	} else {
		t.Log("refused: ", err)
	}
	id := identity.SPKIKeyID(victim.PublicKey)
	if _, err := pb.NewFederationClient(c).Revoke(ctx, &pb.RevokeRequest{Region: "asia-east", Name: "x", Key: id.String(), Reason: "x"}); err == nil {
		t.Error("asia-east/a revoked the key of eu-central/a")
	} else {
		t.Log("refused: ", err)
	}
}
