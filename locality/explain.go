package locality

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/federator/federator/federation/catalog"
)

// StepKind is what a [Step] is about.
type StepKind string

// The kinds of step, in the order in which [Explain] gives them.
const (
	StepContext  StepKind = "context"  // what the decision was based on
	StepIgnored  StepKind = "ignored"  // an exclusion that was set aside
	StepPriority StepKind = "priority" // a priority and its load
	StepLocality StepKind = "locality" // a locality in it
	StepEndpoint StepKind = "endpoint" // an endpoint that does not serve
	StepOmitted  StepKind = "omitted"  // a locality that is left out
	StepOutcome  StepKind = "outcome"  // what holds for the answer as a whole
)

// Step is one inclusion or omission in words.
type Step struct {
	Kind StepKind `json:"kind"`
	// Locality is the region or region/zone that the step is about, if any.
	Locality string `json:"locality,omitempty"`
	Text     string `json:"text"`
}

// maxNamed bounds how many endpoints of one locality are named one by one.
const maxNamed = 10

// Explain says why a resolution is what it is, each inclusion and omission in
// order. It is for people: the words may change.
func Explain(res Resolution) []Step {
	e := explainer{res: res}
	e.context()
	for _, o := range res.Ignored {
		e.say(StepIgnored, o.String(), "%s", e.ignored(o))
	}
	for i := range res.Priorities {
		e.priority(i)
	}
	for _, o := range res.Omitted {
		e.say(StepOmitted, o.String(), "%s omitted: %s", o, e.cause(o))
	}
	e.outcome()
	return e.steps
}

type explainer struct {
	res   Resolution
	steps []Step
}

func (e *explainer) say(kind StepKind, at, format string, args ...any) {
	e.steps = append(e.steps, Step{kind, at, fmt.Sprintf(format, args...)})
}

// conditions is never nil in a resolution that Resolve made.
func (e *explainer) conditions() *catalog.Conditions {
	if e.res.in.Conditions == nil {
		return &catalog.Conditions{}
	}
	return e.res.in.Conditions
}

func (e *explainer) policy() catalog.Policy { return e.conditions().Policies[e.res.Policy] }

func (e *explainer) context() {
	c := e.conditions()
	e.say(StepContext, e.res.Client.String(), "the client is at %s; region %s answers", e.res.Client, c.Region)
	if e.res.Policy == "" {
		e.say(StepContext, "", "no policy applies: the built-in defaults hold")
	} else {
		e.say(StepContext, "", "policy %s%s applies%s", e.res.Policy, e.policyOrigin(), e.policyTerms())
	}
	if e.res.in.Pin != "" {
		e.say(StepContext, e.res.in.Pin, "the name asks for region %s only", e.res.in.Pin)
	}
	if c.Isolated {
		e.say(StepContext, c.Region, "no other region answers, so the fault is probably here: %s comes first, the others only as last known", c.Region)
	}
	if d := e.res.Drill; d != nil {
		e.say(StepContext, omissionOf(d).String(), "drill %s takes %s of the traffic of %s away, for practice", d.ID, percent(d.Share), omissionOf(d))
	}
}

// omissionOf is what a drill takes of the service at hand.
func omissionOf(d *Drill) Omission {
	return drilled(&catalog.DrillInForce{ID: d.ID, Scope: d.Scope}, "")
}

// policyOrigin says which cluster the policy comes from, if it is not an operator's.
func (e *explainer) policyOrigin() string {
	o, ok := e.conditions().PolicyOrigins[e.res.Policy]
	if !ok {
		return ""
	}
	return fmt.Sprintf(" (ResolutionPolicy %s of cluster %s)", o.Name, o.Cluster)
}

// policyTerms lists what the policy sets.
func (e *explainer) policyTerms() string {
	p := e.policy()
	var terms []string
	add := func(format string, args ...any) { terms = append(terms, fmt.Sprintf(format, args...)) }
	if order, ok := p.RegionOrderFrom[e.res.Client.Region]; ok {
		add("region order from %s: %s", e.res.Client.Region, strings.Join(order, ", "))
	} else if len(p.RegionOrder) > 0 {
		add("region order %s", strings.Join(p.RegionOrder, ", "))
	}
	if len(p.Weights) > 0 {
		add("weights %s", weightList(p.Weights))
	}
	if len(p.FailoverRegions) > 0 {
		add("only %s may serve", strings.Join(p.FailoverRegions, ", "))
	}
	if p.OverprovisioningPercent != 0 {
		add("overprovisioning %d %%", p.OverprovisioningPercent)
	}
	if p.PanicThresholdPercent != nil {
		add("panic threshold %d %%", *p.PanicThresholdPercent)
	}
	if p.Ramp != nil {
		add("ramp %s", time.Duration(*p.Ramp))
	}
	if s := p.Safety; s != nil && s.MinRegions > 0 {
		add("at least %s serving", counted(int(s.MinRegions), "region"))
	}
	if s := p.Safety; s != nil && s.MinEndpointsPercent > 0 {
		add("at least %d %% of all endpoints serving", s.MinEndpointsPercent)
	}
	if len(terms) == 0 {
		return ""
	}
	return ": " + strings.Join(terms, "; ")
}

// weightList writes weights as "eu-central 10, us-west 90".
func weightList(weights map[string]uint32) string {
	var list []string
	for _, at := range slices.Sorted(maps.Keys(weights)) {
		list = append(list, fmt.Sprintf("%s %d", at, weights[at]))
	}
	return strings.Join(list, ", ")
}

func (e *explainer) priority(i int) {
	p := &e.res.Priorities[i]
	healthy, degraded, total := 0, 0, 0
	for j := range p.Localities {
		healthy += p.Localities[j].Healthy
		degraded += p.Localities[j].Degraded
		total += p.Localities[j].Total
	}
	text := fmt.Sprintf("priority %d gets %s: %d of %d endpoints healthy", i, traffic(p.Load*(Unit/100)), healthy, total)
	if degraded > 0 {
		text += fmt.Sprintf(", %d degraded", degraded)
	}
	text += fmt.Sprintf(", enough for %d %%", p.Health)
	if p.DegradedLoad > 0 {
		text += fmt.Sprintf("; %d %% goes to degraded endpoints", p.DegradedLoad)
	}
	if p.Weighted {
		text += fmt.Sprintf("; shared by weights %s from policy %s", weightList(e.policy().Weights), e.res.Policy)
	}
	if p.Panic {
		text += "; panic: too few are available here and in all priorities together, so health is ignored and all serve"
	}
	e.say(StepPriority, "", "%s", text)
	for j := range p.Localities {
		e.locality(p, &p.Localities[j])
	}
}

func (e *explainer) locality(p *Priority, l *Locality) {
	text := fmt.Sprintf("%s gets %s", l, traffic(l.Weight))
	if p.Weighted {
		text += ": weights from policy " + e.res.Policy
	} else {
		text += ": " + e.reason(l)
	}
	text += fmt.Sprintf("; %d of %d endpoints healthy", l.Healthy, l.Total)
	if len(p.Localities) > 1 {
		text += fmt.Sprintf("; weighs %s of its priority", percent(l.Configured))
	}
	if l.Admitted < Unit {
		text += fmt.Sprintf("; returning: %s of its healthy capacity is admitted so far", percent(l.Admitted))
	}
	if l.Drilled > 0 {
		text += e.practice(l)
	}
	if l.Stale {
		text += "; stale: " + e.staleness(l)
	}
	e.say(StepLocality, l.String(), "%s", text)
	e.endpoints(l)
}

// practice says what the drill does to a locality.
func (e *explainer) practice(l *Locality) string {
	d := e.res.Drill
	switch {
	case l.Serving&ServeUndrilled != 0:
		return fmt.Sprintf("; drill %s has taken out %d more", d.ID, l.Drilled)
	case l.Drilled < l.Total:
		return fmt.Sprintf("; drill %s takes %s of what %d of them would get", d.ID, percent(d.Share), l.Drilled)
	}
	return fmt.Sprintf("; drill %s takes %s of what it would get", d.ID, percent(d.Share))
}

func (e *explainer) reason(l *Locality) string {
	switch l.Why {
	case SameZone:
		return "the client's own zone"
	case SameRegion:
		return "the client's own region"
	case ByPolicy:
		return "region order from policy " + e.res.Policy
	case ByMeasurement:
		if l.Region == e.conditions().Region {
			return "the region that answers"
		}
		return fmt.Sprintf("measured %s from %s", l.RTT.Round(100*time.Microsecond), e.conditions().Region)
	}
	return "neither ranked by a policy nor measured, so by name"
}

func (e *explainer) staleness(l *Locality) string {
	c := e.conditions()
	switch reach := c.Reach[l.Region]; {
	case reach == catalog.Out:
		return "neither replicas nor endpoints answer, this is the last known state"
	case reach == catalog.ControlPlaneLost:
		return "its replicas are silent but endpoints answer, this is the last known state"
	case c.Isolated && l.Region != c.Region:
		return "we are isolated, this is the last known state"
	}
	return "the region or its source cannot confirm the state now"
}

// endpoints names those that do not serve.
func (e *explainer) endpoints(l *Locality) {
	idle := 0
	for i := range l.Endpoints {
		ep := &l.Endpoints[i]
		if ep.Weight > 0 {
			continue
		}
		why := ep.Health.String()
		if ep.Drilled && l.Serving&ServeUndrilled != 0 {
			why = "drill " + e.res.Drill.ID
		}
		if idle++; idle <= maxNamed {
			e.say(StepEndpoint, l.String(), "%s (%s, cluster %s) not used: %s", ep.ID, ep.Address, ep.Cluster, why)
		}
	}
	if idle > maxNamed {
		e.say(StepEndpoint, l.String(), "and %d more in %s not used", idle-maxNamed, l)
	}
}

func (e *explainer) ignored(o Omission) string {
	const otherwise = "otherwise nothing that may serve would be left"
	switch o.Cause {
	case RegionOut:
		return fmt.Sprintf("%s is %s; used all the same, because nothing else exists", o, e.cause(o))
	case WeIsolated:
		return fmt.Sprintf("%s used although we are isolated: our own region has nothing that may serve", o)
	case ZeroWeight:
		return fmt.Sprintf("%s: weight 0 ignored, and all weights of policy %s with it: %s", o, e.res.Policy, otherwise)
	}
	if o.Rule != "" {
		return fmt.Sprintf("%s used although %s: that %s", o, e.cause(o), o.Rule)
	}
	return fmt.Sprintf("%s used although %s: %s", o, e.cause(o), otherwise)
}

func (e *explainer) cause(o Omission) string {
	switch o.Cause {
	case NotPinned:
		return "the name asks for region " + e.res.in.Pin + " only"
	case NotAllowed:
		return fmt.Sprintf("policy %s lets only %s serve", e.res.Policy, strings.Join(e.policy().FailoverRegions, ", "))
	case RegionOut:
		return "out, for neither replicas nor endpoints answer"
	case WeIsolated:
		return "we are isolated and our own region serves"
	case Evacuated:
		ev := e.conditions().Evacuations[o.Region]
		text := "evacuated until " + ev.Until().UTC().Format(time.RFC3339)
		if ev.Reason != "" {
			text += fmt.Sprintf(" (%q)", ev.Reason)
		}
		return text
	case ZeroWeight:
		return fmt.Sprintf("weight 0 from policy %s", e.res.Policy)
	case Drilled:
		return fmt.Sprintf("drill %s takes it away", o.Drill)
	}
	return o.Cause.String()
}

func (e *explainer) outcome() {
	switch {
	case len(e.res.Priorities) == 0 && len(e.res.Omitted) == 0:
		e.say(StepOutcome, "", "nobody serves: no cluster exports endpoints of %s", e.res.Service)
	case len(e.res.Priorities) == 0:
		e.say(StepOutcome, "", "nobody serves: no region that may serve has endpoints")
	case e.res.Empty():
		e.say(StepOutcome, "", "nobody serves: no endpoint is available, and policy %s turns panic off", e.res.Policy)
	}
	if e.res.Stale {
		e.say(StepOutcome, "", "the answer is marked stale")
	}
}

// traffic writes a share of all traffic.
func traffic(ppm uint32) string {
	if ppm == 0 {
		return "no traffic"
	}
	return percent(ppm) + " of traffic"
}

// percent writes parts per million as a percentage with up to two decimals.
func percent(ppm uint32) string {
	whole, hundredths := ppm/10_000, ppm%10_000/100
	if hundredths == 0 {
		return fmt.Sprintf("%d %%", whole)
	}
	return fmt.Sprintf("%d.%02d %%", whole, hundredths)
}
