package probe

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/federator/federator/federation/catalog"
)

// backend is service name with endpoints 0 to n-1 spread over zones a and b.
func backend(name string, n int, check *catalog.Check, ports ...catalog.Port) catalog.Backend {
	set := &catalog.EndpointSet{
		SetKey: catalog.SetKey{Cluster: "c", Service: catalog.ServiceName{Namespace: "shop", Name: name}},
		Ports:  ports, Check: check,
	}
	b := catalog.Backend{Region: "r", Set: set}
	for i := range n {
		set.Endpoints = append(set.Endpoints, catalog.Endpoint{
			ID: fmt.Sprint(i), Address: netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}), Zone: string(rune('a' + i%2)),
		})
		b.Health = append(b.Health, catalog.Healthy)
	}
	return b
}

func tcpPort(name string, n uint16) catalog.Port {
	return catalog.Port{Name: name, Protocol: catalog.TCP, Number: n}
}

func TestTargetsDialThePortTheCheckNames(t *testing.T) {
	udp := catalog.Port{Name: "dns", Protocol: catalog.UDP, Number: 53}
	tests := []struct {
		name  string
		check *catalog.Check
		ports []catalog.Port
		own   map[string]uint16
		want  []string
	}{
		{"no check", nil, []catalog.Port{tcpPort("http", 80)}, nil, nil},
		{"first TCP port", &catalog.Check{}, []catalog.Port{udp, tcpPort("http", 80)}, nil, []string{"10.0.0.0:80"}},
		{"named port", &catalog.Check{Port: "admin"}, []catalog.Port{tcpPort("http", 80), tcpPort("admin", 81)}, nil, []string{"10.0.0.0:81"}},
		{"own number", &catalog.Check{}, []catalog.Port{tcpPort("http", 80)}, map[string]uint16{"http": 8080}, []string{"10.0.0.0:8080"}},
		{"no such port", &catalog.Check{Port: "x"}, []catalog.Port{tcpPort("http", 80)}, nil, nil},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			set := backend("s", 1, tc.check, tc.ports...).Set
			set.Endpoints[0].Ports = tc.own
			var got []string
			for _, target := range Targets(set) {
				got = append(got, target.Address)
			}
			if !reflect.DeepEqual(got, tc.want) {
				t.Errorf("got %v, want %v", got, tc.want)
			}
		})
	}
}

func TestTargetsOfAHostileCheckAreBounded(t *testing.T) {
	for _, check := range []catalog.Check{{}, {Interval: -1, Timeout: 1 << 60, HealthyThreshold: 1000}} {
		c := Targets(backend("s", 1, &check, tcpPort("http", 80)).Set)[0].Check
		if c.Interval < 100*time.Millisecond || c.Timeout < time.Millisecond || c.Timeout > time.Minute || c.HealthyThreshold > 10 || c.HealthyThreshold < 1 {
			t.Errorf("got %+v", c)
		}
	}
}

func TestSampleSpreadsOverServicesAndZones(t *testing.T) {
	big, small := backend("big", 100, nil, tcpPort("http", 80)), backend("small", 2, nil, tcpPort("http", 80))
	for seed := range uint64(50) {
		picked := Sample([]catalog.Backend{big, small}, 4, rand.New(rand.NewPCG(seed, 0)))
		services, zones, ids := map[string]int{}, map[int]int{}, map[Key]bool{}
		for _, p := range picked {
			services[p.Set.Service.Name]++
			zones[int(p.Endpoint[len(p.Endpoint)-1]-'0')%2]++
			ids[p.Key] = true
		}
		if len(ids) != 4 || services["big"] != 2 || zones[0] == 0 || zones[1] == 0 {
			t.Fatalf("seed %d: services %v, zones %v, %d different", seed, services, zones, len(ids))
		}
	}
}

func TestSamplePrefersEndpointsThatWereHealthy(t *testing.T) {
	b := backend("s", 10, nil, tcpPort("http", 80))
	for i := range b.Health {
		b.Health[i] = catalog.Unhealthy
	}
	b.Health[7] = catalog.Healthy
	picked := Sample([]catalog.Backend{b}, 1, rand.New(rand.NewPCG(1, 0)))
	if len(picked) != 1 || picked[0].Endpoint != "7" {
		t.Errorf("got %+v, want endpoint 7", picked)
	}
}

func TestSamplePrefersEndpointsThatACheckFoundToLive(t *testing.T) {
	checked := backend("checked", 5, &catalog.Check{Kind: catalog.CheckTCP}, tcpPort("http", 80))
	all := []catalog.Backend{checked}
	for _, name := range strings.Split("abcdefghij", "") { // of which nobody knows whether they were ever there
		all = append(all, backend(name, 3, nil, tcpPort("http", 80)))
	}
	checked.Health[4] = catalog.Unhealthy
	for seed := range uint64(20) {
		picked := Sample(all, 5, rand.New(rand.NewPCG(seed, 0)))
		for i, p := range picked {
			if found := p.Set.Service.Name; (found == "checked") != (i < 4) {
				t.Errorf("seed %d: expected the four that live and then one unknown, found %s at %d", seed, found, i)
			}
		}
	}
}

func TestSampleProbesTheFirstTCPPortWhereThereIsNoCheck(t *testing.T) {
	udp := backend("u", 3, nil, catalog.Port{Protocol: catalog.UDP, Number: 53})
	picked := Sample([]catalog.Backend{udp, backend("s", 1, nil, tcpPort("http", 80))}, 5, rand.New(rand.NewPCG(1, 0)))
	if len(picked) != 1 || picked[0].Check.Kind != catalog.CheckTCP || picked[0].Check.Timeout != time.Second {
		t.Errorf("got %+v, want one TCP target", picked)
	}
}

func TestSampleIsTheSameForTheSameRandomness(t *testing.T) {
	a, b := backend("a", 20, nil, tcpPort("http", 80)), backend("b", 20, nil, tcpPort("http", 80))
	one := Sample([]catalog.Backend{a, b}, 6, rand.New(rand.NewPCG(3, 0)))
	two := Sample([]catalog.Backend{b, a}, 6, rand.New(rand.NewPCG(3, 0)))
	if !reflect.DeepEqual(one, two) {
		t.Errorf("got %+v and %+v", one, two)
	}
}
