package locality

import (
	"maps"
	"math/big"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/federator/federator/federation/catalog"
)

// This file resolves a second time, slowly and in fractions, straight from the
// words of the documentation, and checks Resolve against it.

type refPlace struct {
	at                               catalog.Locality
	total, healthy, degraded, alive  int64
	sum                              int64 // of endpoint weights
	factor, share                    *big.Rat
	level                            int
	configuredRegion, configuredZone *big.Rat
}

func rat(a, b int64) *big.Rat { return big.NewRat(a, b) }

func mulRat(xs ...*big.Rat) *big.Rat {
	out := rat(1, 1)
	for _, x := range xs {
		out.Mul(out, x)
	}
	return out
}

func minRat(a, b *big.Rat) *big.Rat {
	if a.Cmp(b) < 0 {
		return a
	}
	return b
}

// floor of a non-negative fraction.
func floorRat(x *big.Rat) int64 { return new(big.Int).Quo(x.Num(), x.Denom()).Int64() }

func refGather(in Input) []*refPlace {
	places := map[catalog.Locality]*refPlace{}
	for _, b := range in.Service.Backends {
		for i, e := range b.Set.Endpoints {
			at := catalog.Locality{Region: b.Region, Zone: e.Zone}
			if places[at] == nil {
				places[at] = &refPlace{at: at, factor: rat(1, 1), share: new(big.Rat)}
				if f, ok := in.Ramp[at]; ok {
					places[at].factor = rat(int64(f), Unit)
				}
			}
			p := places[at]
			p.total++
			p.sum += int64(e.Weight)
			switch b.Health[i] {
			case catalog.Healthy:
				p.healthy, p.alive = p.healthy+1, p.alive+1
			case catalog.Degraded:
				p.degraded, p.alive = p.degraded+1, p.alive+1
			case catalog.Unknown:
				p.alive++
			}
		}
	}
	return slices.SortedFunc(maps.Values(places), func(a, b *refPlace) int { return a.at.Compare(b.at) })
}

// without returns the places that do not match, and whether that leaves enough:
// some that live, or if none of all lives, any.
func without(places []*refPlace, match func(*refPlace) bool) (rest []*refPlace, enough bool) {
	lost, alive := false, false
	for _, p := range places {
		if match(p) {
			lost = lost || p.alive > 0
		} else {
			rest = append(rest, p)
			alive = alive || p.alive > 0
		}
	}
	return rest, len(rest) > 0 && (alive || !lost)
}

func refChoose(in Input, policy *catalog.Policy, places []*refPlace) []*refPlace {
	c := in.Conditions
	if len(policy.FailoverRegions) > 0 {
		places, _ = without(places, func(p *refPlace) bool { return !slices.Contains(policy.FailoverRegions, p.at.Region) })
	}
	if rest, _ := without(places, func(p *refPlace) bool { return c.Reach[p.at.Region] == catalog.Out }); len(rest) > 0 {
		places = rest
	}
	if c.Isolated {
		home, _ := without(places, func(p *refPlace) bool { return p.at.Region != c.Region })
		if slices.ContainsFunc(home, func(p *refPlace) bool { return p.alive > 0 }) {
			places = home
		}
	}
	order := slices.SortedFunc(maps.Values(c.Evacuations), func(a, b catalog.Evacuation) int {
		if d := a.Started.Compare(b.Started); d != 0 {
			return d
		}
		return strings.Compare(a.Region, b.Region)
	})
	for _, e := range order {
		if rest, enough := without(places, func(p *refPlace) bool { return p.at.Region == e.Region }); enough {
			places = rest
		}
	}
	zero := func(p *refPlace) bool {
		r, named := policy.Weights[p.at.Region]
		z, zoned := policy.Weights[p.at.String()]
		return named && r == 0 || zoned && z == 0
	}
	if rest, enough := without(places, zero); enough {
		return rest
	}
	policy.Weights = nil
	return places
}

// refRank returns the regions in order of preference.
func refRank(in Input, policy catalog.Policy, regions []string) []string {
	order, ok := policy.RegionOrderFrom[in.Client.Region]
	if !ok {
		order = policy.RegionOrder
	}
	out := []string{in.Client.Region}
	out = append(out, order...)
	measured := slices.SortedFunc(maps.Keys(in.Conditions.RTT), func(a, b string) int {
		return int(in.Conditions.RTT[a] - in.Conditions.RTT[b])
	})
	out = append(out, in.Conditions.Region)
	out = append(out, measured...)
	out = append(out, slices.Sorted(slices.Values(regions))...)
	var ranked []string
	for _, r := range out {
		if slices.Contains(regions, r) && !slices.Contains(ranked, r) {
			ranked = append(ranked, r)
		}
	}
	return ranked
}

func refLadder(in Input, policy catalog.Policy, places []*refPlace) [][]*refPlace {
	var regions []string
	for _, p := range places {
		regions = append(regions, p.at.Region)
	}
	weighted := func(region string) bool {
		for k := range policy.Weights {
			if k == region || strings.HasPrefix(k, region+"/") {
				return true
			}
		}
		return false
	}
	of := func(match func(*refPlace) bool) []*refPlace {
		rest, _ := without(places, func(p *refPlace) bool { return !match(p) })
		return rest
	}
	var out [][]*refPlace
	for _, r := range refRank(in, policy, regions) {
		switch {
		case weighted(r):
			out = append(out, of(func(p *refPlace) bool { return weighted(p.at.Region) && p.level == 0 }))
			for _, p := range out[len(out)-1] {
				p.level = -1 // once only
			}
		case r == in.Client.Region && in.Client.Zone != "":
			out = append(out, of(func(p *refPlace) bool { return p.at == in.Client }))
			out = append(out, of(func(p *refPlace) bool { return p.at.Region == r && p.at != in.Client }))
		default:
			out = append(out, of(func(p *refPlace) bool { return p.at.Region == r }))
		}
	}
	return slices.DeleteFunc(out, func(level []*refPlace) bool { return len(level) == 0 })
}

func refConfigured(policy catalog.Policy, level []*refPlace, p *refPlace) *big.Rat {
	zone := func(p *refPlace) int64 {
		if w, ok := policy.Weights[p.at.String()]; ok && p.at.Zone != "" {
			return int64(w)
		}
		for k := range policy.Weights {
			if strings.HasPrefix(k, p.at.Region+"/") {
				return 1
			}
		}
		return p.sum
	}
	w, ok := policy.Weights[p.at.Region]
	if !ok {
		return rat(zone(p), 1)
	}
	var all int64
	for _, q := range level {
		if q.at.Region == p.at.Region {
			all += zone(q)
		}
	}
	return rat(int64(w)*zone(p), all)
}

// refResolve returns the loads of the ladder and sets the share of every place.
func refResolve(in Input) (ladder [][]*refPlace, loads []int64) {
	policy, _ := in.Conditions.Policy(in.Service.Name)
	places := refChoose(in, &policy, refGather(in))
	ladder = refLadder(in, policy, places)
	if len(ladder) == 0 {
		return nil, nil
	}
	op, threshold := int64(140), int64(50)
	if policy.OverprovisioningPercent > 0 {
		op = int64(policy.OverprovisioningPercent)
	}
	if policy.PanicThresholdPercent != nil {
		threshold = int64(*policy.PanicThresholdPercent)
	}
	var real, ramped int64
	var totals, healths, degradeds []int64
	var panics []bool
	var hosts, allPanic = int64(0), true
	for _, level := range ladder {
		var t, h, d int64
		admitted := new(big.Rat)
		for _, p := range level {
			t, h, d = t+p.total, h+p.healthy, d+p.degraded
			admitted.Add(admitted, mulRat(rat(p.healthy, 1), p.factor))
		}
		rampedHealth := min(100, floorRat(mulRat(rat(op, t), admitted)))
		real += min(100, op*h/t) + min(100, op*d/t)
		ramped += rampedHealth + min(100, op*d/t)
		totals, healths, degradeds = append(totals, t), append(healths, rampedHealth), append(degradeds, min(100, op*d/t))
		panics = append(panics, rat(100*(h+d), t).Cmp(rat(threshold, 1)) < 0)
		hosts += t
	}
	for i := range panics {
		panics[i] = panics[i] && real < 100
		allPanic = allPanic && panics[i]
	}
	healthyLoads, sickLoads := make([]int64, len(ladder)), make([]int64, len(ladder))
	left := int64(100)
	switch {
	case allPanic:
		for i := range ladder {
			healthyLoads[i] = 100 * totals[i] / hosts
			left -= healthyLoads[i]
		}
		healthyLoads[0] += left
	case ramped == 0:
		return nil, nil // the corner is tested by hand
	default:
		first := -1
		for k := range 2 * len(ladder) {
			i, to, by := k%len(ladder), healthyLoads, healths
			if k >= len(ladder) {
				to, by = sickLoads, degradeds
			}
			to[i] = min(left, by[i]*100/min(100, ramped))
			left -= to[i]
			if first < 0 && by[i] > 0 {
				first = k
			}
		}
		if first < len(ladder) {
			healthyLoads[first] += left
		} else {
			sickLoads[first-len(ladder)] += left
		}
	}
	for i, level := range ladder {
		loads = append(loads, healthyLoads[i]+sickLoads[i])
		one := rat(1, 1)
		if panics[i] {
			refShare(level, loads[i], func(p *refPlace) *big.Rat { return rat(p.sum, 1) })
			continue
		}
		scaled := func(p *refPlace, part *big.Rat) *big.Rat {
			return mulRat(refConfigured(policy, level, p), minRat(one, mulRat(rat(op, 100*p.total), part)))
		}
		refShare(level, healthyLoads[i], func(p *refPlace) *big.Rat { return scaled(p, mulRat(rat(p.healthy, 1), p.factor)) })
		refShare(level, sickLoads[i], func(p *refPlace) *big.Rat { return scaled(p, rat(p.degraded, 1)) })
	}
	return ladder, loads
}

func refShare(level []*refPlace, load int64, weight func(*refPlace) *big.Rat) {
	sum := new(big.Rat)
	for _, p := range level {
		sum.Add(sum, weight(p))
	}
	if sum.Sign() == 0 {
		return
	}
	for _, p := range level {
		p.share.Add(p.share, mulRat(rat(load, 100), weight(p), new(big.Rat).Inv(sum)))
	}
}

func TestResolveAgreesWithTheDumbReference(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := drawInput(t)
		want, loads := refResolve(in)
		res := Resolve(in)
		checkInvariants(t, in, res)
		if loads == nil {
			return
		}
		if len(res.Priorities) != len(want) {
			t.Fatalf("got %s, want %d priorities", ladder(res), len(want))
		}
		for i, p := range res.Priorities {
			if int64(p.Load) != loads[i] {
				t.Errorf("priority %d of %s: want load %d", i, ladder(res), loads[i])
			}
			for _, l := range p.Localities {
				k := slices.IndexFunc(want[i], func(p *refPlace) bool { return p.at == l.Locality })
				if k < 0 {
					t.Fatalf("%s is in priority %d of %s", l, i, ladder(res))
				}
				share, _ := want[i][k].share.Float64()
				if got := float64(l.Weight) / Unit; got-share > 5e-4 || share-got > 5e-4 {
					t.Errorf("%s gets %f in %s, want %f", l, got, ladder(res), share)
				}
			}
		}
	})
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
			if seen[l.Locality] || len(l.Endpoints) != l.Total {
				t.Errorf("%s twice, or not with %d endpoints", l, l.Total)
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
		}
	}
	in := world(clusters...).policy(drawPolicy(t)).from(rapid.SampledFrom([]string{"us-west/a", "us-west", "asia-east/b", "sa-east"}).Draw(t, "client"))
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
		}
		if rapid.IntRange(0, 3).Draw(t, "ramp") == 0 {
			if in.Ramp == nil {
				in.Ramp = Factors{}
			}
			in.Ramp[catalog.Locality{Region: r, Zone: "a"}] = rapid.Uint32Range(Unit/10, Unit).Draw(t, "factor")
		}
	}
	in.Conditions.Isolated = rapid.IntRange(0, 5).Draw(t, "isolated") == 0
	return in
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
	if rapid.Bool().Draw(t, "tuned") {
		p.OverprovisioningPercent = rapid.Uint32Range(100, 300).Draw(t, "overprovisioning")
		p.PanicThresholdPercent = ptr(rapid.Uint32Range(0, 100).Draw(t, "panic"))
	}
	return p
}
