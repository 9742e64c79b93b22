package locality

import (
	"testing"

	"github.com/federator/federator/federation/catalog"
)

// safetyCase is what becomes of evacuations and drills under a policy's rule.
type safetyCase struct {
	name             string
	in               Input
	omitted, ignored string
	broken           string
}

func safetyCases() []safetyCase {
	rule := func(regions, percent uint32) catalog.Policy {
		return catalog.Policy{Safety: &catalog.Safety{MinRegions: regions, MinEndpointsPercent: percent}}
	}
	three := func(p catalog.Policy) Input {
		return world("asia-east/a hh", "eu-central/a hh", "us-west/a hhhh").policy(p)
	}
	two := func(eu, us string, p catalog.Policy) Input {
		return world("eu-central/a "+eu, "us-west/a "+us).policy(p)
	}
	forcedEvacuation := func(in Input, region string) Input {
		in.evacuate(region, 0)
		e := in.Conditions.Evacuations[region]
		e.Forced = true
		in.Conditions.Evacuations[region] = e
		return in
	}
	weighted := rule(2, 0)
	weighted.Weights = weights("us-west", 1, "eu-central", 1, "asia-east", 0)
	return []safetyCase{
		{"a drill that leaves enough acts", three(rule(2, 50)).drill("d", "us-west", 100), "us-west drilled", "", ""},
		{"one that leaves too few regions does not", three(rule(3, 0)).drill("d", "us-west", 100), "", "us-west drilled: would leave 2 regions serving, the policy asks for 3", ""},
		{"nor one that leaves too few endpoints", three(rule(0, 51)).drill("d", "us-west", 100), "", "us-west drilled: would leave 4 of 8 endpoints serving, the policy asks for 51 %", ""},
		{"whatever its share", three(rule(0, 51)).drill("d", "us-west", 5), "", "us-west drilled: would leave 4 of 8 endpoints serving, the policy asks for 51 %", ""},
		{"a zone is not a region", world("eu-central/a hh", "us-west/a h /b h").policy(rule(2, 75)).drill("d", "us-west/a", 100), "us-west/a drilled", "", ""},
		{"an evacuation is held up too", two("h", "h", rule(2, 0)).evacuate("us-west", 0), "", "us-west evacuated: would leave 1 region serving, the policy asks for 2", ""},
		{"unless it is forced", forcedEvacuation(two("h", "h", rule(2, 0)), "us-west"), "us-west evacuated", "", "1 region serving, the policy asks for 2"},
		{"as is a drill", three(rule(3, 0)).drill("d", "us-west", 100, forced), "us-west drilled", "", "2 regions serving, the policy asks for 3"},
		{"that nothing may be emptied holds, forced or not", forcedEvacuation(two("u", "h", rule(1, 0)), "us-west"), "", "us-west evacuated", ""},
		{"evacuations come before the drill", three(rule(2, 0)).evacuate("eu-central", 0).drill("d", "us-west", 100),
			"eu-central evacuated", "us-west drilled: would leave 1 region serving, the policy asks for 2", ""},
		{"a region with only the dead does not count", two("uu", "hh", rule(1, 0)).drill("d", "us-west", 100), "", "us-west drilled", ""},
		{"nor one with only the undecided", world("asia-east/a h", "eu-central/a ??", "us-west/a h").policy(rule(2, 0)).drill("d", "us-west", 100),
			"", "us-west drilled: would leave 1 region serving, the policy asks for 2", ""},
		{"degraded ones count", two("dd", "hh", rule(1, 50)).drill("d", "us-west", 100), "us-west drilled", "", ""},
		{"what is broken already is not made worse", two("uu", "hu", rule(0, 50)).drill("d", "eu-central", 100), "",
			"eu-central drilled: would leave 1 of 4 endpoints serving, the policy asks for 50 %", "1 of 4 endpoints serving, the policy asks for 50 %"},
		{"a region that is out does not count", three(rule(2, 0)).reach("asia-east", catalog.Out).drill("d", "us-west", 100),
			"asia-east out", "us-west drilled: would leave 1 region serving, the policy asks for 2", ""},
		{"nor one that weighs 0", three(weighted).evacuate("us-west", 0), "asia-east/a zero-weight", "us-west evacuated: would leave 1 region serving, the policy asks for 2", ""},
		{"a failure during a drill sets it aside", three(rule(2, 0)).reach("eu-central", catalog.Out).drill("d", "us-west", 100),
			"eu-central out", "us-west drilled: would leave 1 region serving, the policy asks for 2", ""},
	}
}

func TestWhatWouldBreakARuleIsSetAside(t *testing.T) {
	for _, tt := range safetyCases() {
		t.Run(tt.name, func(t *testing.T) {
			res, j := Resolve(tt.in), Safety(tt.in)
			if got := list(res.Omitted); got != tt.omitted {
				t.Errorf("omitted %q, want %q", got, tt.omitted)
			}
			if got := list(res.Ignored); got != tt.ignored || list(j.Ignored) != got {
				t.Errorf("ignored %q and %q, want %q", got, list(j.Ignored), tt.ignored)
			}
			if j.Broken != tt.broken {
				t.Errorf("broken %q, want %q", j.Broken, tt.broken)
			}
			if why, aside := j.SetAside("d"); aside != (len(tt.in.Conditions.Drills) > 0 && tt.ignored != "") || aside && why == "" {
				t.Errorf("set aside %v: %q", aside, why)
			}
		})
	}
}

func TestAJudgementCountsWhatServes(t *testing.T) {
	in := world("asia-east/a hh", "eu-central/a hdu", "us-west/a hhx?").policy(catalog.Policy{Safety: &catalog.Safety{MinRegions: 1, Gates: []string{"shop"}}})
	in.reach("asia-east", catalog.Out).drill("d", "us-west/a", 5)
	j := Safety(in)
	if want := (Standing{Regions: 1, Serving: 2, Total: 9}); j.Standing != want || j.Policy != "shop/checkout" || j.Rule.MinRegions != 1 || j.Drill.ID != "d" || j.Broken != "" {
		t.Errorf("got %+v, want %+v", j, want)
	}
	if (Safety(Input{}).Standing != Standing{}) {
		t.Error("nothing stands as something")
	}
}
