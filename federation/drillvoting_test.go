package federation

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/federation/state"
)

// voting is a federation whose regions exchange what they hold after any delay, as
// a simulation of the rule alone: states, catalogs and decisions are the real ones.
type voting struct {
	t      *rapid.T
	now    time.Time
	n      int
	names  []string
	states map[string]*state.State
	views  map[string]*catalog.Catalog
	seen   map[string]map[string]time.Time
}

func newVoting(t *rapid.T, regions int) *voting {
	f := &voting{t: t, now: drillNoon, states: map[string]*state.State{}, views: map[string]*catalog.Catalog{}, seen: map[string]map[string]time.Time{}}
	for i := range regions {
		name := fmt.Sprintf("r%d", i)
		f.names = append(f.names, name)
		f.states[name], f.views[name], f.seen[name] = state.NewState(), catalog.New(name, "r0"), map[string]time.Time{}
		f.do(name, &state.Found{TrustDomain: "x", Region: name, Epoch: 1, Authority: i == 0, Founder: "f", Replica: catalog.Replica{
			Name: "a", Region: name, Cluster: "c" + name, DiskID: "d", PeerAddress: "127.0.0.1:1", Recipient: "age1", PublicKey: []byte("k"), MinProtocol: 1, MaxProtocol: state.Protocol,
		}})
	}
	return f
}

func (f *voting) do(region string, cmd state.Command) error {
	f.n++
	env, err := state.NewEnvelope(state.Meta{ID: fmt.Sprint(f.n), Time: f.now}, cmd)
	if err != nil {
		f.t.Fatalf("%T: %v", cmd, err)
	}
	result, _, err := f.states[region].Apply(env)
	if err != nil {
		f.t.Fatalf("%T: %v", cmd, err)
	}
	f.hear(region, region)
	return result.Err()
}

// hear has a region learn what another holds now.
func (f *voting) hear(region, of string) {
	if err := f.views[region].Reset(f.states[of].Own(), f.now); err != nil {
		f.t.Fatalf("%v", err)
	}
}

// lead has the leader of a region decide once.
func (f *voting) lead(region string) {
	f.views[region].Advance(f.now)
	w := deciding(region, f.views[region].Drills()...)
	w.now, w.members = f.now, f.names
	for _, v := range w.drills {
		if f.seen[region][v.ID].IsZero() {
			f.seen[region][v.ID] = f.now
		}
	}
	w.seen = f.seen[region]
	for _, a := range w.decide() {
		_ = f.do(region, a.cmd) // refusals are part of it
	}
}

// check fails if two overlapping drills act anywhere at a time.
func (f *voting) check() {
	for _, region := range f.names {
		var acting []catalog.DrillInForce
		f.views[region].Advance(f.now)
		f.views[region].Tick(f.now)
		acting = append(acting, f.views[region].Conditions().Drills...)
		for i := range acting {
			for j := range i {
				if acting[i].Scope.Overlaps(acting[j].Scope) {
					f.t.Fatalf("in %s both %s and %s run", region, acting[j].ID, acting[i].ID)
				}
			}
		}
	}
}

func TestOfDrillsThatOverlapAtMostOneRuns(t *testing.T) {
	ran := map[string]int{}
	rapid.Check(t, func(t *rapid.T) {
		f := newVoting(t, rapid.IntRange(2, 5).Draw(t, "regions"))
		starters := slices.Clone(f.names)
		for i, region := range starters[:2] {
			d := catalog.Drill{ID: fmt.Sprint("d", i), Kind: catalog.DrillEvacuate, Scope: catalog.Scope{Region: region}, Region: region, Shape: catalog.Shape{Hold: catalog.Duration(10 * time.Minute)}}
			if err := f.do(region, &state.StartDrill{Drill: d}); err != nil {
				t.Fatalf("%v", err)
			}
		}
		for range rapid.IntRange(10, 120).Draw(t, "steps") {
			f.now = f.now.Add(time.Duration(rapid.IntRange(0, 1500).Draw(t, "ms")) * time.Millisecond)
			a, b := rapid.SampledFrom(f.names).Draw(t, "a"), rapid.SampledFrom(f.names).Draw(t, "b")
			if a != b && rapid.Bool().Draw(t, "hear") {
				f.hear(a, b)
			} else {
				f.lead(a)
			}
			f.check()
		}
		began := 0
		for _, region := range starters[:2] {
			for _, v := range f.views[region].Drills() {
				if v.Region == region && !v.Begun.IsZero() {
					began++
				}
			}
		}
		if began > 1 {
			t.Fatalf("%d drills that overlap began", began)
		}
		ran[fmt.Sprint(began)]++
	})
	if ran["1"] == 0 || ran["0"] == 0 {
		t.Fatalf("the test never saw a drill run, or never one refused: %v", ran)
	}
}
