package locality

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/federator/federator/federation/catalog"
)

// grid is a service with some endpoints in each zone of each region.
func grid(regions, zones, endpoints int) Input {
	s := &catalog.Service{Name: checkout}
	c := &catalog.Conditions{Region: "region-0", Reach: map[string]catalog.Reach{}, RTT: map[string]time.Duration{}}
	for r := range regions {
		name := fmt.Sprintf("region-%d", r)
		c.Reach[name], c.RTT[name] = catalog.Reachable, time.Duration(r)*time.Millisecond
		set := &catalog.EndpointSet{SetKey: catalog.SetKey{Cluster: name, Service: checkout}}
		b := catalog.Backend{Region: name, Set: set}
		for z := range zones {
			for e := range endpoints {
				set.Endpoints = append(set.Endpoints, catalog.Endpoint{
					ID: fmt.Sprint(len(set.Endpoints)), Zone: fmt.Sprintf("z%d", z), Weight: 1,
					Address: netip.AddrFrom4([4]byte{10, byte(r), byte(z), byte(e)}),
				})
				b.Health = append(b.Health, catalog.Healthy)
			}
		}
		b.Health[0] = catalog.Unhealthy
		s.Backends = append(s.Backends, b)
	}
	return Input{Service: s, Conditions: c, Client: catalog.Locality{Region: "region-0", Zone: "z0"}}
}

func weightedGrid(regions, zones, endpoints int) Input {
	return grid(regions, zones, endpoints).policy(catalog.Policy{
		Weights: weights("region-0", 90, "region-1", 10), RegionOrder: []string{"region-2", "region-1"},
	})
}

func BenchmarkResolve(b *testing.B) {
	for name, in := range map[string]Input{
		"3x2x3": grid(3, 2, 3), "3x2x3-weighted": weightedGrid(3, 2, 3), "10x3x30": grid(10, 3, 30),
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				Resolve(in)
			}
		})
	}
}

func BenchmarkApportion(b *testing.B) {
	res := Resolve(weightedGrid(3, 2, 30))
	b.ReportAllocs()
	seed := uint64(0)
	for b.Loop() {
		seed++
		Apportion(res, 8, seed)
	}
}

func BenchmarkPick(b *testing.B) {
	table := NewTable(Resolve(weightedGrid(3, 2, 3)))
	r := uint32(0)
	for b.Loop() {
		r += 0x9e3779b9
		table.Pick(r)
	}
}

func BenchmarkRampStepAtRest(b *testing.B) {
	var ramps Ramps
	in := grid(3, 2, 3)
	b.ReportAllocs()
	for b.Loop() {
		ramps.Step(epoch, in)
	}
}
