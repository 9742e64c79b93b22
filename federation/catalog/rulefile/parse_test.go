package rulefile

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/federator/federator/federation/catalog"
)

const everything = `# who may export what
kind: ExportRule
name: payments
spec:
  services: [payments/*, "*/ledger"]
  clusters: [us-1, "eu-*", region:us-west]
---
kind: ExportRule
name: default-deny
spec: {services: ["*/*"], clusters: []}
`

func TestAFileOfExportRulesIsRead(t *testing.T) {
	got, err := Parse([]byte(everything))
	if err != nil {
		t.Fatal(err)
	}
	want := []Named{
		{Name: "payments", Line: 2, Spec: catalog.ExportRule{Services: []string{"payments/*", "*/ledger"}, Clusters: []string{"us-1", "eu-*", "region:us-west"}}},
		{Name: "default-deny", Line: 8, Spec: catalog.ExportRule{Services: []string{"*/*"}, Clusters: []string{}}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestMistakesAreReportedWithTheirLines(t *testing.T) {
	const pattern = `: expected NAMESPACE/NAME, each a DNS label in which one '*' may stand for any letters, for example payments/api, payments/* or */*`
	for _, tt := range []struct {
		name, file string
		want       []string
	}{
		{"nothing", "", []string{"export rules: expected at least one document with kind, name and spec, found none"}},
		{"no YAML", "kind: [", []string{"export rules: expected YAML: yaml: line 1: did not find expected node content"}},
		{"another kind", "kind: Policy\nname: a\nspec: {services: [a/b], clusters: []}", []string{`line 1: kind: expected "ExportRule", found "Policy"`}},
		{"a field that is missing, and one too much", "kind: ExportRule\nname: a\nspec:\n  services: [a/b]\n  cluster: [a]\n", []string{
			"line 4: spec.clusters: expected a value, found none", "line 5: spec.cluster: unknown field; expected one of clusters, services"}},
		{"nothing for clusters", "kind: ExportRule\nname: a\nspec:\n  services: [a/b]\n  clusters:\n", []string{"line 5: spec.clusters: expected a list, found nothing"}},
		{"a star that YAML takes for an alias", "kind: ExportRule\nname: a\nspec:\n  services: [*x]\n", []string{`export rules: expected YAML: yaml: unknown anchor 'x' referenced`}},
		{"wrong values", `kind: ExportRule
name: A
spec:
  services:
    - payments
    - a/b
    - 7
    - a/b
  clusters: [region:, a..b]
`, []string{
			`line 2: export rule "A": name: export rule "A": expected a DNS label (1 to 63 of a-z, 0-9 and '-', beginning and ending with a letter or digit)`,
			`line 5: export rule "A": services[0]: pattern "payments"` + pattern,
			`line 7: spec.services[2]: expected text, found "7"`,
			`line 8: export rule "A": services[3]: expected each once; found "a/b" again`,
			`line 9: export rule "A": clusters[0]: cluster "region:": expected the name of a region behind "region:", for example region:us-west`,
			`line 9: export rule "A": clusters[1]: cluster "a..b": expected the name of a cluster in which one '*' may stand for any letters, or region:NAME, for example west-1, west-* or region:us-west`,
		}},
		{"no services", "kind: ExportRule\nname: a\nspec:\n  services: []\n  clusters: []\n", []string{
			`line 4: export rule "a": services: expected 1 to 256 patterns such as payments/* or */*, found 0`}},
		{"a name twice", strings.Repeat("---\nkind: ExportRule\nname: a\nspec: {services: [a/b], clusters: []}\n", 2), []string{
			`line 7: name: expected each export rule once, found "a" again (first at line 2)`}},
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

func FuzzParse(f *testing.F) {
	f.Add([]byte(everything))
	f.Add([]byte("kind: ExportRule\nname: a\nspec: {services: [a/*, <<: *x], clusters: [7, region:x]}\n---\n- &x [*x]\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := Parse(data)
		if (err == nil) != (len(got) > 0) {
			t.Fatalf("%d rules and %v", len(got), err)
		}
		for _, r := range got {
			if errs := catalog.ValidateExportRule(r.Name, r.Spec); len(errs) > 0 || r.Line < 1 {
				t.Errorf("line %d: %v", r.Line, errs)
			}
		}
	})
}
