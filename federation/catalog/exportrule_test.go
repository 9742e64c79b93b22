package catalog

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

func TestAPatternNamesWhatItSpells(t *testing.T) {
	for _, tt := range []struct {
		pattern string
		names   []string // namespace/name
		not     []string
	}{
		{"payments/api", []string{"payments/api"}, []string{"payments/api2", "payments/ap", "payment/api", "xpayments/api"}},
		{"payments/*", []string{"payments/api", "payments/a"}, []string{"payments2/api", "pay/ments"}},
		{"*/*", []string{"payments/api", "a/b"}, nil},
		{"*/api", []string{"payments/api", "shop/api"}, []string{"shop/apis"}},
		{"pay*/api", []string{"pay/api", "payments/api"}, []string{"pa/api", "xpay/api"}},
		{"*-prod/*-api", []string{"shop-prod/v1-api"}, []string{"shop-prod/api", "prod/v1-api", "shop-prod2/v1-api"}},
		{"p*s/a*a", []string{"ps/aa", "payments/abba"}, []string{"p/aa", "ps/a"}},
		{"payments/ab*ba", []string{"payments/abba", "payments/abxba"}, []string{"payments/aba"}},
	} {
		rules := NewExportRules(map[string]ExportRule{"r": {Services: []string{tt.pattern}}})
		for _, name := range tt.names {
			if !verdictOf(t, rules, "west", "w1", name).Refused() {
				t.Errorf("%s: expected it to name %s", tt.pattern, name)
			}
		}
		for _, name := range tt.not {
			if verdictOf(t, rules, "west", "w1", name).Refused() {
				t.Errorf("%s: expected it not to name %s", tt.pattern, name)
			}
		}
	}
}

func verdictOf(t *testing.T, rules *ExportRules, region, cluster, name string) ExportVerdict {
	t.Helper()
	service, err := ParseServiceName(name)
	if err != nil {
		t.Fatal(err)
	}
	return rules.Verdict(region, cluster, service)
}

func TestASelectorAllowsTheClustersThatItSpells(t *testing.T) {
	for _, tt := range []struct {
		selector, region, cluster string
		allows                    bool
	}{
		{"w1", "west", "w1", true},
		{"w1", "west", "w12", false},
		{"w*", "west", "w12", true},
		{"*-1", "west", "west-1", true},
		{"*", "west", "any.cluster", true},
		{"*.corp", "west", "west-1.corp", true},
		{"west-1.corp", "west", "west-1", false},
		{"region:west", "west", "w1", true},
		{"region:west", "east", "west", false},
		{"region:west", "western", "w1", false},
		{"west", "west", "w1", false},
	} {
		rules := NewExportRules(map[string]ExportRule{"r": {Services: []string{"*/*"}, Clusters: []string{tt.selector}}})
		if got := !verdictOf(t, rules, tt.region, tt.cluster, "a/b").Refused(); got != tt.allows {
			t.Errorf("%s and cluster %s of %s: expected allowed %v, found %v", tt.selector, tt.cluster, tt.region, tt.allows, got)
		}
	}
}

func TestAnExportIsAllowedIfNoRuleNamesTheServiceOrOneThatDoesAllowsTheCluster(t *testing.T) {
	rules := NewExportRules(map[string]ExportRule{
		"a-deny":   {Services: []string{"*/*"}},
		"payments": {Services: []string{"payments/*", "payments/api"}, Clusters: []string{"w1"}},
		"tools":    {Services: []string{"*/tool"}, Clusters: []string{"region:east"}},
	})
	for _, tt := range []struct {
		region, cluster, service string
		naming, allowing         string
	}{
		{"west", "w1", "payments/api", "a-deny payments", "payments"},
		{"west", "w2", "payments/api", "a-deny payments", ""},
		{"east", "e1", "payments/tool", "a-deny payments tools", "tools"},
		{"west", "w1", "payments/tool", "a-deny payments tools", "payments"},
		{"west", "w1", "shop/checkout", "a-deny", ""},
	} {
		v := verdictOf(t, rules, tt.region, tt.cluster, tt.service)
		if got := strings.Join(v.Naming, " "); got != tt.naming {
			t.Errorf("%s of %s: expected it to be named by %q, found %q", tt.service, tt.cluster, tt.naming, got)
		}
		if got := strings.Join(v.Allowing, " "); got != tt.allowing || v.Refused() != (tt.allowing == "") {
			t.Errorf("%s of %s: expected it to be allowed by %q, found %q and refused %v", tt.service, tt.cluster, tt.allowing, got, v.Refused())
		}
	}
	if v := verdictOf(t, new(ExportRules), "west", "w1", "a/b"); v.Refused() || len(v.Naming) > 0 {
		t.Errorf("without rules: expected everything to be allowed, found %v", v)
	}
}

func TestEverythingWrongWithAnExportRuleIsReported(t *testing.T) {
	many := make([]string, MaxRulePatterns+1)
	for i := range many {
		many[i] = fmt.Sprintf("c%d", i)
	}
	for _, tt := range []struct {
		name string
		rule ExportRule
		want []string
	}{
		{"ok", ExportRule{Services: []string{"*/*", "a/b", "a-*/*-b"}, Clusters: []string{"a", "a.b", "a*", "*", "region:west"}}, nil},
		{"No", ExportRule{}, []string{`name: export rule "No": expected a DNS label`, "services: expected 1 to 256 patterns such as payments/* or */*, found 0"}},
		{"r", ExportRule{Services: []string{"api", "a/b/c", "**/a", "a/", "A/b", "-*/b", "a/b", "a/b"}}, []string{
			`services[0]: pattern "api": expected NAMESPACE/NAME`, `services[1]: pattern "a/b/c"`, `services[2]: pattern "**/a"`, `services[3]: pattern "a/"`,
			`services[4]: pattern "A/b"`, `services[5]: pattern "-*/b"`, `services[7]: expected each once; found "a/b" again`}},
		{"r", ExportRule{Services: []string{"*/*"}, Clusters: []string{"", "a.b.c", "region:", "region:*", "a*b*", "West"}}, []string{
			`clusters[0]: cluster ""`, `clusters[1]: cluster "a.b.c": expected the name of a cluster`, `clusters[2]: cluster "region:": expected the name of a region`,
			`clusters[3]: cluster "region:*"`, `clusters[4]: cluster "a*b*"`, `clusters[5]: cluster "West"`}},
		{"r", ExportRule{Services: []string{"a/b"}, Clusters: many}, []string{"clusters: expected at most 256 clusters, found 257"}},
	} {
		errs := ValidateExportRule(tt.name, tt.rule)
		if len(errs) != len(tt.want) {
			t.Errorf("expected %d mistakes, found %d: %v", len(tt.want), len(errs), errors.Join(errs...))
			continue
		}
		for i, err := range errs {
			var field *ExportRuleError
			if !errors.As(err, &field) || !strings.HasPrefix(err.Error(), tt.want[i]) {
				t.Errorf("expected %q, found %q", tt.want[i], err)
			}
		}
	}
}

func TestRulesBeyondTheBoundAreNamedAndNotEnforced(t *testing.T) {
	rules := map[string]ExportRule{}
	for i := range MaxExportPatterns/MaxRulePatterns + 1 {
		services := make([]string, MaxRulePatterns)
		for j := range services {
			services[j] = fmt.Sprintf("ns%d/s%d", i, j)
		}
		rules[fmt.Sprintf("r%02d", i)] = ExportRule{Services: services}
	}
	all := NewExportRules(rules)
	if got := all.Beyond(); len(got) != 1 || got[0] != "r39" {
		t.Errorf("expected the last to be left out, found %v", got)
	}
	if verdictOf(t, all, "west", "w1", "ns39/s0").Refused() || !verdictOf(t, all, "west", "w1", "ns38/s0").Refused() {
		t.Error("expected all but the last to be enforced")
	}
}
