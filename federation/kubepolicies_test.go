package federation

import (
	"context"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/federation/state"
)

func TestThePoliciesOfAClusterThatIsNoMoreAreDeleted(t *testing.T) {
	a := initialise(t, "west", "west-0", "")
	ctx, cancel := context.WithTimeout(t.Context(), longest)
	defer cancel()
	mine := catalog.PolicyOrigin{Cluster: a.card.Replica.Cluster, Namespace: "shop", Name: "mine"}
	gone := catalog.PolicyOrigin{Cluster: "gone-1", Namespace: "shop", Name: "old"}
	policy := &catalog.ClusterPolicy{Service: "checkout", CreatedAt: time.Now()}
	for _, origin := range []catalog.PolicyOrigin{mine, gone} {
		if err := (intentions{a.Replica}).PutPolicy(ctx, origin, policy, catalog.ObjectVersion{}); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, patience, "both are known, and one is of no cluster of the region", func() bool {
		s := a.catalog.ClusterPolicies()
		return len(s) == 2 && s[0].PolicyOrigin == gone && s[0].Standing == catalog.StandsForeign && s[1].Standing == catalog.StandsInForce
	})
	if err := a.retirePolicies(ctx); err != nil {
		t.Fatal(err)
	}
	eventually(t, patience, "only that one is deleted", func() bool {
		s := a.catalog.ClusterPolicies()
		return len(s) == 1 && s[0].PolicyOrigin == mine
	})
}

func TestAPolicyIsWrittenInThePlaceOfTheVersionThatWasSeen(t *testing.T) {
	a := initialise(t, "west", "west-0", "")
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	origin := catalog.PolicyOrigin{Cluster: a.card.Replica.Cluster, Namespace: "shop", Name: "mine"}
	write := func(seen catalog.ObjectVersion, order ...string) error {
		return intentions{a.Replica}.PutPolicy(ctx, origin, &catalog.ClusterPolicy{Service: "checkout", CreatedAt: time.Now(), Policy: catalog.Policy{RegionOrder: order}}, seen)
	}
	held := func() (v catalog.ObjectVersion) {
		a.node.Read(func(s *state.State) {
			if o := s.Object(origin.Key()); o != nil {
				v = o.Version
			}
		})
		return v
	}
	if err := write(catalog.ObjectVersion{}, "one"); err != nil {
		t.Fatal(err)
	}
	first := held()
	if err := write(catalog.ObjectVersion{}, "by a writer that knows of none"); !errors.Is(err, state.ErrConflict) {
		t.Errorf("expected a conflict, found %v", err)
	}

	// The region was restored from a backup, and another still holds what it wrote last.
	spec, err := json.Marshal(catalog.ClusterPolicy{Service: "checkout", CreatedAt: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	last := catalog.Object{ObjectKey: origin.Key(), Spec: spec, Version: catalog.ObjectVersion{Generation: first.Generation + 6, HLC: first.HLC + 1, Region: "west"}, Actor: "test"}
	err = a.catalog.Reset(catalog.Snapshot{Region: "east", Version: catalog.Version{Epoch: 1, Seq: 1}, Records: []catalog.Record{{Object: &last}}}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	seen := catalog.ObjectVersion{}
	for _, o := range (intentions{a.Replica}).Policies() {
		seen = o.Version
	}
	if seen != last.Version {
		t.Fatalf("expected to see %v, found %v", last.Version, seen)
	}
	if err := write(seen, "two"); err != nil {
		t.Fatal(err)
	}
	if now := held(); now.Generation != last.Version.Generation+1 {
		t.Errorf("expected the write to follow %v, found %v", last.Version, now)
	}
}
