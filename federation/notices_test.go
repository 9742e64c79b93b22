package federation

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/federator/federator/federation/catalog"
)

func TestWhatUsersOfTheClusterAreToldAbout(t *testing.T) {
	checkout := catalog.ServiceName{Namespace: "shop", Name: "checkout"}
	drill := func(id string, service catalog.ServiceName, state catalog.DrillState, outcome catalog.DrillOutcome) catalog.DrillView {
		return catalog.DrillView{Drill: catalog.Drill{ID: id, Kind: catalog.DrillEvacuate, Scope: catalog.Scope{Region: "eu", Service: service},
			Shape: catalog.Shape{Hold: catalog.Duration(time.Minute)}, State: state, Outcome: outcome}}
	}
	type input struct {
		cond   catalog.Conditions
		drills []catalog.DrillView
	}
	reach := func(r catalog.Reach) catalog.Conditions {
		return catalog.Conditions{Reach: map[string]catalog.Reach{"us": catalog.Reachable, "eu": r}}
	}
	evacuated := catalog.Conditions{Evacuations: map[string]catalog.Evacuation{"eu": {Region: "eu", Duration: catalog.Duration(time.Hour), Reason: "flood"}}}
	running := input{drills: []catalog.DrillView{drill("d1", checkout, catalog.DrillRunning, "")}}
	for name, c := range map[string]struct {
		old, now input
		want     []string // REASON SERVICE WARNING, and a word of the message
		word     string
	}{
		"nothing": {running, running, nil, ""},
		"a drill begins": {input{drills: []catalog.DrillView{drill("d1", checkout, catalog.DrillPending, "")}}, running,
			[]string{"DrillStarted shop/checkout false"}, "runs for 1m0s"},
		"a drill ends": {running, input{drills: []catalog.DrillView{drill("d1", checkout, catalog.DrillEnded, catalog.OutcomeSucceeded)}},
			[]string{"DrillEnded shop/checkout false"}, "succeeded"},
		"an alarm ends it": {running, input{drills: []catalog.DrillView{drill("d1", checkout, catalog.DrillEnded, catalog.OutcomeAborted)}},
			[]string{"DrillEnded shop/checkout true"}, "aborted"},
		"one that is forgotten":        {running, input{}, []string{"DrillEnded shop/checkout false"}, "is over"},
		"a drill of all services":      {input{}, input{drills: []catalog.DrillView{drill("d2", catalog.ServiceName{}, catalog.DrillRunning, "")}}, []string{"DrillStarted / false"}, "eu"},
		"an evacuation":                {input{}, input{cond: evacuated}, []string{"RegionEvacuated / true"}, "flood"},
		"its end":                      {input{cond: evacuated}, input{}, []string{"EvacuationEnded / false"}, "eu"},
		"silence alone":                {input{cond: reach(catalog.Reachable)}, input{cond: reach(catalog.Silent)}, nil, ""},
		"a control plane that is lost": {input{cond: reach(catalog.Silent)}, input{cond: reach(catalog.ControlPlaneLost)}, []string{"LinkLost / true"}, "last known"},
		"and its workloads too":        {input{cond: reach(catalog.ControlPlaneLost)}, input{cond: reach(catalog.Out)}, []string{"RegionOut / true"}, "serves nobody"},
		"a region that is back":        {input{cond: reach(catalog.Out)}, input{cond: reach(catalog.Reachable)}, []string{"LinkRestored / false"}, "eu"},
		"a region that is removed":     {input{cond: reach(catalog.Out)}, input{cond: catalog.Conditions{Reach: map[string]catalog.Reach{"us": catalog.Reachable}}}, nil, ""},
		"isolation":                    {input{}, input{cond: catalog.Conditions{Isolated: true}}, []string{"RegionIsolated / true"}, "no other region"},
		"isolation over":               {input{cond: catalog.Conditions{Isolated: true}}, input{}, []string{"RegionConnected / false"}, "again"},
	} {
		t.Run(name, func(t *testing.T) {
			found := noticesOf(situationOf(&c.old.cond, c.old.drills), situationOf(&c.now.cond, c.now.drills),
				func(id string) (catalog.Drill, bool) { return drillOf(c.now.drills, id) })
			var got []string
			for _, n := range found {
				got = append(got, fmt.Sprint(n.Reason, " ", n.Service, " ", n.Warning))
				if !strings.Contains(n.Message, c.word) {
					t.Errorf("the message %q does not say %q", n.Message, c.word)
				}
			}
			if fmt.Sprint(got) != fmt.Sprint(c.want) {
				t.Errorf("told %q, expected %q", got, c.want)
			}
		})
	}
}
