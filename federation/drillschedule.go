package federation

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/federation/state"
)

const (
	scheduleEvery = 5 * time.Second
	// scheduleLate is how late a scheduled drill may still begin, after the region
	// had no leader for a while; later it waits for its next time.
	scheduleLate = 2 * time.Minute
	// scheduleTime is how the ids of scheduled drills end.
	scheduleTime = "20060102T1504"
)

// due returns the time in (last, now] at which the schedule was due last, if a
// drill may still begin for it; last is when its newest drill was due.
func due(s catalog.Schedule, last, now time.Time) (time.Time, bool) {
	if s.Suspend {
		return time.Time{}, false
	}
	now = now.UTC()
	var newest time.Time
	for _, at := range s.At {
		clock, err := catalog.ParseTimeOfDay(at)
		if err != nil {
			continue
		}
		for _, day := range []time.Time{now, now.AddDate(0, 0, -1)} { // yesterday's may be just over midnight
			t := day.Truncate(24 * time.Hour).Add(clock)
			fits := t.After(last) && !t.After(now) && now.Sub(t) < scheduleLate && catalog.OnDay(s.Days, t)
			if fits && t.After(newest) {
				newest = t
			}
		}
	}
	return newest, !newest.IsZero() && !blocked(s, newest) && !blocked(s, now)
}

func blocked(s catalog.Schedule, t time.Time) bool {
	return slices.ContainsFunc(s.Blocked, func(w catalog.Window) bool { return w.Contains(t) })
}

// blockedNow reports whether the schedule of that name forbids practice now.
func blockedNow(all map[string]catalog.Schedule, name string, now time.Time) bool {
	s, ok := all[name]
	return ok && blocked(s, now)
}

// lastDue is when the newest drill of the schedule was due, by its id.
func lastDue(name string, drills []catalog.DrillView) (last time.Time) {
	for i := range drills {
		if drills[i].Schedule != name {
			continue
		}
		if t, err := time.Parse(scheduleTime, strings.TrimPrefix(drills[i].ID, name+"-")); err == nil && t.After(last) {
			last = t
		}
	}
	return last
}

// scheduled returns the commands that begin the drills which are due in this
// region, or record why they could not begin.
func (w *drillWorld) scheduled(all map[string]catalog.Schedule) []*state.StartDrill {
	var out []*state.StartDrill
	for _, name := range slices.Sorted(maps.Keys(all)) {
		s := all[name]
		if s.Region != w.region || catalog.ValidateSchedule(name, s) != nil {
			continue
		}
		at, ok := due(s, lastDue(name, w.drills), w.now)
		if !ok {
			continue
		}
		d := catalog.Drill{
			ID: name + "-" + at.Format(scheduleTime), Kind: s.Kind, Scope: s.Scope, Shape: s.Shape, Objective: s.Objective, Alarms: s.Alarms,
			Region: w.region, Schedule: name, Reason: "schedule " + name,
		}
		why := w.findings(d, nil)
		switch {
		case w.isolated:
			why = "region " + w.region + " is cut off from the other regions"
		case len(w.evacuations) > 0:
			why = "region " + w.evacuations[0] + " is evacuated by an operator"
		}
		out = append(out, &state.StartDrill{Drill: d, Failed: shorten(why, 2000)})
	}
	return out
}

// keepSchedules begins the scheduled drills that are due.
func (r *Replica) keepSchedules(ctx context.Context) error {
	schedules := r.catalog.Schedules()
	if len(schedules) == 0 || !r.understandsDrills() {
		return nil
	}
	var errs []error
	for _, start := range r.drillWorld(time.Now()).scheduled(schedules) {
		err := r.proposeDrill(ctx, start)
		if errors.Is(err, state.ErrConflict) && start.Failed == "" { // another came first
			start.Failed = shorten(err.Error(), 2000)
			err = r.proposeDrill(ctx, start)
		}
		if err != nil && !errors.Is(err, state.ErrConflict) {
			errs = append(errs, err)
			continue
		}
		r.log.Info("a scheduled drill", "drill", start.Drill.ID, "failed", start.Failed)
	}
	return errors.Join(errs...)
}
