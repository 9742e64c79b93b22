package federation

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/federator/federator/federation/catalog"
	kubeimports "github.com/federator/federator/kube/imports"
)

// situation is what the users of a Kubernetes cluster are told about when it
// changes, besides what becomes of their own exports and imports.
type situation struct {
	drills      map[string]catalog.Drill // those that run, by ID
	evacuations map[string]catalog.Evacuation
	regions     map[string]catalog.Reach // all that are known
	lost        map[string]catalog.Reach // the regions with a verdict
	isolated    bool
}

// situationOf reads the situation. A region that is merely silent is not told about:
// its endpoints have not been asked yet.
func situationOf(cond *catalog.Conditions, drills []catalog.DrillView) situation {
	s := situation{drills: map[string]catalog.Drill{}, evacuations: cond.Evacuations, regions: cond.Reach, lost: map[string]catalog.Reach{}, isolated: cond.Isolated}
	for _, v := range drills {
		if v.State == catalog.DrillRunning {
			s.drills[v.ID] = v.Drill
		}
	}
	for region, reach := range cond.Reach {
		if reach >= catalog.ControlPlaneLost {
			s.lost[region] = reach
		}
	}
	return s
}

// noticesOf says what is new in a situation. ended are the drills that are over.
func noticesOf(old, now situation, ended func(id string) (catalog.Drill, bool)) []kubeimports.Notice {
	return slices.Concat(drillNotices(old.drills, now.drills, ended), evacuationNotices(old.evacuations, now.evacuations), linkNotices(old, now))
}

func drillNotices(old, now map[string]catalog.Drill, ended func(id string) (catalog.Drill, bool)) (out []kubeimports.Notice) {
	for _, id := range slices.Sorted(maps.Keys(now)) {
		if _, running := old[id]; !running {
			d := now[id]
			out = append(out, kubeimports.Notice{Service: d.Scope.Service, Reason: "DrillStarted", Message: fmt.Sprintf(
				"drill %s (%s) of %s runs for %s: %s", id, d.Kind, d.Scope, d.Shape.Length(), cmp.Or(d.Reason, "no reason given"))})
		}
	}
	for _, id := range slices.Sorted(maps.Keys(old)) {
		if _, running := now[id]; running {
			continue
		}
		n := kubeimports.Notice{Service: old[id].Scope.Service, Reason: "DrillEnded", Message: fmt.Sprintf("drill %s of %s is over", id, old[id].Scope)}
		if d, ok := ended(id); ok && d.Outcome != "" {
			n.Message += ": " + string(d.Outcome)
			if d.Detail != "" {
				n.Message += ", " + d.Detail
			}
			n.Warning = d.Outcome == catalog.OutcomeAborted || d.Outcome == catalog.OutcomeFailed
		}
		out = append(out, n)
	}
	return out
}

func evacuationNotices(old, now map[string]catalog.Evacuation) (out []kubeimports.Notice) {
	for _, region := range slices.Sorted(maps.Keys(now)) {
		if _, already := old[region]; !already {
			e := now[region]
			out = append(out, kubeimports.Notice{Warning: true, Reason: "RegionEvacuated", Message: fmt.Sprintf(
				"region %s is evacuated for %s: %s", region, time.Duration(e.Duration), cmp.Or(e.Reason, "no reason given"))})
		}
	}
	for _, region := range slices.Sorted(maps.Keys(old)) {
		if _, still := now[region]; !still {
			out = append(out, kubeimports.Notice{Reason: "EvacuationEnded", Message: "region " + region + " is no longer evacuated"})
		}
	}
	return out
}

func linkNotices(old, now situation) (out []kubeimports.Notice) {
	if now.isolated != old.isolated {
		n := kubeimports.Notice{Reason: "RegionConnected", Message: "other regions answer again"}
		if now.isolated {
			n = kubeimports.Notice{Warning: true, Reason: "RegionIsolated", Message: "no other region answers; the own region's endpoints are used, and others as they were last known"}
		}
		out = append(out, n)
	}
	for _, region := range slices.Sorted(maps.Keys(now.lost)) {
		switch reach := now.lost[region]; {
		case reach == old.lost[region]:
		case reach == catalog.Out:
			out = append(out, kubeimports.Notice{Warning: true, Reason: "RegionOut", Message: "neither the replicas nor the endpoints of region " + region + " answer; it serves nobody from here"})
		default:
			out = append(out, kubeimports.Notice{Warning: true, Reason: "LinkLost", Message: "the replicas of region " + region + " do not answer, some of its endpoints do; they are used as they were last known"})
		}
	}
	for _, region := range slices.Sorted(maps.Keys(old.lost)) {
		_, still := now.lost[region]
		if _, known := now.regions[region]; known && !still { // else it was removed, and answers nobody
			out = append(out, kubeimports.Notice{Reason: "LinkRestored", Message: "region " + region + " answers again"})
		}
	}
	return out
}

// notify tells the users of the cluster about drills, evacuations and links that
// change while this replica runs.
func (r *Replica) notify(ctx context.Context) error {
	if r.kube == nil {
		return nil
	}
	watch := r.catalog.Watch()
	defer watch.Close()
	var told *situation
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-watch.Changed():
		}
		if ch := watch.Take(); !ch.All && !ch.Conditions {
			continue
		}
		drills := r.catalog.Drills()
		now := situationOf(r.catalog.Conditions(), drills)
		if told != nil {
			for _, n := range noticesOf(*told, now, func(id string) (catalog.Drill, bool) { return drillOf(drills, id) }) {
				select {
				case <-ctx.Done():
					return nil
				case r.kube.notices <- n:
				case <-time.After(noticePatience): // the writer waits for its API server
				}
			}
		}
		told = &now
	}
}

// noticePatience is how long a notice waits for the writer to take it.
const noticePatience = time.Second

func drillOf(drills []catalog.DrillView, id string) (catalog.Drill, bool) {
	i := slices.IndexFunc(drills, func(v catalog.DrillView) bool { return v.ID == id })
	if i < 0 {
		return catalog.Drill{}, false
	}
	return drills[i].Drill, true
}
