package locality

import (
	"fmt"
	"math"
	"reflect"
	"testing"

	"github.com/federator/federator/federation/catalog"
)

func TestTheLadder(t *testing.T) {
	three := func() Input { return world("asia-east/a hhh", "eu-central/a hhh", "us-west/a hh /b h") }
	order := func(r ...string) catalog.Policy { return catalog.Policy{RegionOrder: r} }
	for _, tt := range []struct {
		name string
		in   Input
		want string
	}{
		{"own zone, own region, then by round-trip time", three(), "100[us-west/a 100] 0[us-west/b 0] 0[eu-central/a 0] 0[asia-east/a 0]"},
		{"a client without a zone has one own priority", three().from("us-west"), "100[us-west/a 67, us-west/b 33] 0[eu-central/a 0] 0[asia-east/a 0]"},
		{"a client in a zone without endpoints too", three().from("us-west/c"), "100[us-west/a 67, us-west/b 33] 0[eu-central/a 0] 0[asia-east/a 0]"},
		{"a client nowhere is where the replica is", three().from(""), "100[us-west/a 67, us-west/b 33] 0[eu-central/a 0] 0[asia-east/a 0]"},
		{"a client elsewhere comes first there", three().from("asia-east"), "100[asia-east/a 100] 0[us-west/a 0, us-west/b 0] 0[eu-central/a 0]"},
		{"a region without the service is skipped", world("eu-central/a h"), "100[eu-central/a 100]"},
		{"a policy's order beats round-trip time", three().policy(order("asia-east", "eu-central")), "100[us-west/a 100] 0[us-west/b 0] 0[asia-east/a 0] 0[eu-central/a 0]"},
		{"and never the client's own region", three().policy(order("asia-east", "us-west")), "100[us-west/a 100] 0[us-west/b 0] 0[asia-east/a 0] 0[eu-central/a 0]"},
		{"an order for the client's region beats the general one", three().policy(catalog.Policy{
			RegionOrder: []string{"eu-central"}, RegionOrderFrom: map[string][]string{"us-west": {"asia-east"}},
		}), "100[us-west/a 100] 0[us-west/b 0] 0[asia-east/a 0] 0[eu-central/a 0]"},
		{"regions that nobody measured follow by name", world("af-south/a h", "aa-north/a h", "asia-east/a h"), "100[asia-east/a 100] 0[aa-north/a 0] 0[af-south/a 0]"},
		{"traffic spills over the rungs", world("eu-central/a hhh", "us-west/a hu /b hu"), "70[us-west/a 70] 30[us-west/b 30] 0[eu-central/a 0]"},
		{"nothing healthy anywhere is panic by host count", world("eu-central/a uuu", "us-west/a u"), "25![us-west/a 25] 75![eu-central/a 75]"},
		{"draining and undecided endpoints exist but do not serve", world("eu-central/a hh", "us-west/a hx?"), "46[us-west/a 46] 54[eu-central/a 54]"},
		{"panic may be turned off", world("us-west/a uu").policy(catalog.Policy{PanicThresholdPercent: ptr(uint32(0))}), "100[us-west/a 0]"},
		{"overprovisioning is the policy's", world("eu-central/a h", "us-west/a hu").policy(catalog.Policy{OverprovisioningPercent: 200}), "100[us-west/a 100] 0[eu-central/a 0]"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := ladder(Resolve(tt.in)); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

func TestWeightsAndFailoverCompose(t *testing.T) {
	three := func(w map[string]uint32) Input {
		return world("asia-east/a hh", "eu-central/a hh", "us-west/a hh /b h").policy(catalog.Policy{Weights: w})
	}
	for _, tt := range []struct {
		name string
		in   Input
		want string
	}{
		{"weighted regions share one priority, the others follow", three(weights("us-west", 90, "eu-central", 10)),
			"100[us-west/a 60, us-west/b 30, eu-central/a 10] 0[asia-east/a 0]"},
		{"at the rank of the best of them", three(weights("us-west", 90, "eu-central", 10)).from("asia-east/a"),
			"100[asia-east/a 100] 0[us-west/a 0, us-west/b 0, eu-central/a 0]"},
		{"zones of a weighted region can be weighted too", three(weights("us-west", 90, "us-west/a", 1, "us-west/b", 2, "eu-central", 10)),
			"100[us-west/a 30, us-west/b 60, eu-central/a 10] 0[asia-east/a 0]"},
		{"weights of zones alone stand for themselves, unnamed ones are 1", three(weights("us-west/a", 7, "eu-central", 2)),
			"100[us-west/a 70, us-west/b 10, eu-central/a 20] 0[asia-east/a 0]"},
		{"weight 0 takes a locality out", three(weights("us-west", 100, "us-west/b", 0, "eu-central", 0)),
			"100[us-west/a 100] 0[asia-east/a 0]"},
		{"a dead weighted region leaves its share to the others", world("asia-east/a hh", "eu-central/a hhh", "us-west/a uu").policy(
			catalog.Policy{Weights: weights("us-west", 90, "eu-central", 10)}), "84[us-west/a 0, eu-central/a 84] 16[asia-east/a 16]"},
		{"weights of absent regions do not matter", world("eu-central/a h").policy(catalog.Policy{Weights: weights("us-west", 90, "eu-central", 10)}), "100[eu-central/a 100]"},
		{"in panic endpoints count, not weights", world("eu-central/a uuu", "us-west/a u").policy(
			catalog.Policy{Weights: weights("us-west", 90, "eu-central", 10)}), "100![us-west/a 25, eu-central/a 75]"},
		{"weights that leave nothing are ignored", three(weights("us-west", 0, "eu-central", 0, "asia-east", 0)),
			"100[us-west/a 100] 0[us-west/b 0] 0[eu-central/a 0] 0[asia-east/a 0]"},
		{"weights that leave only the dead are ignored", world("eu-central/a hh", "us-west/a uu").policy(
			catalog.Policy{Weights: weights("us-west", 1, "eu-central", 0)}), "0[us-west/a 0] 100[eu-central/a 100]"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := ladder(Resolve(tt.in)); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

// Envoy's table for weights 1:2 with the second full. It is a rounded one; the
// formula under it decides, so a percentage point is allowed.
func TestLocalityWeightsScaleAsEnvoySays(t *testing.T) {
	for healthy, want := range map[int]float64{100: 33, 70: 33, 69: 32, 50: 26, 25: 15, 0: 0} {
		in := world("us-west/a " + mix(healthy, 0, 100) + " /b " + mix(100, 0, 100)).from("us-west").
			policy(catalog.Policy{Weights: weights("us-west/a", 1, "us-west/b", 2)})
		res := Resolve(in)
		got := float64(res.Priorities[0].Localities[0].Weight) / 10_000
		scale := min(1, 1.4*float64(healthy)/100)
		if exact := 100 * scale / (scale + 2); math.Abs(got-exact) > 0.001 || math.Abs(got-want) > 1 {
			t.Errorf("%d %% healthy: got %.3f %%, want %.3f, in the table %.0f", healthy, got, exact, want)
		}
	}
}

func TestWhatMustNotServeIsLeftOut(t *testing.T) {
	three := func() Input { return world("asia-east/a hh", "eu-central/a hh", "us-west/a hh") }
	two := func(eu, us string) Input { return world("eu-central/a "+eu, "us-west/a "+us) }
	only := func(r ...string) catalog.Policy { return catalog.Policy{FailoverRegions: r} }
	pinned := func(in Input, r string) Input { in.Pin = r; return in }
	isolated := func(in Input) Input { in.Conditions.Isolated = true; return in }
	for _, tt := range []struct {
		name                   string
		in                     Input
		want, omitted, ignored string
	}{
		{"an evacuated region", three().evacuate("eu-central", 0), "100[us-west/a 100] 0[asia-east/a 0]", "eu-central evacuated", ""},
		{"the client's own region when evacuated", three().evacuate("us-west", 0), "100[eu-central/a 100] 0[asia-east/a 0]", "us-west evacuated", ""},
		{"all but the last evacuated to begin with", three().evacuate("us-west", 2).evacuate("eu-central", 1).evacuate("asia-east", 3),
			"100[asia-east/a 100]", "eu-central evacuated, us-west evacuated", "asia-east evacuated"},
		{"evacuations of one moment go by name", two("h", "h").evacuate("us-west", 0).evacuate("eu-central", 0),
			"100[us-west/a 100]", "eu-central evacuated", "us-west evacuated"},
		{"no region that has the last living endpoints", two("uu", "hh").evacuate("us-west", 0), "100[us-west/a 100] 0[eu-central/a 0]", "", "us-west evacuated"},
		{"undecided endpoints are something to leave", two("??", "hh").evacuate("us-west", 0), "100![eu-central/a 100]", "us-west evacuated", ""},
		{"among the dead an evacuation holds", two("uu", "uu").evacuate("us-west", 0), "100![eu-central/a 100]", "us-west evacuated", ""},
		{"a region that is out", three().reach("us-west", catalog.Reachable).reach("eu-central", catalog.Out), "100[us-west/a 100] 0[asia-east/a 0]", "eu-central out", ""},
		{"not the only region, though it is out", world("eu-central/a hh").reach("eu-central", catalog.Out), "100[~eu-central/a 100]", "", "eu-central out"},
		{"a region that is out before an evacuation", two("h", "h").reach("eu-central", catalog.Out).evacuate("us-west", 0), "100[us-west/a 100]", "eu-central out", "us-west evacuated"},
		{"not one whose control plane is lost", world("eu-central/a hh").reach("eu-central", catalog.ControlPlaneLost), "100[~eu-central/a 100]", "", ""},
		{"nor a silent one", world("eu-central/a hh").reach("eu-central", catalog.Silent), "100[eu-central/a 100]", "", ""},
		{"everything else while we are isolated", isolated(three()), "100[us-west/a 100]", "asia-east isolated, eu-central isolated", ""},
		{"not the others while we are isolated with nothing of our own", isolated(two("hh", "uu")), "0[us-west/a 0] 100[~eu-central/a 100]", "", "eu-central isolated"},
		{"not our region while we are isolated", isolated(two("hh", "hh").evacuate("us-west", 0)), "100[us-west/a 100]", "eu-central isolated", "us-west evacuated"},
		{"regions that failoverRegions do not list", three().policy(only("eu-central")), "100[eu-central/a 100]", "asia-east not-in-failover-regions, us-west not-in-failover-regions", ""},
		{"even if nothing is left", world("us-west/a h").policy(only("eu-central")), "", "us-west not-in-failover-regions", ""},
		{"but not by an evacuation on top", three().policy(only("eu-central")).evacuate("eu-central", 0), "100[eu-central/a 100]",
			"asia-east not-in-failover-regions, us-west not-in-failover-regions", "eu-central evacuated"},
		{"regions other than the pinned one", pinned(three(), "asia-east"), "100[asia-east/a 100]", "eu-central not-pinned, us-west not-pinned", ""},
		{"a pinned region without the service", pinned(three(), "af-south"), "", "asia-east not-pinned, eu-central not-pinned, us-west not-pinned", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			res := Resolve(tt.in)
			if got := ladder(res); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
			if got := list(res.Omitted); got != tt.omitted {
				t.Errorf("omitted %q, want %q", got, tt.omitted)
			}
			if got := list(res.Ignored); got != tt.ignored {
				t.Errorf("ignored %q, want %q", got, tt.ignored)
			}
		})
	}
}

func TestTheFlagsSayWhatTrafficMeets(t *testing.T) {
	for _, tt := range []struct {
		name                   string
		in                     Input
		stale, degraded, panic bool
	}{
		{"all well", world("eu-central/a h", "us-west/a h"), false, false, false},
		{"stale only where there is no traffic", world("eu-central/a h", "us-west/a h").reach("eu-central", catalog.ControlPlaneLost), false, false, false},
		{"stale where traffic spills to", world("eu-central/a h", "us-west/a u").reach("eu-central", catalog.ControlPlaneLost), true, false, false},
		{"degraded", world("us-west/a dd"), false, true, false},
		{"panic", world("us-west/a uu"), false, false, true},
		{"panic where there is no traffic", world("eu-central/a u", "us-west/a hu").from("us-west"), false, false, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			res := Resolve(tt.in)
			if res.Stale != tt.stale || res.Degraded != tt.degraded || res.Panic != tt.panic {
				t.Errorf("stale %v degraded %v panic %v in %s", res.Stale, res.Degraded, res.Panic, ladder(res))
			}
		})
	}
	stale := world("us-west/a h")
	stale.Service.Backends[0].Stale = true
	if !Resolve(stale).Stale {
		t.Error("a source that cannot confirm its state does not make the answer stale")
	}
}

func TestEndpointsOfAllClustersMeetInTheirLocality(t *testing.T) {
	in := world("us-west/a hu /b h", "us-west/a dh")
	in.Service.Backends[1].Set.Cluster = "us-west-2"
	in.Service.Backends[0].Set.Endpoints[0].Weight = 5
	var got []string
	for _, p := range Resolve(in).Priorities {
		for _, l := range p.Localities {
			for _, e := range l.Endpoints {
				got = append(got, fmt.Sprintf("%s %s/%s %s %d", l, e.Cluster, e.ID, e.Health, e.Weight))
			}
		}
	}
	want := []string{
		"us-west/a us-west-1/pod-0 healthy 5", "us-west/a us-west-1/pod-1 unhealthy 0",
		"us-west/a us-west-2/pod-0 degraded 0", "us-west/a us-west-2/pod-1 healthy 1",
		"us-west/b us-west-1/pod-2 healthy 1",
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

func TestHealthyAndDegradedEndpointsShareALocalityByTheirLoads(t *testing.T) {
	l := Resolve(world("us-west/a hddd")).Priorities[0].Localities[0]
	var healthy, degraded float64
	for _, e := range l.Endpoints {
		if e.Health == catalog.Healthy {
			healthy += float64(e.Weight)
		} else {
			degraded += float64(e.Weight)
		}
	}
	if got := healthy / (healthy + degraded); math.Abs(got-0.35) > 0.001 || l.Serving != ServeHealthy|ServeDegraded {
		t.Errorf("the healthy one gets %.3f, want 0.35; serving %s", got, l.Serving)
	}
}

func TestARampingLocalityGetsItsShareSlowly(t *testing.T) {
	in := world("eu-central/a hh", "us-west/a hh")
	in.Ramp = Factors{{Region: "us-west", Zone: "a"}: Unit / 4}
	if got, want := ladder(Resolve(in)), "35[us-west/a 35] 65[eu-central/a 65]"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	in = in.policy(catalog.Policy{Weights: weights("us-west", 1, "eu-central", 1)})
	if got, want := ladder(Resolve(in)), "100[us-west/a 26, eu-central/a 74]"; got != want {
		t.Errorf("within a priority: got %s, want %s", got, want)
	}
}

func TestNothingInNothingOut(t *testing.T) {
	for _, in := range []Input{
		{}, {Service: &catalog.Service{}}, {Service: &catalog.Service{Backends: []catalog.Backend{{Region: "us-west"}}}}, world(),
	} {
		res := Resolve(in)
		if !res.Empty() || len(res.Priorities) > 0 || len(Explain(res)) == 0 {
			t.Errorf("got %s", ladder(res))
		}
	}
}
