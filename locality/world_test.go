package locality

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/federator/federator/federation/catalog"
)

var checkout = catalog.ServiceName{Namespace: "shop", Name: "checkout"}

// clusterOf makes one cluster's part of shop/checkout from "region/zone states",
// one letter for each endpoint: h healthy, d degraded, u unhealthy, x draining,
// ? unknown. More "/zone states" pairs may follow: "us-west/a hh /b u".
func clusterOf(spec string) catalog.Backend {
	f := strings.Fields(spec)
	region, _, _ := strings.Cut(f[0], "/")
	set := &catalog.EndpointSet{SetKey: catalog.SetKey{Cluster: region + "-1", Service: checkout}}
	b := catalog.Backend{Region: region, Set: set}
	for i := 0; i+1 < len(f); i += 2 {
		_, zone, _ := strings.Cut(f[i], "/")
		for _, letter := range f[i+1] {
			n := len(set.Endpoints)
			set.Endpoints = append(set.Endpoints, catalog.Endpoint{
				ID: fmt.Sprintf("pod-%d", n), Address: netip.AddrFrom4([4]byte{10, byte(len(region)), byte(n >> 8), byte(n)}),
				Zone: zone, Weight: 1,
			})
			b.Health = append(b.Health, healthLetter(letter))
		}
	}
	return b
}

func healthLetter(letter rune) catalog.Health {
	return map[rune]catalog.Health{
		'h': catalog.Healthy, 'd': catalog.Degraded, 'u': catalog.Unhealthy, 'x': catalog.Draining, '?': catalog.Unknown,
	}[letter]
}

// world is a resolution's input for tests: us-west answers, the other regions
// are eu-central at 84 ms and asia-east at 110 ms.
func world(clusters ...string) Input {
	s := &catalog.Service{Name: checkout}
	for _, spec := range clusters {
		s.Backends = append(s.Backends, clusterOf(spec))
	}
	return Input{
		Service: s,
		Client:  catalog.Locality{Region: "us-west", Zone: "a"},
		Conditions: &catalog.Conditions{
			Region: "us-west",
			Reach:  map[string]catalog.Reach{"us-west": catalog.Reachable, "eu-central": catalog.Reachable, "asia-east": catalog.Reachable},
			RTT:    map[string]time.Duration{"eu-central": 84 * time.Millisecond, "asia-east": 110 * time.Millisecond},
		},
	}
}

func (in Input) policy(p catalog.Policy) Input {
	in.Conditions.Policies = map[string]catalog.Policy{"shop/checkout": p}
	return in
}

func (in Input) reach(region string, r catalog.Reach) Input {
	in.Conditions.Reach[region] = r
	return in
}

func (in Input) evacuate(region string, after time.Duration) Input {
	if in.Conditions.Evacuations == nil {
		in.Conditions.Evacuations = make(map[string]catalog.Evacuation)
	}
	in.Conditions.Evacuations[region] = catalog.Evacuation{
		Region: region, Started: epoch.Add(after), Duration: catalog.Duration(10 * time.Minute), Reason: "flood",
	}
	return in
}

// drill adds a drill on the scope that takes percent of its traffic; "us-west",
// "us-west/a", "us-west cluster us-west-2" or any of them with "service shop/db"
// behind are scopes.
func (in Input) drill(id, scope string, percent int, change ...func(*catalog.DrillInForce)) Input {
	d := catalog.DrillInForce{ID: id, Scope: scopeOf(scope), Share: uint32(percent * Unit / 100), Begun: epoch}
	for _, c := range change {
		c(&d)
	}
	in.Conditions.Drills = append(in.Conditions.Drills, d)
	return in
}

func forced(d *catalog.DrillInForce) { d.Forced = true }

func scopeOf(spec string) catalog.Scope {
	f := strings.Fields(spec)
	at, _ := catalog.ParseLocality(f[0])
	s := catalog.Scope{Region: at.Region, Zone: at.Zone}
	for i := 1; i+1 < len(f); i += 2 {
		if f[i] == "cluster" {
			s.Cluster = f[i+1]
		} else {
			s.Service, _ = catalog.ParseServiceName(f[i+1])
		}
	}
	return s
}

// clusterNamed renames the last cluster of the world.
func (in Input) clusterNamed(name string) Input {
	in.Service.Backends[len(in.Service.Backends)-1].Set.Cluster = name
	return in
}

// scopeShare is the share of all traffic, in parts per million, that the endpoints
// in a scope get.
func scopeShare(res Resolution, s catalog.Scope) float64 {
	var out float64
	for _, p := range res.Priorities {
		for _, l := range p.Localities {
			in, all := 0.0, 0.0
			for _, e := range l.Endpoints {
				all += float64(e.Weight)
				if l.Region == s.Region && (s.Zone == "" || s.Zone == l.Zone) && (s.Cluster == "" || s.Cluster == e.Cluster) {
					in += float64(e.Weight)
				}
			}
			if in > 0 {
				out += float64(l.Weight) * in / all
			}
		}
	}
	return out
}

func (in Input) from(client string) Input {
	in.Client, _ = catalog.ParseLocality(client)
	return in
}

var epoch = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// healthy returns letters for total endpoints of which n are healthy and d degraded.
func mix(n, d, total int) string {
	return strings.Repeat("h", n) + strings.Repeat("d", d) + strings.Repeat("u", total-n-d)
}

// ladder writes a resolution in short: one priority after the other, its load
// and, in brackets, its localities with their share in percent; "!" is panic and
// "~" stale.
func ladder(res Resolution) string {
	var out []string
	for _, p := range res.Priorities {
		var in []string
		for _, l := range p.Localities {
			stale := ""
			if l.Stale {
				stale = "~"
			}
			in = append(in, fmt.Sprintf("%s%s %.0f", stale, l, float64(l.Weight)/10_000))
		}
		mark := ""
		if p.Panic {
			mark = "!"
		}
		out = append(out, fmt.Sprintf("%d%s[%s]", p.Load, mark, strings.Join(in, ", ")))
	}
	return strings.Join(out, " ")
}

func list(omissions []Omission) string {
	var out []string
	for _, o := range omissions {
		s := o.String() + " " + o.Cause.String()
		if o.Rule != "" {
			s += ": " + o.Rule
		}
		out = append(out, s)
	}
	return strings.Join(out, ", ")
}

func weights(kv ...any) map[string]uint32 {
	m := make(map[string]uint32)
	for i := 0; i < len(kv); i += 2 {
		m[kv[i].(string)] = uint32(kv[i+1].(int))
	}
	return m
}

func ptr[T any](v T) *T { return &v }
