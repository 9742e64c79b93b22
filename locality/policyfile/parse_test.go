package policyfile

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/strictyaml"
)

const everything = `# policies of the shop
kind: Policy
name: default
spec:
  regionOrder: [us-west, eu-central]
---
kind: Policy
name: shop/checkout
spec:
  regionOrder:
    - us-west
  regionOrderFrom:
    asia-east: [us-west]
  weights:
    us-west: 90
    eu-central/a: 10
  overprovisioningPercent: 150
  panicThresholdPercent: 0
  failoverRegions: [us-west, eu-central]
  ramp: 1m30s
  safety:
    minRegions: 2
    minEndpointsPercent: 60
    gates: [shop-freeze, audit]
---
# an empty document is nothing
---
kind: Policy
name: shop/plain
spec: {}
`

func TestAPoliciesFileIsRead(t *testing.T) {
	ramp, threshold := catalog.Duration(90*time.Second), uint32(0)
	want := []NamedPolicy{
		{Name: "default", Line: 2, Spec: catalog.Policy{RegionOrder: []string{"us-west", "eu-central"}}},
		{Name: "shop/checkout", Line: 7, Spec: catalog.Policy{
			RegionOrder: []string{"us-west"}, RegionOrderFrom: map[string][]string{"asia-east": {"us-west"}},
			Weights: map[string]uint32{"us-west": 90, "eu-central/a": 10}, OverprovisioningPercent: 150,
			PanicThresholdPercent: &threshold, FailoverRegions: []string{"us-west", "eu-central"}, Ramp: &ramp,
			Safety: &catalog.Safety{MinRegions: 2, MinEndpointsPercent: 60, Gates: []string{"shop-freeze", "audit"}},
		}},
		{Name: "shop/plain", Line: 28},
	}
	got, err := ParsePolicies([]byte(everything))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestEveryFieldOfAPolicyCanBeWritten(t *testing.T) {
	policies, err := ParsePolicies([]byte(everything))
	if err != nil {
		t.Fatal(err)
	}
	full := reflect.ValueOf(policies[1].Spec)
	for _, of := range []reflect.Value{full, reflect.ValueOf(*policies[1].Spec.Safety)} {
		for i := range of.NumField() {
			if field := of.Type().Field(i); of.Field(i).IsZero() {
				t.Errorf("field %s cannot be written: teach the test about it", field.Name)
			}
		}
	}
}

const label = "expected a DNS label (1 to 63 of a-z, 0-9 and '-', beginning and ending with a letter or digit)"

func TestMistakesAreReportedWithTheirLines(t *testing.T) {
	for _, tt := range []struct {
		name, file string
		want       []string
	}{
		{"nothing", "", []string{"policies: expected at least one document with kind, name and spec, found none"}},
		{"only comments", "# later\n---\n", []string{"policies: expected at least one document with kind, name and spec, found none"}},
		{"no YAML", "kind: [", []string{"policies: expected YAML: yaml: line 1: did not find expected node content"}},
		{"no mapping", "- kind", []string{"line 1: document: expected fields, found a list"}},
		{"nothing but a kind", "kind: Policy", []string{
			"line 1: name: expected a value, found none", "line 1: spec: expected a value, found none"}},
		{"another kind", "kind: Drill\nname: default\nspec: {}", []string{`line 1: kind: expected "Policy", found "Drill"`}},
		{"unknown fields", "kind: Policy\nname: default\nextra: 1\nspec:\n  regionOrdr:\n    - us-west\n", []string{
			"line 3: extra: unknown field; expected one of kind, name, spec",
			"line 5: spec.regionOrdr: unknown field; expected one of failoverRegions, overprovisioningPercent, panicThresholdPercent, ramp, regionOrder, regionOrderFrom, safety, weights",
		}},
		{"wrong types", `kind: Policy
name: 7
spec:
  regionOrder: us-west
  failoverRegions: [us-west, 3, [a]]
  weights:
    us-west: -1
    eu-central: 4294967296
    asia-east: 1.5
  overprovisioningPercent: many
  panicThresholdPercent:
  ramp: 10
`, []string{
			`line 2: name: expected text, found "7"`,
			`line 4: spec.regionOrder: expected a list, found "us-west"`,
			`line 5: spec.failoverRegions[1]: expected text, found "3"`,
			`line 5: spec.failoverRegions[2]: expected text, found a list`,
			`line 7: spec.weights.us-west: expected a whole number, 0 or more, found "-1"`,
			`line 8: spec.weights.eu-central: expected a whole number, 0 or more, found "4294967296"`,
			`line 9: spec.weights.asia-east: expected a whole number, 0 or more, found "1.5"`,
			`line 10: spec.overprovisioningPercent: expected a whole number, 0 or more, found "many"`,
			`line 11: spec.panicThresholdPercent: expected a whole number, 0 or more, found nothing`,
			`line 12: spec.ramp: expected a duration such as 10s or 1m30s, found "10"`,
		}},
		{"wrong values, in several documents", "kind: Policy\nname: default\nspec:\n  ramp: 1h\n---\nkind: Policy\nname: checkout\nspec:\n  panicThresholdPercent: 101\n", []string{
			`line 4: policy "default": ramp: expected 0s to 10m0s; found 1h0m0s`,
			`line 7: policy "checkout": name: expected "default", or the NAMESPACE/NAME of a service, both DNS labels; found "checkout"`,
			`line 9: policy "checkout": panicThresholdPercent: expected 0 (no panic) to 100; found 101`,
		}},
		{"values of every kind at once", `kind: Policy
name: shop/checkout
spec:
  weights: -1
  overprovisioningPercent:
    7
  panicThresholdPercent: 300
  extra: 1
  regionOrder:
    - us-west
    - 3
    - us-west
    - [b]
  regionOrderFrom:
    eu-central:
      - -
      - "-"
  failoverRegions: [US]
`, []string{
			`line 4: spec.weights: expected key: value pairs, found "-1"`,
			`line 6: policy "shop/checkout": overprovisioningPercent: expected 100 to 1000, or nothing for the default 140; found 7`,
			`line 7: policy "shop/checkout": panicThresholdPercent: expected 0 (no panic) to 100; found 300`,
			"line 8: spec.extra: unknown field; expected one of failoverRegions, overprovisioningPercent, panicThresholdPercent, ramp, regionOrder, regionOrderFrom, safety, weights",
			`line 11: spec.regionOrder[1]: expected text, found "3"`,
			`line 12: policy "shop/checkout": regionOrder[2]: expected each region once; found "us-west" again`,
			`line 13: spec.regionOrder[3]: expected text, found a list`,
			`line 16: spec.regionOrderFrom.eu-central[0]: expected text, found a list`,
			`line 17: policy "shop/checkout": regionOrderFrom["eu-central"][1]: region "-": ` + label,
			`line 18: policy "shop/checkout": failoverRegions[0]: region "US": ` + label,
		}},
		{"values below a mistaken name and kind", "kind: Drill\nname: [a]\nspec:\n  weights:\n    us-west: 0\n    eu-central: x\n    US: 2000000\n  ramp: 1h\n", []string{
			`line 1: kind: expected "Policy", found "Drill"`,
			`line 2: name: expected text, found a list`,
			`line 6: spec.weights.eu-central: expected a whole number, 0 or more, found "x"`,
			`line 7: weights["US"]: region "US": ` + label,
			`line 7: weights["US"]: expected 0 to 1000000; found 2000000`,
			`line 8: ramp: expected 0s to 10m0s; found 1h0m0s`,
		}},
		{"mistakes in the safety rules", "kind: Policy\nname: default\nspec:\n  safety:\n    minRegions: two\n    minEndpointsPercent: 101\n    gates:\n      - a\n      - a\n      - B\n    maxRegions: 1\n", []string{
			`line 5: spec.safety.minRegions: expected a whole number, 0 or more, found "two"`,
			`line 6: policy "default": safety.minEndpointsPercent: expected 0 to 100; found 101`,
			`line 9: policy "default": safety.gates[1]: expected each gate once; found "a" again`,
			`line 10: policy "default": safety.gates[2]: gate "B": ` + label,
			`line 11: spec.safety.maxRegions: unknown field; expected one of gates, minEndpointsPercent, minRegions`,
		}},
		{"safety that is no mapping, and gates that are no list", "kind: Policy\nname: default\nspec: {safety: 2}\n---\nkind: Policy\nname: shop/db\nspec:\n  safety:\n    gates: freeze\n", []string{
			`line 3: spec.safety: expected fields, found "2"`,
			`line 9: spec.safety.gates: expected a list, found "freeze"`,
		}},
		{"values without a name", "kind: Policy\nextra: 1\nspec:\n  ramp: 1h\n", []string{
			`line 1: name: expected a value, found none`,
			`line 2: extra: unknown field; expected one of kind, name, spec`,
			`line 4: ramp: expected 0s to 10m0s; found 1h0m0s`,
		}},
		{"a name thrice, one of them with a mistake", "kind: Policy\nname: default\nspec: {x: 1}\n---\nkind: Policy\nname: default\nspec: {}\n---\nkind: Policy\nname: default\nspec: {}\n", []string{
			"line 3: spec.x: unknown field; expected one of failoverRegions, overprovisioningPercent, panicThresholdPercent, ramp, regionOrder, regionOrderFrom, safety, weights",
			`line 6: name: expected each policy once, found "default" again (first at line 1)`,
			`line 10: name: expected each policy once, found "default" again (first at line 1)`}},
		{"a name twice", "kind: Policy\nname: default\nspec: {}\n---\nkind: Policy\nname: default\nspec: {}\n", []string{
			`line 6: name: expected each policy once, found "default" again (first at line 1)`}},
		{"a key twice", "kind: Policy\nname: default\nspec:\n  weights:\n    us-west: 1\n    us-west: 2\n", []string{
			"line 6: spec.weights.us-west: expected each key once, found it again"}},
		{"an alias", "kind: Policy\nname: default\nspec:\n  regionOrder: &a [us-west]\n  failoverRegions: *a\n", []string{
			"line 5: spec.failoverRegions: expected a list, found an alias (write the value out)"}},
		{"a key that is no name", "kind: Policy\nname: default\nspec: {[a]: 1, \"\\e[31m\": 1}\n", []string{
			"line 3: spec: expected a name as key, found a list",
			`line 3: spec."\x1b[31m": unknown field; expected one of failoverRegions, overprovisioningPercent, panicThresholdPercent, ramp, regionOrder, regionOrderFrom, safety, weights`}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := ParsePolicies([]byte(tt.file))
			if err == nil || got != nil {
				t.Fatalf("read %v", got)
			}
			if diff := cmp.Diff(strings.Join(tt.want, "\n"), err.Error()); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestAPoliciesFileIsBounded(t *testing.T) {
	var many strings.Builder
	for i := range strictyaml.MaxDocuments + 1 {
		fmt.Fprintf(&many, "---\nkind: Policy\nname: shop/s%d\nspec: {}\n", i)
	}
	for name, tt := range map[string]struct{ file, want string }{
		"size":      {strings.Repeat("#", strictyaml.MaxBytes+1), "expected at most 1048576 bytes"},
		"documents": {many.String(), "expected at most 1000 documents"},
		"weights":   {"kind: Policy\nname: default\nspec: {weights: {" + strings.Join(numbers(60_000), "_: 1, ") + "_: 1}}", "and 59901 more mistakes"},
		"mistakes":  {"kind: Policy\nname: default\nspec: {" + strings.Join(numbers(strictyaml.MaxErrors+5), ": 1, ") + ": 1}", "and 5 more mistakes"},
	} {
		if _, err := ParsePolicies([]byte(tt.file)); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %s", name, err, tt.want)
		}
	}
}

func numbers(n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprint(i)
	}
	return out
}

func FuzzParsePolicies(f *testing.F) {
	f.Add([]byte(everything))
	f.Add([]byte("kind: Policy\nname: default\nspec: {weights: {a: 1}, ramp: 10s, <<: *x}\n---\n- &x [*x]\n"))
	f.Add([]byte("kind: !!binary aGk=\nname: !!str 1\nspec: {overprovisioningPercent: 0x8c}\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		policies, err := ParsePolicies(data)
		if (err == nil) != (len(policies) > 0) {
			t.Fatalf("%d policies and %v", len(policies), err)
		}
		seen := map[string]bool{}
		for _, p := range policies {
			if seen[p.Name] || p.Line < 1 {
				t.Errorf("policy %q twice, or on line %d", p.Name, p.Line)
			}
			seen[p.Name] = true
			if p.Name != catalog.DefaultPolicy {
				if _, err := catalog.ParseServiceName(p.Name); err != nil {
					t.Error(err)
				}
			}
		}
	})
}
