package locality

import (
	"cmp"
	"slices"
	"strings"

	"github.com/federator/federator/federation/catalog"
)

// choose leaves out the regions and places that must not serve, and decides which
// drill acts. The order is that of the [Cause]s, and is part of the safety rule:
// whatever comes later gives way first where together they would leave nothing.
func (p *plan) choose() {
	p.forbid()
	p.dropOut()
	p.dropOthersIfIsolated()
	p.evacuate()
	p.dropZeroWeights()
	p.admitDrill()
}

// forbid applies what is never set aside: a pinned region and failoverRegions.
func (p *plan) forbid() {
	for i := range p.regions {
		r := &p.regions[i]
		switch {
		case p.in.Pin != "" && r.name != p.in.Pin:
			p.omit(r, NotPinned)
		case len(p.policy.FailoverRegions) > 0 && !slices.Contains(p.policy.FailoverRegions, r.name):
			p.omit(r, NotAllowed)
		}
	}
}

// dropOut leaves out the regions that are out, unless nothing else exists.
func (p *plan) dropOut() {
	reach := p.in.Conditions.Reach
	elsewhere := p.any(func(r *region) bool { return reach[r.name] != catalog.Out })
	for i := range p.regions {
		r := &p.regions[i]
		if r.out || reach[r.name] != catalog.Out {
			continue
		}
		p.omitIf(elsewhere, r, RegionOut)
	}
}

// dropOthersIfIsolated keeps to the replica's own region while it is cut off
// from all others, if that region has anything that may serve.
func (p *plan) dropOthersIfIsolated() {
	if !p.in.Conditions.Isolated {
		return
	}
	own := p.in.Conditions.Region
	home := p.any(func(r *region) bool { return r.name == own && r.serving > 0 })
	for i := range p.regions {
		if r := &p.regions[i]; !r.out && r.name != own {
			p.omitIf(home, r, WeIsolated)
		}
	}
}

// evacuate takes evacuated regions out, the evacuation that began first first,
// as long as something that may serve is left and, unless forced, the rules of
// the policy's safety hold.
func (p *plan) evacuate() {
	if len(p.in.Conditions.Evacuations) == 0 {
		return
	}
	for _, i := range p.evacuated() {
		r := &p.regions[i]
		left := p.any(func(o *region) bool { return o != r })
		serving := p.any(func(o *region) bool { return o != r && o.serving > 0 })
		rule := ""
		if left && (serving || r.serving == 0) && !p.in.Conditions.Evacuations[r.name].Forced {
			rule = p.broken(func(at *place) census {
				if at.region == i {
					return census{}
				}
				return at.census
			})
		}
		if rule != "" {
			p.ignored = append(p.ignored, Omission{Locality: catalog.Locality{Region: r.name}, Cause: Evacuated, Rule: rule})
			continue
		}
		p.omitIf(left && (serving || r.serving == 0), r, Evacuated)
	}
}

// evacuated returns the regions under evacuation, by start and then by name.
func (p *plan) evacuated() []int {
	evacuations := p.in.Conditions.Evacuations
	var order []int
	for i := range p.regions {
		if _, ok := evacuations[p.regions[i].name]; ok && !p.regions[i].out {
			order = append(order, i)
		}
	}
	slices.SortFunc(order, func(a, b int) int {
		x, y := p.regions[a].name, p.regions[b].name
		return cmp.Or(evacuations[x].Started.Compare(evacuations[y].Started), strings.Compare(x, y))
	})
	return order
}

// dropZeroWeights leaves out the places that the policy weighs 0. If nothing that
// may serve were left, the policy's weights do not count at all.
func (p *plan) dropZeroWeights() {
	if len(p.policy.Weights) == 0 {
		return
	}
	keep := p.weightsCount(func(at *place) census { return at.census })
	for i := range p.places {
		at := &p.places[i]
		if p.regions[at.region].out || at.weight > 0 {
			continue
		}
		if o := (Omission{Locality: at.Locality, Cause: ZeroWeight}); keep {
			at.level = dropped
			p.omitted = append(p.omitted, o)
		} else {
			p.ignored = append(p.ignored, o)
		}
	}
	if !keep {
		p.policy.Weights = nil
		p.weigh()
	}
}

// weightsCount reports whether the policy's weights of 0 hold, if this is left of
// the places: something that weighs more is, and may serve unless nothing may.
func (p *plan) weightsCount(remains func(*place) census) bool {
	left, serving, lost := false, false, false
	for i := range p.places {
		at := &p.places[i]
		t := remains(at)
		switch {
		case p.regions[at.region].out || at.level == dropped || t.total == 0:
		case at.weight > 0:
			left = true
			serving = serving || t.alive() > 0
		default:
			lost = lost || t.alive() > 0
		}
	}
	return left && (serving || !lost)
}

// any reports whether ok holds for a region that is still in.
func (p *plan) any(ok func(*region) bool) bool {
	for i := range p.regions {
		if r := &p.regions[i]; !r.out && ok(r) {
			return true
		}
	}
	return false
}

// omitIf leaves a region out if something is left without it, else notes that
// the cause was set aside.
func (p *plan) omitIf(left bool, r *region, why Cause) {
	if left {
		p.omit(r, why)
		return
	}
	p.ignored = append(p.ignored, Omission{Locality: catalog.Locality{Region: r.name}, Cause: why})
}

func (p *plan) omit(r *region, why Cause) {
	r.out = true
	p.omitted = append(p.omitted, Omission{Locality: catalog.Locality{Region: r.name}, Cause: why})
}
