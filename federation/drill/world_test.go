package drill

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/federator/federator/federation/catalog"
)

var noon = time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)

// newWorld is three regions that answer, and a gate that is open.
func newWorld(services ...*catalog.Service) World {
	w := World{Services: services, Now: noon, Gates: map[string]catalog.Gate{"shop": {Operators: []string{"ada"}, OpenUntil: noon.Add(time.Hour)}}}
	w.Conditions = &catalog.Conditions{
		Region: "us-west", Reach: map[string]catalog.Reach{}, Policies: map[string]catalog.Policy{}, Evacuations: map[string]catalog.Evacuation{},
		RTT:           map[string]time.Duration{"eu-central": 80 * time.Millisecond, "asia-east": 120 * time.Millisecond},
		ClusterRegion: map[string]string{},
	}
	for _, region := range []string{"asia-east", "eu-central", "us-west"} {
		w.Conditions.Reach[region] = catalog.Reachable
		w.Conditions.ClusterRegion[region+"-1"], w.Conditions.ClusterRegion[region+"-2"] = region, region
	}
	return w
}

// served is a service with healthy endpoints by "region" or "region/zone/cluster";
// a number behind "!" of them is dead.
func served(name string, at ...string) *catalog.Service {
	s := &catalog.Service{Name: catalog.ServiceName{Namespace: "shop", Name: name}}
	slices.Sort(at)
	for i, place := range at {
		place, dead, _ := strings.Cut(place, "!")
		parts := append(strings.Split(place, "/"), "", "")
		cluster := parts[2]
		if cluster == "" {
			cluster = parts[0] + "-1"
		}
		b := catalog.Backend{Region: parts[0], Set: &catalog.EndpointSet{SetKey: catalog.SetKey{Cluster: cluster, Service: s.Name}}}
		for j := range 4 {
			health := catalog.Healthy
			if fmt.Sprint(4-j) <= dead {
				health = catalog.Unhealthy
			}
			b.Set.Endpoints = append(b.Set.Endpoints, catalog.Endpoint{
				ID: fmt.Sprint(i, "-", j), Zone: parts[1], Weight: 1, Health: health, Address: netip.AddrFrom4([4]byte{10, 0, byte(i), byte(j)}),
			})
			b.Health = append(b.Health, health)
		}
		s.Backends = append(s.Backends, b)
	}
	return s
}

func evacuation(scope string) catalog.Drill {
	at, err := catalog.ParseLocality(scope)
	if err != nil {
		panic(err)
	}
	return catalog.Drill{
		ID: "d1", Kind: catalog.DrillEvacuate, Scope: catalog.Scope{Region: at.Region, Zone: at.Zone}, Region: "us-west",
		Shape: catalog.Shape{Hold: catalog.Duration(time.Minute)},
	}
}

func (w World) policy(name string, p catalog.Policy) World {
	w.Conditions.Policies[name] = p
	return w
}

func (w World) safety(name string, s catalog.Safety) World {
	return w.policy(name, catalog.Policy{Safety: &s})
}

// grid is many services in as many regions, each a little different if unlike.
func grid(services, regions int, unlike bool) World {
	w := newWorld()
	for r := range regions {
		name := fmt.Sprintf("region-%d", r)
		w.Conditions.Reach[name], w.Conditions.RTT[name] = catalog.Reachable, time.Duration(r)*time.Millisecond
	}
	for i := range services {
		s := &catalog.Service{Name: catalog.ServiceName{Namespace: "shop", Name: fmt.Sprintf("s%05d", i)}}
		for r := range regions {
			set := &catalog.EndpointSet{SetKey: catalog.SetKey{Cluster: fmt.Sprintf("region-%d", r), Service: s.Name}}
			b := catalog.Backend{Region: fmt.Sprintf("region-%d", r), Set: set}
			for e := range 3 {
				weight := uint32(1)
				if unlike {
					weight += uint32(i)
				}
				set.Endpoints = append(set.Endpoints, catalog.Endpoint{ID: fmt.Sprint(e), Zone: "a", Weight: weight, Address: netip.AddrFrom4([4]byte{10, 0, byte(r), byte(e)})})
				b.Health = append(b.Health, catalog.Healthy)
			}
			s.Backends = append(s.Backends, b)
		}
		w.Services = append(w.Services, s)
	}
	return w
}
