package state

import (
	"testing"
	"time"

	"github.com/federator/federator/federation/catalog"
)

func TestARestoredRegistryTakesOverWhatTheOthersHold(t *testing.T) {
	r := founded(t)
	r.ok(register("eu-central", "f1", "eu-1"))
	r.ok(register("asia-east", "f2", "asia-1"))
	if got := r.epochOf(&RegisterRegion{Region: "mars", Founder: "f3", Clusters: []string{"mars-1"}, Epoch: 7}); got != 7 {
		t.Errorf("a region that came after the backup has epoch %d, expected 7", got)
	}
	if got := r.epochOf(&RegisterRegion{Region: "mars", Founder: "f0", Epoch: 6}); got != 7 || r.s.Region("mars").Founder != "f3" {
		t.Errorf("an older record won: epoch %d", got)
	}
	r.ok(&RegisterRegion{Region: "eu-central", Founder: "f1", Clusters: []string{"eu-2", "asia-1"}, Epoch: 1})
	if got := r.s.Region("eu-central").Clusters; len(got) != 2 || got[1] != "eu-2" {
		t.Errorf("expected the clusters eu-1 and eu-2, found %v", got)
	}
	r.ok(&RegisterRegion{Region: "asia-east", Founder: "f2", Epoch: 1, Removed: true})
	r.ok(&RegisterRegion{Region: "asia-east", Founder: "f2", Clusters: []string{"asia-1"}, Epoch: 1})
	if got := r.s.Region("asia-east"); !got.Removed || len(got.Clusters) != 0 {
		t.Errorf("a removed region came back: %+v", got)
	}
	r.ok(&RegisterRegion{Region: "us-west", Founder: "thief", Epoch: 99})
	if got := r.s.Region("us-west"); !got.Authority || got.Epoch != 1 {
		t.Errorf("the authority region's own record was replaced: %+v", got)
	}
	r.refuse(&RegisterRegion{Region: "eu-central", Founder: "f", Epoch: MaxEpoch + 1}, ErrInvalid)
	r.refuse(&NextEpoch{Region: "eu-central", Founder: "f", Attempt: "x", AtLeast: MaxEpoch + 1}, ErrInvalid)
}

func TestATokenIsRetriedForTheSameReplicaOnly(t *testing.T) {
	r := withToken(t)
	b := replica("b", "west-2")
	r.ok(redeem("kb", &b))
	elsewhere, anew := b, b
	elsewhere.Cluster, anew.DiskID = "west-3", "another"
	r.refuse(redeem("kb", &elsewhere), ErrTokenUsed)
	r.refuse(redeem("kb", &anew), ErrTokenUsed)
	r.ok(redeem("kb", &b))
}

func TestATokenForAnotherRegionIsRetriedForAWhileOnly(t *testing.T) {
	r := withToken(t)
	r.ok(redeem("kb", nil))
	r.now = r.now.Add(retryElsewhere)
	r.ok(redeem("kb", nil))
	r.now = r.now.Add(time.Second)
	r.refuse(redeem("kb", nil), ErrTokenUsed)
}

func TestAReplicaKeepsTheKeyItWasAdmittedWith(t *testing.T) {
	r := founded(t)
	next := replica("a", "west-1")
	next.PublicKey, next.PeerAddress = []byte("key of another"), "127.0.0.1:9"
	r.ok(&UpdateReplica{next})
	if got := r.s.Replica("a"); string(got.PublicKey) != "key-a" || got.PeerAddress != "127.0.0.1:9" {
		t.Errorf("%+v", got)
	}
}

func TestTheObjectsOfAnOnlyRegionAreTrustedAfterARestore(t *testing.T) {
	r := founded(t)
	key := catalog.ObjectKey{Kind: catalog.KindPolicy, Name: "default"}
	r.ok(&PutObject{ObjectKey: key, Spec: []byte(`{}`)})
	r.s.about.ObjectsSuspect = true
	r.ok(&MergeObjects{Regions: []string{"us-west"}, Trusted: true})
	if r.s.about.ObjectsSuspect || r.s.Object(key) == nil {
		t.Errorf("suspect %v, object %v", r.s.about.ObjectsSuspect, r.s.Object(key))
	}
}
