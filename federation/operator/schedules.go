package operator

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/federation/drill"
	"github.com/federator/federator/peering/pb"
)

// ApplySchedule writes a schedule, unless it says what it said before.
func (s *Server) ApplySchedule(ctx context.Context, r *pb.ApplyScheduleRequest) (*pb.ApplyScheduleResponse, error) {
	var next catalog.Schedule
	if err := strictJSON("schedule "+r.GetName(), r.GetSpec(), &next); err != nil {
		return nil, err
	}
	if next.Region == "" {
		next.Region = s.Self.Region
	}
	if err := catalog.ValidateSchedule(r.GetName(), next); err != nil {
		return nil, invalid("schedule %s: %v", r.GetName(), err)
	}
	for _, region := range []string{next.Region, next.Scope.Region} {
		if known := s.knownRegions(); !slices.Contains(known, region) {
			return nil, missing("region", region, known)
		}
	}
	spec, err := json.Marshal(next)
	if err != nil {
		return nil, refused(err)
	}
	key := catalog.ObjectKey{Kind: catalog.KindSchedule, Name: r.GetName()}
	o := &catalog.Object{ObjectKey: key, Spec: spec, Actor: s.actor(ctx)}
	out := &pb.ApplyScheduleResponse{Action: "created"}
	if reasons := scheduleAgainst(s.drillWorld(), r.GetName(), next); len(reasons) > 0 {
		out.Warnings = append(out.Warnings, "as things are now it could not run: "+strings.Join(reasons, "; "))
	}
	if old, err := s.object(catalog.KindSchedule, r.GetName()); err == nil {
		out.Action, o.Version = "changed", old.Version
		if sameSchedule(old.Spec, spec) {
			out.Action = "unchanged"
		}
	}
	if !r.GetDryRun() && out.Action != "unchanged" {
		if o, err = s.write(ctx, key, next); err != nil {
			return nil, err
		}
	}
	out.Schedule = s.scheduleInfo(o, next)
	return out, nil
}

func sameSchedule(old, next []byte) bool {
	var o catalog.Schedule
	if json.Unmarshal(old, &o) != nil {
		return false
	}
	canonical, err := json.Marshal(o)
	return err == nil && string(canonical) == string(next)
}

// practice is the drill that a schedule begins.
func practice(name string, sc catalog.Schedule) catalog.Drill {
	return catalog.Drill{
		ID: name, Kind: sc.Kind, Scope: sc.Scope, Shape: sc.Shape, Objective: sc.Objective, Alarms: sc.Alarms,
		Region: sc.Region, Schedule: name, State: catalog.DrillPending,
	}
}

// scheduleAgainst says why the drill of a schedule could not run now, apart from
// what passes: other drills, silence, and gates that are opened for the occasion.
func scheduleAgainst(w drill.World, name string, sc catalog.Schedule) []string {
	findings := slices.DeleteFunc(drill.Check(w, practice(name, sc)), func(f drill.Finding) bool {
		return f.Code == drill.OtherDrill || f.Code == drill.RegionUnreachable || f.Code == drill.GateClosed
	})
	return most(drill.Unsafe(findings), 3)
}

// ListSchedules lists schedules, when each is due and how its last drill went.
func (s *Server) ListSchedules(context.Context, *pb.ListSchedulesRequest) (*pb.ListSchedulesResponse, error) {
	out := &pb.ListSchedulesResponse{}
	for _, o := range living(s.objects(), catalog.KindSchedule) {
		var sc catalog.Schedule
		if json.Unmarshal(o.Spec, &sc) == nil {
			out.Schedules = append(out.Schedules, s.scheduleInfo(o, sc))
		}
	}
	return out, nil
}

func (s *Server) scheduleInfo(o *catalog.Object, sc catalog.Schedule) *pb.ScheduleInfo {
	out := &pb.ScheduleInfo{
		Name: o.Name, Spec: o.Spec, Meta: metaOf(o), Next: moment(nextDue(sc, s.Now())),
		Scope: sc.Scope.String(), Region: sc.Region, Suspended: sc.Suspend,
	}
	if o.Version == (catalog.ObjectVersion{}) {
		out.Meta = nil // not written
	}
	for _, d := range s.Catalog.Drills() { // oldest first
		if d.Schedule == o.Name {
			out.LastDrill, out.LastOutcome = d.ID, string(outcomeOf(&d))
		}
	}
	return out
}

// nextDue is when a schedule is due after now, blocked windows considered; zero if
// not within the next five weeks.
func nextDue(sc catalog.Schedule, now time.Time) time.Time {
	if sc.Suspend {
		return time.Time{}
	}
	var times []time.Duration
	for _, at := range sc.At {
		if d, err := catalog.ParseTimeOfDay(at); err == nil {
			times = append(times, d)
		}
	}
	slices.Sort(times)
	day := now.UTC().Truncate(24 * time.Hour)
	for range 36 {
		for _, at := range times {
			due := day.Add(at)
			blocked := slices.ContainsFunc(sc.Blocked, func(w catalog.Window) bool { return w.Contains(due) })
			if due.After(now) && catalog.OnDay(sc.Days, due) && !blocked {
				return due
			}
		}
		day = day.AddDate(0, 0, 1)
	}
	return time.Time{}
}

// DeleteSchedule deletes a schedule; a drill of it that runs goes on.
func (s *Server) DeleteSchedule(ctx context.Context, r *pb.DeleteScheduleRequest) (*pb.DeleteScheduleResponse, error) {
	if _, err := s.object(catalog.KindSchedule, r.GetName()); err != nil {
		return nil, err
	}
	if _, err := s.write(ctx, catalog.ObjectKey{Kind: catalog.KindSchedule, Name: r.GetName()}, nil); err != nil {
		return nil, err
	}
	return &pb.DeleteScheduleResponse{}, nil
}

// RunSchedule begins the drill of a schedule now, whatever the schedule says of
// times: it is the operator's drill, so that practice gives way to it.
func (s *Server) RunSchedule(ctx context.Context, r *pb.RunScheduleRequest) (*pb.DrillInfo, error) {
	o, err := s.object(catalog.KindSchedule, r.GetName())
	if err != nil {
		return nil, err
	}
	var sc catalog.Schedule
	if err := json.Unmarshal(o.Spec, &sc); err != nil {
		return nil, unmet("UNREADABLE", "schedule %s cannot be read by this build: %v; upgrade the replica, or apply the schedule anew", r.GetName(), err)
	}
	d := practice(r.GetName(), sc)
	d.Region, d.Actor, d.Created, d.Schedule, d.Forced = s.Self.Region, s.actor(ctx), s.Now().UTC(), "", r.GetForce()
	d.Reason = fmt.Sprintf("schedule %s, run by hand", r.GetName())
	if d.ID, err = s.newDrillID(r.GetName()); err != nil {
		return nil, refused(err)
	}
	if err := catalog.ValidateDrill(d); err != nil {
		return nil, invalid("schedule %s: %v", r.GetName(), err)
	}
	return s.startDrill(ctx, d)
}
