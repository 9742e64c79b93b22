package operator

import (
	"slices"
	"strings"

	"github.com/federator/federator/federation/catalog"
)

// checkExportRules reports what the export rules refuse, and rules that are not
// enforced or name what nobody knows.
func (v *view) checkExportRules() []problem {
	var out []problem
	for _, r := range v.refusals {
		out = append(out, problem{severity: warning, code: "export-refused", subject: "service " + r.Service.String() + " in cluster " + r.Cluster + " of " + r.Region,
			expected: "an export that an export rule allows", found: "refused by " + rulesNamed(r.Rules) + "; nobody is sent to it",
			action: "do not export it there, or allow cluster " + r.Cluster + " in one of the rules that name it: federator export-rule get " + r.Rules[0]})
	}
	rules := exportRules{}
	for _, o := range living(v.objects, catalog.KindExportRule) {
		rule, err := catalog.ReadExportRule(o)
		if err != nil {
			out = append(out, problem{severity: severe, code: "export-rule-unreadable", subject: "export rule " + o.Name, expected: "a rule that this build understands", found: err.Error() + "; it is not enforced here",
				action: "upgrade this replica, or write the rule anew"})
			continue
		}
		rules[o.Name] = rule
		if strays := strayClusters(rule, v.known, v.regionOf); len(strays) > 0 {
			out = append(out, problem{severity: warning, code: "export-rule-unknown", subject: "export rule " + o.Name, expected: "clusters and regions of the federation",
				found: "unknown: " + strings.Join(most(strays, maxSuggested), ", "), action: "mend the rule, unless it is about to join"})
		}
	}
	for _, name := range catalog.NewExportRules(rules).Beyond() {
		out = append(out, problem{severity: severe, code: "export-rule-beyond", subject: "export rule " + name, expected: "rules that together are within the bound",
			found: "with it they are not, so it is not enforced", action: "unite rules with '*', or delete some"})
	}
	return out
}

// regionOf returns the region that a cluster is of; "" if it is not known.
func (v *view) regionOf(cluster string) string {
	for _, r := range v.regions {
		if r.record != nil && !r.removed() && slices.Contains(r.record.Clusters, cluster) {
			return r.name
		}
	}
	return v.cond.ClusterRegion[cluster]
}
