package main

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/federation/drill"
	"github.com/federator/federator/peering/pb"
)

// drillAt is the drill of the fake agent after it was looked at some times.
func drillAt(looks int) *pb.DrillInfo {
	d := &pb.DrillInfo{
		Id: "us-west-20260102-0100-k3f9", Kind: "evacuate", Scope: "us-west", State: "pending", Phase: "pending", Reason: "practice",
		Actor: "uid:0@us-west-0", Region: "us-west", Created: at(1), Ramp: lasting(0), Hold: lasting(time.Minute), Return: lasting(0),
		Objective: lasting(5 * time.Second), Elapsed: lasting(0), Remaining: lasting(time.Minute),
		Ballots: []*pb.DrillBallot{{Region: "eu-central", Vote: "silent"}, {Region: "us-west", Vote: "granted"}},
	}
	if looks > 0 {
		d.State, d.Phase, d.Begun, d.SharePercent, d.Elapsed, d.Remaining = "running", "hold", at(1), 100, lasting(20*time.Second), lasting(40*time.Second)
		d.Ballots[0] = &pb.DrillBallot{Region: "eu-central", Vote: "granted", Acks: []*pb.DrillAck{{Phase: "hold", At: at(2)}}, Extended: lasting(30 * time.Second)}
		d.Ignored = "for 1 service(s), of which it would leave nothing that may serve: shop/ledger"
	}
	if looks > 1 {
		d.State, d.Phase, d.Outcome, d.Ended, d.Remaining, d.Ignored = "ended", "over", "succeeded", at(2), nil, ""
	}
	return d
}

func (f *fakeAgent) PlanDrill(_ context.Context, r *pb.PlanDrillRequest) (*pb.PlanDrillResponse, error) {
	var d catalog.Drill
	if err := json.Unmarshal(r.GetSpec(), &d); err != nil {
		return nil, err
	}
	load := []drill.Load{{Place: "us-west", Drilled: true, Before: 666_667}, {Place: "eu-central", Before: 333_333, After: 1_000_000}}
	p := drill.Plan{
		Kind: d.Kind, Scope: d.Scope, Services: 3, Concerned: 3, Load: load, Assumptions: []string{"all is well"},
		Groups: []drill.Group{
			{Services: []string{"shop/checkout", "shop/search"}, Count: 2, Load: load, Clients: []drill.Client{
				{Region: "eu-central", Load: []drill.Load{{Place: "eu-central", Before: 1_000_000, After: 1_000_000}}}, {Region: "us-west", Load: load, Stale: true}}},
			{Services: []string{"shop/ledger"}, Count: 1, SetAside: true, Load: load[:1], Clients: []drill.Client{{Region: "us-west", Load: load[:1]}}},
		},
	}
	if !f.healthy {
		p.Findings = []drill.Finding{{Code: drill.NothingLeft, Severity: drill.Blocks, Subject: "service shop/ledger", Count: 1, Found: "nothing would be left", Do: "serve it elsewhere"}}
	}
	b, err := json.Marshal(p)
	return &pb.PlanDrillResponse{Plan: b, Unsafe: p.Unsafe()}, err
}

func (f *fakeAgent) StartDrill(_ context.Context, r *pb.StartDrillRequest) (*pb.DrillInfo, error) {
	f.started = append(f.started, string(r.GetSpec()))
	return drillAt(0), nil
}

func (f *fakeAgent) GetDrill(context.Context, *pb.GetDrillRequest) (*pb.DrillInfo, error) {
	f.looks++
	if f.looks == 2 && f.flaky {
		return nil, status.Error(codes.Unavailable, "restarting")
	}
	d := drillAt(f.looks)
	if f.looks > 1 && f.aborts {
		d.Outcome, d.Detail = "aborted", "alarm door: 503"
	}
	return d, nil
}

func (f *fakeAgent) StopDrill(context.Context, *pb.StopDrillRequest) (*pb.DrillInfo, error) {
	return drillAt(2), nil
}

func (f *fakeAgent) ExtendDrill(context.Context, *pb.ExtendDrillRequest) (*pb.DrillInfo, error) {
	return drillAt(1), nil
}

func (f *fakeAgent) ListDrills(context.Context, *pb.ListDrillsRequest) (*pb.ListDrillsResponse, error) {
	practice := drillAt(2)
	practice.Id, practice.Schedule, practice.Outcome, practice.Detail = "tuesdays-20260101T1000", "tuesdays", "aborted", "alarm door: 503"
	return &pb.ListDrillsResponse{Drills: []*pb.DrillInfo{drillAt(1), practice}}, nil
}

func (f *fakeAgent) ReportDrill(_ context.Context, r *pb.ReportDrillRequest) (*pb.ReportDrillResponse, error) {
	verdict := "passed"
	if f.missed {
		verdict = "failed"
	}
	return &pb.ReportDrillResponse{Id: "d1", Report: []byte("the report as " + r.GetFormat() + "\n"), Verdict: verdict}, nil
}

func (f *fakeAgent) CreateGate(_ context.Context, r *pb.CreateGateRequest) (*pb.GateInfo, error) {
	return &pb.GateInfo{Name: r.GetName(), Operators: slices.Sorted(slices.Values(r.GetOperators()))}, nil
}

func (f *fakeAgent) OpenGate(_ context.Context, r *pb.OpenGateRequest) (*pb.GateInfo, error) {
	return &pb.GateInfo{Name: r.GetName(), Open: true, OpenUntil: at(9)}, nil
}

func (f *fakeAgent) CloseGate(_ context.Context, r *pb.CloseGateRequest) (*pb.GateInfo, error) {
	return &pb.GateInfo{Name: r.GetName()}, nil
}

func (f *fakeAgent) DeleteGate(context.Context, *pb.DeleteGateRequest) (*pb.DeleteGateResponse, error) {
	return &pb.DeleteGateResponse{}, nil
}

func (f *fakeAgent) ListGates(context.Context, *pb.ListGatesRequest) (*pb.ListGatesResponse, error) {
	return &pb.ListGatesResponse{Gates: []*pb.GateInfo{
		{Name: "till", Operators: []string{"ada", "bo"}, Open: true, OpenUntil: at(9), OpenedBy: "spiffe://acme.example/operator/ada", Policies: []string{"shop/checkout"}},
		{Name: "vault", Missing: true, Policies: []string{"default"}},
	}}, nil
}

func (f *fakeAgent) ApplySchedule(_ context.Context, r *pb.ApplyScheduleRequest) (*pb.ApplyScheduleResponse, error) {
	if r.GetName() == "refused" {
		return nil, status.Error(codes.PermissionDenied, "expected the role operator, found viewer")
	}
	return &pb.ApplyScheduleResponse{Action: "created", Warnings: []string{"it could not run"}}, nil
}

func (f *fakeAgent) ListSchedules(context.Context, *pb.ListSchedulesRequest) (*pb.ListSchedulesResponse, error) {
	return &pb.ListSchedulesResponse{Schedules: []*pb.ScheduleInfo{
		{Name: "tuesdays", Scope: "us-west", Region: "eu-central", Next: at(10), LastDrill: "tuesdays-20260101T1000", LastOutcome: "aborted"},
		{Name: "paused", Scope: "us-west/a", Region: "us-west", Suspended: true},
	}}, nil
}

func (f *fakeAgent) DeleteSchedule(context.Context, *pb.DeleteScheduleRequest) (*pb.DeleteScheduleResponse, error) {
	return &pb.DeleteScheduleResponse{}, nil
}

func (f *fakeAgent) RunSchedule(context.Context, *pb.RunScheduleRequest) (*pb.DrillInfo, error) {
	return drillAt(0), nil
}
