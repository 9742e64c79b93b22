package federation

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/federation/state"
	"github.com/federator/federator/identity"
	"github.com/federator/federator/peering/enroll"
	"github.com/federator/federator/peering/pb"
)

func (a *agent) federation(t *testing.T, to *agent) pb.FederationClient {
	t.Helper()
	c, err := a.peers.client(to.card.Replica)
	if err != nil {
		t.Fatal(err)
	}
	return pb.NewFederationClient(c)
}

func deadline(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

// A replica of one region acts for no other one.
func TestARegionsReplicaActsForNoOtherRegion(t *testing.T) {
	t.Parallel()
	west := initialise(t, "us-west", "a", "")
	eu := west.admit(t, "eu-central", "a", "")
	asia := west.admit(t, "asia-east", "a", "")
	eventually(t, patience, "us-west and asia-east hear eu-central", func() bool { return west.answers("eu-central") && asia.answers("eu-central") })
	ctx, c := deadline(t, patience), asia.federation(t, west)
	seedOf := func(a *agent) *pb.Replica {
		seed := enroll.ReplicaToWire(&a.card.Replica)
		seed.PublicKey = a.card.Replica.PublicKey
		return seed
	}
	before := west.regionRecord("asia-east").Epoch
	for name, try := range map[string]func() error{
		"a token of another region": func() error {
			_, err := c.AdmitReplica(ctx, &pb.AdmitReplicaRequest{Replica: seedOf(eu), IssuingRegion: "eu-central", TokenId: "x"})
			return err
		},
		"a founding on another region's token": func() error {
			_, err := c.RegisterRegion(ctx, &pb.RegisterRegionRequest{Region: "mars", Founder: seedOf(asia), IssuingRegion: "eu-central"})
			return err
		},
		"a seed of another region": func() error {
			_, err := c.NextEpoch(ctx, &pb.NextEpochRequest{Region: "asia-east", Epoch: 1, Founder: "f", Seed: seedOf(eu)})
			return err
		},
		"an epoch that wraps": func() error {
			_, err := c.NextEpoch(ctx, &pb.NextEpochRequest{Region: "asia-east", Epoch: 1<<64 - 1, Founder: "f", Seed: seedOf(asia)})
			return err
		},
		"removing a region that answers": func() error {
			_, err := c.RemoveRegion(ctx, &pb.RemoveRegionRequest{Region: "eu-central", Actor: "uid:0@a"})
			return err
		},
	} {
		err := try()
		code := status.Code(err)
		if strings.Contains(name, "token") && code != codes.PermissionDenied || code == codes.OK || code == codes.Internal || code == codes.Unavailable {
			t.Errorf("%s: expected a refusal, found %v", name, err)
		}
	}
	if r := west.regionRecord("eu-central"); r.Removed || west.regionRecord("asia-east").Epoch != before {
		t.Errorf("the registry changed: %+v", r)
	}
}

// A founding that is refused leaves nothing behind.
func TestAFoundingWithAnotherAuthorityKeyClaimsNoCluster(t *testing.T) {
	t.Parallel()
	west := initialise(t, "us-west", "a", "")
	key, err := identity.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	csr, err := identity.NewRequest(key, identity.ID{}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	founder := west.card.Replica
	founder.Cluster = "stolen"
	if _, err := west.registerRegion(deadline(t, patience), west.systemMeta(), founder, csr); err == nil {
		t.Error("us-west got another certificate authority")
	}
	if slices.Contains(west.regionRecord("us-west").Clusters, "stolen") {
		t.Error("the refused founding claimed its cluster")
	}
}

// A region can say of any key that it is its own: the revocation hits that region.
func TestARevocationHoldsForItsRegionAndIsMadeOnce(t *testing.T) {
	west := initialise(t, "us-west", "a", "")
	key := identity.KeyID{1}
	for range 2 {
		if err := west.revokeKey(deadline(t, patience), "us-west", key, "test", west.systemMeta()); err != nil {
			t.Fatal(err)
		}
	}
	var signed []byte
	west.node.Read(func(s *state.State) { signed, _ = s.Trust() })
	list, err := identity.ReadList(signed)
	if err != nil || len(list.Revoked) != 1 || list.Revoked[0].Region != "us-west" || list.Revoked[0].KeyID != key {
		t.Errorf("expected one revocation, for us-west; found %v %v", list.Revoked, err)
	}
}

// It is the record that is certified, not what a replica says of itself now.
func TestOnlyTheRecordedKeyIsCertified(t *testing.T) {
	west := initialise(t, "us-west", "a", "")
	csr, err := west.keys.source.Request(identity.ReplicaID("test.example", "us-west", "a"), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	self := west.card.Replica
	for name, other := range map[string]func(*catalog.Replica){
		"a name that nobody has": func(r *catalog.Replica) { r.Name = "ghost" },
		"another key":            func(r *catalog.Replica) { r.PublicKey = []byte("x") },
	} {
		r := self
		other(&r)
		if _, err := west.admitHere(deadline(t, patience), west.systemMeta(), r, csr); err == nil {
			t.Errorf("%s: a certificate was signed", name)
		}
	}
	if _, err := west.admitHere(deadline(t, patience), west.systemMeta(), self, csr); err != nil {
		t.Error(err)
	}
}

// A replica that was removed gets no certificate, proof or gossip key any more.
func TestARemovedReplicaIsAnsweredNothingThatMatters(t *testing.T) {
	west := initialise(t, "us-west", "a", "")
	b := west.admit(t, "us-west", "b", "")
	ctx := deadline(t, patience)
	if _, err := west.proposer.Propose(ctx, west.systemMeta(), &state.RemoveReplica{Name: "b"}); err != nil {
		t.Fatal(err)
	}
	c, err := b.peers.client(west.card.Replica)
	if err != nil {
		t.Fatal(err)
	}
	sign, prove := func() error {
		_, err := pb.NewSiblingsClient(c).Sign(ctx, &pb.SignRequest{})
		return err
	}, func() error {
		_, err := pb.NewSiblingsClient(c).Prove(ctx, &pb.ProveRequest{Nonce: make([]byte, 32)})
		return err
	}
	keyring := func() error {
		_, err := b.federation(t, west).GetKeyring(ctx, &pb.GetKeyringRequest{Recipients: []string{b.card.Replica.Recipient}})
		return err
	}
	for name, try := range map[string]func() error{"sign": sign, "prove": prove, "keyring": keyring} {
		if err := try(); status.Code(err) != codes.PermissionDenied {
			t.Errorf("%s: expected a refusal, found %v", name, err)
		}
	}
}

// Two replicas that take each other for the leader do not pass a call to and fro.
func TestACallThatWasForwardedIsNotForwardedAgain(t *testing.T) {
	t.Parallel()
	west := initialise(t, "us-west", "a", "")
	b := west.admit(t, "us-west", "b", "")
	eventually(t, patience, "b follows", func() bool { leader, ok := b.node.Leader(); return ok && leader == west.card.Replica.RaftID() })
	calls := 0
	call := func(context.Context, *grpc.ClientConn) (int, error) { calls++; return calls, nil }
	if _, err := forwardToLeader(context.Background(), b.Replica, call); err != nil || calls != 1 {
		t.Fatalf("the first replica did not forward: %v", err)
	}
	ctx := metadata.NewIncomingContext(context.Background(), metadata.Pairs(forwardedKey, "1"))
	if _, err := forwardToLeader(ctx, b.Replica, call); err == nil || calls != 1 {
		t.Error("a forwarded call was forwarded again")
	}
}

func TestTheNextTrustListIsBasedOnTheNewestWithAllRevocations(t *testing.T) {
	revoked := func(ids ...byte) (out []identity.Revocation) {
		for _, id := range ids {
			out = append(out, identity.Revocation{KeyID: identity.KeyID{id}, At: time.Unix(int64(id), 0)})
		}
		return out
	}
	asia := identity.ListedIntermediate{Region: "asia-east", Epoch: 1, KeyID: identity.KeyID{9}}
	restored := identity.List{Sequence: 2, Revoked: revoked(1, 2)}
	inForce := identity.List{Sequence: 5, Revoked: revoked(2, 3), Intermediates: []identity.ListedIntermediate{asia}}
	next := desiredList("test.example", newestList(restored, inForce), nil, time.Now())
	if next.Sequence != 6 || len(next.Revoked) != 3 {
		t.Errorf("expected sequence 6 and three revocations, found %d and %v", next.Sequence, next.Revoked)
	}
	if !slices.Contains(next.Intermediates, asia) {
		t.Error("a region that came after the backup is no longer trusted")
	}
	gone := desiredList("test.example", inForce, []*catalog.Region{{Name: "asia-east", Removed: true}}, time.Now())
	if slices.Contains(gone.Intermediates, asia) {
		t.Error("a removed region is still trusted")
	}
}

func TestObjectsThatSeveralRegionsHoldAreAdoptedOnceAndInPieces(t *testing.T) {
	object := func(name string, generation uint64, size int) catalog.Object {
		return catalog.Object{ObjectKey: catalog.ObjectKey{Kind: catalog.KindPolicy, Name: name}, Spec: make([]byte, size), Version: catalog.ObjectVersion{Generation: generation}}
	}
	got := newestObjects([]catalog.Object{object("x", 1, 1), object("y", 4, 1), object("x", 3, 1), object("x", 2, 1)})
	if len(got) != 2 || got[0].Version.Generation != 3 || got[1].Name != "y" {
		t.Errorf("expected x at 3 and y, found %v", got)
	}
	if n := len(firstObjects(make([]catalog.Object, state.MaxObjects+1))); n == 0 || n > state.MaxObjects {
		t.Errorf("a command of %d objects", n)
	}
	if n := len(firstObjects([]catalog.Object{object("x", 1, 900<<10), object("y", 1, 900<<10)})); n != 1 {
		t.Errorf("a command of %d large objects, expected 1", n)
	}
}
