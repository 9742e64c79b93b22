package operator

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/federation/drill"
	"github.com/federator/federator/federation/state"
	"github.com/federator/federator/identity"
	"github.com/federator/federator/peering/pb"
	"github.com/federator/federator/peering/rpc"
)

// drillable is a world whose region runs at the protocol of drills and serves
// shop/checkout beside eu-central.
func drillable(t *testing.T) *world {
	t.Helper()
	w := newWorld(t)
	self := replicaOf("us-west", "a", "west-1")
	self.MaxProtocol = state.Protocol
	w.do(&state.UpdateReplica{Replica: self})
	w.do(&state.RaiseProtocol{Protocol: state.Protocol})
	w.apply(document)
	return w
}

func evacuating(region string) catalog.Drill {
	return catalog.Drill{
		Kind: catalog.DrillEvacuate, Scope: catalog.Scope{Region: region}, Objective: catalog.Duration(5 * time.Second), Reason: "practice",
		Shape: catalog.Shape{Ramp: catalog.Duration(time.Second), Hold: catalog.Duration(time.Minute), Return: catalog.Duration(time.Second)},
	}
}

func (w *world) spec(d catalog.Drill) []byte {
	w.t.Helper()
	b, err := json.Marshal(d)
	w.must(err)
	return b
}

func (w *world) start(d catalog.Drill) (*pb.DrillInfo, error) {
	return w.server.StartDrill(w.as(), &pb.StartDrillRequest{Spec: w.spec(d)})
}

// asOperator is the context of a call with an operator's certificate.
func (w *world) asOperator(name string) context.Context {
	id := identity.OperatorID(domain, name)
	return peer.NewContext(w.t.Context(), &peer.Peer{AuthInfo: rpc.Peer{ID: id}})
}

func (w *world) audited() string {
	w.t.Helper()
	r, err := w.server.ListAudit(w.as(), &pb.ListAuditRequest{})
	w.must(err)
	var lines []string
	for _, e := range r.GetEntries() {
		lines = append(lines, e.GetActor()+" "+e.GetAction()+" "+e.GetSubject()+" "+e.GetDetail())
	}
	return strings.Join(lines, "\n")
}

func TestADrillIsPlannedStartedExtendedStoppedAndReported(t *testing.T) {
	w := drillable(t)
	planned, err := w.server.PlanDrill(w.as(), &pb.PlanDrillRequest{Spec: w.spec(evacuating("us-west"))})
	w.must(err)
	var plan drill.Plan
	w.must(json.Unmarshal(planned.GetPlan(), &plan))
	if plan.Concerned != 1 || len(planned.GetUnsafe()) > 0 || plan.Load[0].After != 0 {
		t.Errorf("unexpected plan: %s", planned.GetPlan())
	}
	d, err := w.start(evacuating("us-west"))
	w.must(err)
	if !strings.HasPrefix(d.GetId(), "us-west-20") || d.GetState() != "pending" || d.GetForced() || d.GetActor() != "uid:0@a" || d.GetRegion() != "us-west" {
		t.Errorf("unexpected drill: %v", d)
	}
	votes := map[string]string{}
	for _, b := range d.GetBallots() {
		votes[b.GetRegion()] = b.GetVote()
	}
	if votes["us-west"] != "granted" || votes["eu-central"] != "silent" {
		t.Errorf("unexpected votes: %v", votes)
	}
	_, err = w.start(evacuating("eu-central"))
	wants(t, err, codes.FailedPrecondition, "UNSAFE")
	longer, err := w.server.ExtendDrill(w.as(), &pb.ExtendDrillRequest{By: durationpb.New(time.Minute)})
	w.must(err)
	if longer.GetHold().AsDuration() != 2*time.Minute {
		t.Errorf("expected the hold to be extended to 2m, found %v", longer.GetHold().AsDuration())
	}
	_, err = w.server.ExtendDrill(w.as(), &pb.ExtendDrillRequest{Id: d.GetId(), By: durationpb.New(25 * time.Hour)})
	wants(t, err, codes.InvalidArgument, "INVALID")
	stopped, err := w.server.StopDrill(w.as(), &pb.StopDrillRequest{Reason: "enough"})
	w.must(err)
	if stopped.GetOutcome() != "stopped" || stopped.GetDetail() != "enough" {
		t.Errorf("unexpected end: %v", stopped)
	}
	_, err = w.server.StopDrill(w.as(), &pb.StopDrillRequest{Id: d.GetId()})
	wants(t, err, codes.FailedPrecondition, "ENDED")
	_, err = w.server.StopDrill(w.as(), &pb.StopDrillRequest{})
	wants(t, err, codes.FailedPrecondition, "NO_DRILL")
	list, err := w.server.ListDrills(w.as(), nil)
	w.must(err)
	if len(list.GetDrills()) != 1 || list.GetDrills()[0].GetOutcome() != "stopped" {
		t.Errorf("unexpected history: %v", list)
	}
	for format, part := range map[string]string{"text": "outcome", "json": `"verdict"`, "html": "<svg"} {
		r, err := w.server.ReportDrill(w.as(), &pb.ReportDrillRequest{Format: format})
		w.must(err)
		if !strings.Contains(string(r.GetReport()), part) || r.GetVerdict() != "open" {
			t.Errorf("%s: verdict %s, %s", format, r.GetVerdict(), r.GetReport())
		}
	}
	_, err = w.server.ReportDrill(w.as(), &pb.ReportDrillRequest{Format: "pdf"})
	wants(t, err, codes.InvalidArgument, "INVALID")
	for _, part := range []string{"evacuate us-west for 1m2s: practice", "extended by 1m0s", "to end, stopped: enough"} {
		if trail := w.audited(); !strings.Contains(trail, part) {
			t.Errorf("expected the audit trail to hold %q, found\n%s", part, trail)
		}
	}
}

func TestAnUnsafeDrillBeginsOnlyByForceWhichIsRecorded(t *testing.T) {
	w := drillable(t)
	_, err := w.server.ApplyPolicy(w.as(), &pb.ApplyPolicyRequest{Name: "default", Spec: []byte(`{"safety":{"minRegions":2}}`)})
	w.must(err)
	_, err = w.start(evacuating("us-west"))
	wants(t, err, codes.FailedPrecondition, "UNSAFE")
	if !strings.Contains(err.Error(), "it would leave 1 region serving, the policy asks for 2") || !strings.Contains(err.Error(), "--force") {
		t.Errorf("expected what is unsafe and what to do, found %v", err)
	}
	forced := evacuating("us-west")
	forced.Forced = true
	d, err := w.start(forced)
	w.must(err)
	if !d.GetForced() || !strings.Contains(w.audited(), ", forced") {
		t.Errorf("expected the force to be recorded, found %v and\n%s", d, w.audited())
	}
}

func TestForceOfASafeDrillTakesNoRuleAway(t *testing.T) {
	w := drillable(t)
	d := evacuating("us-west")
	d.Forced = true
	got, err := w.start(d)
	w.must(err)
	if got.GetForced() {
		t.Error("a safe drill was recorded as forced")
	}
}

func TestADrillThatNobodyCouldMeanIsRefused(t *testing.T) {
	w := drillable(t)
	for name, tt := range map[string]struct {
		change func(*catalog.Drill)
		code   codes.Code
		reason string
	}{
		"an unknown region":  {func(d *catalog.Drill) { d.Scope.Region, d.Forced = "us-wst", true }, codes.NotFound, "NOT_FOUND"},
		"no time":            {func(d *catalog.Drill) { d.Shape = catalog.Shape{} }, codes.InvalidArgument, "INVALID"},
		"too long":           {func(d *catalog.Drill) { d.Shape.Hold = catalog.Duration(25 * time.Hour) }, codes.InvalidArgument, "INVALID"},
		"a ramped isolation": {func(d *catalog.Drill) { d.Kind = catalog.DrillIsolate }, codes.InvalidArgument, "INVALID"},
		"a bad id":           {func(d *catalog.Drill) { d.ID = "a/b" }, codes.InvalidArgument, "INVALID"},
		"a bad alarm":        {func(d *catalog.Drill) { d.Alarms = []catalog.Alarm{{Name: "x"}} }, codes.InvalidArgument, "INVALID"},
	} {
		d := evacuating("us-west")
		tt.change(&d)
		_, err := w.start(d)
		if err == nil {
			t.Errorf("%s: expected a refusal", name)
			continue
		}
		wants(t, err, tt.code, tt.reason)
	}
	for name, spec := range map[string]string{"nothing": "", "no JSON": "{", "two values": "{}{}", "an unknown field": `{"kinds":1}`, "too much": strings.Repeat(" ", maxDrillSpec+1)} {
		if _, err := w.server.StartDrill(w.as(), &pb.StartDrillRequest{Spec: []byte(spec)}); err == nil {
			t.Errorf("%s: expected a refusal", name)
		} else {
			wants(t, err, codes.InvalidArgument, "INVALID")
		}
	}
}

func TestOnlyTheNamedOperatorsOpenAGate(t *testing.T) {
	w := drillable(t)
	_, err := w.server.CreateGate(w.as(), &pb.CreateGateRequest{Name: "till"})
	wants(t, err, codes.InvalidArgument, "INVALID")
	made, err := w.server.CreateGate(w.as(), &pb.CreateGateRequest{Name: "till", Operators: []string{"bo", "ada", "bo"}})
	w.must(err)
	if made.GetOpen() || !slices.Equal(made.GetOperators(), []string{"ada", "bo"}) {
		t.Errorf("unexpected gate: %v", made)
	}
	open := &pb.OpenGateRequest{Name: "till", Duration: durationpb.New(time.Hour)}
	_, err = w.server.OpenGate(w.as(), open)
	wants(t, err, codes.PermissionDenied, "NOT_NAMED")
	if !strings.Contains(err.Error(), "federator operator create") {
		t.Errorf("expected to be told what to do over the socket, found %v", err)
	}
	foreign := peer.NewContext(t.Context(), &peer.Peer{AuthInfo: rpc.Peer{ID: identity.OperatorID("evil.example", "ada")}})
	for _, ctx := range []context.Context{w.asOperator("cy"), foreign, w.asOperator("ADA")} {
		_, err = w.server.OpenGate(ctx, open)
		wants(t, err, codes.PermissionDenied, "NOT_NAMED")
	}
	_, err = w.server.OpenGate(w.asOperator("ada"), &pb.OpenGateRequest{Name: "till", Duration: durationpb.New(25 * time.Hour)})
	wants(t, err, codes.InvalidArgument, "INVALID")
	opened, err := w.server.OpenGate(w.asOperator("ada"), open)
	w.must(err)
	if !opened.GetOpen() || opened.GetOpenedBy() != identity.OperatorID(domain, "ada").String() {
		t.Errorf("unexpected gate: %v", opened)
	}
	closed, err := w.server.CloseGate(w.as(), &pb.CloseGateRequest{Name: "till"})
	w.must(err)
	if closed.GetOpen() || closed.GetOpenUntil() != nil {
		t.Errorf("unexpected gate: %v", closed)
	}
}

func TestAGateHoldsADrillUpUntilItIsOpen(t *testing.T) {
	w := drillable(t)
	_, err := w.server.ApplyPolicy(w.as(), &pb.ApplyPolicyRequest{Name: "shop/checkout", Spec: []byte(`{"safety":{"gates":["till"]}}`)})
	w.must(err)
	list, err := w.server.ListGates(w.as(), nil)
	w.must(err)
	if g := list.GetGates(); len(g) != 1 || !g[0].GetMissing() || !slices.Equal(g[0].GetPolicies(), []string{"shop/checkout"}) {
		t.Errorf("expected the missing gate to be listed, found %v", list)
	}
	if found := w.codes(); !slices.Contains(found, "gate-missing") {
		t.Errorf("expected check to find the missing gate, found %v", found)
	}
	_, err = w.server.CreateGate(w.as(), &pb.CreateGateRequest{Name: "till", Operators: []string{"ada"}})
	w.must(err)
	_, err = w.start(evacuating("us-west"))
	wants(t, err, codes.FailedPrecondition, "UNSAFE")
	_, err = w.server.OpenGate(w.asOperator("ada"), &pb.OpenGateRequest{Name: "till", Duration: durationpb.New(time.Hour)})
	w.must(err)
	_, err = w.start(evacuating("us-west"))
	w.must(err)
	_, err = w.server.DeleteGate(w.as(), &pb.DeleteGateRequest{Name: "till"})
	w.must(err)
	_, err = w.server.DeleteGate(w.as(), &pb.DeleteGateRequest{Name: "till"})
	wants(t, err, codes.NotFound, "NOT_FOUND")
}

func (w *world) codes() []string {
	w.t.Helper()
	r, err := w.server.Check(w.as(), nil)
	w.must(err)
	var out []string
	for _, p := range r.GetProblems() {
		out = append(out, p.GetCode())
	}
	return out
}

func TestAScheduleIsAppliedListedRunAndDeleted(t *testing.T) {
	w := drillable(t)
	sc := catalog.Schedule{At: []string{"03:00"}, Kind: catalog.DrillEvacuate, Scope: catalog.Scope{Region: "us-west"}, Shape: catalog.Shape{Hold: catalog.Duration(time.Minute)}}
	apply := func() *pb.ApplyScheduleResponse {
		t.Helper()
		spec, err := json.Marshal(sc)
		w.must(err)
		r, err := w.server.ApplySchedule(w.as(), &pb.ApplyScheduleRequest{Name: "nightly", Spec: spec})
		w.must(err)
		return r
	}
	if r := apply(); r.GetAction() != "created" || len(r.GetWarnings()) > 0 || r.GetSchedule().GetRegion() != "us-west" || r.GetSchedule().GetNext() == nil {
		t.Errorf("unexpected answer: %v", r)
	}
	sc.Region = "us-west" // what the agent filled in
	if r := apply(); r.GetAction() != "unchanged" {
		t.Errorf("unexpected answer: %v", r)
	}
	sc.Scope.Service = catalog.ServiceName{Namespace: "shop", Name: "gone"}
	if r := apply(); r.GetAction() != "changed" || len(r.GetWarnings()) != 1 {
		t.Errorf("expected a warning, found %v", r)
	}
	if found := w.codes(); !slices.Contains(found, "schedule-cannot-run") {
		t.Errorf("expected check to find that the schedule cannot run, found %v", found)
	}
	_, err := w.server.RunSchedule(w.as(), &pb.RunScheduleRequest{Name: "nightly"})
	wants(t, err, codes.FailedPrecondition, "UNSAFE")
	sc.Scope.Service = catalog.ServiceName{}
	apply()
	d, err := w.server.RunSchedule(w.as(), &pb.RunScheduleRequest{Name: "nightly"})
	w.must(err)
	if d.GetSchedule() != "" || !strings.HasPrefix(d.GetId(), "nightly-") || !strings.Contains(d.GetReason(), "nightly") {
		t.Errorf("expected an operator's drill, found %v", d)
	}
	if found := w.codes(); !slices.Contains(found, "drill-running") {
		t.Errorf("expected check to tell of the drill, found %v", found)
	}
	s, err := w.server.Status(w.as(), nil)
	w.must(err)
	if len(s.GetDrills()) != 1 || s.GetDrills()[0].GetId() != d.GetId() {
		t.Errorf("expected status to tell of the drill, found %v", s.GetDrills())
	}
	_, err = w.server.DeleteSchedule(w.as(), &pb.DeleteScheduleRequest{Name: "nightly"})
	w.must(err)
	list, err := w.server.ListSchedules(w.as(), nil)
	w.must(err)
	if len(list.GetSchedules()) != 0 {
		t.Errorf("expected no schedule, found %v", list)
	}
}

func TestWhenAScheduleIsDueNext(t *testing.T) {
	wednesday := time.Date(2026, 11, 25, 15, 0, 0, 0, time.UTC)
	day := func(d, h, m int) time.Time { return time.Date(2026, 11, d, h, m, 0, 0, time.UTC) }
	for name, tt := range map[string]struct {
		sc   catalog.Schedule
		want time.Time
	}{
		"later today":        {catalog.Schedule{At: []string{"03:00", "16:30"}}, day(25, 16, 30)},
		"tomorrow":           {catalog.Schedule{At: []string{"03:00"}}, day(26, 3, 0)},
		"not at this moment": {catalog.Schedule{At: []string{"15:00"}}, day(26, 15, 0)},
		"on a weekday":       {catalog.Schedule{At: []string{"10:00"}, Days: []string{"mon"}}, day(30, 10, 0)},
		"after what is blocked": {catalog.Schedule{At: []string{"10:00"}, Blocked: []catalog.Window{
			{From: "2026-11-26T00:00:00Z", To: "2026-11-28T00:00:00Z"}}}, day(28, 10, 0)},
		"never":     {catalog.Schedule{At: []string{"10:00"}, Blocked: []catalog.Window{{From: "09:00", To: "11:00"}}}, time.Time{}},
		"suspended": {catalog.Schedule{At: []string{"10:00"}, Suspend: true}, time.Time{}},
	} {
		if got := nextDue(tt.sc, wednesday); !got.Equal(tt.want) {
			t.Errorf("%s: expected %v, found %v", name, tt.want, got)
		}
	}
}

func TestCheckTellsOfDrillsThatDidNotGoWell(t *testing.T) {
	drillOf := func(change func(*catalog.DrillView)) []catalog.DrillView {
		d := catalog.DrillView{Drill: evacuating("us-west"), Phase: catalog.PhaseHold}
		d.ID, d.State, d.Begun, d.Actor = "d1", catalog.DrillRunning, noon.Add(-time.Minute), "ada"
		change(&d)
		return []catalog.DrillView{d}
	}
	end := &catalog.DrillEnd{Outcome: catalog.OutcomeAborted, Reason: "alarm door", At: noon.Add(-time.Minute)}
	aside := func(v *view) {
		v.services = []*catalog.Service{serviceOf("checkout", catalog.Healthy)}
		v.cond.Drills = []catalog.DrillInForce{{ID: "d1", Scope: catalog.Scope{Region: "us-west"}, Share: 1_000_000}}
	}
	for name, tt := range map[string]struct {
		drills []catalog.DrillView
		change func(*view)
		want   []string
	}{
		"none":                {nil, nil, nil},
		"one that runs":       {drillOf(func(*catalog.DrillView) {}), nil, []string{"info drill-running"}},
		"one that is ignored": {drillOf(func(*catalog.DrillView) {}), aside, []string{"info drill-running", "warning drill-set-aside"}},
		"one that went well": {drillOf(func(d *catalog.DrillView) {
			d.State, d.Outcome, d.Ended = catalog.DrillEnded, catalog.OutcomeSucceeded, noon
		}), nil, nil},
		"an abort that the coordinator has yet to see": {drillOf(func(d *catalog.DrillView) { d.End = end }), nil, []string{"warning drill-aborted"}},
		"an old abort": {drillOf(func(d *catalog.DrillView) {
			d.State, d.Outcome, d.Ended = catalog.DrillEnded, catalog.OutcomeAborted, noon.Add(-2*time.Hour)
		}), nil, nil},
	} {
		v := well()
		v.drills = tt.drills
		if tt.change != nil {
			tt.change(v)
		}
		var got []string
		for _, p := range v.checkDrills() {
			got = append(got, p.severity+" "+p.code)
			if p.action == "" || p.found == "" {
				t.Errorf("%s: %s says not what is found or what to do", name, p.code)
			}
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s: expected %v, found %v", name, tt.want, got)
		}
	}
}
