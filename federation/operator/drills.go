package operator

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/federation/drill"
	"github.com/federator/federator/federation/state"
	"github.com/federator/federator/peering/pb"
	"github.com/federator/federator/peering/rpc"
)

// maxDrillSpec bounds the JSON of a drill or a schedule, in bytes.
const maxDrillSpec = catalog.MaxSpec

// drillWorld is what drills are judged by, as seen from here.
func (s *Server) drillWorld() drill.World {
	return drill.World{
		Services: s.Catalog.Services(), Conditions: s.Catalog.Conditions(),
		Gates: s.Catalog.Gates(), Drills: s.Catalog.Drills(), Now: s.Now(),
	}
}

// PlanDrill says where traffic would go during a drill, and what would break.
func (s *Server) PlanDrill(ctx context.Context, r *pb.PlanDrillRequest) (*pb.PlanDrillResponse, error) {
	d, err := s.drillOf(ctx, r.GetSpec())
	if err != nil {
		return nil, err
	}
	plan := drill.MakePlan(s.drillWorld(), d)
	b, err := json.Marshal(plan)
	if err != nil {
		return nil, refused(err)
	}
	return &pb.PlanDrillResponse{Plan: b, Unsafe: plan.Unsafe()}, nil
}

// StartDrill begins a drill, unless its plan is unsafe.
func (s *Server) StartDrill(ctx context.Context, r *pb.StartDrillRequest) (*pb.DrillInfo, error) {
	d, err := s.drillOf(ctx, r.GetSpec())
	if err != nil {
		return nil, err
	}
	return s.startDrill(ctx, d)
}

func (s *Server) startDrill(ctx context.Context, d catalog.Drill) (*pb.DrillInfo, error) {
	if known := s.knownRegions(); !slices.Contains(known, d.Scope.Region) {
		return nil, missing("region", d.Scope.Region, known)
	}
	world := s.drillWorld()
	unsafe := drill.Unsafe(drill.Check(world, d))
	if len(unsafe) > 0 && !d.Forced {
		return nil, unmet("UNSAFE", "the plan of this drill is unsafe: %s; see \"federator drill plan\", which says what to do, or start it with --force, which is recorded", strings.Join(most(unsafe, 5), "; "))
	}
	d.Forced = d.Forced && len(unsafe) > 0 // a safe drill keeps the protection of its rules
	for _, o := range world.GivingWay(d) {
		end := &catalog.DrillEnd{Outcome: catalog.OutcomeInterrupted, Reason: "drill " + d.ID + " of an operator takes its place", Actor: s.actor(ctx), At: s.Now().UTC()}
		_, err := s.propose(ctx, &state.MarkBallot{Drill: o.ID, End: end, Release: true})
		if err != nil && rpc.Reason(err) != "CONFLICT" { // it has ended meanwhile
			return nil, err
		}
	}
	if _, err := s.propose(ctx, &state.StartDrill{Drill: d}); err != nil {
		return nil, err
	}
	return s.drillInfo(d.ID)
}

// drillOf reads a request for a drill, which this region will coordinate.
func (s *Server) drillOf(ctx context.Context, spec []byte) (catalog.Drill, error) {
	var d catalog.Drill
	if err := strictJSON("drill", spec, &d); err != nil {
		return d, err
	}
	// What follows is not the operator's to say.
	d = catalog.Drill{ID: d.ID, Kind: d.Kind, Scope: d.Scope, Shape: d.Shape, Objective: d.Objective, Forced: d.Forced, Alarms: d.Alarms, Reason: d.Reason}
	d.Region, d.Actor, d.Created, d.State = s.Self.Region, s.actor(ctx), s.Now().UTC(), catalog.DrillPending
	if d.ID == "" {
		id, err := s.newDrillID(d.Scope.Region)
		if err != nil {
			return d, refused(err)
		}
		d.ID = id
	}
	if err := catalog.ValidateDrill(d); err != nil {
		return d, invalid("drill: %v", err)
	}
	return d, nil
}

// strictJSON reads one JSON value without unknown fields.
func strictJSON(what string, spec []byte, into any) error {
	if len(spec) == 0 || len(spec) > maxDrillSpec {
		return invalid("%s: expected 1 to %d bytes of JSON, found %d", what, maxDrillSpec, len(spec))
	}
	dec := json.NewDecoder(bytes.NewReader(spec))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		return invalid("%s: %v", what, err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return invalid("%s: expected one JSON value, found more behind it", what)
	}
	return nil
}

// newDrillID makes an id that people can read and that no other drill has.
func (s *Server) newDrillID(of string) (string, error) {
	const letters = "23456789abcdefghjkmnpqrstuvwxyz"
	random := make([]byte, 4)
	if _, err := io.ReadFull(s.Random, random); err != nil {
		return "", err
	}
	for i := range random {
		random[i] = letters[int(random[i])%len(letters)]
	}
	const most = 40
	of = strings.TrimRight(of[:min(len(of), most)], "-")
	return of + s.Now().UTC().Format("-20060102-1504-") + string(random), nil
}

// StopDrill ends a drill in every region, from whichever region this is.
func (s *Server) StopDrill(ctx context.Context, r *pb.StopDrillRequest) (*pb.DrillInfo, error) {
	v, err := s.liveDrill(r.GetId())
	if err != nil {
		return nil, err
	}
	reason := r.GetReason()
	if reason == "" {
		reason = "an operator stopped it"
	}
	if len(reason) > maxReason {
		return nil, invalid("the reason may have %d bytes, found %d", maxReason, len(reason))
	}
	end := &catalog.DrillEnd{Outcome: catalog.OutcomeStopped, Reason: reason, Actor: s.actor(ctx), At: s.Now().UTC()}
	if _, err := s.propose(ctx, &state.MarkBallot{Drill: v.ID, End: end}); err != nil {
		return nil, err
	}
	return s.drillInfo(v.ID)
}

// ExtendDrill adds to the time for which the scope is held away.
func (s *Server) ExtendDrill(ctx context.Context, r *pb.ExtendDrillRequest) (*pb.DrillInfo, error) {
	v, err := s.liveDrill(r.GetId())
	if err != nil {
		return nil, err
	}
	by := r.GetBy().AsDuration()
	if by < time.Second || by > catalog.MaxDrill {
		return nil, invalid("a drill is extended by 1s to %s, found %s", catalog.MaxDrill, by)
	}
	if _, err := s.propose(ctx, &state.MarkBallot{Drill: v.ID, Extend: catalog.Duration(by)}); err != nil {
		return nil, err
	}
	return s.drillInfo(v.ID)
}

// ListDrills lists all drills that are kept, the newest first.
func (s *Server) ListDrills(context.Context, *pb.ListDrillsRequest) (*pb.ListDrillsResponse, error) {
	v := s.lookAtDrills()
	out := &pb.ListDrillsResponse{}
	for i := range v.drills {
		out.Drills = append(out.Drills, v.drillInfo(&v.drills[i]))
	}
	slices.Reverse(out.Drills)
	return out, nil
}

// GetDrill returns one drill.
func (s *Server) GetDrill(_ context.Context, r *pb.GetDrillRequest) (*pb.DrillInfo, error) {
	d, err := s.anyDrill(r.GetId())
	if err != nil {
		return nil, err
	}
	return s.lookAtDrills().drillInfo(&d), nil
}

// ReportDrill reports what happened in one.
func (s *Server) ReportDrill(_ context.Context, r *pb.ReportDrillRequest) (*pb.ReportDrillResponse, error) {
	d, err := s.anyDrill(r.GetId())
	if err != nil {
		return nil, err
	}
	report := drill.MakeReport(drill.Story{Drill: d, Samples: s.Catalog.Samples(d.ID), Regions: s.knownRegions(), Now: s.Now()})
	var out bytes.Buffer
	switch r.GetFormat() {
	case "text":
		err = report.Text(&out)
	case "json":
		err = json.NewEncoder(&out).Encode(report)
	case "html":
		err = report.HTML(&out)
	default:
		return nil, invalid("format %q: expected text, json or html", r.GetFormat())
	}
	if err != nil {
		return nil, refused(err)
	}
	return &pb.ReportDrillResponse{Id: d.ID, Report: out.Bytes(), Verdict: string(report.Verdict)}, nil
}

// anyDrill returns a drill by id, the newest if there is no id.
func (s *Server) anyDrill(id string) (catalog.DrillView, error) {
	drills := s.Catalog.Drills()
	if id == "" && len(drills) > 0 {
		return drills[len(drills)-1], nil
	}
	var ids []string
	for _, d := range drills {
		if d.ID == id {
			return d, nil
		}
		ids = append(ids, d.ID)
	}
	if id == "" {
		return catalog.DrillView{}, unmet("NO_DRILL", "there was no drill yet; begin one with \"federator drill start\"")
	}
	return catalog.DrillView{}, missing("drill", id, ids)
}

// liveDrill returns a drill that is not over; without an id the only one.
func (s *Server) liveDrill(id string) (catalog.DrillView, error) {
	if id == "" {
		live := slices.DeleteFunc(s.Catalog.Drills(), func(d catalog.DrillView) bool { return isOver(&d) })
		switch len(live) {
		case 0:
			return catalog.DrillView{}, unmet("NO_DRILL", "no drill is running; see \"federator drill list\"")
		case 1:
			return live[0], nil
		}
		return catalog.DrillView{}, invalid("%d drills are running; say which: %s and others", len(live), live[0].ID)
	}
	d, err := s.anyDrill(id)
	if err == nil && isOver(&d) {
		return d, unmet("ENDED", "drill %s is over: %s", id, outcomeOf(&d))
	}
	return d, err
}

func (s *Server) drillInfo(id string) (*pb.DrillInfo, error) {
	d, err := s.anyDrill(id)
	if err != nil {
		return nil, err
	}
	return s.lookAtDrills().drillInfo(&d), nil
}

// lookAtDrills reads only what drills need.
func (s *Server) lookAtDrills() *view {
	return &view{now: s.Now(), cond: s.Catalog.Conditions(), services: s.Catalog.Services(), drills: s.Catalog.Drills(), known: s.knownRegions()}
}
