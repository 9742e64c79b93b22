package locality

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/federator/federator/federation/catalog"
)

// MaxNames bounds every list and map of a policy.
const MaxNames = 256

// FieldError is what is wrong with one field of a policy.
type FieldError struct {
	// Path leads to the field, or into it: its name, then keys and indexes.
	Path []string
	err  error
}

func (e *FieldError) Error() string { return e.err.Error() }
func (e *FieldError) Unwrap() error { return e.err }

// FieldPath returns Path.
func (e *FieldError) FieldPath() []string { return e.Path }

// ValidatePolicy returns everything that is wrong with a policy under the given
// name, in the order of the fields; nil if nothing is. Each error is a
// [FieldError] that names the field, what was expected and what was found.
func ValidatePolicy(name string, p catalog.Policy) []error {
	v := &validator{}
	v.name(name)
	v.regions(named("regionOrder"), p.RegionOrder)
	from := named("regionOrderFrom")
	v.size(from, len(p.RegionOrderFrom))
	for _, region := range slices.Sorted(maps.Keys(p.RegionOrderFrom)) {
		v.add(from.key(region), catalog.ValidateLabel("region", region))
		v.regions(from.key(region), p.RegionOrderFrom[region])
	}
	v.weights(named("weights"), p.Weights)
	if o := p.OverprovisioningPercent; o != 0 && (o < 100 || o > 1000) {
		v.expect(named("overprovisioningPercent"), "100 to 1000, or nothing for the default %d; found %d", DefaultOverprovisioning, o)
	}
	if t := p.PanicThresholdPercent; t != nil && *t > 100 {
		v.expect(named("panicThresholdPercent"), "0 (no panic) to 100; found %d", *t)
	}
	v.regions(named("failoverRegions"), p.FailoverRegions)
	if p.Ramp != nil && (*p.Ramp < 0 || time.Duration(*p.Ramp) > MaxRamp) {
		v.expect(named("ramp"), "0s to %s; found %s", MaxRamp, time.Duration(*p.Ramp))
	}
	if p.Safety != nil {
		v.safety(named("safety"), *p.Safety)
	}
	return v.errs
}

// field is where a mistake is: as text, and as the steps that lead there.
type field struct {
	text string
	path []string
}

func named(name string) field { return field{name, []string{name}} }

func (f field) dot(name string) field {
	return field{f.text + "." + name, append(slices.Clip(f.path), name)}
}

func (f field) key(key string) field {
	return field{fmt.Sprintf("%s[%q]", f.text, key), append(slices.Clip(f.path), key)}
}

func (f field) index(i int) field {
	return field{fmt.Sprintf("%s[%d]", f.text, i), append(slices.Clip(f.path), strconv.Itoa(i))}
}

type validator struct{ errs []error }

func (v *validator) expect(at field, format string, args ...any) {
	v.add(at, fmt.Errorf("expected %s", fmt.Sprintf(format, args...)))
}

func (v *validator) add(at field, err error) {
	if err != nil {
		v.errs = append(v.errs, &FieldError{Path: at.path, err: fmt.Errorf("%s: %w", at.text, err)})
	}
}

func (v *validator) name(name string) {
	if name == catalog.DefaultPolicy {
		return
	}
	if _, err := catalog.ParseServiceName(name); err != nil {
		v.expect(named("name"), "%q, or the NAMESPACE/NAME of a service, both DNS labels; found %q", catalog.DefaultPolicy, name)
	}
}

func (v *validator) size(at field, n int) {
	if n > MaxNames {
		v.expect(at, "at most %d entries; found %d", MaxNames, n)
	}
}

func (v *validator) regions(at field, names []string) { v.labels(at, "region", names) }

// labels checks a list of names of one kind.
func (v *validator) labels(at field, kind string, names []string) {
	v.size(at, len(names))
	seen := make(map[string]bool, len(names))
	for i, name := range names {
		v.add(at.index(i), catalog.ValidateLabel(kind, name))
		if seen[name] {
			v.expect(at.index(i), "each %s once; found %q again", kind, name)
		}
		seen[name] = true
	}
}

func (v *validator) safety(at field, s catalog.Safety) {
	if s.MinRegions > MaxNames {
		v.expect(at.dot("minRegions"), "0 to %d; found %d", MaxNames, s.MinRegions)
	}
	if s.MinEndpointsPercent > 100 {
		v.expect(at.dot("minEndpointsPercent"), "0 to 100; found %d", s.MinEndpointsPercent)
	}
	v.labels(at.dot("gates"), "gate", s.Gates)
}

func (v *validator) weights(at field, weights map[string]uint32) {
	v.size(at, len(weights))
	any := len(weights) == 0
	for _, place := range slices.Sorted(maps.Keys(weights)) {
		_, err := catalog.ParseLocality(place)
		v.add(at.key(place), err)
		if w := weights[place]; w > MaxWeight {
			v.expect(at.key(place), "0 to %d; found %d", MaxWeight, w)
		}
		any = any || weights[place] > 0
	}
	if !any {
		v.expect(at, "one weight above 0 at least; found only zeros")
	}
}
