package operator

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/federation/state"
	"github.com/federator/federator/peering/pb"
	"github.com/federator/federator/peering/rpc"
)

// rule is one on the wire; its clusters are separated by blanks.
func rule(name, services, clusters string) *pb.ExportRuleInfo {
	quoted := []string{}
	for _, c := range strings.Fields(clusters) {
		quoted = append(quoted, fmt.Sprintf("%q", c))
	}
	return &pb.ExportRuleInfo{Name: name, Spec: fmt.Appendf(nil, `{"services":[%q],"clusters":[%s]}`, services, strings.Join(quoted, ","))}
}

// contested is a world in which west-1 and eu-1 both export shop/checkout.
func contested(t *testing.T) *world {
	t.Helper()
	w := newWorld(t)
	w.do(&state.PutSets{Cluster: "west-1", Source: "api", Upserts: []catalog.EndpointSet{set("west-1", "api", "checkout", "10.1.0.1")}})
	return w
}

func (w *world) applyRules(force bool, rules ...*pb.ExportRuleInfo) (*pb.ApplyExportRulesResponse, error) {
	w.t.Helper()
	return w.server.ApplyExportRules(w.as(), &pb.ApplyExportRulesRequest{Rules: rules, Force: force})
}

// exporters are the clusters that export shop/checkout, refused ones left out.
func (w *world) exporters() string {
	var out []string
	if s := w.server.Catalog.Service(catalog.ServiceName{Namespace: "shop", Name: "checkout"}); s != nil {
		for _, b := range s.Backends {
			out = append(out, b.Set.Cluster)
		}
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

func (w *world) wantExporters(want string) {
	w.t.Helper()
	if got := w.exporters(); got != want {
		w.t.Errorf("expected %q to export, found %q", want, got)
	}
}

func audited(t *testing.T, w *world, action string) (details []string) {
	t.Helper()
	list, err := w.server.ListAudit(w.as(), &pb.ListAuditRequest{})
	w.must(err)
	for _, e := range list.GetEntries() {
		if e.GetAction() == action {
			details = append(details, e.GetSubject()+": "+e.GetDetail())
		}
	}
	return details
}

func TestARuleThatTakesAwayWhatIsExportedNeedsForceWhichIsAudited(t *testing.T) {
	w := contested(t)
	shop := rule("shop", "shop/*", "region:us-west")
	dry, err := w.server.ApplyExportRules(w.as(), &pb.ApplyExportRulesRequest{Rules: []*pb.ExportRuleInfo{shop}, DryRun: true})
	w.must(err)
	if got := dry.GetTakesAway(); len(got) != 1 || got[0].GetCluster() != "eu-1" || got[0].GetRegion() != "eu-central" || got[0].GetEndpoints() != 2 || got[0].GetRules()[0] != "shop" || dry.GetRules()[0].GetAction() != "created" {
		t.Errorf("expected the dry run to name what eu-1 loses, found %v", dry)
	}
	w.wantExporters("eu-1 west-1")

	_, err = w.applyRules(false, shop)
	wants(t, err, codes.FailedPrecondition, "TAKES_AWAY")
	if !strings.Contains(err.Error(), "1 export(s): shop/checkout of cluster eu-1") || !strings.Contains(err.Error(), "--force") {
		t.Errorf("expected what it takes away and what to do, found %v", err)
	}
	w.wantExporters("eu-1 west-1")
	if found := audited(t, w, "force-export-rules"); len(found) > 0 {
		t.Errorf("expected nothing in the audit trail, found %v", found)
	}

	_, err = w.applyRules(true, shop)
	w.must(err)
	w.wantExporters("west-1")
	if found := audited(t, w, "force-export-rules"); len(found) != 1 || found[0] != "exportrule/shop: takes away 1 export(s): shop/checkout of cluster eu-1" {
		t.Errorf("expected the force in the audit trail, found %v", found)
	}
	if found := audited(t, w, "put-object"); len(found) != 1 || !strings.HasPrefix(found[0], "exportrule/shop: {") {
		t.Errorf("expected the rule in the audit trail, found %v", found)
	}
	again, err := w.applyRules(false, shop)
	w.must(err)
	if again.GetRules()[0].GetAction() != "unchanged" || len(again.GetTakesAway()) > 0 {
		t.Errorf("expected nothing to change, found %v", again)
	}
	list, err := w.server.ListExportRules(w.as(), &pb.ListExportRulesRequest{Consistent: true})
	w.must(err)
	if got := list.GetRules(); len(got) != 1 || got[0].GetRefuses() != 1 || got[0].GetMeta().GetGeneration() != 1 || string(got[0].GetSpec()) != `{"services":["shop/*"],"clusters":["region:us-west"]}` {
		t.Errorf("found %v", got)
	}

	gone, err := w.server.DeleteExportRule(w.as(), &pb.DeleteExportRuleRequest{Name: "shop"})
	w.must(err)
	if len(gone.GetGivesBack()) != 1 || len(gone.GetTakesAway()) > 0 {
		t.Errorf("expected it to give back what it took, found %v", gone)
	}
	w.wantExporters("eu-1 west-1")
	_, err = w.server.GetExportRule(w.as(), &pb.GetExportRuleRequest{Name: "shop"})
	wants(t, err, codes.NotFound, "NOT_FOUND")
}

func TestTheRulesOfOneFileAreJudgedTogetherAndWrittenWithoutAGap(t *testing.T) {
	w := contested(t)
	// The denial comes first in the file; written first it would take all away.
	r, err := w.applyRules(false, rule("a-deny", "*/*", ""), rule("shop", "shop/*", "west-1 eu-1"))
	w.must(err)
	if len(r.GetTakesAway()) > 0 || len(r.GetRules()) != 2 || r.GetRules()[0].GetName() != "a-deny" {
		t.Errorf("expected nothing to be taken away, found %v", r)
	}
	var order []string
	for _, line := range audited(t, w, "put-object") { // newest first
		order = append(order, strings.SplitN(line, ":", 2)[0])
	}
	if fmt.Sprint(order) != "[exportrule/a-deny exportrule/shop]" {
		t.Errorf("expected the allowing rule to be written first, found %v", order)
	}
	w.wantExporters("eu-1 west-1")

	_, err = w.server.DeleteExportRule(w.as(), &pb.DeleteExportRuleRequest{Name: "shop"}) // a-deny would refuse both
	wants(t, err, codes.FailedPrecondition, "TAKES_AWAY")
	_, err = w.server.DeleteExportRule(w.as(), &pb.DeleteExportRuleRequest{Name: "shop", Force: true})
	w.must(err)
	w.wantExporters("")
	if found := audited(t, w, "force-export-rules"); len(found) != 1 || !strings.Contains(found[0], "2 export(s)") {
		t.Errorf("expected the force in the audit trail, found %v", found)
	}
}

func TestRulesThatCannotBeWrittenWithoutAGapNeedForce(t *testing.T) {
	w := contested(t)
	split := []*pb.ExportRuleInfo{rule("a", "shop/*", "west-1"), rule("b", "shop/*", "eu-1")}
	dry, err := w.server.ApplyExportRules(w.as(), &pb.ApplyExportRulesRequest{Rules: split, DryRun: true})
	w.must(err)
	if len(dry.GetTakesAway()) > 0 || len(dry.GetRules()[0].GetWarnings()) != 1 {
		t.Errorf("expected a warning and nothing taken away in the end, found %v", dry)
	}
	_, err = w.applyRules(false, split...)
	wants(t, err, codes.FailedPrecondition, "NO_SAFE_ORDER")
	w.wantExporters("eu-1 west-1")
	_, err = w.applyRules(true, split...)
	w.must(err)
	w.wantExporters("eu-1 west-1")
	if found := audited(t, w, "force-export-rules"); len(found) != 1 || !strings.Contains(found[0], "for a moment") {
		t.Errorf("expected the force in the audit trail, found %v", found)
	}
}

func TestAnInvalidRuleIsRefusedWithAllThatIsWrong(t *testing.T) {
	w := newWorld(t)
	for _, tt := range []struct {
		rules []*pb.ExportRuleInfo
		want  string
	}{
		{nil, "expected 1 to 200 export rules at once, found 0"},
		{[]*pb.ExportRuleInfo{rule("a", "*/*", ""), rule("a", "*/*", "")}, "given twice"},
		{[]*pb.ExportRuleInfo{rule("A", "payments", "x..y")}, `services[0]: pattern "payments"`},
		{[]*pb.ExportRuleInfo{{Name: "a", Spec: []byte(`{"services":["a/b"],"except":[]}`)}}, "except"},
		{[]*pb.ExportRuleInfo{{Name: "a"}}, "expected 1 to 65536 bytes of JSON"},
	} {
		_, err := w.applyRules(true, tt.rules...)
		wants(t, err, codes.InvalidArgument, "INVALID")
		if !strings.Contains(err.Error(), tt.want) {
			t.Errorf("expected %q, found %v", tt.want, err)
		}
	}
	r, err := w.applyRules(true, rule("a", "bank/*", "west-1 mars-1 region:venus mars-*"))
	w.must(err)
	if got := r.GetRules()[0].GetWarnings(); len(got) != 1 || got[0] != "not known: cluster mars-1, region venus; it counts once it joins" {
		t.Errorf("expected what nobody knows to be named, found %v", got)
	}
}

func TestAllRulesTogetherAreBounded(t *testing.T) {
	w := newWorld(t)
	var rules []*pb.ExportRuleInfo
	clusters := make([]string, catalog.MaxRulePatterns)
	for i := range clusters {
		clusters[i] = fmt.Sprintf("c%d", i)
	}
	for i := range catalog.MaxExportPatterns/catalog.MaxRulePatterns + 1 {
		rules = append(rules, rule(fmt.Sprintf("r%d", i), fmt.Sprintf("ns%d/*", i), strings.Join(clusters, " ")))
	}
	_, err := w.applyRules(true, rules...)
	wants(t, err, codes.InvalidArgument, "INVALID")
}

func TestAnExportIsCheckedAgainstTheRulesInForce(t *testing.T) {
	w := contested(t)
	_, err := w.applyRules(true, rule("a-deny", "*/*", ""), rule("shop", "shop/*", "region:us-west mars-1"))
	w.must(err)
	for _, tt := range []struct {
		service, cluster, want string
	}{
		{"shop/checkout", "west-1", "us-west allowed exported [a-deny shop] [shop]"},
		{"shop/cart", "west-1", "us-west allowed - [a-deny shop] [shop]"},
		{"shop/checkout", "eu-1", "eu-central refused exported [a-deny shop] []"},
		{"bank/ledger", "west-1", "us-west refused - [a-deny] []"},
		{"shop/checkout", "mars-1", " allowed - [a-deny shop] [shop]"},
	} {
		r, err := w.server.CheckExport(w.as(), &pb.CheckExportRequest{Service: tt.service, Cluster: tt.cluster})
		w.must(err)
		verdict, exported := "refused", "-"
		if r.GetAllowed() {
			verdict = "allowed"
		}
		if r.GetExported() {
			exported = "exported"
		}
		if got := fmt.Sprintf("%s %s %s %v %v", r.GetRegion(), verdict, exported, r.GetNaming(), r.GetAllowing()); got != tt.want {
			t.Errorf("%s of %s: expected %q, found %q", tt.service, tt.cluster, tt.want, got)
		}
	}
	_, err = w.server.CheckExport(w.as(), &pb.CheckExportRequest{Service: "shop", Cluster: "west-1"})
	wants(t, err, codes.InvalidArgument, "INVALID")
}

func TestWhatRulesRefuseIsSaidByResolveStatusCheckAndTheApplyOfServices(t *testing.T) {
	w := contested(t)
	_, err := w.applyRules(true, rule("shop", "shop/*", "west-1"))
	w.must(err)
	r, err := w.server.Resolve(w.as(), &pb.ResolveRequest{Service: "shop/checkout"})
	w.must(err)
	why := "cluster eu-1 of eu-central exports it, refused by export rule shop"
	if !slices.Contains(r.GetExplanation(), why) || !slices.ContainsFunc(r.GetOmissions(), func(o *pb.Omission) bool { return o.GetSubject() == "cluster eu-1" && o.GetReason() == why }) {
		t.Errorf("expected resolve to say it, found %v and %v", r.GetExplanation(), r.GetOmissions())
	}
	status, err := w.server.Status(w.as(), nil)
	w.must(err)
	for _, c := range status.GetClusters() {
		if want := map[string]uint32{"eu-1": 1}[c.GetName()]; c.GetRefused() != want {
			t.Errorf("status of %s: expected %d refused, found %d", c.GetName(), want, c.GetRefused())
		}
	}
	problems := w.problems()
	if got := problems["export-refused"]; got == nil || got.GetSubject() != "service shop/checkout in cluster eu-1 of eu-central" || got.GetSeverity() != "warning" || !strings.Contains(got.GetFound(), "export rule shop") {
		t.Errorf("expected check to say it, found %v", got)
	}

	_, err = w.applyRules(true, rule("shop", "shop/*", ""))
	w.must(err)
	_, err = w.server.Resolve(w.as(), &pb.ResolveRequest{Service: "shop/checkout"})
	wants(t, err, codes.NotFound, "REFUSED")
	if !strings.Contains(err.Error(), "cluster west-1 exports it, refused by export rule shop") {
		t.Errorf("expected the rule to be named, found %v", err)
	}
	applied, err := w.server.ApplyServices(w.as(), &pb.ApplyServicesRequest{Document: []byte("services: [{name: shop/cart, ports: [{port: 80}], endpoints: [{address: 10.1.0.9}]}]")})
	w.must(err)
	if got := applied.GetWarnings(); len(got) != 1 || got[0] != "service shop/cart of cluster west-1 is refused by export rule shop: nobody is sent to it" {
		t.Errorf("expected a warning, found %v", got)
	}
}

func (w *world) problems() map[string]*pb.Problem {
	w.t.Helper()
	r, err := w.server.Check(w.as(), nil)
	w.must(err)
	out := map[string]*pb.Problem{}
	for _, p := range r.GetProblems() {
		out[p.GetCode()] = p
	}
	return out
}

func TestCheckFindsRulesThatAreNotEnforcedOrNameWhatNobodyKnows(t *testing.T) {
	w := newWorld(t)
	w.do(&state.PutObject{ObjectKey: catalog.ObjectKey{Kind: catalog.KindExportRule, Name: "newer"}, Spec: []byte(`{"services":["a/b"],"clusters":["label:x"]}`)})
	w.do(&state.PutObject{ObjectKey: catalog.ObjectKey{Kind: catalog.KindExportRule, Name: "mars"}, Spec: []byte(`{"services":["a/b"],"clusters":["mars-1","west-1"]}`)})
	problems := w.problems()
	if got := problems["export-rule-unreadable"]; got == nil || got.GetSubject() != "export rule newer" || got.GetSeverity() != "error" {
		t.Errorf("found %v", got)
	}
	if got := problems["export-rule-unknown"]; got == nil || got.GetFound() != "unknown: cluster mars-1" {
		t.Errorf("found %v", got)
	}
	services := make([]string, catalog.MaxRulePatterns)
	for i := range services {
		services[i] = fmt.Sprintf(`"x%d/y"`, i)
	}
	for i := range catalog.MaxExportPatterns / catalog.MaxRulePatterns {
		w.do(&state.PutObject{ObjectKey: catalog.ObjectKey{Kind: catalog.KindExportRule, Name: fmt.Sprintf("r%d", i)}, Spec: fmt.Appendf(nil, `{"services":[%s],"clusters":["west-1"]}`, strings.Join(services, ","))})
	}
	if got := w.problems()["export-rule-beyond"]; got == nil || got.GetSubject() != "export rule r9" {
		t.Errorf("found %v", got)
	}
}

// A replica that lags must not judge a rule by what it missed.
func TestRulesAreJudgedAfterTheReplicaCaughtUp(t *testing.T) {
	w := newWorld(t)
	w.arriving = &state.PutSets{Cluster: "west-1", Source: "api", Upserts: []catalog.EndpointSet{set("west-1", "api", "cart", "10.1.0.1")}}
	_, err := w.applyRules(false, rule("shop", "shop/cart", ""))
	wants(t, err, codes.FailedPrecondition, "TAKES_AWAY")
	w.cannotCatchUp = state.FromCode("no-quorum", "none leads")
	_, err = w.applyRules(false, rule("shop", "bank/*", ""))
	if rpc.Reason(err) != "NO_QUORUM" {
		t.Errorf("expected it to be refused for want of a leader, found %v", err)
	}
}
