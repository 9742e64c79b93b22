package source

import (
	"net/netip"
	"reflect"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/federator/federator/federation/catalog"
)

var (
	epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	later = epoch.Add(time.Hour)
)

func set(name string, addresses ...string) catalog.EndpointSet {
	s := catalog.EndpointSet{
		SetKey: catalog.SetKey{Cluster: "west-1", Service: catalog.ServiceName{Namespace: "shop", Name: name}},
		Source: "file",
		Ports:  []catalog.Port{{Name: "http", Protocol: catalog.TCP, Number: 80}},
	}
	for _, a := range addresses {
		s.Endpoints = append(s.Endpoints, catalog.Endpoint{ID: a, Address: netip.MustParseAddr(a), Weight: 1})
	}
	return s
}

func createdAt(s catalog.EndpointSet, t time.Time) catalog.EndpointSet {
	s.CreatedAt = t
	return s
}

func TestDiffWritesOnlyWhatChanged(t *testing.T) {
	old := []catalog.EndpointSet{
		createdAt(set("kept", "10.0.0.1"), epoch),
		createdAt(set("edited", "10.0.0.2"), epoch),
		createdAt(set("gone", "10.0.0.3"), epoch),
	}
	got := Diff(old, []catalog.EndpointSet{
		set("new", "10.0.0.4"), set("kept", "10.0.0.1"), set("edited", "10.0.0.2", "10.0.0.5"),
	}, later)
	want := Changes{
		Upserts: []catalog.EndpointSet{
			createdAt(set("edited", "10.0.0.2", "10.0.0.5"), epoch),
			createdAt(set("new", "10.0.0.4"), later),
		},
		Deletes: []catalog.SetKey{old[2].SetKey},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
}

func TestDiffKeepsTheAgeThatASourceKnows(t *testing.T) {
	old := []catalog.EndpointSet{createdAt(set("a", "10.0.0.1"), epoch)}
	got := Diff(old, []catalog.EndpointSet{createdAt(set("a", "10.0.0.1"), later)}, later)
	if len(got.Upserts) != 1 || !got.Upserts[0].CreatedAt.Equal(later) {
		t.Errorf("got %+v, want one upsert created at %v", got, later)
	}
}

func TestDiffSeesAChangeOfAnyField(t *testing.T) {
	base := func() catalog.EndpointSet {
		s := createdAt(set("a", "10.0.0.1"), epoch)
		s.Check = &catalog.Check{Kind: catalog.CheckTCP, Interval: time.Second}
		s.Endpoints[0].Ports = map[string]uint16{"http": 81}
		return s
	}
	edits := map[string]func(*catalog.EndpointSet){
		"source":        func(s *catalog.EndpointSet) { s.Source = "api" },
		"headless":      func(s *catalog.EndpointSet) { s.Headless = true },
		"port":          func(s *catalog.EndpointSet) { s.Ports[0].Number = 81 },
		"affinity":      func(s *catalog.EndpointSet) { s.AffinitySeconds = 60 },
		"properties":    func(s *catalog.EndpointSet) { s.Properties = &catalog.Properties{NodeLocal: true} },
		"label":         func(s *catalog.EndpointSet) { s.Properties = &catalog.Properties{Labels: map[string]string{"a": "b"}} },
		"check":         func(s *catalog.EndpointSet) { s.Check.Interval = time.Minute },
		"no check":      func(s *catalog.EndpointSet) { s.Check = nil },
		"id":            func(s *catalog.EndpointSet) { s.Endpoints[0].ID = "x" },
		"address":       func(s *catalog.EndpointSet) { s.Endpoints[0].Address = netip.MustParseAddr("10.9.9.9") },
		"zone":          func(s *catalog.EndpointSet) { s.Endpoints[0].Zone = "b" },
		"hostname":      func(s *catalog.EndpointSet) { s.Endpoints[0].Hostname = "h" },
		"weight":        func(s *catalog.EndpointSet) { s.Endpoints[0].Weight = 2 },
		"health":        func(s *catalog.EndpointSet) { s.Endpoints[0].Health = catalog.Draining },
		"port override": func(s *catalog.EndpointSet) { s.Endpoints[0].Ports["http"] = 82 },
		"no override":   func(s *catalog.EndpointSet) { s.Endpoints[0].Ports = nil },
	}
	if d := Diff([]catalog.EndpointSet{base()}, []catalog.EndpointSet{base()}, later); !d.Empty() {
		t.Errorf("equal sets differ: %+v", d)
	}
	for name, edit := range edits {
		t.Run(name, func(t *testing.T) {
			changed := base()
			edit(&changed)
			d := Diff([]catalog.EndpointSet{base()}, []catalog.EndpointSet{changed}, later)
			if len(d.Upserts) != 1 || len(d.Deletes) != 0 {
				t.Errorf("got %+v, want one upsert", d)
			}
		})
	}
}

func TestAChangeOfHealthAloneIsToldFromEverythingElse(t *testing.T) {
	base, flipped, moved := set("a", "10.0.0.1", "10.0.0.2"), set("a", "10.0.0.1", "10.0.0.2"), set("a", "10.0.0.1", "10.0.0.3")
	flipped.Endpoints[1].Health, moved.Endpoints[0].Health = catalog.Draining, catalog.Draining
	for name, c := range map[string]struct {
		next catalog.EndpointSet
		want Difference
	}{
		"nothing":          {set("a", "10.0.0.1", "10.0.0.2"), Same},
		"health":           {flipped, HealthOnly},
		"health and place": {moved, Membership},
		"one more":         {set("a", "10.0.0.1", "10.0.0.2", "10.0.0.3"), Membership},
	} {
		if got := Compare(&base, &c.next); got != c.want {
			t.Errorf("%s: got %d, want %d", name, got, c.want)
		}
	}
}

func TestApplyingADiffYieldsTheDesiredSets(t *testing.T) {
	genSets := rapid.Custom(func(t *rapid.T) []catalog.EndpointSet {
		names := rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"a", "b", "c", "d"}), 0, 4, rapid.ID).Draw(t, "names")
		var sets []catalog.EndpointSet
		for _, n := range names {
			ips := rapid.SliceOfN(rapid.SampledFrom([]string{"10.0.0.1", "10.0.0.2"}), 0, 2).Draw(t, "ips")
			sets = append(sets, set(n, ips...))
		}
		return sets
	})
	rapid.Check(t, func(t *rapid.T) {
		previous := Diff(nil, genSets.Draw(t, "previous"), epoch).Upserts
		desired := genSets.Draw(t, "desired")
		d := Diff(previous, desired, later)
		state := map[catalog.SetKey]catalog.EndpointSet{}
		for _, s := range previous {
			state[s.SetKey] = s
		}
		for _, s := range d.Upserts {
			state[s.SetKey] = s
		}
		for _, k := range d.Deletes {
			delete(state, k)
		}
		if len(state) != len(desired) {
			t.Fatalf("state has %d sets, desired %d", len(state), len(desired))
		}
		for _, want := range desired {
			got := state[want.SetKey]
			want.CreatedAt = got.CreatedAt
			if !equal(&got, &want) {
				t.Fatalf("got %+v, want %+v", got, want)
			}
		}
	})
}
