package locality

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/federator/federator/federation/catalog"
)

// MaxNames bounds every list and map of a policy.
const MaxNames = 256

// ValidatePolicy returns everything that is wrong with a policy under the given
// name, in the order of the fields; nil if nothing is. Each error names the
// field, what was expected and what was found.
func ValidatePolicy(name string, p catalog.Policy) []error {
	v := &validator{}
	v.name(name)
	v.regions("regionOrder", p.RegionOrder)
	v.size("regionOrderFrom", len(p.RegionOrderFrom))
	for _, from := range slices.Sorted(maps.Keys(p.RegionOrderFrom)) {
		field := fmt.Sprintf("regionOrderFrom[%q]", from)
		v.add(field, catalog.ValidateLabel("region", from))
		v.regions(field, p.RegionOrderFrom[from])
	}
	v.weights(p.Weights)
	if o := p.OverprovisioningPercent; o != 0 && (o < 100 || o > 1000) {
		v.expect("overprovisioningPercent", "100 to 1000, or nothing for the default %d; found %d", DefaultOverprovisioning, o)
	}
	if t := p.PanicThresholdPercent; t != nil && *t > 100 {
		v.expect("panicThresholdPercent", "0 (no panic) to 100; found %d", *t)
	}
	v.regions("failoverRegions", p.FailoverRegions)
	if p.Ramp != nil && (*p.Ramp < 0 || time.Duration(*p.Ramp) > MaxRamp) {
		v.expect("ramp", "0s to %s; found %s", MaxRamp, time.Duration(*p.Ramp))
	}
	return v.errs
}

type validator struct{ errs []error }

func (v *validator) expect(field, format string, args ...any) {
	v.errs = append(v.errs, fmt.Errorf("%s: expected %s", field, fmt.Sprintf(format, args...)))
}

func (v *validator) add(field string, err error) {
	if err != nil {
		v.errs = append(v.errs, fmt.Errorf("%s: %w", field, err))
	}
}

func (v *validator) name(name string) {
	if name == catalog.DefaultPolicy {
		return
	}
	if _, err := catalog.ParseServiceName(name); err != nil {
		v.expect("name", "%q, or the NAMESPACE/NAME of a service, both DNS labels; found %q", catalog.DefaultPolicy, name)
	}
}

func (v *validator) size(field string, n int) {
	if n > MaxNames {
		v.expect(field, "at most %d entries; found %d", MaxNames, n)
	}
}

func (v *validator) regions(field string, names []string) {
	v.size(field, len(names))
	seen := make(map[string]bool, len(names))
	for i, name := range names {
		v.add(fmt.Sprintf("%s[%d]", field, i), catalog.ValidateLabel("region", name))
		if seen[name] {
			v.expect(fmt.Sprintf("%s[%d]", field, i), "each region once; found %q again", name)
		}
		seen[name] = true
	}
}

func (v *validator) weights(weights map[string]uint32) {
	v.size("weights", len(weights))
	any := len(weights) == 0
	for _, at := range slices.Sorted(maps.Keys(weights)) {
		field := fmt.Sprintf("weights[%q]", at)
		_, err := catalog.ParseLocality(at)
		v.add(field, err)
		if w := weights[at]; w > MaxWeight {
			v.expect(field, "0 to %d; found %d", MaxWeight, w)
		}
		any = any || weights[at] > 0
	}
	if !any {
		v.expect("weights", "one weight above 0 at least; found only zeros")
	}
}
