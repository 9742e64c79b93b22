package main

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/federator/federator/peering/pb"
)

var contestedExport = &pb.RefusedExport{Service: "payments/api", Cluster: "eu-1", Region: "eu-central", Rules: []string{"default-deny", "payments"}, Endpoints: 3}

func (f *fakeAgent) ApplyExportRules(_ context.Context, r *pb.ApplyExportRulesRequest) (*pb.ApplyExportRulesResponse, error) {
	out := &pb.ApplyExportRulesResponse{TakesAway: []*pb.RefusedExport{contestedExport}}
	for _, rule := range r.GetRules() {
		if !strings.HasPrefix(string(rule.GetSpec()), `{"services":["`) {
			return nil, status.Errorf(codes.InvalidArgument, "found %s", rule.GetSpec())
		}
		out.Rules = append(out.Rules, &pb.ExportRuleChange{Name: rule.GetName(), Action: "created", Warnings: []string{"not known: cluster mars-1; it counts once it joins"}})
	}
	if !r.GetForce() && !r.GetDryRun() {
		return nil, status.Error(codes.FailedPrecondition, "nothing was changed, because that takes away 1 export(s)")
	}
	return out, nil
}

func (f *fakeAgent) ListExportRules(context.Context, *pb.ListExportRulesRequest) (*pb.ListExportRulesResponse, error) {
	return &pb.ListExportRulesResponse{Rules: []*pb.ExportRuleInfo{{Name: "payments", Spec: []byte(`{"services":["payments/*"],"clusters":["us-1"]}`), Refuses: 1,
		Meta: &pb.ObjectMeta{Generation: 2, Written: at(1), Region: "us-west", Actor: "uid:0@us-west-0"}}}}, nil
}

func (f *fakeAgent) GetExportRule(_ context.Context, r *pb.GetExportRuleRequest) (*pb.ExportRuleInfo, error) {
	return &pb.ExportRuleInfo{Name: r.GetName(), Spec: []byte(`{"services":["payments/*"],"clusters":["us-1","region:us-west"]}`)}, nil
}

func (f *fakeAgent) DeleteExportRule(_ context.Context, r *pb.DeleteExportRuleRequest) (*pb.DeleteExportRuleResponse, error) {
	return &pb.DeleteExportRuleResponse{GivesBack: []*pb.RefusedExport{contestedExport}}, nil
}

func (f *fakeAgent) CheckExport(_ context.Context, r *pb.CheckExportRequest) (*pb.CheckExportResponse, error) {
	out := &pb.CheckExportResponse{Service: r.GetService(), Cluster: r.GetCluster(), Allowed: true}
	switch r.GetCluster() {
	case "us-1":
		out.Region, out.Naming, out.Allowing = "us-west", []string{"default-deny", "payments"}, []string{"payments"}
	case "eu-1":
		out.Region, out.Naming, out.Allowed, out.Exported = "eu-central", []string{"payments"}, false, true
	}
	return out, nil
}

const rules = "kind: ExportRule\nname: payments\nspec: {services: [payments/*], clusters: [us-1]}\n"

func TestExportRulesAreShownAndChanged(t *testing.T) {
	socket := serve(t, &fakeAgent{})
	for _, tc := range []struct{ golden, command string }{
		{"export-rule-apply", "export-rule apply -f - --dry-run"},
		{"export-rule-list", "export-rule list"},
		{"export-rule-get", "export-rule get payments"},
		{"export-rule-delete", "export-rule delete payments"},
		{"export-rule-check-allowed", "export-rule check payments/api --cluster us-1"},
		{"export-rule-check-refused", "export-rule check payments/api --cluster eu-1"},
		{"export-rule-check-unknown", "export-rule check payments/api --cluster mars-1"},
	} {
		got, errOut, code := cli(t, rules, append(strings.Fields(tc.command), "--socket", socket)...)
		if want := map[bool]int{true: exitProblems}[strings.HasSuffix(tc.golden, "refused")]; errOut != "" || code != want {
			t.Errorf("%s: exit code %d, %s", tc.command, code, errOut)
		}
		golden(t, tc.golden, got)
		out, _, _ := cli(t, rules, append(strings.Fields(tc.command), "--socket", socket, "-o", "json")...)
		var v map[string]any
		if err := json.Unmarshal([]byte(out), &v); err != nil {
			t.Errorf("%s: %v\n%s", tc.command, err, out)
		}
	}
}

func TestExportRulesThatAreRefusedOrMistakenEndInAnError(t *testing.T) {
	socket := serve(t, &fakeAgent{})
	for _, tc := range []struct {
		command, stdin string
		code           int
		want           string
	}{
		{"export-rule apply -f -", rules, exitFailed, "takes away 1 export(s)"},
		{"export-rule apply -f - --force", rules, exitOK, ""},
		{"export-rule apply -f - --force", strings.Replace(rules, "payments/*", "payments", 1), exitFailed, `-: line 3: export rule "payments": services[0]: pattern "payments": expected NAMESPACE/NAME`},
		{"export-rule apply", "", exitUsage, "--file is missing"},
		{"export-rule check payments/api", "", exitUsage, "--cluster is missing"},
		{"export-rule get", "", exitUsage, "accepts 1 arg"},
	} {
		_, errOut, code := cli(t, tc.stdin, append(strings.Fields(tc.command), "--socket", socket)...)
		if code != tc.code || !strings.Contains(errOut, tc.want) {
			t.Errorf("%s: exit code %d, stderr %q; want %d, %q", tc.command, code, errOut, tc.code, tc.want)
		}
	}
}
