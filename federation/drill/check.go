package drill

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/locality"
)

// Severity is what a finding means for the start of a drill.
type Severity string

// The severities.
const (
	// Blocks: the drill is unsafe, and begins only by force.
	Blocks Severity = "blocks"
	// Warns: the operator should know.
	Warns Severity = "warns"
)

// The codes of findings.
const (
	NoSuchScope       = "no-such-scope"       // nothing is there to be taken away
	NothingLeft       = "nothing-left"        // nobody elsewhere is fit to serve a service
	NowhereElse       = "nowhere-else"        // a service is in the scope only
	UnderMinRegions   = "under-min-regions"   // fewer regions than its policy asks for
	UnderMinEndpoints = "under-min-endpoints" // fewer endpoints than its policy asks for
	GateClosed        = "gate-closed"         // a gate that a policy names is closed or missing
	OtherDrill        = "other-drill"         // another drill overlaps
	RegionUnreachable = "region-unreachable"  // a real failure is going on
	RegionEvacuated   = "evacuated"           // an evacuation takes away more, or the same
	Panics            = "panic"               // the rest is too sick, health would be ignored
	Loads             = "load"                // a place gets many times its load
	Unconfirmed       = "unconfirmed"         // isolated clients get what nobody can confirm
)

// Finding is something that would break, or that an operator should know.
type Finding struct {
	Code     string   `json:"code"`
	Severity Severity `json:"severity"`
	// Subject is what it is about: a service, a region, a gate, a drill.
	Subject string `json:"subject"`
	// Count is how many are in the same situation; Subject then names some of them.
	Count int    `json:"count,omitempty"`
	Found string `json:"found"`
	// Do is what to do about it.
	Do string `json:"do"`
}

// String returns the finding as one sentence.
func (f Finding) String() string { return f.Subject + ": " + f.Found }

// Unsafe returns, in words, those of the findings that hold a drill up.
func Unsafe(findings []Finding) []string {
	var out []string
	for _, f := range findings {
		if f.Severity == Blocks {
			out = append(out, f.String())
		}
	}
	return out
}

// Check returns what is against the drill, now: before it begins, and while it
// runs. It is what [MakePlan] finds, but for what needs resolutions, which only
// warns; so it is cheap enough to be asked twice a second. A drill that was
// forced is judged like any other.
func Check(w World, d catalog.Drill) []Finding {
	j := newJudge(&w, d)
	j.clients = nil
	for _, s := range w.Services {
		if j.concerns(s) {
			j.add(s)
		}
	}
	return j.findings()
}

// manyTimes is the growth of load that a plan points out.
const manyTimes = 2.0

// remains is what the rules say of one service during the drill.
type remains struct {
	code  string // of the rule that would be broken, "" for none
	found string
}

// rules judges the rules of a service as if nothing but that it must not be
// emptied held the drill up, so that it can say what would be left.
func (j *judge) rules(s *catalog.Service) remains {
	if j.d.Kind == catalog.DrillIsolate {
		return remains{}
	}
	of := locality.Safety(locality.Input{Service: s, Conditions: j.forced})
	if why, aside := of.SetAside(j.d.ID); aside && of.Drill == nil {
		if !isElsewhere(s, j.d.Scope) {
			return remains{NowhereElse, "it is served nowhere else, so the drill would not touch it"}
		}
		return remains{NothingLeft, "it " + why + ", so the drill would not touch it"}
	}
	switch {
	case of.Broken == "" || of.Drill == nil:
		return remains{}
	case uint64(of.Regions) < uint64(of.Rule.MinRegions):
		return remains{UnderMinRegions, "it would leave " + of.Broken}
	}
	return remains{UnderMinEndpoints, "it would leave " + of.Broken}
}

// isElsewhere reports whether the service has endpoints outside the scope, in
// whatever health. One that has none cannot fail over, drill or not: that is worth
// knowing before, but no failure that has to end a drill.
func isElsewhere(s *catalog.Service, scope catalog.Scope) bool {
	for i := range s.Backends {
		b := &s.Backends[i]
		if b.Set == nil {
			continue
		}
		outside := b.Region != scope.Region || scope.Cluster != "" && b.Set.Cluster != scope.Cluster
		for j := range b.Set.Endpoints {
			if outside || scope.Zone != "" && b.Set.Endpoints[j].Zone != scope.Zone {
				return true
			}
		}
	}
	return false
}

// gatesOf returns the gates that the policy of a service wants open.
func gatesOf(c *catalog.Conditions, name catalog.ServiceName) []string {
	if p, _ := c.Policy(name); p.Safety != nil {
		return p.Safety.Gates
	}
	return nil
}

// findings lists what is against the drill and what to know of it, the worst
// first.
func (j *judge) findings() []Finding {
	out := slices.Concat(j.scope(), j.others(), j.regions(), j.closedGates(), j.broken(), j.isolation(), j.effects())
	slices.SortStableFunc(out, func(a, b Finding) int {
		return strings.Compare(string(a.Severity), string(b.Severity))
	})
	return out
}

// scope finds what does not exist.
func (j *judge) scope() []Finding {
	s := j.d.Scope
	missing := func(what, do string) []Finding {
		return []Finding{{NoSuchScope, Blocks, s.String(), 0, what, do}}
	}
	regions := j.w.Conditions.Regions()
	switch {
	case !slices.Contains(regions, s.Region):
		return missing("there is no such region", "choose one of "+strings.Join(some(regions), ", "))
	case s.Cluster != "" && j.w.Conditions.ClusterRegion[s.Cluster] != s.Region:
		return missing("the region has no such cluster", "look at: federator status")
	case j.count > 0:
		return nil
	case s.Service != (catalog.ServiceName{}) && !slices.ContainsFunc(j.w.Services, func(o *catalog.Service) bool { return o.Name == s.Service }):
		return missing("there is no such service", "look at: federator services")
	case j.d.Kind == catalog.DrillIsolate:
		return nil
	}
	return missing("nothing is served there, so there is nothing to practise", "look at: federator services, federator endpoints")
}

// others finds drills in the way.
func (j *judge) others() []Finding {
	var out []Finding
	giving := j.w.GivingWay(j.d)
	for _, o := range j.w.rivals(j.d) {
		f := Finding{Code: OtherDrill, Severity: Blocks, Subject: "drill " + o.ID,
			Found: fmt.Sprintf("it is %s, takes away %s and overlaps", o.State, o.Scope), Do: "wait for its end, or end it: federator drill stop " + o.ID}
		if o.Schedule != "" && j.d.Schedule == "" {
			f.Severity, f.Found, f.Do = Warns, f.Found+"; it is practice on schedule and would be ended", "nothing"
		}
		if slices.ContainsFunc(giving, func(g catalog.DrillView) bool { return g.ID == o.ID }) {
			f.Severity, f.Found, f.Do = Warns, f.Found+"; users of a Kubernetes namespace began it ("+strings.TrimPrefix(o.Actor, catalog.FromKubernetes)+"), and it would be ended", "nothing"
		}
		out = append(out, f)
	}
	return out
}

// regions finds real failures, and evacuations.
func (j *judge) regions() []Finding {
	c, scope := j.before, j.d.Scope.Region
	var out []Finding
	if c.Isolated {
		out = append(out, Finding{RegionUnreachable, Blocks, "region " + c.Region, 0, "it is cut off from every other region", "find out why before practising: federator status"})
	}
	for _, name := range c.Regions() {
		if reach := c.Reach[name]; reach != catalog.Reachable && !c.Isolated {
			f := Finding{RegionUnreachable, Blocks, "region " + name, 0, "it is " + reach.String() + ", seen from " + c.Region,
				"mend that first, or remove a region that is gone for good: federator region remove " + name}
			if name == scope { // to drill what fails anyway takes nothing from anybody
				f.Severity = Warns
			}
			if !(name == scope && j.d.Kind == catalog.DrillIsolate && j.d.State == catalog.DrillRunning) {
				out = append(out, f)
			}
		}
		if _, evacuated := c.Evacuations[name]; evacuated {
			found := "it is evacuated, so it takes over nothing"
			if name == scope {
				found = "it is evacuated already, so the drill would move little or nothing"
			}
			out = append(out, Finding{RegionEvacuated, Warns, "region " + name, 0, found, "end that first: federator evacuate " + name + " --stop"})
		}
	}
	return out
}

// closedGates finds gates of the services concerned that are not open.
func (j *judge) closedGates() []Finding {
	wanted := map[string]int{}
	var names []string
	for _, v := range j.order {
		for _, g := range v.gates {
			if wanted[g] == 0 {
				names = append(names, g)
			}
			wanted[g] += v.group.Count
		}
	}
	slices.Sort(names)
	var out []Finding
	for _, name := range names {
		gate, exists := j.w.Gates[name]
		f := Finding{GateClosed, Blocks, "gate " + name, 0, "", ""}
		of := fmt.Sprintf("; %s needs it open", plural(wanted[name], "service"))
		switch {
		case !exists:
			f.Found, f.Do = "it does not exist, so it is closed"+of, "have an admin make it: federator drill gate create "+name+" --operators NAME"
		case gate.OpenUntil.After(j.w.Now):
			continue
		default:
			f.Found, f.Do = "it is closed"+of, fmt.Sprintf("have %s open it: federator drill gate open %s --for 1h", strings.Join(some(gate.Operators), " or "), name)
		}
		out = append(out, f)
	}
	return out
}

// broken finds services whose rules the drill would break.
func (j *judge) broken() []Finding {
	do := map[string]string{
		NowhereElse:       "serve it from another region too, or drill services one by one with --service",
		NothingLeft:       "mend what is sick elsewhere, or serve it from another region too, or drill services one by one with --service",
		UnderMinRegions:   "serve it from another region too, or change safety in its policy",
		UnderMinEndpoints: "add endpoints in the other regions, or change safety in its policy",
	}
	out := j.gather(Blocks, do, func(v *verdict) (string, string) { return v.remains.code, v.remains.found })
	// A drill does not touch what is nowhere else. That is no reason not to practise
	// with the rest, if there is a rest.
	rest := slices.ContainsFunc(j.order, func(v *verdict) bool { return v.remains.code != NowhereElse })
	for i := range out {
		if out[i].Code == NowhereElse && rest {
			out[i].Severity = Warns
		}
	}
	return out
}

// effects finds what resolutions show.
func (j *judge) effects() []Finding {
	if len(j.clients) == 0 {
		return nil
	}
	do := map[string]string{
		Panics: "look at the endpoints that are left: federator check",
		Loads:  "make sure that it can carry that, or shorten the drill",
	}
	panics := j.gather(Warns, do, func(v *verdict) (string, string) {
		for _, c := range v.group.Clients {
			if c.Panic {
				return Panics, "too few of the endpoints left are healthy, so clients would be sent to all of them"
			}
		}
		return "", ""
	})
	var out []Finding
	for _, l := range sum(j.groups()) {
		if f := l.Factor(); f >= manyTimes && !l.Drilled {
			out = append(out, Finding{Loads, Warns, "region " + l.Place, 0, fmt.Sprintf("it would carry %.1f times its load of the services concerned", f), do[Loads]})
		}
	}
	return append(panics, out...)
}

// isolation finds what an isolated region cannot do.
func (j *judge) isolation() []Finding {
	if j.inside == nil {
		return nil
	}
	do := map[string]string{Unconfirmed: "nothing if that is what you practise; else serve it there too"}
	return j.gather(Warns, do, func(v *verdict) (string, string) {
		for _, c := range v.group.Clients {
			if c.Region == j.d.Scope.Region && c.Stale {
				return Unconfirmed, "it is not served in the region, whose clients would get the last known endpoints of others"
			}
		}
		return "", ""
	})
}

// gather makes one finding of all services of which the same is found.
func (j *judge) gather(severity Severity, do map[string]string, of func(*verdict) (code, found string)) []Finding {
	type same struct{ code, found string }
	var order []same
	services := map[same][]string{}
	for _, v := range j.order {
		code, found := of(v)
		if code == "" {
			continue
		}
		k := same{code, found}
		if services[k] == nil {
			order = append(order, k)
		}
		services[k] = append(services[k], v.group.Services...)
	}
	var out []Finding
	for _, k := range order {
		names := services[k]
		slices.Sort(names)
		subject := "service " + names[0]
		if len(names) > 1 {
			subject = fmt.Sprintf("%d services (%s)", len(names), strings.Join(some(names), ", "))
		}
		out = append(out, Finding{k.code, severity, subject, len(names), k.found, do[k.code]})
	}
	return out
}

// some returns the first few of the names.
func some(names []string) []string {
	const few = 5
	if len(names) <= few {
		return names
	}
	return append(slices.Clone(names[:few]), "...")
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// about rounds a duration for people.
func about(d time.Duration) time.Duration {
	switch {
	case d.Abs() >= time.Minute:
		return d.Round(time.Second)
	case d.Abs() >= time.Second:
		return d.Round(100 * time.Millisecond)
	}
	return d.Round(time.Millisecond)
}
