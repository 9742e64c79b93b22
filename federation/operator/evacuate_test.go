package operator

import (
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/federator/federator/peering/pb"
)

func TestAnEvacuationThatWouldBreakASafetyRuleSaysSoUnlessForced(t *testing.T) {
	w := newWorld(t)
	w.apply(document)
	applied, err := w.server.ApplyPolicy(w.as(), &pb.ApplyPolicyRequest{Name: "shop/checkout", Spec: []byte(`{"safety":{"minRegions":2,"minEndpointsPercent":40,"gates":["freeze"]}}`)})
	w.must(err)
	if len(applied.GetWarnings()) != 2 || !strings.Contains(applied.GetWarnings()[0], "no region can be evacuated") || !strings.Contains(applied.GetWarnings()[1], "gate freeze does not exist") {
		t.Errorf("unexpected warnings: %v", applied.GetWarnings())
	}
	got, err := w.server.GetPolicy(w.as(), &pb.GetPolicyRequest{Name: "shop/checkout"})
	w.must(err)
	if want := `{"safety":{"minRegions":2,"minEndpointsPercent":40,"gates":["freeze"]}}`; string(got.GetSpec()) != want {
		t.Errorf("expected the policy %s, found %s", want, got.GetSpec())
	}
	for _, force := range []bool{false, true} {
		e, err := w.server.Evacuate(w.as(), &pb.EvacuateRequest{Region: "eu-central", Duration: durationpb.New(time.Minute), Force: force})
		w.must(err)
		want := "for 1 service(s): shop/checkout (it would leave 1 region serving, the policy asks for 2)"
		if force {
			want = ""
		}
		if e.GetIgnored() != want || e.GetForced() != force {
			t.Errorf("forced %v: expected %q, found %q, forced %v", force, want, e.GetIgnored(), e.GetForced())
		}
		audit, err := w.server.ListAudit(w.as(), &pb.ListAuditRequest{})
		w.must(err)
		if last := audit.GetEntries()[0]; strings.Contains(last.GetDetail(), `"forced":true`) != force {
			t.Errorf("forced %v: the audit trail says %v", force, last)
		}
	}
}
