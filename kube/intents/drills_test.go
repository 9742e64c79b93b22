package intents

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/kube/api/v1alpha1"
)

// practice is a Drill of shop/checkout in namespace shop, made at t0.
func practice(name string) *v1alpha1.Drill {
	return &v1alpha1.Drill{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, UID: types.UID(name + "-uid"), Generation: 1, CreationTimestamp: metav1.NewTime(t0)},
		Spec: v1alpha1.DrillSpec{
			Service: "checkout", Scope: v1alpha1.DrillScope{Region: "west"}, Shape: v1alpha1.DrillShape{Ramp: "10s", Hold: "1m", Return: "0s"},
			Objective: new(v1alpha1.Duration("5s")), Reason: "practice",
		},
	}
}

// stage is the own cluster w1 of region west, and the drills of the federation.
type stage struct {
	*testing.T
	in      Drills
	started map[string]int // how often each id was asked for
	refusal *Refusal
	stuck   bool
	rules   []string
}

func newStage(t *testing.T, objects ...*v1alpha1.Drill) *stage {
	s := &stage{T: t, started: map[string]int{}}
	s.in = Drills{Cluster: "w1", Region: "west", Objects: objects, Whole: true, Now: t0.Add(time.Second),
		Refusals: map[types.UID]*Refusal{}, Stuck: map[types.UID]string{}, Missing: map[types.UID]time.Time{},
		Refuses: func(catalog.ServiceName) []string { return s.rules },
		Report: func(v *catalog.DrillView) DrillReport {
			return DrillReport{Outcome: string(v.Outcome), Detail: v.Detail, Verdict: "open", Begun: v.Begun, Ended: v.Ended, Regions: []v1alpha1.DrillRegion{{Region: "west", Vote: "granted"}}}
		}}
	return s
}

// step plans once and does what was planned; another writer, if anew, remembers
// nothing of what the one before tried.
func (s *stage) step(anew bool) DrillPlan {
	s.Helper()
	if anew {
		s.in.Refusals, s.in.Stuck, s.in.Missing = map[types.UID]*Refusal{}, map[types.UID]string{}, map[types.UID]time.Time{}
	}
	plan := s.in.Plan()
	s.in.Missing = plan.Missing
	for _, start := range plan.Starts {
		s.started[start.Drill.ID]++
		switch {
		case s.refusal != nil:
			s.in.Refusals[start.UID] = s.refusal
		case s.stuck:
			s.in.Stuck[start.UID] = "no majority"
		case s.view(start.Drill.ID) == nil:
			s.in.Known = append(s.in.Known, catalog.DrillView{Drill: start.Drill, Recorded: catalog.DrillPending, Phase: catalog.PhasePending})
		}
	}
	for _, stop := range plan.Stops {
		v := s.view(stop.ID)
		v.State, v.Recorded, v.Outcome, v.Detail, v.Phase = catalog.DrillEnded, catalog.DrillEnded, catalog.OutcomeStopped, stop.Reason, catalog.PhaseOver
		v.End, v.Ended = &catalog.DrillEnd{}, s.in.Now
	}
	for _, next := range plan.Statuses {
		at := slices.IndexFunc(s.in.Objects, func(o *v1alpha1.Drill) bool { return o.UID == next.UID })
		s.in.Objects[at] = next
	}
	return plan
}

func (s *stage) view(id string) *catalog.DrillView {
	for i := range s.in.Known {
		if s.in.Known[i].ID == id {
			return &s.in.Known[i]
		}
	}
	return nil
}

// status is what the only object says: phase, outcome and conditions.
func (s *stage) status() string {
	o := s.in.Objects[0]
	out := []string{strings.TrimSpace(string(o.Status.Phase) + " " + o.Status.Outcome)}
	for _, c := range o.Status.Conditions {
		out = append(out, fmt.Sprintf("%s=%s %s", c.Type, c.Status, c.Reason))
	}
	return strings.Join(out, ", ")
}

func (s *stage) want(status string) {
	s.Helper()
	if got := s.status(); got != status {
		s.Errorf("expected %s\nfound %s: %s", status, got, s.in.Objects[0].Status.Detail)
	}
}

func TestADrillBeginsOnceAndTellsHowItGoes(t *testing.T) {
	s := newStage(t, practice("a"))
	if plan := s.step(false); len(plan.Starts) != 0 {
		t.Error("expected its status to say that it is starting before it is started")
	}
	s.want("Starting, Started=False Starting")
	s.step(true) // begun, and the writer changes before it says so
	s.step(true)
	s.want("Voting, Started=False Voting, Complete=False Voting")
	if n := s.started["kube-a-uid"]; n != 1 {
		t.Errorf("expected one start, found %d of %v", n, s.started)
	}
	v := s.view("kube-a-uid")
	if v.Actor != "kubernetes:w1/shop/a" || v.Scope.Service.String() != "shop/checkout" || v.Shape.Hold != catalog.Duration(time.Minute) || v.Objective != catalog.Duration(5*time.Second) || v.Forced {
		t.Errorf("found %+v", v.Drill)
	}
	v.State, v.Recorded, v.Phase, v.Begun = catalog.DrillRunning, catalog.DrillRunning, catalog.PhaseHold, t0.Add(3*time.Second)
	s.step(false)
	s.want("Hold, Started=True Hold, Complete=False Hold")
	if plan := s.step(true); len(plan.Statuses) != 0 {
		t.Error("expected nothing to be written while nothing changes")
	}
	v.State, v.Recorded, v.Phase, v.Outcome, v.Ended = catalog.DrillEnded, catalog.DrillEnded, catalog.PhaseOver, catalog.OutcomeSucceeded, t0.Add(2*time.Minute)
	s.in.Now = t0.Add(2*time.Minute + time.Second)
	s.step(false)
	s.want("Over succeeded, Started=True Over, Complete=False Collecting")
	s.in.Now = v.Ended.Add(collectFor + time.Second)
	s.step(false)
	s.want("Over succeeded, Started=True Over, Complete=True Over")
	s.in.Known = nil
	s.in.Now = s.in.Now.Add(24 * time.Hour)
	if plan := s.step(true); len(plan.Statuses)+len(plan.Starts) != 0 {
		t.Error("expected a drill that is complete to stay as it is when the federation forgets it")
	}
}

func TestADrillThatCannotBeginNeverDoes(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*stage)
		want   string
	}{
		"its plan is unsafe":    {func(s *stage) { s.refusal = &Refusal{v1alpha1.ReasonUnsafe, "nothing left"} }, "Over failed, Started=False Unsafe, Complete=True Over"},
		"another is in its way": {func(s *stage) { s.refusal = &Refusal{v1alpha1.ReasonTaken, "held"} }, "Over failed, Started=False Taken, Complete=True Over"},
		"an export rule":        {func(s *stage) { s.rules = []string{"payments"} }, "Over refused, Started=False ExportRules, Complete=True Over"},
		"its shape is too long": {func(s *stage) { s.in.Objects[0].Spec.Shape.Hold = "25h" }, "Over failed, Started=False Invalid, Complete=True Over"},
		"nobody was there":      {func(s *stage) { s.in.Now = t0.Add(startWithin + time.Second) }, "Over failed, Started=False Missed, Complete=True Over"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t, practice("a"))
			c.change(s)
			for range 4 {
				s.step(false)
			}
			s.want(c.want)
			starts := s.started["kube-a-uid"]
			s.refusal, s.rules, s.in.Now = nil, nil, t0.Add(time.Minute) // nothing is against it any more
			for range 4 {
				s.step(true)
			}
			s.want(c.want)
			if s.started["kube-a-uid"] != starts || len(s.in.Known) > 0 {
				t.Error("expected it to stay as it is")
			}
		})
	}
}

func TestADrillThatCannotReachTheFederationIsTriedAgainForAWhile(t *testing.T) {
	s := newStage(t, practice("a"))
	s.stuck = true
	for range 3 {
		s.step(false)
	}
	s.want("Starting, Started=False Starting")
	if got := s.in.Objects[0].Status.Detail; got != "no majority" {
		t.Errorf("expected to be told why, found %q", got)
	}
	s.in.Now = t0.Add(startWithin + time.Second)
	s.step(false)
	s.want("Over failed, Started=False Missed, Complete=True Over")
	if got := s.in.Objects[0].Status.Detail; !strings.Contains(got, "within 10m0s of its creation: no majority") {
		t.Errorf("found %q", got)
	}
}

func TestADrillWhoseObjectIsDeletedEnds(t *testing.T) {
	for name, c := range map[string]struct {
		gone func(*stage)
		ends bool
	}{
		"it is gone":                         {func(s *stage) { s.in.Objects = nil }, true},
		"a finalizer holds it":               {func(s *stage) { s.in.Objects[0].DeletionTimestamp = new(metav1.NewTime(t0)) }, true},
		"the API server is not read in full": {func(s *stage) { s.in.Objects, s.in.Whole = nil, false }, false},
		"another of its name came":           {func(s *stage) { s.in.Objects[0].UID = "other" }, true},
		"it is another cluster's":            {func(s *stage) { s.in.Objects = nil; s.in.Known[0].Actor = "kubernetes:w10/shop/a" }, false},
		"it is an operator's":                {func(s *stage) { s.in.Objects = nil; s.in.Known[0].Actor = "unix:root" }, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t, practice("a"))
			for range 3 {
				s.step(false)
			}
			v := s.view("kube-a-uid")
			v.State, v.Recorded, v.Phase, v.Begun = catalog.DrillRunning, catalog.DrillRunning, catalog.PhaseHold, t0.Add(time.Second)
			c.gone(s)
			s.step(true)
			if ended := s.view("kube-a-uid").State == catalog.DrillEnded; ended != c.ends {
				t.Errorf("expected ended=%v, found %+v", c.ends, s.view("kube-a-uid"))
			}
			if plan := s.step(false); len(plan.Stops) != 0 && c.ends {
				t.Error("expected it to be ended once")
			}
		})
	}
}

func TestADrillOfAServiceThatTheClusterMayNoLongerExportEnds(t *testing.T) {
	s := newStage(t, practice("a"))
	for range 3 {
		s.step(false)
	}
	v := s.view("kube-a-uid")
	v.State, v.Recorded, v.Phase, v.Begun = catalog.DrillRunning, catalog.DrillRunning, catalog.PhaseHold, t0.Add(time.Second)
	s.step(false)
	s.rules = []string{"payments"}
	if plan := s.step(false); len(plan.Stops) != 1 || !strings.Contains(plan.Stops[0].Reason, "cluster w1 export shop/checkout any more; it is named by payments") {
		t.Errorf("expected it to be ended, found %+v", plan.Stops)
	}
	if plan := s.step(false); len(plan.Stops) != 0 {
		t.Error("expected it to be ended once")
	}
}

func TestADrillThatTheFederationForgotSaysSoAndIsNotBegunAgain(t *testing.T) {
	s := newStage(t, practice("a"))
	for range 3 {
		s.step(false)
	}
	s.in.Known = nil
	s.step(true)
	s.want("Voting, Started=False Voting, Complete=False Voting") // a new writer may lag
	s.in.Now = s.in.Now.Add(goneAfter)
	s.step(false)
	s.want("Over unknown, Started=False Voting, Complete=True Gone")
	if s.started["kube-a-uid"] != 1 {
		t.Errorf("expected one start, found %v", s.started)
	}
}
