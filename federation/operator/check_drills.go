package operator

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/federation/drill"
)

// abortedLately is how long an abort is something to act on; then it is history.
const abortedLately = time.Hour

// checkDrills reports drills that run, and those that did not go well.
func (v *view) checkDrills() []problem {
	var out []problem
	for i := range v.drills {
		d := &v.drills[i]
		subject := "drill " + d.ID
		if !isOver(d) {
			out = append(out, problem{info, "drill-running", subject, "nothing is taken away on purpose",
				fmt.Sprintf("%s of %s by %s, in phase %s for another %s", d.Kind, d.Scope, d.Actor, d.Phase, about(max(0, d.Shape.Length()-d.Elapsed))),
				"it ends by itself; to end it now: federator drill stop " + d.ID, d.Begun})
			out = append(out, v.checkSetAside(d)...)
			continue
		}
		ended := d.Ended
		if ended.IsZero() && d.End != nil {
			ended = d.End.At
		}
		if outcome := outcomeOf(d); (outcome == catalog.OutcomeAborted || outcome == catalog.OutcomeFailed) && v.now.Sub(ended) < abortedLately {
			out = append(out, problem{warning, "drill-aborted", subject, "a drill that runs to its end", fmt.Sprintf("%s: %s", outcome, detailOf(d)),
				"read what happened: federator drill report " + d.ID, ended})
		}
	}
	return out
}

// checkSetAside reports what a running drill cannot practise.
func (v *view) checkSetAside(d *catalog.DrillView) []problem {
	var out []problem
	spared := v.setAside(d.ID)
	for _, why := range slices.Sorted(maps.Keys(spared)) {
		out = append(out, problem{severity: warning, code: "drill-set-aside", subject: "drill " + d.ID, expected: "every service moves",
			found:  fmt.Sprintf("%d service(s) stay, because it %s: %s", len(spared[why]), why, strings.Join(most(spared[why], 5), ", ")),
			action: "serve these from another region, too, or change safety in their policy"})
	}
	return out
}

// checkGates reports gates that policies name and nobody made.
func (v *view) checkGates() []problem {
	wanted := gatesWanted(v.cond)
	for name := range v.gates {
		delete(wanted, name)
	}
	var out []problem
	for _, name := range slices.Sorted(maps.Keys(wanted)) {
		out = append(out, problem{severity: warning, code: "gate-missing", subject: "gate " + name, expected: "a gate of that name",
			found:  "none, though policy " + strings.Join(most(wanted[name], 5), ", ") + " names it: no drill of these services can begin",
			action: "make it: federator drill gate create " + name + " --operators NAME; or take it out of the policy"})
	}
	return out
}

// checkSchedules reports schedules that cannot begin their drill.
func (v *view) checkSchedules() []problem {
	var out []problem
	w := drill.World{Services: v.services, Conditions: v.cond, Gates: v.gates, Drills: v.drills, Now: v.now}
	for _, o := range living(v.objects, catalog.KindSchedule) {
		var sc catalog.Schedule
		p := problem{severity: warning, code: "schedule-cannot-run", subject: "schedule " + o.Name, expected: "a drill that can begin when it is due"}
		if err := json.Unmarshal(o.Spec, &sc); err != nil {
			p.found, p.action = err.Error(), "upgrade this replica, or apply the schedule anew"
			out = append(out, p)
			continue
		}
		if sc.Suspend {
			continue
		}
		reasons := scheduleAgainst(w, o.Name, sc)
		if coordinator := v.region(sc.Region); coordinator == nil || coordinator.removed() {
			reasons = append(reasons, "region "+sc.Region+", which is to begin it, is not known")
		}
		if nextDue(sc, v.now).IsZero() {
			reasons = append(reasons, "it is not due within five weeks; all of its times are blocked")
		}
		if len(reasons) > 0 {
			p.found, p.action = strings.Join(reasons, "; "), "mend what is in the way, or change it: federator drill schedule apply; or suspend it"
			out = append(out, p)
		}
	}
	return out
}
