package locality

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/federator/federator/federation/catalog"
)

var update = flag.Bool("update", false, "rewrite the golden files in testdata")

// Each scenario is explained in testdata/explain/NAME.txt.
func TestExplainSaysWhy(t *testing.T) {
	scenarios := map[string]Input{
		"all-well": world("asia-east/a hhh", "eu-central/a hhh", "us-west/a hh /b h"),
		"spill-over-and-ramp": func() Input {
			in := world("asia-east/a hhh", "eu-central/a dhh", "us-west/a huu /b hx?")
			in.Ramp = Factors{west: Unit / 2}
			return in
		}(),
		"policy": world("asia-east/a h", "eu-central/a hh", "us-west/a hh /b h").policy(catalog.Policy{
			RegionOrderFrom: map[string][]string{"us-west": {"eu-central"}}, Weights: weights("us-west", 90, "eu-central", 10, "asia-east", 0),
			OverprovisioningPercent: 150, PanicThresholdPercent: ptr(uint32(40)), Ramp: ptr(catalog.Duration(time.Minute)),
		}),
		"policy-of-a-cluster": func() Input {
			in := world("eu-central/a h", "us-west/a h").policy(catalog.Policy{RegionOrder: []string{"eu-central"}})
			for name := range in.Conditions.Policies {
				in.Conditions.PolicyOrigins = map[string]catalog.PolicyOrigin{name: {Cluster: "us-1", Namespace: "shop", Name: "nearest"}}
			}
			return in
		}(),
		"region-order-and-exclusion": world("asia-east/a h", "eu-central/a h", "us-west/a u").policy(catalog.Policy{
			RegionOrder: []string{"eu-central"}, FailoverRegions: []string{"us-west", "eu-central"}}),
		"evacuated-and-out": world("af-south/a h", "asia-east/a hh", "eu-central/a hh", "us-west/a hh").evacuate("us-west", 0).
			reach("eu-central", catalog.Out).reach("asia-east", catalog.ControlPlaneLost),
		"evacuation-ignored": world("eu-central/a hh", "us-west/a hh").evacuate("us-west", 1).evacuate("eu-central", 0),
		"evacuation-unsafe": world("asia-east/a h", "eu-central/a hh", "us-west/a hh").evacuate("us-west", 1).evacuate("eu-central", 0).policy(catalog.Policy{
			Safety: &catalog.Safety{MinRegions: 2, MinEndpointsPercent: 40}}),
		"drilled":         world("asia-east/a hh", "eu-central/a hh", "us-west/a hh").drill("d1", "us-west", 100),
		"drilled-in-part": world("eu-central/a hh", "us-west/a hh /b h").drill("d1", "us-west/a", 35),
		"drilled-cluster": world("eu-central/a hh", "us-west/a hh", "us-west/a hu").clusterNamed("us-west-2").drill("d1", "us-west cluster us-west-2", 100),
		"drilled-cluster-in-part": world("eu-central/a hh", "us-west/a hh", "us-west/a hu").clusterNamed("us-west-2").
			drill("d1", "us-west cluster us-west-2", 5).drill("d2", "eu-central", 5),
		"drill-unsafe":    world("eu-central/a hh", "us-west/a hh").drill("d1", "us-west", 100).policy(catalog.Policy{Safety: &catalog.Safety{MinRegions: 2}}),
		"drill-ignored":   world("eu-central/a uu", "us-west/a hh").drill("d1", "us-west", 100),
		"only-region-out": world("eu-central/a hh").reach("eu-central", catalog.Out),
		"isolated": func() Input {
			in := world("eu-central/a hh", "us-west/a h")
			in.Conditions.Isolated = true
			return in
		}(),
		"isolated-with-nothing": func() Input {
			in := world("eu-central/a hh")
			in.Conditions.Isolated = true
			return in
		}(),
		"panic":              world("eu-central/a uu", "us-west/a "+mix(0, 0, 14)),
		"panic-off":          world("us-west/a uuuuuuuuuuuu").policy(catalog.Policy{PanicThresholdPercent: ptr(uint32(0))}),
		"weights-ignored":    world("us-west/a h").policy(catalog.Policy{Weights: weights("us-west", 0, "eu-central", 1)}),
		"client-elsewhere":   world("af-south/a h", "eu-central/a h", "us-west/a h").from("asia-east/a"),
		"no-such-service":    world(),
		"pinned-but-missing": func() Input { in := world("us-west/a h"); in.Pin = "eu-central"; return in }(),
		"stale-source": func() Input {
			in := world("us-west/a h")
			in.Service.Backends[0].Stale = true
			return in
		}(),
	}
	for name, in := range scenarios {
		t.Run(name, func(t *testing.T) {
			res := Resolve(in)
			out := []string{ladder(res)}
			for _, s := range Explain(res) {
				out = append(out, string(s.Kind)+": "+s.Text)
			}
			golden(t, filepath.Join("explain", name+".txt"), strings.Join(out, "\n")+"\n")
		})
	}
}

func TestAResolutionReadsWellAsJSON(t *testing.T) {
	in := world("asia-east/a h", "eu-central/a dd", "us-west/a hu").evacuate("asia-east", 0)
	got, err := json.MarshalIndent(Resolve(in), "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "resolution.json", string(got)+"\n")
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got; rewrite with -update):\n%s", path, diff)
	}
}
