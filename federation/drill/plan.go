package drill

import (
	"cmp"
	"slices"
	"strings"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/locality"
)

// MaxListed bounds the services that a plan names; the rest is counted.
const MaxListed = 1000

// Plan says where traffic would go while a drill holds its scope away, and what
// would break. Everything in it is ordered.
type Plan struct {
	Kind  catalog.DrillKind `json:"kind"`
	Scope catalog.Scope     `json:"scope"`
	// Services counts all there are, Concerned those that the drill touches, and
	// Unlisted those of them that no group names.
	Services  int `json:"services"`
	Concerned int `json:"concerned"`
	Unlisted  int `json:"unlisted,omitempty"`
	// Load is the traffic by place over all services that are concerned.
	Load []Load `json:"load,omitempty"`
	// Groups are the services with the same numbers, those that lose most first.
	Groups   []Group   `json:"groups,omitempty"`
	Findings []Finding `json:"findings,omitempty"`
	// Assumptions say what the numbers rest on.
	Assumptions []string `json:"assumptions"`
}

// Group is services for which the drill has the same effect.
type Group struct {
	// Services are up to [MaxListed] over the whole plan; Count is how many there are.
	Services []string `json:"services"`
	Count    int      `json:"count"`
	// Load is the traffic of one of these services by place, if each client region
	// asks equally, and Clients where each client region is sent.
	Load    []Load   `json:"load"`
	Clients []Client `json:"clients"`
	// SetAside: a safety rule keeps the drill from taking the service away.
	SetAside bool `json:"setAside,omitempty"`
}

// Client is where the clients of one region are sent.
type Client struct {
	Region string `json:"region"`
	Load   []Load `json:"load"`
	// Panic: so little is left that health is ignored; Stale: nobody can confirm
	// the state of some of it now.
	Panic bool `json:"panic,omitempty"`
	Stale bool `json:"stale,omitempty"`
}

// Load is the traffic of one place before and during the drill, in parts per
// million of all.
type Load struct {
	// Place is a region without what is drilled of it, or the scope.
	Place   string `json:"place"`
	Drilled bool   `json:"drilled,omitempty"`
	Before  uint32 `json:"before"`
	After   uint32 `json:"after"`
}

// Factor is how many times its load the place would carry; 0 if it had none.
func (l Load) Factor() float64 {
	if l.Before == 0 {
		return 0
	}
	return float64(l.After) / float64(l.Before)
}

// Unsafe returns in words why the drill may only be started by force.
func (p *Plan) Unsafe() []string { return Unsafe(p.Findings) }

// MakePlan says what the drill would do to every service. It takes time in
// proportion to the services that differ, not to those that there are.
func MakePlan(w World, d catalog.Drill) Plan {
	p := Plan{Kind: d.Kind, Scope: d.Scope, Services: len(w.Services), Assumptions: assumptions(d)}
	j := newJudge(&w, d)
	for _, s := range w.Services {
		if j.concerns(s) {
			j.add(s)
		}
	}
	p.Concerned = j.count
	p.Groups = j.groups()
	p.Load = sum(p.Groups)
	p.bound()
	p.Findings = j.findings()
	return p
}

func assumptions(d catalog.Drill) []string {
	out := []string{"every client region asks for every service equally often",
		"all endpoints stay as healthy as they are now, and returning capacity has ramped up"}
	if d.Kind == catalog.DrillIsolate {
		return append(out, "the endpoints of the isolated region go on answering the probes of the other regions")
	}
	return append(out, "where no policy orders the regions, all clients prefer them by the round-trip times measured from here")
}

// verdict is what a drill does to services that do not differ in what counts.
type verdict struct {
	group   Group
	remains remains
	gates   []string
	key     string // of the numbers
}

// judge collects verdicts.
type judge struct {
	w              *World
	d              catalog.Drill
	before, during *catalog.Conditions
	forced         *catalog.Conditions // as if safety did not hold it up
	inside         *catalog.Conditions // as an isolated region sees it
	clients        []string
	alike          map[string]*verdict // by signature
	order          []*verdict
	count          int
	buf            []byte
}

func newJudge(w *World, d catalog.Drill) *judge {
	j := &judge{w: w, d: d, before: w.without(d.ID), during: w.during(d, d.Forced), forced: w.during(d, true), clients: w.Conditions.Regions(), alike: map[string]*verdict{}}
	if d.Kind == catalog.DrillIsolate {
		j.during, j.inside = isolated(j.before, d.Scope.Region)
	}
	return j
}

// isolated returns the conditions of the other regions, and of a region that is
// cut off from them: its replicas are silent and its endpoints answer.
func isolated(c *catalog.Conditions, region string) (outside, inside *catalog.Conditions) {
	out, in := *c, *c
	out.Reach = map[string]catalog.Reach{}
	for name, reach := range c.Reach {
		out.Reach[name] = reach
	}
	out.Reach[region] = max(out.Reach[region], catalog.ControlPlaneLost)
	in.Region, in.Isolated = region, true
	return &out, &in
}

// concerns reports whether the drill changes anything for a service.
func (j *judge) concerns(s *catalog.Service) bool {
	if j.d.Kind == catalog.DrillIsolate {
		return j.d.Scope.Concerns(s.Name)
	}
	return touched(j.d.Scope, s)
}

func (j *judge) add(s *catalog.Service) {
	j.count++
	j.buf = signature(j.buf[:0], j.before, j.d.Scope, s)
	v := j.alike[string(j.buf)]
	if v == nil {
		v = j.judge(s)
		j.alike[string(j.buf)] = v
		j.order = append(j.order, v)
	}
	v.group.Count++
	v.group.Services = append(v.group.Services, s.Name.String())
}

// judge resolves a service for the clients of every region, before and during.
func (j *judge) judge(s *catalog.Service) *verdict {
	v := &verdict{remains: j.rules(s), gates: gatesOf(j.before, s.Name)}
	loads := newLedger()
	for _, region := range j.clients {
		during := j.during
		if j.inside != nil && region == j.d.Scope.Region {
			during = j.inside
		}
		client := catalog.Locality{Region: region}
		before := locality.Resolve(locality.Input{Service: s, Conditions: j.before, Client: client})
		after := locality.Resolve(locality.Input{Service: s, Conditions: during, Client: client})
		own := newLedger()
		own.add(before, j.d.Scope, func(l *Load) *uint32 { return &l.Before })
		own.add(after, j.d.Scope, func(l *Load) *uint32 { return &l.After })
		v.group.Clients = append(v.group.Clients, Client{Region: region, Load: own.list(1), Panic: after.Panic && !before.Panic, Stale: after.Stale && !before.Stale})
		v.group.SetAside = v.group.SetAside || j.keeps(after)
		loads.merge(own)
	}
	v.group.Load = loads.list(uint64(max(1, len(j.clients))))
	v.key = numbers(&v.group)
	return v
}

// keeps reports whether a resolution sets the drill aside.
func (j *judge) keeps(res locality.Resolution) bool {
	return slices.ContainsFunc(res.Ignored, func(o locality.Omission) bool {
		return o.Cause == locality.Drilled && o.Drill == j.d.ID
	})
}

// groups merges the verdicts with the same numbers.
func (j *judge) groups() []Group {
	byKey := map[string]int{}
	var out []Group
	for _, v := range j.order {
		i, ok := byKey[v.key]
		if !ok {
			i = len(out)
			byKey[v.key] = i
			out = append(out, Group{Load: v.group.Load, Clients: v.group.Clients, SetAside: v.group.SetAside})
		}
		out[i].Count += v.group.Count
		out[i].Services = append(out[i].Services, v.group.Services...)
	}
	for i := range out {
		slices.Sort(out[i].Services)
	}
	slices.SortStableFunc(out, func(a, b Group) int {
		return cmp.Or(cmp.Compare(b.moved()*uint64(b.Count), a.moved()*uint64(a.Count)), strings.Compare(a.Services[0], b.Services[0]))
	})
	return out
}

// moved is the traffic that a group's services lose in one place and find in
// another, in parts per million.
func (g *Group) moved() (n uint64) {
	for _, l := range g.Load {
		n += uint64(max(l.Before, l.After) - l.After)
	}
	return n
}

// bound names no more services than [MaxListed], each group at least one if that
// can be, and drops groups of which none is named.
func (p *Plan) bound() {
	left := MaxListed
	for i := range p.Groups {
		g := &p.Groups[i]
		reserve := min(left, len(p.Groups)-i-1)
		keep := min(len(g.Services), left-reserve)
		p.Unlisted += len(g.Services) - keep
		g.Services = g.Services[:keep]
		left -= keep
	}
	p.Groups = slices.DeleteFunc(p.Groups, func(g Group) bool { return len(g.Services) == 0 })
}
