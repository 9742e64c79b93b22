package locality

import (
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/federator/federator/federation/catalog"
)

func TestADrillTakesItsScopeOut(t *testing.T) {
	three := func() Input { return world("asia-east/a hh", "eu-central/a hh", "us-west/a hh /b h") }
	clusters := func() Input {
		return world("eu-central/a hh", "us-west/a hh", "us-west/a h /b h").clusterNamed("us-west-2")
	}
	later := func(d *catalog.DrillInForce) { d.Begun = epoch.Add(time.Second) }
	pinned := func(in Input, r string) Input { in.Pin = r; return in }
	for _, tt := range []struct {
		name                   string
		in                     Input
		want, omitted, ignored string
	}{
		{"a region", three().drill("d", "us-west", 100), "100[eu-central/a 100] 0[asia-east/a 0]", "us-west drilled", ""},
		{"a zone", three().drill("d", "us-west/a", 100), "100[us-west/b 100] 0[eu-central/a 0] 0[asia-east/a 0]", "us-west/a drilled", ""},
		{"a cluster that has a zone to itself", clusters().drill("d", "us-west cluster us-west-2", 100), "100[us-west/a 100] 0[eu-central/a 0]", "us-west, cluster us-west-2 drilled", ""},
		{"a cluster that shares one: its weight there goes with it", world("us-west/a hh /b hh", "us-west/a hhhh").clusterNamed("us-west-2").from("us-west").drill("d", "us-west cluster us-west-2", 100),
			"100[us-west/a 50, us-west/b 50]", "us-west, cluster us-west-2 drilled", ""},
		{"a region, of one service", three().drill("d", "us-west service shop/checkout", 100), "100[eu-central/a 100] 0[asia-east/a 0]", "us-west drilled", ""},
		{"but not of another", three().drill("d", "us-west service shop/other", 100), "100[us-west/a 100] 0[us-west/b 0] 0[eu-central/a 0] 0[asia-east/a 0]", "", ""},
		{"a place that has nothing of the service is no loss", three().drill("d", "sa-east", 100), "100[us-west/a 100] 0[us-west/b 0] 0[eu-central/a 0] 0[asia-east/a 0]", "", ""},
		{"beside an evacuation", three().evacuate("eu-central", 0).drill("d", "us-west", 100), "100[asia-east/a 100]", "eu-central evacuated, us-west drilled", ""},
		{"after all evacuations, whenever they began", three().evacuate("eu-central", time.Hour).evacuate("asia-east", 2*time.Hour).drill("d", "us-west", 100),
			"100[us-west/a 100] 0[us-west/b 0]", "eu-central evacuated, asia-east evacuated", "us-west drilled"},
		{"not if only undecided endpoints would be left", world("eu-central/a ??", "us-west/a hh").drill("d", "us-west", 100), "100[us-west/a 100] 0[eu-central/a 0]", "", "us-west drilled"},
		{"not even if forced", world("eu-central/a uu", "us-west/a hh").drill("d", "us-west", 100, forced), "100[us-west/a 100] 0[eu-central/a 0]", "", "us-west drilled"},
		{"where nothing serves it may", world("eu-central/a uu", "us-west/a uu").drill("d", "us-west", 100), "100![eu-central/a 100]", "us-west drilled", ""},
		{"only the first that began", three().drill("d2", "us-west", 100, later).drill("d1", "eu-central", 100), "100[us-west/a 100] 0[us-west/b 0] 0[asia-east/a 0]",
			"eu-central drilled", "us-west drilled: would be the second drill on the service, beside d1"},
		{"and then by ID", three().drill("d2", "us-west", 100).drill("d1", "eu-central", 100, forced), "100[us-west/a 100] 0[us-west/b 0] 0[asia-east/a 0]",
			"eu-central drilled", "us-west drilled: would be the second drill on the service, beside d1"},
		{"a drill that takes nothing is none", three().drill("d1", "us-west", 0).drill("d2", "eu-central", 100), "100[us-west/a 100] 0[us-west/b 0] 0[asia-east/a 0]", "eu-central drilled", ""},
		{"not for a name that asks for the region", pinned(three(), "us-west").drill("d", "us-west/a", 100), "100[us-west/a 100] 0[us-west/b 0]",
			"asia-east not-pinned, eu-central not-pinned", "us-west/a drilled: does not count for a name that asks for region us-west"},
		{"nor does it matter to one that asks for another", pinned(three(), "eu-central").drill("d", "us-west", 100), "100[eu-central/a 100]", "asia-east not-pinned, us-west not-pinned", ""},
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

func TestADrilledClusterLeavesThePlaceItSharesToTheOthers(t *testing.T) {
	in := world("eu-central/a h", "us-west/a hu", "us-west/a hhh").clusterNamed("us-west-2").drill("d", "us-west cluster us-west-2", 100)
	l := Resolve(in).Priorities[0].Localities[0]
	if l.Total != 2 || l.Healthy != 1 || l.Drilled != 3 || len(l.Endpoints) != 5 || l.Serving != ServeHealthy|ServeUndrilled || l.Weight != 700_000 {
		t.Errorf("%d of %d healthy, %d drilled, %d listed, serving %s, share %d", l.Healthy, l.Total, l.Drilled, len(l.Endpoints), l.Serving, l.Weight)
	}
	for _, e := range l.Endpoints {
		if e.Drilled != (e.Cluster == "us-west-2") || e.Drilled && e.Weight > 0 {
			t.Errorf("%s of %s: drilled %v, weight %d", e.ID, e.Cluster, e.Drilled, e.Weight)
		}
	}
}

// The overprovisioning of 140 % must not swallow the first 29 % of a drill.
func TestTheScopeLosesExactlyTheShareOfTheDrill(t *testing.T) {
	for _, tt := range []struct {
		name, scope, want string
		in                Input
	}{
		{"all healthy", "us-west", "75[us-west/a 75] 25[eu-central/a 25]", world("eu-central/a hh", "us-west/a hh")},
		{"half healthy, which keeps 70 %", "us-west", "53[us-west/a 52] 47[eu-central/a 48]", world("eu-central/a hh", "us-west/a hu")},
		{"a zone's share goes to the next zone", "us-west/a", "75[us-west/a 75] 25[us-west/b 25] 0[eu-central/a 0]", world("eu-central/a hh", "us-west/a hh /b h")},
		{"a region in a weighted priority", "us-west", "100[us-west/a 38, eu-central/a 62]",
			world("eu-central/a h", "us-west/a h").policy(catalog.Policy{Weights: weights("us-west", 1, "eu-central", 1)})},
		{"the rest may be hardly available: it does not panic as long as the scope is there", "us-west", "75[us-west/a 75] 25[eu-central/a 25]",
			world("eu-central/a huuu", "us-west/a hh")},
		{"in panic all the same", "us-west", "38![us-west/a 38] 62![eu-central/a 62]", world("eu-central/a uu", "us-west/a uu")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before := scopeShare(Resolve(tt.in), scopeOf(tt.scope))
			res := Resolve(tt.in.drill("d", tt.scope, 25))
			if got := ladder(res); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
			if got := scopeShare(res, scopeOf(tt.scope)); math.Abs(got-0.75*before) > 2 {
				t.Errorf("the scope keeps %v of %v", got, before)
			}
			if res.Drill == nil || res.Drill.ID != "d" || res.Drill.Share != 250_000 || len(res.Omitted) > 0 {
				t.Errorf("drill %v, omitted %v", res.Drill, res.Omitted)
			}
		})
	}
}

func TestAsTheShareFallsTheTrafficOfTheScopeRises(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := drawInput(t)
		in.Conditions.Drills = nil
		in.drill("d", drawScope(t), 100)
		scope, last, slack := in.Conditions.Drills[0].Scope, -1.0, 0.0
		if scope.Cluster != "" {
			slack = 20 // the weights of endpoints are whole, so a cluster's part of a place is not exact
		}
		for share := 100; share >= 0; share -= 5 {
			in.Conditions.Drills[0].Share = uint32(share * Unit / 100)
			res := Resolve(in)
			got := scopeShare(res, scope)
			if got < last-slack {
				t.Fatalf("at %d %% the scope gets %v, more was %v: %s", share, got, last, ladder(res))
			}
			if share == 100 && res.Drill != nil && got != 0 {
				t.Fatalf("at 100 %% the scope still gets %v", got)
			}
			last = got
		}
	})
}

// Two regions may have heard of different evacuations and drills, and hear of them
// in any order: neither ever sends its clients to nobody, and what one does not
// force never breaks a rule that it can see.
func TestTwoRegionsThatDecideApartNeverDrainAService(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := drawInput(t)
		for i := range 3 {
			in.drill(fmt.Sprintf("e%d", i), drawScope(t), 100, func(d *catalog.DrillInForce) { d.Forced = rapid.Bool().Draw(t, "forced") })
		}
		drills, evacuations := in.Conditions.Drills, in.Conditions.Evacuations
		in.Conditions.Drills, in.Conditions.Evacuations = nil, nil
		plain := Resolve(in)
		for _, region := range []string{"us-west", "eu-central"} {
			heard := in
			c := *in.Conditions
			heard.Conditions = &c
			c.Drills = rapid.SliceOfNDistinct(rapid.SampledFrom(drills), 0, len(drills), func(d catalog.DrillInForce) string { return d.ID }).Draw(t, "drills of "+region)
			c.Evacuations = maps.Clone(evacuations)
			maps.DeleteFunc(c.Evacuations, func(string, catalog.Evacuation) bool { return rapid.Bool().Draw(t, "unheard") })
			safely(t, heard, plain)
			checkInvariants(t, heard, Resolve(heard))
		}
	})
}

func safely(t *rapid.T, in Input, plain Resolution) {
	res := Resolve(in)
	if res.Empty() && !plain.Empty() && (res.Drill != nil || len(in.Conditions.Evacuations) == 0) {
		t.Fatalf("%s became %s", ladder(plain), ladder(res))
	}
	j := Safety(in)
	if !reflect.DeepEqual(j.Ignored, res.Ignored) || !reflect.DeepEqual(j.Drill, res.Drill) {
		t.Fatalf("judged %+v, resolved %+v", j, res)
	}
	force := slices.ContainsFunc(in.Conditions.Drills, func(d catalog.DrillInForce) bool { return d.Forced })
	for _, e := range in.Conditions.Evacuations {
		force = force || e.Forced
	}
	acts := res.Drill != nil || slices.ContainsFunc(res.Omitted, func(o Omission) bool { return o.Cause == Evacuated })
	if acts && !force && j.Broken != "" {
		t.Fatalf("%s, yet %s", j.Broken, list(res.Omitted))
	}
	// The order in which they were heard of does not matter.
	c := *in.Conditions
	c.Drills = slices.Clone(c.Drills)
	slices.Reverse(c.Drills)
	again := in
	again.Conditions = &c
	other := Resolve(again)
	res.in, other.in = Input{}, Input{}
	if !reflect.DeepEqual(res, other) {
		t.Fatalf("the other way round %s, %s", ladder(other), ladder(res))
	}
}

func TestOneDrillActsOnAServiceAndOneThatIsSetAsideChangesNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := drawInput(t)
		in.drill("e", drawScope(t), 50).drill("f", drawScope(t), 100)
		res := Resolve(in)
		var first *catalog.DrillInForce
		for _, d := range in.Conditions.Drills {
			if d.Share > 0 && d.Scope.Concerns(checkout) && (first == nil || d.Compare(*first) < 0) {
				first = &d
			}
		}
		if res.Drill != nil && (res.Drill.ID != first.ID || slices.ContainsFunc(res.Omitted, func(o Omission) bool { return o.Cause == Drilled && o.Drill != first.ID })) {
			t.Fatalf("%v acts and %s; the first is %v", res.Drill, list(res.Omitted), first)
		}
		unheard := in
		c := *in.Conditions
		unheard.Conditions = &c
		c.Evacuations = maps.Clone(c.Evacuations)
		if res.Drill == nil {
			c.Drills = nil
		} else {
			c.Drills = []catalog.DrillInForce{*first}
		}
		for _, o := range res.Ignored {
			if o.Cause == Evacuated {
				delete(c.Evacuations, o.Region)
			}
		}
		other := Resolve(unheard)
		res.in, other.in, res.Ignored, other.Ignored = Input{}, Input{}, nil, nil
		if !reflect.DeepEqual(res, other) {
			t.Fatalf("%s, but %s without what is set aside", ladder(res), ladder(other))
		}
	})
}

func TestADrillDoesNotRamp(t *testing.T) {
	in := world("eu-central/a hh", "us-west/a hh")
	before := Availability(in)
	if got := Availability(in.drill("d", "us-west", 100)); !maps.Equal(got, before) {
		t.Errorf("available %v, before %v", got, before)
	}
	// Nor do two at once, of one service or of two, as namespaces begin them.
	for name, second := range map[string]string{"of one service": "us-west", "of two services": "us-west service shop/other"} {
		in := world("eu-central/a hh", "us-west/a hh").drill("d", "us-west service shop/checkout", 100).drill("e", second, 100)
		if got := Availability(in); !maps.Equal(got, before) {
			t.Errorf("two drills %s: available %v, before %v", name, got, before)
		}
	}
}
