package intents

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/kube/api/v1alpha1"
)

const (
	// startWithin is how old a Drill may be when it begins: one that could not begin
	// when it was wanted does not surprise anybody later.
	startWithin = 10 * time.Minute
	// collectFor is how long after its end the regions may tell what they answered.
	collectFor = 2 * time.Minute
	// goneAfter is how long a drill that was known must not be known to be forgotten: a
	// replica that has just become the writer may lag.
	goneAfter = time.Minute
)

// Drills is what is known of the Drills of the own cluster.
type Drills struct {
	// Cluster and Region are the own ones.
	Cluster, Region string
	// Objects are what the API server has. Whole: there are no others.
	Objects []*v1alpha1.Drill
	Whole   bool
	// Known are the drills of the federation that this region coordinates.
	Known []catalog.DrillView
	// Report says how a drill went.
	Report func(*catalog.DrillView) DrillReport
	// Refuses returns the export rules that keep the own cluster from speaking for a
	// service; none if it may.
	Refuses func(catalog.ServiceName) []string
	// Refusals are what the last attempts to begin came to, for good, and Stuck what
	// else was in the way. Missing is since when drills are not known that were.
	Refusals map[types.UID]*Refusal
	Stuck    map[types.UID]string
	Missing  map[types.UID]time.Time
	Now      time.Time
}

// DrillReport is what a status says of how a drill goes.
type DrillReport struct {
	Outcome, Detail, Verdict string
	Lookups, Failed          uint64
	Begun, Ended             time.Time
	Regions                  []v1alpha1.DrillRegion
}

// Refusal is why a drill cannot begin, now and later.
type Refusal struct {
	// Reason is one word, of those of the condition Started.
	Reason, Message string
}

// Error implements error.
func (r *Refusal) Error() string { return r.Message }

// DrillPlan is what is to be done.
type DrillPlan struct {
	// Starts begin, whose status says so already, the oldest first; Stops are ids to be
	// ended.
	Starts []DrillStart
	Stops  []DrillStop
	// Statuses are objects whose status is to be updated, and Notices what is to be
	// told with that.
	Statuses []*v1alpha1.Drill
	Notices  map[types.UID]Notice
	// Missing is [Drills.Missing] from now on.
	Missing map[types.UID]time.Time
}

// DrillStart is a drill to begin.
type DrillStart struct {
	UID   types.UID
	Drill catalog.Drill
}

// DrillStop is a drill to end, and why.
type DrillStop struct{ ID, Reason string }

// DrillID is the name in the federation of the drill that an object begins: the same
// for every writer, so that it begins once.
func DrillID(uid types.UID) string { return "kube-" + string(uid) }

// Plan says what is to be done.
func (in *Drills) Plan() DrillPlan {
	plan := DrillPlan{Missing: map[types.UID]time.Time{}, Notices: map[types.UID]Notice{}}
	known := map[string]*catalog.DrillView{}
	for i := range in.Known {
		if v := &in.Known[i]; strings.HasPrefix(v.Actor, catalog.FromKubernetes+in.Cluster+"/") {
			known[v.ID] = v
		}
	}
	for _, o := range slices.SortedStableFunc(slices.Values(in.Objects), func(a, b *v1alpha1.Drill) int { return a.CreationTimestamp.Compare(b.CreationTimestamp.Time) }) {
		if o.DeletionTimestamp != nil {
			continue
		}
		v := known[DrillID(o.UID)]
		delete(known, DrillID(o.UID))
		if finished(o) {
			continue
		}
		next := o.DeepCopy()
		if v != nil {
			in.follow(next, v)
			in.forbid(v, &plan)
		} else {
			in.begin(next, &plan)
		}
		if !equality.Semantic.DeepEqual(next.Status, o.Status) {
			plan.Statuses = append(plan.Statuses, next)
			if n, ok := drillNotice(o, next); ok {
				plan.Notices[o.UID] = n
			}
		}
	}
	for id, v := range known { // whose objects are not there
		if in.Whole && v.State != catalog.DrillEnded && v.End == nil {
			plan.Stops = append(plan.Stops, DrillStop{id, "the Drill " + strings.TrimPrefix(v.Actor, catalog.FromKubernetes) + " was deleted"})
		}
	}
	slices.SortFunc(plan.Stops, func(a, b DrillStop) int { return strings.Compare(a.ID, b.ID) })
	return plan
}

// finished reports whether a status stays as it is.
func finished(o *v1alpha1.Drill) bool {
	return slices.ContainsFunc(o.Status.Conditions, func(c metav1.Condition) bool {
		return c.Type == v1alpha1.DrillComplete && c.Status == metav1.ConditionTrue
	})
}

// drill is what an object wants.
func (in *Drills) drill(o *v1alpha1.Drill) (catalog.Drill, error) {
	d := catalog.Drill{
		ID: DrillID(o.UID), Kind: catalog.DrillEvacuate, Region: in.Region, Reason: o.Spec.Reason,
		Actor: catalog.FromKubernetes + in.Cluster + "/" + o.Namespace + "/" + o.Name, State: catalog.DrillPending,
		Scope: catalog.Scope{
			Region: string(o.Spec.Scope.Region), Zone: string(o.Spec.Scope.Zone), Cluster: o.Spec.Scope.Cluster,
			Service: catalog.ServiceName{Namespace: o.Namespace, Name: string(o.Spec.Service)},
		},
	}
	for _, part := range []struct {
		field string
		from  *v1alpha1.Duration
		to    *catalog.Duration
	}{
		{"shape.ramp", &o.Spec.Shape.Ramp, &d.Shape.Ramp}, {"shape.hold", &o.Spec.Shape.Hold, &d.Shape.Hold},
		{"shape.return", &o.Spec.Shape.Return, &d.Shape.Return}, {"objective", o.Spec.Objective, &d.Objective},
	} {
		if part.from == nil || *part.from == "" {
			continue
		}
		v, err := duration(part.field, part.from)
		if err != nil {
			return d, err
		}
		*part.to = *v
	}
	return d, catalog.ValidateDrill(d)
}

// begin is a drill that the federation does not know. Its status says that it is
// starting before it is started: who reads that goes on with it, or finds that it was.
func (in *Drills) begin(o *v1alpha1.Drill, plan *DrillPlan) {
	d, err := in.drill(o)
	rules := in.Refuses(d.Scope.Service)
	late := in.Now.Sub(o.CreationTimestamp.Time) > startWithin
	refusal := in.Refusals[o.UID]
	switch phase := o.Status.Phase; {
	case phase != "" && phase != v1alpha1.PhaseStarting:
		in.forgotten(o, plan)
	case refusal != nil:
		in.never(o, catalog.OutcomeFailed, refusal.Reason, refusal.Message)
	case err != nil:
		in.never(o, catalog.OutcomeFailed, v1alpha1.ReasonInvalid, err.Error())
	case len(rules) > 0:
		in.never(o, catalog.OutcomeRefused, v1alpha1.ReasonExportRules, fmt.Sprintf(
			"no export rule of the federation lets cluster %s export %s, so it does not drill it either; it is named by %s", in.Cluster, d.Scope.Service, strings.Join(rules, ", ")))
	case late:
		in.never(o, catalog.OutcomeFailed, v1alpha1.ReasonMissed, fmt.Sprintf("it could not begin within %s of its creation: %s", startWithin, cmp.Or(in.Stuck[o.UID], "nobody was there to begin it")))
	default:
		if phase == v1alpha1.PhaseStarting {
			plan.Starts = append(plan.Starts, DrillStart{o.UID, d})
		}
		o.Status.ID, o.Status.Phase = d.ID, v1alpha1.PhaseStarting
		o.Status.Detail = clip(in.Stuck[o.UID])
		in.settle(o, is(v1alpha1.DrillStarted, false, string(v1alpha1.PhaseStarting), "it is brought into the federation"))
	}
}

// never is a drill that does not begin.
func (in *Drills) never(o *v1alpha1.Drill, outcome catalog.DrillOutcome, reason, message string) {
	o.Status.Phase, o.Status.Outcome, o.Status.Detail = v1alpha1.PhaseOver, string(outcome), clip(message)
	in.settle(o, is(v1alpha1.DrillStarted, false, reason, message), is(v1alpha1.DrillComplete, true, string(v1alpha1.PhaseOver), "it did not begin"))
}

// forgotten is a drill that was known and is not.
func (in *Drills) forgotten(o *v1alpha1.Drill, plan *DrillPlan) {
	since, ok := in.Missing[o.UID]
	if !ok {
		since = in.Now
	}
	if in.Now.Sub(since) < goneAfter {
		plan.Missing[o.UID] = since
		return
	}
	if o.Status.Outcome == "" {
		o.Status.Outcome, o.Status.Detail = "unknown", "the federation has forgotten the drill: only the newest drills of a region are kept"
	}
	o.Status.Phase = v1alpha1.PhaseOver
	kept := slices.DeleteFunc(slices.Clone(o.Status.Conditions), func(c metav1.Condition) bool { return c.Type != v1alpha1.DrillStarted })
	in.settle(o, append(kept, is(v1alpha1.DrillComplete, true, v1alpha1.ReasonGone, "the federation knows no more of it"))...)
}

// follow is a drill that the federation knows.
func (in *Drills) follow(o *v1alpha1.Drill, v *catalog.DrillView) {
	r := in.Report(v)
	s := &o.Status
	s.ID, s.Phase = v.ID, phaseOf(v)
	s.Outcome, s.Detail, s.Verdict = shorten(r.Outcome, 32), clip(r.Detail), r.Verdict
	s.Lookups, s.FailedLookups = int64(r.Lookups), int64(r.Failed)
	s.Begun, s.Ended = moment(r.Begun), moment(r.Ended)
	s.Regions = r.Regions
	if v.Recorded != catalog.DrillEnded { // how it ended is what the region writes in a moment
		s.Outcome, s.Detail, s.Ended = "", "", nil
	}
	started := is(v1alpha1.DrillStarted, !v.Begun.IsZero(), string(s.Phase), "the regions have agreed")
	if v.Begun.IsZero() {
		started.Message = cmp.Or(r.Detail, "the regions are asked")
	}
	complete := is(v1alpha1.DrillComplete, false, string(s.Phase), "it is not over")
	if s.Phase == v1alpha1.PhaseOver {
		complete = is(v1alpha1.DrillComplete, false, v1alpha1.ReasonCollecting, "it is over; the regions tell what they answered")
		if v.Recorded == catalog.DrillEnded && in.told(v, &r) {
			complete = is(v1alpha1.DrillComplete, true, string(v1alpha1.PhaseOver), "it is over: "+r.Outcome)
		}
	}
	in.settle(o, started, complete)
}

// forbid ends a drill of a service that the cluster may no longer speak for.
func (in *Drills) forbid(v *catalog.DrillView, plan *DrillPlan) {
	if v.State == catalog.DrillEnded || v.End != nil {
		return
	}
	if rules := in.Refuses(v.Scope.Service); len(rules) > 0 {
		plan.Stops = append(plan.Stops, DrillStop{v.ID, fmt.Sprintf("no export rule lets cluster %s export %s any more; it is named by %s", in.Cluster, v.Scope.Service, strings.Join(rules, ", "))})
	}
}

// told reports whether all is known of a drill that has ended that will be.
func (in *Drills) told(v *catalog.DrillView, r *DrillReport) bool {
	return v.Begun.IsZero() || r.Verdict == "passed" || in.Now.Sub(v.Ended) > collectFor
}

func (in *Drills) settle(o *v1alpha1.Drill, conditions ...metav1.Condition) {
	settle(&o.Status.Conditions, conditions, []string{v1alpha1.DrillStarted, v1alpha1.DrillComplete}, o.Generation, metav1.NewTime(in.Now.Truncate(time.Second)))
}

func phaseOf(v *catalog.DrillView) v1alpha1.DrillPhase {
	switch v.Phase {
	case catalog.PhasePending:
		return v1alpha1.PhaseVoting
	case catalog.PhaseRamp:
		return v1alpha1.PhaseRamp
	case catalog.PhaseHold:
		return v1alpha1.PhaseHold
	case catalog.PhaseReturn:
		return v1alpha1.PhaseReturn
	}
	return v1alpha1.PhaseOver
}

// moment is a time as a status has it: in seconds, nil if there is none.
func moment(t time.Time) *metav1.Time {
	if t.IsZero() {
		return nil
	}
	return new(metav1.NewTime(t.UTC().Truncate(time.Second)))
}

// clip cuts what does not fit into a status.
func clip(s string) string { return shorten(s, maxMessage) }

func shorten(s string, most int) string {
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most-3], "") + "..."
}
