package locality

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/federator/federator/federation/catalog"
)

func TestATableDrawsEachLocalityWithItsWeight(t *testing.T) {
	table := NewTable(Resolve(world("eu-central/a hh", "us-west/a hu /b hu")))
	if got := fmt.Sprint(table.Localities); got != "[us-west/a us-west/b]" {
		t.Fatalf("localities %s", got)
	}
	const draws = 1 << 16
	count := make([]float64, len(table.Localities))
	for i := range uint32(draws) {
		count[table.Pick(i<<16)]++
	}
	for i := range count {
		if got, want := count[i]/draws, float64(table.Weight(i))/Unit; math.Abs(got-want) > 1e-4 {
			t.Errorf("%s is drawn %f of the times, want %f", table.Localities[i], got, want)
		}
	}
	if got := table.Pick(math.MaxUint32); got != 1 {
		t.Errorf("the largest number draws %d, want the last", got)
	}
}

func TestAnEmptyTableDrawsNothing(t *testing.T) {
	if got := NewTable(Resolve(world())).Pick(7); got != -1 {
		t.Errorf("got %d, want -1", got)
	}
}

func TestTablesAreEqualIfTheyDrawAlike(t *testing.T) {
	one := NewTable(Resolve(world("us-west/a hh")))
	if !one.Equal(NewTable(Resolve(world("us-west/a h")))) || one.Equal(NewTable(Resolve(world("us-west/b h")))) {
		t.Error("one locality with all traffic draws alike whoever serves in it, another one does not")
	}
}

func TestApportionRepresentsTheWeights(t *testing.T) {
	weighted := func(us, eu int, clusters ...string) Input {
		return world(clusters...).policy(catalog.Policy{Weights: weights("us-west", us, "eu-central", eu)})
	}
	for _, tt := range []struct {
		name string
		in   Input
		n    int
		want string
	}{
		{"by largest remainder", weighted(90, 10, "eu-central/a "+mix(9, 0, 9), "us-west/a "+mix(9, 0, 9)), 8, "us-west/a 7, eu-central/a 1"},
		{"never more than there are", world("us-west/a hhh"), 8, "us-west/a 3"},
		{"smaller rather than out of proportion", weighted(70, 30, "eu-central/a hhh", "us-west/a hhh"), 8, "us-west/a 3, eu-central/a 1"},
		{"with one of each that deserves one", weighted(80, 20, "eu-central/a hhhhh", "us-west/a h"), 8, "us-west/a 1, eu-central/a 1"},
		{"only of those that serve", world("us-west/a huhx"), 8, "us-west/a 2"},
		{"all in panic", world("us-west/a uuu"), 8, "us-west/a 3"},
		{"none if none are wanted", world("us-west/a h"), 0, ""},
		{"none if there are none", world(), 8, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			res := Resolve(tt.in)
			if got := tally(res, Apportion(res, tt.n, 1)); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// tally counts endpoints per locality, in the order of the resolution.
func tally(res Resolution, picked []Endpoint) string {
	var out []string
	for _, p := range res.Priorities {
		for _, l := range p.Localities {
			n := 0
			for i := range picked {
				for j := range l.Endpoints {
					if l.Endpoints[j].Endpoint == picked[i].Endpoint {
						n++
					}
				}
			}
			if n > 0 {
				out = append(out, fmt.Sprintf("%s %d", l, n))
			}
		}
	}
	return strings.Join(out, ", ")
}

func TestApportionKeepsItsPromises(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		res := Resolve(drawInput(t))
		n := rapid.IntRange(1, 12).Draw(t, "n")
		seed := rapid.Uint64().Draw(t, "seed")
		picked := Apportion(res, n, seed)
		again := Apportion(res, n, seed)
		if len(picked) > n || len(again) != len(picked) || (len(picked) == 0) != res.Empty() {
			t.Fatalf("%d endpoints of %s", len(picked), ladder(res))
		}
		seen := map[*catalog.Endpoint]bool{}
		for i, e := range picked {
			if seen[e.Endpoint] || e.Weight == 0 || again[i].Endpoint != e.Endpoint {
				t.Errorf("%s is picked twice, does not serve or depends on more than the seed", e.ID)
			}
			seen[e.Endpoint] = true
		}
		for _, p := range res.Priorities {
			for _, l := range p.Localities {
				any := false
				for _, e := range l.Endpoints {
					any = any || seen[e.Endpoint]
				}
				if !any && int(l.Weight)*n >= Unit {
					t.Errorf("%s has none of %d in %s", l, n, ladder(res))
				}
			}
		}
	})
}

func TestSeedsSpreadLoadByEndpointWeight(t *testing.T) {
	in := world("us-west/a hhh")
	in.Service.Backends[0].Set.Endpoints[0].Weight = 2
	res := Resolve(in)
	first := map[string]int{}
	for seed := range uint64(8000) {
		first[Apportion(res, 1, seed)[0].ID]++
	}
	if math.Abs(float64(first["pod-0"])-4000) > 250 || math.Abs(float64(first["pod-1"])-2000) > 250 {
		t.Errorf("drawn %v of 8000 times, want 4000, 2000, 2000", first)
	}
}

func TestApportionCanKeepToOneAddressFamily(t *testing.T) {
	res := Resolve(world("us-west/a hhhh"))
	odd := func(e *catalog.Endpoint) bool { return e.Address.As4()[3]%2 == 1 }
	if got := len(ApportionFunc(res, 8, 3, odd)); got != 2 {
		t.Errorf("got %d endpoints, want the 2 that are kept", got)
	}
	if got := len(ApportionFunc(res, 8, 3, func(*catalog.Endpoint) bool { return false })); got != 0 {
		t.Errorf("got %d endpoints, want none", got)
	}
}
