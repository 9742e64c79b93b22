package locality

import (
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/federator/federator/federation/catalog"
)

func TestResolveAgreesWithTheDumbReference(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := drawInput(t)
		want, ok, drill := refResolve(in)
		res := Resolve(in)
		checkInvariants(t, in, res)
		if (res.Drill == nil) != (drill == nil) || drill != nil && res.Drill.ID != drill.ID {
			t.Fatalf("drill %v acts on %s, want %v", res.Drill, ladder(res), drill)
		}
		if !ok {
			return
		}
		if drill != nil {
			want := want.scope
			if got := scopeShare(res, drill.Scope) / Unit; math.Abs(got-want) > 5e-4 {
				t.Errorf("the scope gets %f in %s, want %f", got, ladder(res), want)
			}
		}
		agree(t, res, want, drill != nil && drill.Share < Unit)
	})
}

// agree compares a resolution with the reference. Blended loads are whole
// percents of what places get, so they may be off by one.
func agree(t *rapid.T, res Resolution, ref refResult, blended bool) {
	want := ref.levels
	if len(res.Priorities) != len(want) {
		t.Fatalf("got %s, want %d priorities", ladder(res), len(want))
	}
	for i, p := range res.Priorities {
		if w := want[i]; !blended && (int64(p.Load) != w.healthyLoad+w.sickLoad || int64(p.DegradedLoad) != w.sickLoad || p.Panic != w.panic) {
			t.Errorf("priority %d of %s: want load %d and %d, panic %v", i, ladder(res), w.healthyLoad, w.sickLoad, w.panic)
		}
		sum := 0.0
		for _, l := range p.Localities {
			k := slices.IndexFunc(want[i].places, func(p *refPlace) bool { return p.at == l.Locality })
			if k < 0 {
				t.Fatalf("%s is in priority %d of %s", l, i, ladder(res))
			}
			share, _ := want[i].places[k].share.Float64()
			sum += share
			if got := float64(l.Weight) / Unit; got-share > 5e-4 || share-got > 5e-4 {
				t.Errorf("%s gets %f in %s, want %f", l, got, ladder(res), share)
			}
		}
		if math.Abs(float64(p.Load)-100*sum) > 1.01 {
			t.Errorf("priority %d of %s: want load %f", i, ladder(res), 100*sum)
		}
	}
}

// checkInvariants checks what holds for every resolution.
func checkInvariants(t *rapid.T, in Input, res Resolution) {
	var load, share uint32
	seen := map[catalog.Locality]bool{}
	for _, p := range res.Priorities {
		load += p.Load
		if len(p.Localities) == 0 {
			t.Errorf("a priority is empty: %s", ladder(res))
		}
		for _, l := range p.Localities {
			share += l.Weight
			total := l.Total
			if l.Serving&ServeUndrilled != 0 {
				total += l.Drilled
			}
			if seen[l.Locality] || len(l.Endpoints) != total {
				t.Errorf("%s twice, or not with %d endpoints", l, total)
			}
			seen[l.Locality] = true
			serving := slices.ContainsFunc(l.Endpoints, func(e Endpoint) bool { return e.Weight > 0 })
			if l.Weight > 0 && !serving {
				t.Errorf("%s has traffic and nobody to take it", l)
			}
		}
	}
	if len(res.Priorities) > 0 && load != 100 {
		t.Errorf("loads sum to %d: %s", load, ladder(res))
	}
	policy, _ := in.Conditions.Policy(in.Service.Name)
	panicOff := policy.PanicThresholdPercent != nil && *policy.PanicThresholdPercent == 0
	if share != Unit && (share != 0 || len(res.Priorities) > 0 && !panicOff) {
		t.Errorf("shares sum to %d: %s", share, ladder(res))
	}
	if len(in.Service.Backends) > 0 && len(policy.FailoverRegions) == 0 && !panicOff && res.Empty() {
		t.Error("empty by mistake")
	}
	if again := Resolve(in); !reflect.DeepEqual(res, again) || !reflect.DeepEqual(Explain(res), Explain(again)) {
		t.Errorf("resolved again: %s, was %s", ladder(again), ladder(res))
	}
}

var testRegions = []string{"af-south", "asia-east", "eu-central", "us-west"}

func drawInput(t *rapid.T) Input {
	var clusters []string
	for _, r := range testRegions {
		if rapid.Bool().Draw(t, r) {
			spec := r
			for _, zone := range []string{"a", "b"} {
				if s := rapid.StringMatching(`[hhhdux?]{0,6}`).Draw(t, r+"/"+zone); s != "" {
					spec = strings.TrimPrefix(spec+" /"+zone+" "+s, r+" ")
				}
			}
			if spec != r {
				clusters = append(clusters, r+spec)
			}
			if s := rapid.StringMatching(`[hhhdux?]{0,4}`).Draw(t, r+"-2"); s != "" {
				clusters = append(clusters, r+"/a "+s)
			}
		}
	}
	in := world(clusters...)
	for i := range in.Service.Backends {
		if b := &in.Service.Backends[i]; i > 0 && b.Region == in.Service.Backends[i-1].Region {
			b.Set.Cluster = b.Region + "-2"
		}
	}
	in = in.policy(drawPolicy(t)).from(rapid.SampledFrom([]string{"us-west/a", "us-west", "asia-east/b", "sa-east"}).Draw(t, "client"))
	for _, b := range in.Service.Backends {
		for i := range b.Set.Endpoints {
			b.Set.Endpoints[i].Weight = rapid.Uint32Range(1, 3).Draw(t, "weight")
		}
	}
	for _, r := range testRegions {
		if rapid.IntRange(0, 4).Draw(t, "reach") == 0 {
			in.reach(r, rapid.SampledFrom([]catalog.Reach{catalog.Silent, catalog.ControlPlaneLost, catalog.Out}).Draw(t, r))
		}
		if rapid.IntRange(0, 4).Draw(t, "evacuate") == 0 {
			in.evacuate(r, time.Duration(rapid.IntRange(0, 2).Draw(t, "after")))
			if rapid.IntRange(0, 3).Draw(t, "forced") == 0 {
				e := in.Conditions.Evacuations[r]
				e.Forced = true
				in.Conditions.Evacuations[r] = e
			}
		}
		if rapid.IntRange(0, 3).Draw(t, "ramp") == 0 {
			if in.Ramp == nil {
				in.Ramp = Factors{}
			}
			in.Ramp[catalog.Locality{Region: r, Zone: "a"}] = rapid.Uint32Range(Unit/10, Unit).Draw(t, "factor")
		}
	}
	in.Conditions.Isolated = rapid.IntRange(0, 5).Draw(t, "isolated") == 0
	for i := range rapid.IntRange(0, 2).Draw(t, "drills") {
		in.drill(fmt.Sprintf("d%d", i), drawScope(t), rapid.IntRange(0, 20).Draw(t, "share")*5, func(d *catalog.DrillInForce) {
			d.Begun = epoch.Add(time.Duration(rapid.IntRange(0, 1).Draw(t, "begun")))
			d.Forced = rapid.IntRange(0, 3).Draw(t, "forced") == 0
		})
	}
	return in
}

func drawScope(t *rapid.T) string {
	r := rapid.SampledFrom(testRegions).Draw(t, "drilled")
	scope := r + rapid.SampledFrom([]string{"", "", "/a", "/b", "/a cluster " + r + "-1", " cluster " + r + "-1", " cluster " + r + "-2"}).Draw(t, "scope")
	return scope + rapid.SampledFrom([]string{"", "", " service shop/checkout", " service shop/other"}).Draw(t, "service")
}

func drawPolicy(t *rapid.T) catalog.Policy {
	var p catalog.Policy
	regions := rapid.SliceOfNDistinct(rapid.SampledFrom(testRegions), 0, 4, rapid.ID[string])
	if rapid.Bool().Draw(t, "ordered") {
		p.RegionOrder = regions.Draw(t, "order")
		p.RegionOrderFrom = map[string][]string{"asia-east": regions.Draw(t, "order from asia-east")}
	}
	if rapid.IntRange(0, 3).Draw(t, "limited") == 0 {
		p.FailoverRegions = regions.Draw(t, "failover")
	}
	if rapid.Bool().Draw(t, "weighted") {
		p.Weights = rapid.MapOfN(rapid.SampledFrom([]string{"us-west", "us-west/a", "us-west/b", "eu-central", "asia-east/a"}),
			rapid.SampledFrom([]uint32{0, 1, 2, 10, 50, 90, 100}), 0, 4).Draw(t, "weights")
	}
	if rapid.Bool().Draw(t, "safe") {
		p.Safety = &catalog.Safety{
			MinRegions: rapid.Uint32Range(0, 3).Draw(t, "regions"), MinEndpointsPercent: rapid.Uint32Range(0, 20).Draw(t, "endpoints") * 5,
		}
	}
	if rapid.Bool().Draw(t, "tuned") {
		p.OverprovisioningPercent = rapid.Uint32Range(100, 300).Draw(t, "overprovisioning")
		p.PanicThresholdPercent = ptr(rapid.Uint32Range(0, 100).Draw(t, "panic"))
	}
	return p
}
