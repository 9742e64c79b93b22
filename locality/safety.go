package locality

import (
	"fmt"

	"github.com/federator/federator/federation/catalog"
)

// Standing is what of a service serves.
type Standing struct {
	// Regions counts the regions with a healthy or degraded endpoint.
	Regions int `json:"regions"`
	// Serving counts the healthy and degraded endpoints there.
	Serving int `json:"serving"`
	// Total counts all endpoints of the service that exist, wherever they are.
	Total int `json:"total"`
}

// Breaks returns which rule is not met, such as "1 region serving, the policy asks
// for 2"; "" if all are.
func (s Standing) Breaks(rule catalog.Safety) string {
	percent := int(min(rule.MinEndpointsPercent, 100))
	switch {
	case uint64(s.Regions) < uint64(rule.MinRegions):
		return fmt.Sprintf("%s serving, the policy asks for %d", counted(s.Regions, "region"), rule.MinRegions)
	case 100*s.Serving < percent*s.Total:
		return fmt.Sprintf("%d of %s serving, the policy asks for %d %%", s.Serving, counted(s.Total, "endpoint"), percent)
	}
	return ""
}

func counted(n int, of string) string {
	if n == 1 {
		return "1 " + of
	}
	return fmt.Sprintf("%d %ss", n, of)
}

// Judgement is how one service stands under everything that is in force, the
// drill that acts taken as if it took all of its scope's traffic.
type Judgement struct {
	Standing
	// Policy is the name of the policy in force, "" for none, and Rule what it says.
	Policy string         `json:"policy,omitempty"`
	Rule   catalog.Safety `json:"rule,omitzero"`
	// Broken is what [Standing.Breaks] says of the rule, forced or not.
	Broken string `json:"broken,omitempty"`
	// Drill is the drill that acts, nil if none touches what could serve.
	Drill *Drill `json:"drill,omitempty"`
	// Ignored lists what is set aside, and why; the same as [Resolution.Ignored].
	Ignored []Omission `json:"ignored,omitempty"`
}

// Safety judges the rules of one service. It is a part of what [Resolve] does, and
// does not depend on where the client is.
func Safety(in Input) Judgement {
	p := newPlan(in)
	p.gather()
	p.choose()
	j := Judgement{Policy: p.name, Drill: p.effect(), Ignored: p.ignored}
	if p.policy.Safety != nil {
		j.Rule = *p.policy.Safety
	}
	j.Standing = p.standing(p.undrilled)
	j.Broken = j.Breaks(j.Rule)
	return j
}

// SetAside reports whether a drill is set aside for the service, and why, in words.
func (j Judgement) SetAside(drill string) (why string, aside bool) {
	for _, o := range j.Ignored {
		if o.Cause == Drilled && o.Drill == drill {
			return o.Reason(), true
		}
	}
	return "", false
}

// Reason is why an omission was set aside, in words that follow "it".
func (o Omission) Reason() string {
	if o.Rule != "" {
		return o.Rule
	}
	return "would leave nothing that may serve"
}

// standing counts what serves of the places that are still in, if this remains of
// them. Places that the policy weighs 0 do not count as long as those weights hold.
func (p *plan) standing(remains func(*place) census) Standing {
	weighed := len(p.policy.Weights) > 0 && p.weightsCount(remains)
	var s Standing
	for i := range p.regions {
		s.Total += int(p.regions[i].total)
		before := s.Serving
		for j := range p.places {
			at := &p.places[j]
			if at.region == i && !p.regions[i].out && at.level != dropped && !(weighed && at.weight == 0) {
				s.Serving += int(remains(at).available())
			}
		}
		if s.Serving > before {
			s.Regions++
		}
	}
	return s
}

// broken returns which rule of the policy would not be met if this remained of the
// places, as a [Omission.Rule]; "" if none.
func (p *plan) broken(remains func(*place) census) string {
	if p.policy.Safety == nil {
		return ""
	}
	if rule := p.standing(remains).Breaks(*p.policy.Safety); rule != "" {
		return "would leave " + rule
	}
	return ""
}
