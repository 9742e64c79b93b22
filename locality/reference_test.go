package locality

import (
	"maps"
	"math/big"
	"slices"
	"strings"

	"github.com/federator/federator/federation/catalog"
)

// This file resolves a second time (agree_test.go compares), slowly and in fractions, straight from the
// words of the documentation, and checks Resolve against it.

type refPlace struct {
	at                              catalog.Locality
	total, healthy, degraded, alive int64
	sum                             int64 // of endpoint weights
	factor, share                   *big.Rat
	taken                           bool // is in a weighted level
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

// refGather counts the endpoints that are not in the scope without.
func refGather(in Input, without catalog.Scope) []*refPlace {
	places := map[catalog.Locality]*refPlace{}
	for _, b := range in.Service.Backends {
		for i, e := range b.Set.Endpoints {
			if without.Region == b.Region && (without.Zone == "" || without.Zone == e.Zone) && (without.Cluster == "" || without.Cluster == b.Set.Cluster) {
				continue
			}
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
	c, all := in.Conditions, places
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
		if rest, enough := without(places, func(p *refPlace) bool { return p.at.Region == e.Region }); enough && (e.Forced || refSafe(*policy, all, rest)) {
			places = rest
		}
	}
	if rest, enough := without(places, weighsZero(*policy)); enough {
		return rest
	}
	policy.Weights = nil
	return places
}

func weighsZero(policy catalog.Policy) func(*refPlace) bool {
	return func(p *refPlace) bool {
		r, named := policy.Weights[p.at.Region]
		z, zoned := policy.Weights[p.at.String()]
		return named && r == 0 || zoned && z == 0
	}
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
			out = append(out, of(func(p *refPlace) bool { return weighted(p.at.Region) && !p.taken }))
			for _, p := range out[len(out)-1] {
				p.taken = true
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

// refLevel is what the load of one level of the ladder is computed from.
type refLevel struct {
	places                  []*refPlace
	total, health, sick     int64 // endpoints, and percent available
	real                    int64 // percent available, without ramp
	panic                   bool
	healthyLoad, sickLoad   int64
	healthyHosts, sickHosts int64
}

// refLoad returns the ladder with loads, and sets the share of every place. It
// reports false for the corner that is tested by hand: panic turned off with next
// to nothing available.
func refLoad(in Input, policy catalog.Policy, places []*refPlace, threshold int64) ([]*refLevel, bool) {
	op := int64(140)
	if policy.OverprovisioningPercent > 0 {
		op = int64(policy.OverprovisioningPercent)
	}
	var levels []*refLevel
	for _, places := range refLadder(in, policy, places) {
		levels = append(levels, refHealth(places, op))
	}
	if !refLoads(levels, threshold) {
		return nil, false
	}
	for _, l := range levels {
		if l.panic {
			refShare(l.places, l.healthyLoad+l.sickLoad, func(p *refPlace) *big.Rat { return rat(p.sum, 1) })
			continue
		}
		scaled := func(p *refPlace, part *big.Rat) *big.Rat {
			return mulRat(refConfigured(policy, l.places, p), minRat(rat(1, 1), mulRat(rat(op, 100*p.total), part)))
		}
		refShare(l.places, l.healthyLoad, func(p *refPlace) *big.Rat { return scaled(p, mulRat(rat(p.healthy, 1), p.factor)) })
		refShare(l.places, l.sickLoad, func(p *refPlace) *big.Rat { return scaled(p, rat(p.degraded, 1)) })
	}
	return levels, true
}

func refHealth(places []*refPlace, op int64) *refLevel {
	l := &refLevel{places: places}
	admitted := new(big.Rat)
	for _, p := range places {
		l.total, l.healthyHosts, l.sickHosts = l.total+p.total, l.healthyHosts+p.healthy, l.sickHosts+p.degraded
		admitted.Add(admitted, mulRat(rat(p.healthy, 1), p.factor))
	}
	l.health = min(100, floorRat(mulRat(rat(op, l.total), admitted)))
	l.sick = min(100, op*l.sickHosts/l.total)
	l.real = min(100, op*l.healthyHosts/l.total) + l.sick
	return l
}

func refLoads(levels []*refLevel, threshold int64) bool {
	var real, ramped, hosts int64
	for _, l := range levels {
		real, ramped, hosts = real+l.real, ramped+l.health+l.sick, hosts+l.total
	}
	all := true
	for _, l := range levels {
		l.panic = real < 100 && rat(100*(l.healthyHosts+l.sickHosts), l.total).Cmp(rat(threshold, 1)) < 0
		all = all && l.panic
	}
	left := int64(100)
	var first *int64
	give := func(to *int64, load int64, candidate bool) {
		*to = min(left, load)
		left -= *to
		if first == nil && candidate {
			first = to
		}
	}
	switch {
	case len(levels) == 0:
		return true
	case all:
		for _, l := range levels {
			give(&l.healthyLoad, 100*l.total/hosts, true)
		}
	case ramped == 0:
		return false
	default:
		for _, l := range levels {
			give(&l.healthyLoad, l.health*100/min(100, ramped), l.health > 0)
		}
		for _, l := range levels {
			give(&l.sickLoad, l.sick*100/min(100, ramped), l.sick > 0)
		}
	}
	*first += left
	return true
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
