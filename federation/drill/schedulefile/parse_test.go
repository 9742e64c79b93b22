package schedulefile

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

const everything = `# practice
kind: DrillSchedule
name: tuesdays
spec:
  region: eu-central
  days: [tue, thu]
  at: [10:00, "15:30"]
  blocked:
    - {from: 2026-12-20T00:00:00Z, to: 2027-01-04T00:00:00Z}
    - {from: "22:00", to: "06:00", days: [fri]}
  suspend: true
  kind: evacuate
  scope: {region: us-west, zone: a, service: shop/checkout}
  shape: {ramp: 2m, hold: 10m, return: 90s}
  objective: 5s
  alarms:
    - {name: door, url: "https://shop.example/healthz"}
    - {name: errors, query: "rate(errors[1m])", prometheus: "http://prometheus:9090", max: 0.5, min: -1}
---
# nothing
---
kind: DrillSchedule
name: plain
spec: {at: ["03:00"], kind: isolate, scope: {region: us-west}, shape: {hold: 1m}}
`

func TestASchedulesFileIsRead(t *testing.T) {
	low, high := -1.0, 0.5
	want := []Named{
		{Name: "tuesdays", Line: 2, Spec: catalog.Schedule{
			Region: "eu-central", Days: []string{"tue", "thu"}, At: []string{"10:00", "15:30"}, Suspend: true,
			Blocked: []catalog.Window{{From: "2026-12-20T00:00:00Z", To: "2027-01-04T00:00:00Z"}, {From: "22:00", To: "06:00", Days: []string{"fri"}}},
			Kind:    catalog.DrillEvacuate, Scope: catalog.Scope{Region: "us-west", Zone: "a", Service: catalog.ServiceName{Namespace: "shop", Name: "checkout"}},
			Shape:     catalog.Shape{Ramp: catalog.Duration(2 * time.Minute), Hold: catalog.Duration(10 * time.Minute), Return: catalog.Duration(90 * time.Second)},
			Objective: catalog.Duration(5 * time.Second),
			Alarms: []catalog.Alarm{{Name: "door", URL: "https://shop.example/healthz"},
				{Name: "errors", Query: "rate(errors[1m])", Prometheus: "http://prometheus:9090", Min: &low, Max: &high}},
		}},
		{Name: "plain", Line: 22, Spec: catalog.Schedule{
			At: []string{"03:00"}, Kind: catalog.DrillIsolate, Scope: catalog.Scope{Region: "us-west"}, Shape: catalog.Shape{Hold: catalog.Duration(time.Minute)},
		}},
	}
	got, err := Parse([]byte(everything))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	full := reflect.ValueOf(got[0].Spec)
	for i := range full.NumField() {
		if full.Field(i).IsZero() {
			t.Errorf("the test does not write field %s", full.Type().Field(i).Name)
		}
	}
}

func TestMistakesAreReportedWithTheirLines(t *testing.T) {
	for _, tt := range []struct {
		name, file string
		want       []string
	}{
		{"nothing", "", []string{"schedules: expected at least one document with kind, name and spec, found none"}},
		{"no YAML", "kind: [", []string{"schedules: expected YAML: yaml: line 1: did not find expected node content"}},
		{"no mapping", "- kind", []string{"line 1: document: expected fields, found a list"}},
		{"another kind", "kind: Policy\nname: a\nspec: {}", []string{`line 1: kind: expected "DrillSchedule", found "Policy"`}},
		{"wrong types and unknown fields", `kind: DrillSchedule
name: 7
spec:
  day: mon
  at: 10:00
  suspend: maybe
  scope:
    service: checkout
    region: [a]
  shape: {hold: 10, hold: 5m}
  alarms: [{max: much}]
`, []string{
			`line 2: name: expected text, found "7"`,
			`line 4: spec.day: unknown field; expected one of alarms, at, blocked, days, kind, objective, region, scope, shape, suspend`,
			`line 5: spec.at: expected a list, found "10:00"`,
			`line 6: spec.suspend: expected true or false, found "maybe"`,
			`line 8: spec.scope.service: expected NAMESPACE/NAME of a service, found "checkout"`,
			`line 9: spec.scope.region: expected text, found a list`,
			`line 10: spec.shape.hold: expected a duration such as 10s or 1m30s, found "10"`,
			`line 10: spec.shape.hold: expected each key once, found it again`,
			`line 11: spec.alarms[0].max: expected a number, found "much"`,
		}},
		{"an alias", "kind: DrillSchedule\nname: a\nspec:\n  days: &x [mon]\n  at: *x\n", []string{"line 5: spec.at: expected a list, found an alias (write the value out)"}},
		{"wrong values", "---\nkind: DrillSchedule\nname: a\nspec: {at: [25:00], kind: evacuate, scope: {region: us-west}, shape: {hold: 1m}}\n", []string{
			`line 2: schedule "a": at: time of day "25:00": expected HH:MM in UTC, for example 14:30`}},
		{"a name twice", strings.Repeat("---\nkind: DrillSchedule\nname: a\nspec: {at: [\"03:00\"], kind: evacuate, scope: {region: us-west}, shape: {hold: 1m}}\n", 2), []string{
			`line 7: name: expected each schedule once, found "a" again (first at line 2)`}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := Parse([]byte(tt.file))
			if err == nil || got != nil {
				t.Fatalf("read %v", got)
			}
			if diff := cmp.Diff(strings.Join(tt.want, "\n"), err.Error()); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestASchedulesFileIsBounded(t *testing.T) {
	var many, wrong strings.Builder
	for i := range strictyaml.MaxDocuments + 1 {
		fmt.Fprintf(&many, "---\nkind: DrillSchedule\nname: s%d\nspec: {at: [\"03:00\"], kind: evacuate, scope: {region: a}, shape: {hold: 1m}}\n", i)
	}
	for i := range strictyaml.MaxErrors + 5 {
		fmt.Fprintf(&wrong, "x%d: 1\n", i)
	}
	for name, tt := range map[string]struct{ file, want string }{
		"size":      {strings.Repeat("#", strictyaml.MaxBytes+1), "expected at most 1048576 bytes"},
		"documents": {many.String(), "expected at most 1000 documents"},
		"mistakes":  {wrong.String(), "and 8 more mistakes"},
	} {
		if _, err := Parse([]byte(tt.file)); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %s", name, err, tt.want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(everything))
	f.Add([]byte("kind: DrillSchedule\nname: a\nspec: {at: [1], scope: {service: a/b, <<: *x}, alarms: [{min: .inf}]}\n---\n- &x [*x]\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := Parse(data)
		if (err == nil) != (len(got) > 0) {
			t.Fatalf("%d schedules and %v", len(got), err)
		}
		for _, s := range got {
			if err := catalog.ValidateScheduleName(s.Name); err != nil || s.Line < 1 {
				t.Errorf("line %d: %v", s.Line, err)
			}
		}
	})
}
