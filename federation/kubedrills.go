package federation

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/federation/drill"
	"github.com/federator/federator/federation/state"
	"github.com/federator/federator/kube/api/v1alpha1"
	"github.com/federator/federator/kube/intents"
)

// maxFindings is how many of the findings against a drill its status names.
const maxFindings = 5

// maxStatusRegions is how many regions the status of a Drill may name (its
// CustomResourceDefinition says so); the report has all.
const maxStatusRegions = 64

// Drills implements [intents.Federation].
func (i intentions) Drills() []catalog.DrillView {
	return slices.DeleteFunc(i.r.catalog.Drills(), func(v catalog.DrillView) bool { return v.Region != i.r.card.Replica.Region })
}

// Report implements [intents.Federation].
func (i intentions) Report(v *catalog.DrillView) intents.DrillReport {
	members := append(i.r.otherRegions(), i.r.card.Replica.Region)
	r := drill.MakeReport(drill.Story{Drill: *v, Samples: i.r.catalog.Samples(v.ID), Regions: members, Now: time.Now()})
	out := intents.DrillReport{
		Outcome: string(r.Outcome), Detail: r.Detail, Verdict: string(r.Verdict),
		Lookups: r.Totals.Lookups, Failed: r.Totals.Failed, Begun: v.Begun, Ended: v.Ended,
	}
	for _, region := range r.Regions[:min(len(r.Regions), maxStatusRegions)] {
		out.Regions = append(out.Regions, v1alpha1.DrillRegion{
			Region: v1alpha1.Label(region.Region), Vote: region.Vote, Reason: shorten(region.Reason, 500), Verdict: string(region.Verdict),
		})
	}
	return out
}

// StartDrill implements [intents.Federation]: as an operator would start it in this
// region without force, with an id that says whether it was started before.
func (i intentions) StartDrill(ctx context.Context, d catalog.Drill) error {
	if err := i.r.proposer.CatchUp(ctx); err != nil {
		return err
	}
	key := catalog.ObjectKey{Kind: catalog.KindDrill, Name: d.ID}
	if i.has(key) {
		return nil // by the writer before
	}
	if !i.r.understandsDrills() {
		return errors.New("some replica of the region runs a release that knows no drills; upgrade it")
	}
	if known := append(i.r.otherRegions(), i.r.card.Replica.Region); !slices.Contains(known, d.Scope.Region) {
		slices.Sort(known)
		return &intents.Refusal{Reason: v1alpha1.ReasonUnsafe, Message: "there is no region " + d.Scope.Region + "; known are " + strings.Join(known, ", ")}
	}
	if unsafe := drill.Unsafe(i.r.judgeDrill(d)); len(unsafe) > 0 {
		return &intents.Refusal{Reason: v1alpha1.ReasonUnsafe, Message: "its plan is unsafe: " + strings.Join(unsafe[:min(len(unsafe), maxFindings)], "; ")}
	}
	err := i.r.proposeDrill(ctx, &state.StartDrill{Drill: d})
	if errors.Is(err, state.ErrConflict) && !i.has(key) {
		return &intents.Refusal{Reason: v1alpha1.ReasonTaken, Message: err.Error()}
	}
	if errors.Is(err, state.ErrConflict) {
		return nil
	}
	return err
}

// has reports whether the region's state has a living object.
func (i intentions) has(key catalog.ObjectKey) (is bool) {
	i.r.node.Read(func(s *state.State) {
		o := s.Object(key)
		is = o != nil && !o.Deleted
	})
	return is
}

// StopDrill implements [intents.Federation].
func (i intentions) StopDrill(ctx context.Context, id, reason string) error {
	return i.r.proposeDrill(ctx, &state.MarkBallot{Drill: id, End: &catalog.DrillEnd{
		Outcome: catalog.OutcomeStopped, Reason: shorten(reason, 1000), Actor: i.r.systemMeta().Actor, At: time.Now().UTC(),
	}})
}
