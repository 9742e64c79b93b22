package catalog

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"
)

var t1 = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func aSet(cluster, service string, ids ...string) Record {
	set := &EndpointSet{SetKey: SetKey{Cluster: cluster, Service: ServiceName{Namespace: "n", Name: service}}}
	for _, id := range ids {
		set.Endpoints = append(set.Endpoints, Endpoint{ID: id, Weight: 1, Health: Healthy})
	}
	return Record{Set: set}
}

// write applies one change, or the first snapshot.
func write(t *testing.T, c *Catalog, region string, records ...Record) {
	t.Helper()
	v := c.Version(region)
	var err error
	if v.Seq++; v.Epoch == 0 {
		v.Epoch = 1
		err = c.Reset(Snapshot{Region: region, Version: v, Records: records}, t1)
	} else {
		err = c.Apply(Delta{Region: region, Version: v, Upserts: records}, t1)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// exported are the services that the index has of a cluster, and those a walk finds.
func exported(c *Catalog, region, cluster string) (index, walk []string) {
	for _, b := range c.Backends(region, cluster) {
		index = append(index, b.Set.Service.Name)
	}
	for _, s := range c.Services() {
		for _, b := range s.Backends {
			if b.Region == region && b.Set.Cluster == cluster {
				walk = append(walk, s.Name.Name)
			}
		}
	}
	slices.Sort(index)
	return index, walk
}

func TestTheIndexOfBackendsFollowsEveryChange(t *testing.T) {
	c := New("home", "home")
	registry := func(region string, clusters ...string) Record {
		return Record{Region: &Region{Name: region, Epoch: 1, Clusters: clusters}}
	}
	expect := func(step, region, cluster string, want ...string) {
		t.Helper()
		index, walk := exported(c, region, cluster)
		if !slices.Equal(index, want) || !slices.Equal(walk, want) {
			t.Errorf("%s: expected %v of %s, found %v by the index and %v by a walk", step, want, cluster, index, walk)
		}
	}
	write(t, c, "away", aSet("x", "a", "1"), aSet("x", "b", "1"), aSet("y", "a", "1"))
	expect("before the registry", "away", "x", "a", "b")
	write(t, c, "home", registry("home", "h"), registry("away", "x"))
	expect("the registry gives away x only", "away", "x", "a", "b")
	expect("the registry gives away x only", "away", "y")
	write(t, c, "home", registry("away", "x", "y"))
	expect("the registry gives away y too", "away", "y", "a")
	gone := aSet("x", "a")
	if err := c.Apply(Delta{Region: "away", Version: Version{Epoch: 1, Seq: 2}, Deletes: []RecordKey{gone.Key()}}, t1); err != nil {
		t.Fatal(err)
	}
	expect("a deleted set", "away", "x", "b")
	removed := registry("away", "x", "y")
	removed.Region.Removed = true
	write(t, c, "home", removed)
	expect("a removed region", "away", "x")
	c.Forget("away")
	if clusters := c.Exporting("away"); len(clusters) != 0 {
		t.Errorf("a forgotten region exports %v", clusters)
	}
}

func flipOf(service, endpoint string, v HealthVersion) HealthDelta {
	return HealthDelta{Cluster: "k", Changes: []HealthChange{
		{Service: ServiceName{Namespace: "n", Name: service}, Endpoint: endpoint, Health: Unhealthy, Version: v},
	}}
}

func TestAFlipOfAnEpochThatHasNotBegunBlocksNoOther(t *testing.T) {
	c := New("home", "home")
	write(t, c, "home", Record{Cluster: &Cluster{Name: "k"}}, aSet("k", "a", "e"))
	c.ApplyHealth(flipOf("a", "e", HealthVersion{Epoch: ^uint64(0), Term: 256, Seq: 1}), t1)
	if len(c.ApplyHealth(flipOf("a", "e", HealthVersion{Epoch: 1, Term: 256, Seq: 1}), t1)) != 1 {
		t.Error("a genuine flip is no news")
	}
}

func TestFlipsOfUnknownEndpointsNeitherCrowdOutGenuineOnesNorStay(t *testing.T) {
	c := New("home", "home")
	write(t, c, "home", Record{Cluster: &Cluster{Name: "k"}}, aSet("k", "a", "e"))
	version := HealthVersion{Epoch: 1, Term: 256}
	for i := range maxOverlay + 10 {
		version.Seq++
		c.ApplyHealth(flipOf("nobody", fmt.Sprint(i), version), t1)
	}
	if n := c.PendingCount("k"); n != maxOverlay {
		t.Errorf("expected %d changes of unknown endpoints, found %d", maxOverlay, n)
	}
	version.Seq++
	if len(c.ApplyHealth(flipOf("a", "e", version), t1)) != 1 {
		t.Error("there is no room for the flip of a known endpoint")
	}
	if v := c.NewestHealth("k"); v != version {
		t.Errorf("expected %s as the newest version, found %s", version, v)
	}
	c.Advance(t1.Add(HealthLapse))
	c.Advance(t1.Add(healthForgotten))
	if n := c.PendingCount("k"); n != 0 {
		t.Errorf("%d changes stay for ever", n)
	}
}

// Pod networks of clusters that are not one network are often the same.
func TestANetworkThatSeveralClustersAnnounceIsThatOfTheOwnRegion(t *testing.T) {
	shared := netip.MustParsePrefix("10.244.0.0/24")
	cluster := func(name, zone string) Record {
		return Record{Cluster: &Cluster{Name: name, Prefixes: []ClientPrefix{{Prefix: shared, Zone: zone}}}}
	}
	for range 20 { // maps have no order
		c := New("m", "elsewhere")
		write(t, c, "a", cluster("a-1", ""))
		write(t, c, "z", cluster("z-1", ""))
		if at := c.Conditions().Prefixes[shared]; at != (Locality{Region: "a"}) {
			t.Fatalf("placed in %v, expected the first region by name", at)
		}
		write(t, c, "m", cluster("m-1", "b"), cluster("m-2", "a"))
		cond := c.Conditions()
		if at := cond.Prefixes[shared]; at != (Locality{Region: "m", Zone: "a"}) {
			t.Fatalf("placed in %v, expected the own region, and its first zone", at)
		}
		if len(cond.Networks) != 4 || cond.Networks["z-1"][0].Prefix != shared || cond.Networks["m-1"][0].Zone != "b" {
			t.Fatalf("networks by cluster: %v", cond.Networks)
		}
	}
}
