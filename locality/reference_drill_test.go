package locality

import (
	"math/big"
	"slices"
	"strings"

	"github.com/federator/federator/federation/catalog"
)

// This file is the dumb reference for drills and safety rules: the scope's
// endpoints are struck from the service, and everything is done again.

type refResult struct {
	levels []*refLevel
	scope  float64 // the share of the drill's scope
}

// refResolve resolves under the drill that acts, which it returns; nil if none
// does. It reports false where refLoad does.
func refResolve(in Input) (refResult, bool, *catalog.DrillInForce) {
	policy, _ := in.Conditions.Policy(in.Service.Name)
	all := refGather(in, catalog.Scope{})
	places := refChoose(in, &policy, all)
	threshold := int64(50)
	if policy.PanicThresholdPercent != nil {
		threshold = int64(*policy.PanicThresholdPercent)
	}
	drill, rest := refDrill(in, policy, all, places)
	if drill == nil || drill.Share < Unit {
		levels, ok := refLoad(in, policy, places, threshold)
		if drill == nil || !ok {
			return refResult{levels: levels}, ok, drill
		}
		return refBlend(in, policy, levels, rest, threshold, drill)
	}
	levels, ok := refLoad(in, policy, rest, threshold)
	return refResult{levels: levels}, ok, drill
}

// refBlend gives each place what it has without the drill, times what is left, and
// what it would have in the end, times what is gone.
func refBlend(in Input, policy catalog.Policy, levels []*refLevel, rest []*refPlace, threshold int64, drill *catalog.DrillInForce) (refResult, bool, *catalog.DrillInForce) {
	panics := slices.ContainsFunc(levels, func(l *refLevel) bool { return l.panic })
	if !panics {
		if _, some := refLoad(in, policy, clonePlaces(rest), 0); some {
			threshold = 0
		}
	}
	if _, ok := refLoad(in, policy, rest, threshold); !ok {
		return refResult{}, false, drill
	}
	gone := rat(int64(drill.Share), Unit)
	left := new(big.Rat).Sub(rat(1, 1), gone)
	for _, l := range levels {
		for _, p := range l.places {
			p.share = mulRat(p.share, left)
			for _, q := range rest {
				if q.at == p.at {
					p.share.Add(p.share, mulRat(q.share, gone))
				}
			}
		}
	}
	undrilled, c := in, *in.Conditions
	c.Drills = nil
	undrilled.Conditions = &c
	keep, _ := left.Float64()
	return refResult{levels, keep * scopeShare(Resolve(undrilled), drill.Scope) / Unit}, true, drill
}

func clonePlaces(places []*refPlace) []*refPlace {
	out := make([]*refPlace, len(places))
	for i, p := range places {
		c := *p
		c.share = new(big.Rat)
		out[i] = &c
	}
	return out
}

// refDrill returns the drill that acts and what is left of the places, or nil.
func refDrill(in Input, policy catalog.Policy, all, places []*refPlace) (*catalog.DrillInForce, []*refPlace) {
	var first *catalog.DrillInForce
	for _, d := range in.Conditions.Drills {
		older := first != nil && (first.Begun.Before(d.Begun) || first.Begun.Equal(d.Begun) && strings.Compare(first.ID, d.ID) < 0)
		if d.Share > 0 && (d.Scope.Service == catalog.ServiceName{} || d.Scope.Service == in.Service.Name) && !older {
			first = &d
		}
	}
	if first == nil {
		return nil, nil
	}
	var rest []*refPlace
	for _, p := range refGather(in, first.Scope) {
		if slices.ContainsFunc(places, func(q *refPlace) bool { return q.at == p.at }) {
			rest = append(rest, p)
		}
	}
	sum := func(places []*refPlace, of func(*refPlace) int64) (n int64) {
		for _, p := range places {
			n += of(p)
		}
		return n
	}
	total := func(p *refPlace) int64 { return p.total }
	alive := func(p *refPlace) int64 { return p.alive }
	available := func(p *refPlace) int64 { return p.healthy + p.degraded }
	switch {
	case sum(rest, total) == sum(places, total): // touches nothing
		return nil, nil
	case len(rest) == 0, sum(rest, available) == 0 && sum(places, available) > 0, sum(rest, alive) == 0 && sum(places, alive) > 0:
		return nil, nil
	case !first.Forced && !refSafe(policy, all, rest):
		return nil, nil
	}
	return first, rest
}

// refSafe reports whether the policy's safety rules hold if rest is left of all.
func refSafe(policy catalog.Policy, all, rest []*refPlace) bool {
	if policy.Safety == nil {
		return true
	}
	if weighed, enough := without(rest, weighsZero(policy)); enough {
		rest = weighed
	}
	regions := map[string]bool{}
	var serving, total int64
	for _, p := range rest {
		if p.healthy+p.degraded > 0 {
			regions[p.at.Region] = true
			serving += p.healthy + p.degraded
		}
	}
	for _, p := range all {
		total += p.total
	}
	return len(regions) >= int(policy.Safety.MinRegions) && 100*serving >= int64(policy.Safety.MinEndpointsPercent)*total
}
