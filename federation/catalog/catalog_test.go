package catalog

import (
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

var (
	t0       = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	checkout = ServiceName{"shop", "checkout"}
)

func set(cluster string, ids ...string) *EndpointSet {
	s := &EndpointSet{
		SetKey:    SetKey{cluster, checkout},
		Ports:     []Port{{Name: "http", Protocol: TCP, Number: 80}},
		CreatedAt: t0,
	}
	for i, id := range ids {
		s.Endpoints = append(s.Endpoints, Endpoint{ID: id, Address: netip.AddrFrom4([4]byte{10, 0, 0, byte(i + 1)}), Weight: 1, Health: Healthy})
	}
	return s
}

func west(c *Catalog, seq uint64, records ...Record) error {
	return c.Reset(Snapshot{Region: "west", Version: Version{1, seq}, Records: records}, t0)
}

func healthOf(c *Catalog) []Health {
	s := c.Service(checkout)
	if s == nil {
		return nil
	}
	var out []Health
	for _, b := range s.Backends {
		out = append(out, b.Health...)
	}
	return out
}

func flip(id string, h Health, seq uint64) HealthDelta {
	return HealthDelta{Cluster: "w1", Changes: []HealthChange{{Service: checkout, Endpoint: id, Health: h, Version: HealthVersion{1, 256, seq}}}}
}

func TestADeltaThatLeavesAGapChangesNothing(t *testing.T) {
	c := New("west", "west")
	if err := west(c, 5, Record{Set: set("w1", "a")}); err != nil {
		t.Fatal(err)
	}
	err := c.Apply(Delta{Region: "west", Version: Version{1, 7}, Deletes: []RecordKey{"set/w1/shop/checkout"}}, t0)
	if !errors.Is(err, ErrGap) {
		t.Fatalf("expected ErrGap, found %v", err)
	}
	if c.Service(checkout) == nil || c.Version("west") != (Version{1, 5}) {
		t.Fatal("a refused delta must not change the view")
	}
}

func TestAHigherEpochTakesEffectOnlyWithItsSnapshot(t *testing.T) {
	c := New("west", "west")
	_ = west(c, 5, Record{Set: set("w1", "a")})
	if err := c.Apply(Delta{Region: "west", Version: Version{2, 6}}, t0); !errors.Is(err, ErrGap) {
		t.Fatalf("expected ErrGap, found %v", err)
	}
	if err := c.Reset(Snapshot{Region: "west", Version: Version{2, 1}}, t0); err != nil {
		t.Fatal(err)
	}
	if c.Service(checkout) != nil {
		t.Fatal("the snapshot of the new epoch holds no service, the view still does")
	}
	_ = west(c, 99, Record{Set: set("w1", "a")})
	if c.Service(checkout) != nil {
		t.Fatal("a snapshot of an older epoch must be ignored")
	}
}

func TestGossipedHealthLapsesUnlessConfirmed(t *testing.T) {
	c := New("east", "east")
	_ = west(c, 1, Record{Cluster: &Cluster{Name: "w1"}}, Record{Set: set("w1", "a", "b")})
	if n := len(c.ApplyHealth(flip("a", Unhealthy, 1), t0)); n != 1 {
		t.Fatalf("expected one fresh change, found %d", n)
	}
	if diff := cmp.Diff([]Health{Unhealthy, Healthy}, healthOf(c)); diff != "" {
		t.Fatal(diff)
	}
	c.Advance(t0.Add(HealthLapse - 1))
	if healthOf(c)[0] != Unhealthy {
		t.Fatal("lapsed too early")
	}
	c.Advance(t0.Add(HealthLapse))
	if healthOf(c)[0] != Healthy {
		t.Fatal("an unconfirmed change must lapse")
	}
	if n := len(c.ApplyHealth(flip("a", Unhealthy, 1), t0.Add(HealthLapse))); n != 0 {
		t.Fatal("a late copy of a lapsed change must not count again")
	}
	_ = c.Apply(Delta{Region: "west", Version: Version{1, 2}, Upserts: []Record{
		{Cluster: &Cluster{Name: "w1", Confirmed: HealthVersion{1, 256, 1}}},
		{Health: &HealthTable{SetKey: SetKey{"w1", checkout}, Health: map[string]Health{"a": Unhealthy}}},
	}}, t0)
	if healthOf(c)[0] != Unhealthy || len(c.PendingHealth("w1")) != 0 {
		t.Fatal("a confirmed change must count and no longer be pending")
	}
}

func TestARegionCannotWriteAClusterItDoesNotOwn(t *testing.T) {
	c := New("east", "west")
	_ = west(c, 1,
		Record{Region: &Region{Name: "west", Epoch: 1, Clusters: []string{"w1"}, Authority: true}},
		Record{Region: &Region{Name: "south", Epoch: 1, Clusters: []string{"s1"}}},
		Record{Set: set("w1", "a")})
	_ = c.Reset(Snapshot{Region: "south", Version: Version{1, 1}, Records: []Record{{Set: set("w1", "evil")}, {Set: set("s1", "b")}}}, t0)
	s := c.Service(checkout)
	if len(s.Backends) != 2 || s.Backends[0].Region != "south" || s.Backends[0].Set.Cluster != "s1" || s.Backends[1].Set.Endpoints[0].ID != "a" {
		t.Fatalf("south must only write s1, found %+v", s.Backends)
	}
}

func TestARemovedEpochServesNobodyElse(t *testing.T) {
	c := New("east", "west")
	_ = west(c, 1, Record{Region: &Region{Name: "south", Epoch: 3, Clusters: []string{"s1"}}})
	_ = c.Reset(Snapshot{Region: "south", Version: Version{3, 1}, Records: []Record{{Set: set("s1", "b")}}}, t0)
	if c.Service(checkout) == nil {
		t.Fatal("south is a member")
	}
	_ = c.Apply(Delta{Region: "west", Version: Version{1, 2}, Upserts: []Record{{Region: &Region{Name: "south", Epoch: 3, Clusters: []string{"s1"}, Removed: true}}}}, t0)
	if c.Service(checkout) != nil {
		t.Fatal("a removed region's endpoints must leave the view")
	}
}

func TestTheOldestExportWinsAConflict(t *testing.T) {
	old, young := set("w1", "a"), set("w2", "b")
	young.CreatedAt = t0.Add(time.Hour)
	young.Headless = true
	old.AffinitySeconds = 60
	young.Ports = []Port{{Name: "http", Protocol: TCP, Number: 8080}, {Name: "metrics", Protocol: TCP, Number: 9090}}
	c := New("east", "east")
	_ = west(c, 1, Record{Set: young}, Record{Set: old})
	s := c.Service(checkout)
	want := []Port{{Name: "http", Protocol: TCP, Number: 80}, {Name: "metrics", Protocol: TCP, Number: 9090}}
	if diff := cmp.Diff(want, s.Ports); diff != "" {
		t.Fatal(diff)
	}
	var reasons []ConflictReason
	for _, c := range s.Conflicts {
		if c.Cluster != young.Cluster || c.Message == "" {
			t.Errorf("expected a conflict of cluster %s, found %+v", young.Cluster, c)
		}
		reasons = append(reasons, c.Reason)
	}
	if diff := cmp.Diff([]ConflictReason{TypeConflict, SessionAffinityConflict, PortConflict}, reasons); s.Headless || s.AffinitySeconds != 60 || diff != "" {
		t.Fatalf("expected a ClusterSetIP service with affinity of 60 s, found headless=%v and %d; conflicts: %s", s.Headless, s.AffinitySeconds, diff)
	}
}

func TestWhatAPortSpeaksIsTheOldestExportsToSay(t *testing.T) {
	old, young := set("w1", "a"), set("w2", "b")
	young.CreatedAt = t0.Add(time.Hour)
	old.Ports = []Port{{Name: "http", Protocol: TCP, Number: 80, AppProtocol: "http"}}
	young.Ports = []Port{{Name: "http", Protocol: TCP, Number: 80, AppProtocol: "kubernetes.io/h2c"}}
	c := New("east", "east")
	_ = west(c, 1, Record{Set: young}, Record{Set: old})
	s := c.Service(checkout)
	if diff := cmp.Diff(old.Ports, s.Ports); diff != "" || len(s.Conflicts) != 1 || s.Conflicts[0].Reason != PortConflict {
		t.Errorf("expected the older export's port and a conflict over it, found %+v: %s", s.Conflicts, diff)
	}
}

func TestAnEvacuationEndsEvenIfItsClockIsAhead(t *testing.T) {
	c := New("east", "east")
	o := &Object{ObjectKey: ObjectKey{KindEvacuation, "west"}, Version: ObjectVersion{1, 1, "west"},
		Spec: []byte(`{"region":"west","started":"2026-01-01T01:00:00Z","duration":"10m"}`)}
	_ = west(c, 1, Record{Object: o})
	if _, on := c.Conditions().Evacuations["west"]; !on {
		t.Fatal("the evacuation is in force")
	}
	c.Advance(t0.Add(10 * time.Minute))
	if _, on := c.Conditions().Evacuations["west"]; on {
		t.Fatal("the evacuation must end 10 minutes after it was learned")
	}
}

func TestAWatchNamesWhatChangedAndMissesNothing(t *testing.T) {
	c := New("west", "west")
	w := c.Watch()
	defer w.Close()
	<-w.Changed()
	if !w.Take().All {
		t.Fatal("a new watch must report everything")
	}
	_ = west(c, 1, Record{Set: set("w1", "a")})
	<-w.Changed()
	if diff := cmp.Diff([]ServiceName{checkout}, w.Take().Services); diff != "" {
		t.Fatal(diff)
	}
}

// history is what a region did, and what of it a reader happens to receive.
type history struct {
	snapshots []Snapshot
	deltas    []Delta
	health    []HealthDelta
}

// drawHistory makes up a region's life: sets come and go, endpoints flip, flips
// are folded, an epoch may change.
func drawHistory(t *rapid.T) history {
	var h history
	source := New("west", "west")
	v, hv := Version{1, 0}, HealthVersion{1, 256, 0}
	records := []Record{{Cluster: &Cluster{Name: "w1"}}}
	tables := map[string]Health{}
	if err := source.Reset(Snapshot{Region: "west", Version: Version{1, 1}, Records: records}, t0); err != nil {
		t.Fatal(err)
	}
	v.Seq = 1
	snap := func() { s, _ := source.Snapshot("west"); h.snapshots = append(h.snapshots, s) }
	snap()
	for range rapid.IntRange(1, 30).Draw(t, "steps") {
		v.Seq++
		d := Delta{Region: "west", Version: v}
		switch rapid.IntRange(0, 3).Draw(t, "step") {
		case 0:
			d.Upserts = []Record{{Set: set("w1", rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"a", "b", "c"}), 1, 3, rapid.ID).Draw(t, "ids")...)}}
		case 1:
			hv.Seq++
			id, to := rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "id"), rapid.SampledFrom([]Health{Healthy, Unhealthy}).Draw(t, "health")
			tables[id] = to
			h.health = append(h.health, HealthDelta{Cluster: "w1", Changes: []HealthChange{{checkout, id, to, hv}}})
			v.Seq--
			continue
		case 2:
			d.Deletes = []RecordKey{"set/w1/shop/checkout"}
		case 3:
			folded := map[string]Health{}
			for id, to := range tables {
				folded[id] = to
			}
			d.Upserts = []Record{{Cluster: &Cluster{Name: "w1", Confirmed: hv}}, {Health: &HealthTable{SetKey: SetKey{"w1", checkout}, Health: folded}}}
		}
		h.deltas = append(h.deltas, d)
		if err := source.Apply(d, t0); err != nil {
			t.Fatal(err)
		}
		if rapid.Bool().Draw(t, "snapshot") {
			snap()
		}
	}
	snap()
	return h
}

func TestAnyOrderLossAndRepetitionConverges(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := drawHistory(t)
		last := h.snapshots[len(h.snapshots)-1]
		reference := New("east", "east")
		_ = reference.Reset(last, t0)
		for _, d := range h.health {
			reference.ApplyHealth(d, t0)
		}
		c := New("east", "east")
		for range rapid.IntRange(0, 60).Draw(t, "messages") {
			switch rapid.IntRange(0, 2).Draw(t, "kind") {
			case 0:
				_ = c.Reset(rapid.SampledFrom(h.snapshots).Draw(t, "snapshot"), t0)
			case 1:
				if len(h.deltas) > 0 {
					_ = c.Apply(rapid.SampledFrom(h.deltas).Draw(t, "delta"), t0)
				}
			case 2:
				if len(h.health) > 0 {
					c.ApplyHealth(rapid.SampledFrom(h.health).Draw(t, "health"), t0)
				}
			}
		}
		// What the real paths end with: the stream is complete, and anti-entropy
		// brings the flips that are still pending at the owner.
		_ = c.Reset(last, t0)
		for _, i := range rapid.Permutation(indexes(len(h.health))).Draw(t, "order") {
			c.ApplyHealth(h.health[i], t0)
		}
		if diff := cmp.Diff(fmt.Sprint(reference.Service(checkout)), fmt.Sprint(c.Service(checkout))); diff != "" {
			t.Fatalf("views differ:\n%s", diff)
		}
		if diff := cmp.Diff(healthOf(reference), healthOf(c)); diff != "" {
			t.Fatalf("health differs:\n%s", diff)
		}
		if diff := cmp.Diff(reference.Conditions().Localities, c.Conditions().Localities, cmp.AllowUnexported()); diff != "" {
			t.Fatalf("localities differ:\n%s", diff)
		}
		if diff := cmp.Diff(reference.HealthDigests(), c.HealthDigests()); diff != "" {
			t.Fatalf("digests differ:\n%s", diff)
		}
	})
}

func indexes(n int) []int {
	out := make([]int, n)
	for i := range out {
		out[i] = i
	}
	return out
}
