package operator

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/locality"
	"github.com/federator/federator/peering/pb"
)

// isOver reports whether nothing more will happen in a drill.
func isOver(d *catalog.DrillView) bool {
	return d.State == catalog.DrillEnded || d.Phase == catalog.PhaseOver || d.End != nil
}

// outcomeOf is how a drill ended, as far as is known here; "" while it goes on.
func outcomeOf(d *catalog.DrillView) catalog.DrillOutcome {
	switch {
	case d.Outcome != "":
		return d.Outcome
	case d.End != nil:
		return d.End.Outcome
	case d.State == catalog.DrillRunning && d.Phase == catalog.PhaseOver:
		return catalog.OutcomeSucceeded // by its countdown
	}
	return ""
}

// detailOf says more of the outcome.
func detailOf(d *catalog.DrillView) string {
	if d.Detail == "" && d.End != nil {
		return d.End.Reason
	}
	return d.Detail
}

// drillInfo is a drill on the wire.
func (v *view) drillInfo(d *catalog.DrillView) *pb.DrillInfo {
	out := &pb.DrillInfo{
		Id: d.ID, Kind: string(d.Kind), Scope: d.Scope.String(), State: string(d.State), Phase: string(d.Phase),
		Outcome: string(outcomeOf(d)), Detail: detailOf(d), Reason: d.Reason, Actor: d.Actor, Forced: d.Forced, Region: d.Region, Schedule: d.Schedule,
		Created: moment(d.Created), Begun: moment(d.Begun), Ended: moment(d.Ended),
		Ramp: lasting(time.Duration(d.Shape.Ramp)), Hold: lasting(time.Duration(d.Shape.Hold)), Return: lasting(time.Duration(d.Shape.Return)),
		Objective: measured(time.Duration(d.Objective)), Elapsed: lasting(d.Elapsed),
	}
	if !isOver(d) {
		out.Remaining = lasting(max(0, d.Shape.Length()-d.Elapsed))
		out.SharePercent = d.Share() / (locality.Unit / 100)
		out.Ignored = sparedWords(v.setAside(d.ID))
	}
	for _, region := range v.known {
		if d.Ballot(region) == nil && d.State != catalog.DrillEnded {
			out.Ballots = append(out.Ballots, &pb.DrillBallot{Region: region, Vote: "silent"})
		}
	}
	for i := range d.Ballots {
		out.Ballots = append(out.Ballots, ballot(&d.Ballots[i]))
	}
	return out
}

func ballot(b *catalog.Ballot) *pb.DrillBallot {
	out := &pb.DrillBallot{Region: b.Region, Vote: "silent", Reason: b.Reason, Elapsed: measured(time.Duration(b.Elapsed)), Extended: measured(time.Duration(b.Extended))}
	switch {
	case b.Granted:
		out.Vote = "granted"
	case b.Reason != "":
		out.Vote = "refused"
	}
	for _, a := range b.Acks {
		out.Acks = append(out.Acks, &pb.DrillAck{Phase: string(a.Phase), At: moment(a.At)})
	}
	if b.End != nil {
		out.End = string(b.End.Outcome) + ": " + b.End.Reason
	}
	return out
}

// liveDrills are those that are not over.
func (v *view) liveDrills() []*pb.DrillInfo {
	var out []*pb.DrillInfo
	for i := range v.drills {
		if !isOver(&v.drills[i]) {
			out = append(out, v.drillInfo(&v.drills[i]))
		}
	}
	return out
}

// setAside finds the services for which resolution sets a drill aside, by why.
func (v *view) setAside(id string) map[string][]string {
	acts := false
	for _, d := range v.cond.Drills {
		acts = acts || d.ID == id
	}
	if !acts {
		return nil
	}
	out := map[string][]string{}
	for _, s := range v.services {
		if why, aside := locality.Safety(locality.Input{Service: s, Conditions: v.cond}).SetAside(id); aside {
			out[why] = append(out[why], s.Name.String())
		}
	}
	return out
}

// sparedWords says for which services something is set aside, and why.
func sparedWords(spared map[string][]string) string {
	var parts []string
	n := 0
	for _, why := range slices.Sorted(maps.Keys(spared)) {
		slices.Sort(spared[why])
		n += len(spared[why])
		for _, name := range spared[why] {
			parts = append(parts, fmt.Sprintf("%s (it %s)", name, why))
		}
	}
	if n == 0 {
		return ""
	}
	return fmt.Sprintf("for %d service(s): %s", n, strings.Join(most(parts, 5), "; "))
}
