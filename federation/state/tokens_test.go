package state

import (
	"bytes"
	"testing"
	"time"

	"github.com/federator/federator/federation/catalog"
)

func withToken(t *testing.T) *rig {
	r := founded(t)
	r.ok(&CreateToken{ID: "t1", Hash: sum("secret"), Purpose: "join", Expires: epoch0.Add(time.Hour)})
	return r
}

func redeem(key string, r *catalog.Replica) *RedeemToken {
	out := &RedeemToken{ID: "t1", SecretHash: sum("secret"), CSRKey: sum(key), Purpose: "join"}
	if r != nil {
		out.Admit = &AdmitReplica{*r}
	}
	return out
}

func TestATokenIsUsedOnceAndRetriedFreely(t *testing.T) {
	r := withToken(t)
	b := replica("b", "west-2")
	first, delta := r.ok(redeem("kb", &b))
	if delta == nil || r.s.Replica("b") == nil {
		t.Fatal("the replica was not admitted in the same step")
	}
	r.now = r.now.Add(2 * time.Hour) // a slow retry, past the expiry
	again, delta := r.ok(redeem("kb", &b))
	if delta != nil || !bytes.Equal(first.Value, again.Value) {
		t.Fatal("a retry by the same key is not idempotent")
	}
	c := replica("c", "west-2")
	r.refuse(redeem("kc", &c), ErrTokenUsed)
	r.ok(&RemoveReplica{Name: "b"})
	r.refuse(redeem("kb", &b), ErrTokenUsed)
}

func TestBadTokensChangeNothing(t *testing.T) {
	r := withToken(t)
	taken, free := replica("a", "west-1"), replica("b", "west-1")
	taken.PublicKey = []byte("another")
	wrong, unknown, purpose := redeem("k", &free), redeem("k", &free), redeem("k", &free)
	wrong.SecretHash, unknown.ID, purpose.Purpose = sum("guess"), "t2", "operator"
	r.refuse(wrong, ErrTokenUnknown)
	r.refuse(unknown, ErrTokenUnknown)
	r.refuse(purpose, ErrTokenPurpose)
	r.refuse(redeem("k", &taken), ErrNameTaken)
	if token, _ := r.s.Token("t1"); token.Redeemed != nil {
		t.Fatal("a refused join consumed the token")
	}
	r.now = epoch0.Add(time.Hour)
	r.refuse(redeem("k", &free), ErrTokenExpired)
	r.ok(&RevokeToken{ID: "t1"})
	r.refuse(redeem("k", &free), ErrTokenUnknown)
	r.refuse(&RevokeToken{ID: "t1"}, ErrTokenUnknown)
	r.refuse(&CreateToken{ID: "t3", Hash: sum("x"), Purpose: "join", Expires: epoch0}, ErrInvalid)
}

func TestAnUnknownTokenIsNotAnEmptySecret(t *testing.T) {
	r := withToken(t)
	r.refuse(&RedeemToken{ID: "none", SecretHash: sum(""), CSRKey: sum("k"), Purpose: ""}, ErrTokenUnknown)
}

func TestLongExpiredTokensMakeRoom(t *testing.T) {
	r := withToken(t)
	r.now = epoch0.Add(time.Hour + tokenMemory + time.Second)
	r.ok(&CreateToken{ID: "t2", Hash: sum("x"), Purpose: "join", Expires: r.now.Add(time.Hour)})
	if got := r.s.Tokens(); len(got) != 1 || got[0].ID != "t2" {
		t.Fatalf("%+v", got)
	}
}

func TestATokenFoundsARegionInOneStep(t *testing.T) {
	r := withToken(t)
	cmd := redeem("k", nil)
	cmd.Register = &RegisterRegion{Region: "eu-central", Founder: "f1", Clusters: []string{"west-1"}}
	r.refuse(cmd, ErrClusterTaken)
	cmd.Register.Clusters = []string{"eu-1"}
	result, _ := r.ok(cmd)
	got, err := Value[Redemption](result)
	if err != nil || got.Epoch != 1 || r.s.Region("eu-central") == nil {
		t.Fatalf("%+v %v", got, err)
	}
}

func register(name, founder string, clusters ...string) *RegisterRegion {
	return &RegisterRegion{Region: name, Founder: founder, Clusters: clusters}
}

func (r *rig) epochOf(cmd Command) uint64 {
	r.t.Helper()
	result, _ := r.ok(cmd)
	issued, err := Value[Issued](result)
	if err != nil {
		r.t.Fatalf("%v", err)
	}
	return issued.Epoch
}

func TestTheRegistryIssuesEpochsThatNeverRepeat(t *testing.T) {
	r := founded(t)
	if got := r.epochOf(register("eu-central", "f1", "eu-1")); got != 1 {
		t.Fatalf("first epoch %d", got)
	}
	if got := r.epochOf(register("eu-central", "f1", "eu-1")); got != 1 {
		t.Fatalf("the same founder got %d", got)
	}
	r.refuse(register("eu-central", "f2"), ErrRegionTaken)
	r.refuse(register("asia-east", "f3", "eu-1"), ErrClusterTaken)
	next := &NextEpoch{Region: "eu-central", Founder: "f4", Attempt: "try-1"}
	if a, b := r.epochOf(next), r.epochOf(next); a != 2 || b != 2 {
		t.Fatalf("one attempt got %d and %d", a, b)
	}
	r.ok(&RemoveRegion{Region: "eu-central"})
	r.refuse(next, ErrRegionRemoved)
	r.refuse(&ClaimCluster{Region: "eu-central", Cluster: "eu-9"}, ErrRegionRemoved)
	if !r.s.RegionRemoved("eu-central", 2) || r.s.RegionRemoved("eu-central", 3) {
		t.Fatal("the removed epoch is not remembered")
	}
	r.epochOf(register("asia-east", "f3", "eu-1")) // its clusters are free
	if got := r.epochOf(register("eu-central", "f2")); got != 3 {
		t.Fatalf("after removal epoch %d", got)
	}
	if !r.s.RegionRemoved("eu-central", 2) {
		t.Fatal("a removed epoch was forgotten")
	}
	if got := r.epochOf(&NextEpoch{Region: "us-west", Founder: "f", Attempt: "x", AtLeast: 9}); got != 9 {
		t.Fatalf("epoch %d", got)
	}
	r.refuse(&RemoveRegion{Region: "us-west"}, ErrInvalid)
}

func TestOnlyTheAuthorityRegionKeepsTheRegistry(t *testing.T) {
	r := newRig(t)
	f := foundUSWest()
	f.Authority = false
	r.ok(f)
	for _, cmd := range []Command{
		register("eu-central", "f"), &ClaimCluster{Region: "us-west", Cluster: "x"}, &RemoveRegion{Region: "us-west"},
		&NextEpoch{Region: "us-west", Founder: "f", Attempt: "x"}, &PutTrust{List: []byte("t")}, &SetIntermediate{Region: "us-west"},
	} {
		r.refuse(cmd, ErrNotAuthority)
	}
}

func TestTheTrustListIsComparedAndSet(t *testing.T) {
	r := founded(t)
	r.ok(&PutTrust{List: []byte("one"), Expect: ptr(uint64(0))})
	r.refuse(&PutTrust{List: []byte("two"), Expect: ptr(uint64(0))}, ErrConflict)
	r.ok(&PutTrust{List: []byte("two"), Expect: ptr(uint64(1))})
	if list, gen := r.s.Trust(); string(list) != "two" || gen != 2 {
		t.Fatalf("%q %d", list, gen)
	}
	r.ok(&SetIntermediate{Region: "us-west", Intermediate: []byte("der")})
	if string(r.s.Region("us-west").Intermediate) != "der" {
		t.Fatal("no intermediate")
	}
}
