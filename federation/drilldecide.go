package federation

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/federation/drill"
	"github.com/federator/federator/federation/state"
)

// elapsedEvery is how often a region writes down how far its count is.
const elapsedEvery = 10 * time.Second

// drillWorld is what the leader of a region decides on, about drills.
type drillWorld struct {
	now    time.Time
	region string
	// members are the regions that count, the own one included; older those of them
	// that run a release which knows no drills.
	members []string
	older   map[string]bool
	drills  []catalog.DrillView
	// seen is since when this leader knows each drill.
	seen map[string]time.Time
	// isolated: the own region is cut off, by a fault or for practice.
	isolated    bool
	evacuations []string
	// judge says what is against a drill now.
	judge func(catalog.Drill) []drill.Finding
	// failing says which alarm of a drill is failing, "" if none; blocked whether
	// the schedule's windows forbid practice now.
	failing func(id string) string
	blocked func(schedule string) bool
}

// drillAction is a command that a leader wants proposed, and what to log of it.
type drillAction struct {
	drill string
	cmd   state.Command
	says  string
}

// decide is all that a leader has to do about drills. Ends and releases come
// first, so that votes are free when they are needed.
func (w *drillWorld) decide() []drillAction {
	var out []drillAction
	for _, role := range []func(*catalog.DrillView) *drillAction{w.guard, w.follow, w.coordinate, w.vote} {
		for i := range w.drills {
			if a := role(&w.drills[i]); a != nil {
				a.drill = w.drills[i].ID
				out = append(out, *a)
			}
		}
	}
	return out
}

// coordinate moves on the drills of this region, as the votes and ends demand.
func (w *drillWorld) coordinate(v *catalog.DrillView) *drillAction {
	switch {
	case v.Region != w.region || v.Recorded == catalog.DrillEnded:
		return nil
	case v.End != nil:
		return w.end(v, v.End.Outcome, v.End.Reason)
	case v.Recorded == catalog.DrillPending:
		return w.count(v)
	case v.State == catalog.DrillEnded:
		return w.end(v, catalog.OutcomeSucceeded, "")
	}
	return nil
}

func (w *drillWorld) end(v *catalog.DrillView, o catalog.DrillOutcome, detail string) *drillAction {
	return &drillAction{says: "a drill has ended", cmd: &state.AdvanceDrill{ID: v.ID, State: catalog.DrillEnded, Ended: w.now, Outcome: o, Detail: shorten(detail, 2000)}}
}

// count counts the votes on a pending drill: a majority of the members begins it;
// that there can be none any more, or that the time is up, refuses it.
func (w *drillWorld) count(v *catalog.DrillView) *drillAction {
	granted := 0
	var refused, silent []string
	for _, region := range w.members {
		switch b := v.Ballot(region); {
		case b != nil && b.Granted && !b.Released:
			granted++
		case b != nil && b.Reason != "":
			refused = append(refused, "region "+region+" refuses: "+b.Reason)
		case w.older[region]:
			refused = append(refused, "region "+region+" runs an older release and cannot vote")
		default:
			silent = append(silent, region)
		}
	}
	majority := len(w.members)/2 + 1
	late := w.now.Sub(v.Created) > catalog.VoteWindow || w.now.Sub(w.seen[v.ID]) > catalog.VoteWindow
	switch {
	case granted >= majority && !late:
		return &drillAction{says: "a drill begins", cmd: &state.AdvanceDrill{ID: v.ID, State: catalog.DrillRunning, Begun: w.now}}
	case len(w.members)-len(refused) >= majority && !late:
		return nil
	}
	said := append([]string{fmt.Sprintf("%d of %d regions granted it, %d are needed", granted, len(w.members), majority)}, refused...)
	if len(silent) > 0 {
		said = append(said, "no word from "+strings.Join(silent, ", "))
	}
	return w.end(v, catalog.OutcomeRefused, strings.Join(said, "; "))
}

// vote casts this region's vote on a drill that another coordinates. A region that
// missed the vote on one that runs casts it late: what it grants it cannot grant
// to another.
func (w *drillWorld) vote(v *catalog.DrillView) *drillAction {
	missed := v.State == catalog.DrillPending && w.now.Sub(w.seen[v.ID]) > catalog.VoteWindow
	if v.Region == w.region || v.State == catalog.DrillEnded || v.Ballot(w.region) != nil || missed {
		return nil
	}
	reason := shorten(w.against(v), 2000)
	says := "this region grants a drill"
	if reason != "" {
		says = "this region refuses a drill"
	}
	return &drillAction{says: says, cmd: &state.CastBallot{Drill: v.ID, Scope: v.Scope, Granted: reason == "", Reason: reason}}
}

// against is why this region does not grant a drill, "" if nothing is.
func (w *drillWorld) against(v *catalog.DrillView) string {
	if w.isolated {
		return "it is cut off from the other regions"
	}
	for i := range w.drills {
		o := &w.drills[i]
		if b := o.Ballot(w.region); o.ID != v.ID && o.State != catalog.DrillEnded && b != nil && b.Granted && !b.Released && b.Scope.Overlaps(v.Scope) {
			return fmt.Sprintf("it has granted drill %s of %s, which is %s and overlaps", o.ID, b.Scope, o.State)
		}
	}
	return w.findings(v.Drill, nil, drill.OtherDrill) // the votes see to other drills
}

// breaking are the findings that end a drill that runs.
func breaking() []string {
	return []string{drill.NothingLeft, drill.UnderMinRegions, drill.UnderMinEndpoints, drill.GateClosed}
}

// findings are, in words, those that hold a drill up; only lists the codes that
// count (nil: all), but for the exceptions. What was forced needs open gates all
// the same.
func (w *drillWorld) findings(d catalog.Drill, only []string, except ...string) string {
	var said []string
	for _, f := range w.judge(d) {
		counts := f.Severity == drill.Blocks && (only == nil || slices.Contains(only, f.Code)) && !slices.Contains(except, f.Code)
		if counts && (!d.Forced || f.Code == drill.GateClosed) {
			said = append(said, f.String())
		}
	}
	return strings.Join(said, "; ")
}

// guard ends a drill that meets a real failure, or something with precedence. A
// region that is cut off only counts down: it cannot know.
func (w *drillWorld) guard(v *catalog.DrillView) *drillAction {
	if v.State == catalog.DrillEnded || w.isolated {
		return nil
	}
	if v.Schedule != "" {
		if len(w.evacuations) > 0 {
			return w.abort(v, catalog.OutcomeInterrupted, "region "+w.evacuations[0]+" is evacuated by an operator")
		}
		if v.Region == w.region && w.blocked(v.Schedule) {
			return w.abort(v, catalog.OutcomeInterrupted, "schedule "+v.Schedule+" blocks practice from now on")
		}
	}
	if v.State != catalog.DrillRunning {
		return nil
	}
	if v.Region == w.region {
		if why := w.failing(v.ID); why != "" {
			return w.abort(v, catalog.OutcomeAborted, why)
		}
	}
	if why := w.findings(v.Drill, breaking()); why != "" {
		return w.abort(v, catalog.OutcomeAborted, why)
	}
	return nil
}

func (w *drillWorld) abort(v *catalog.DrillView, o catalog.DrillOutcome, why string) *drillAction {
	if b := v.Ballot(w.region); b != nil && b.End != nil {
		return nil
	}
	return &drillAction{says: "this region ends a drill", cmd: &state.MarkBallot{
		Drill: v.ID, End: &catalog.DrillEnd{Outcome: o, Reason: shorten("region "+w.region+": "+why, 1000), At: w.now},
	}}
}

// follow writes down which phases took effect here and how far the count is, and
// frees the vote when the drill is over.
func (w *drillWorld) follow(v *catalog.DrillView) *drillAction {
	b := v.Ballot(w.region)
	if b == nil {
		return nil
	}
	elapsed := max(catalog.Duration(v.Elapsed), b.Elapsed)
	acked := slices.ContainsFunc(b.Acks, func(a catalog.PhaseAck) bool { return a.Phase == v.Phase })
	var ack *catalog.PhaseAck
	if !acked && !v.Begun.IsZero() {
		ack = &catalog.PhaseAck{Phase: v.Phase, At: w.now}
	}
	switch {
	case v.State == catalog.DrillPending:
	case v.State == catalog.DrillEnded && (ack != nil || b.Granted && !b.Released):
		return &drillAction{says: "a drill is over here", cmd: &state.MarkBallot{Drill: v.ID, Ack: ack, Elapsed: elapsed, Release: true}}
	case v.State == catalog.DrillEnded:
	case ack != nil:
		return &drillAction{says: "a phase of a drill took effect here", cmd: &state.MarkBallot{Drill: v.ID, Ack: ack, Elapsed: elapsed}}
	case elapsed-b.Elapsed >= catalog.Duration(elapsedEvery):
		return &drillAction{cmd: &state.MarkBallot{Drill: v.ID, Elapsed: elapsed}}
	}
	return nil
}

// shorten cuts s to at most n bytes.
func shorten(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n-3], "") + "..."
}

// keptDrills is how many ended drills the region that coordinated them keeps of its
// operators and schedules, and as many of the users of Kubernetes namespaces: who may
// only practise with a service of theirs cannot make others' records be forgotten.
const keptDrills = 50

// forgetAfter is how long a region keeps what it said of a drill that it does not
// know (any more): the drill may still come.
const forgetAfter = time.Hour

// retired returns the objects that this region has to delete: its oldest ended
// drills and those of regions that are no more, if it is the authority; and what
// it said of drills that are gone.
func retired(objects []*catalog.Object, w *drillWorld, authority bool) []catalog.ObjectKey {
	var out []catalog.ObjectKey
	own := map[bool]int{}
	gone := map[string]bool{}
	for i := len(w.drills) - 1; i >= 0; i-- { // newest first
		v := &w.drills[i]
		orphan := authority && !slices.Contains(w.members, v.Region)
		if v.State != catalog.DrillEnded || v.Region != w.region && !orphan {
			continue
		}
		if v.Region == w.region && v.Recorded == catalog.DrillEnded {
			own[v.ByUser()]++
		}
		if own[v.ByUser()] > keptDrills || orphan {
			gone[v.ID] = true
		}
	}
	for _, o := range objects {
		id, region, _ := strings.Cut(o.Name, "@")
		known := slices.ContainsFunc(w.drills, func(v catalog.DrillView) bool { return v.ID == id && !gone[id] })
		switch {
		case o.Deleted:
		case o.Kind == catalog.KindDrill && gone[o.Name]:
			out = append(out, o.ObjectKey)
		case o.Kind != catalog.KindBallot && o.Kind != catalog.KindDrillSamples || known:
		case region == w.region && (deletedDrill(objects, id) || w.now.Sub(time.Unix(0, o.Version.HLC)) > forgetAfter),
			authority && !slices.Contains(w.members, region):
			out = append(out, o.ObjectKey)
		}
	}
	return out
}

// deletedDrill reports whether the drill was deleted, and not only never heard of.
func deletedDrill(objects []*catalog.Object, id string) bool {
	return slices.ContainsFunc(objects, func(o *catalog.Object) bool {
		return o.Kind == catalog.KindDrill && o.Name == id && o.Deleted
	})
}
