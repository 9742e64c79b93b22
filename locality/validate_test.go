package locality

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/federator/federator/federation/catalog"
)

func TestAGoodPolicyIsValid(t *testing.T) {
	for name, p := range map[string]catalog.Policy{
		"default": {},
		"shop/checkout": {
			RegionOrder: []string{"us-west", "eu-central"}, RegionOrderFrom: map[string][]string{"asia-east": {"us-west"}},
			Weights: weights("us-west", 0, "eu-central/a", MaxWeight), OverprovisioningPercent: 100,
			PanicThresholdPercent: ptr(uint32(0)), FailoverRegions: []string{"us-west"}, Ramp: ptr(catalog.Duration(MaxRamp)),
			Safety: &catalog.Safety{MinRegions: 2, MinEndpointsPercent: 100, Gates: []string{"shop-freeze"}},
		},
	} {
		if errs := ValidatePolicy(name, p); errs != nil {
			t.Errorf("%s: %v", name, errs)
		}
	}
}

func TestEverythingWrongWithAPolicyIsReportedAtOnce(t *testing.T) {
	errs := ValidatePolicy("checkout", catalog.Policy{
		RegionOrder:             []string{"us-west", "US", "us-west"},
		RegionOrderFrom:         map[string][]string{"": {"-"}},
		Weights:                 map[string]uint32{"us-west/": 1, "eu-central": MaxWeight + 1},
		OverprovisioningPercent: 99,
		PanicThresholdPercent:   ptr(uint32(101)),
		FailoverRegions:         []string{"x_y"},
		Ramp:                    ptr(catalog.Duration(11 * time.Minute)),
		Safety:                  &catalog.Safety{MinRegions: 257, MinEndpointsPercent: 101, Gates: []string{"a", "B", "a"}},
	})
	const label = "expected a DNS label (1 to 63 of a-z, 0-9 and '-', beginning and ending with a letter or digit)"
	want := []string{
		`name: expected "default", or the NAMESPACE/NAME of a service, both DNS labels; found "checkout"`,
		`regionOrder[1]: region "US": ` + label,
		`regionOrder[2]: expected each region once; found "us-west" again`,
		`regionOrderFrom[""]: region "": ` + label,
		`regionOrderFrom[""][0]: region "-": ` + label,
		`weights["eu-central"]: expected 0 to 1000000; found 1000001`,
		`weights["us-west/"]: zone "": ` + label,
		`overprovisioningPercent: expected 100 to 1000, or nothing for the default 140; found 99`,
		`panicThresholdPercent: expected 0 (no panic) to 100; found 101`,
		`failoverRegions[0]: region "x_y": ` + label,
		`ramp: expected 0s to 10m0s; found 11m0s`,
		`safety.minRegions: expected 0 to 256; found 257`,
		`safety.minEndpointsPercent: expected 0 to 100; found 101`,
		`safety.gates[1]: gate "B": ` + label,
		`safety.gates[2]: expected each gate once; found "a" again`,
	}
	if diff := cmp.Diff(strings.Join(want, "\n"), joined(errs)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestAPolicyIsBounded(t *testing.T) {
	var long []string
	zeros := make(map[string]uint32)
	for i := range MaxNames + 1 {
		long = append(long, fmt.Sprintf("r%d", i))
		zeros[fmt.Sprintf("r%d", i)] = 0
	}
	got := joined(ValidatePolicy("default", catalog.Policy{RegionOrder: long, Weights: zeros}))
	want := `regionOrder: expected at most 256 entries; found 257
weights: expected at most 256 entries; found 257
weights: expected one weight above 0 at least; found only zeros`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func joined(errs []error) string {
	var out []string
	for _, err := range errs {
		out = append(out, err.Error())
	}
	return strings.Join(out, "\n")
}
