package federation

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/federation/drill"
	"github.com/federator/federator/federation/state"
)

var drillNoon = time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)

// standing is a drill of us-west as a replica sees it at noon.
func standing(s catalog.DrillState, ballots ...catalog.Ballot) catalog.DrillView {
	d := catalog.Drill{
		ID: "d", Kind: catalog.DrillEvacuate, Scope: catalog.Scope{Region: "us-west"}, Region: "us-west",
		Shape: catalog.Shape{Hold: catalog.Duration(time.Minute)}, State: s, Created: drillNoon.Add(-5 * time.Second),
	}
	v := catalog.DrillView{Drill: d, Recorded: s, Ballots: ballots, Phase: catalog.PhasePending}
	if s != catalog.DrillPending {
		v.Begun, v.Phase = drillNoon.Add(-time.Second), catalog.PhaseHold
	}
	if s == catalog.DrillEnded {
		v.Phase = catalog.PhaseOver
	}
	for i := range ballots {
		if ballots[i].End != nil {
			v.End, v.State, v.Phase = ballots[i].End, catalog.DrillEnded, catalog.PhaseOver
		}
	}
	return v
}

func granted(region string) catalog.Ballot {
	return catalog.Ballot{Drill: "d", Region: region, Granted: true, Scope: catalog.Scope{Region: "us-west"}}
}

func refusedBy(region, why string) catalog.Ballot {
	return catalog.Ballot{Drill: "d", Region: region, Reason: why, Scope: catalog.Scope{Region: "us-west"}}
}

// deciding is the world of the leader of a region at noon.
func deciding(region string, drills ...catalog.DrillView) *drillWorld {
	w := &drillWorld{
		now: drillNoon, region: region, members: []string{"asia-east", "eu-central", "us-west"}, older: map[string]bool{},
		drills: drills, seen: map[string]time.Time{}, judge: func(catalog.Drill) []drill.Finding { return nil },
		failing: func(string) string { return "" }, blocked: func(string) bool { return false },
	}
	for _, v := range drills {
		w.seen[v.ID] = drillNoon.Add(-5 * time.Second)
	}
	return w
}

// brief is what a leader wants, in a word or two.
func brief(actions []drillAction) string {
	var out []string
	for _, a := range actions {
		switch c := a.cmd.(type) {
		case *state.AdvanceDrill:
			out = append(out, strings.TrimSpace(fmt.Sprintf("%s %s %s", c.ID, c.State, c.Outcome)))
		case *state.CastBallot:
			out = append(out, c.Drill+map[bool]string{true: " grant", false: " refuse"}[c.Granted])
		case *state.MarkBallot:
			said := c.Drill + " mark"
			if c.Ack != nil {
				said += " " + string(c.Ack.Phase)
			}
			if c.Elapsed > 0 {
				said += " " + time.Duration(c.Elapsed).String()
			}
			if c.End != nil {
				said += " end " + string(c.End.Outcome)
			}
			if c.Release {
				said += " release"
			}
			out = append(out, said)
		}
	}
	return strings.Join(out, ", ")
}

func finding(code string) func(catalog.Drill) []drill.Finding {
	return func(catalog.Drill) []drill.Finding {
		return []drill.Finding{{Code: code, Severity: drill.Blocks, Subject: "it", Found: "is so"}}
	}
}

func TestTheCoordinatorCountsVotes(t *testing.T) {
	west, eu, asia := granted("us-west"), granted("eu-central"), granted("asia-east")
	old := func(regions ...string) func(*drillWorld) {
		return func(w *drillWorld) {
			for _, r := range regions {
				w.older[r] = true
			}
		}
	}
	late := func(w *drillWorld) { w.drills[0].Created = drillNoon.Add(-catalog.VoteWindow - 1) }
	lateHere := func(w *drillWorld) { w.seen["d"] = drillNoon.Add(-catalog.VoteWindow - 1) }
	for _, tt := range []struct {
		name    string
		ballots []catalog.Ballot
		change  func(*drillWorld)
		want    string
		words   []string
	}{
		{"one vote of three waits", []catalog.Ballot{west}, nil, "", nil},
		{"two votes of three begin it", []catalog.Ballot{eu, west}, nil, "d running", nil},
		{"all begin it", []catalog.Ballot{asia, eu, west}, nil, "d running", nil},
		{"one refusal of three waits", []catalog.Ballot{refusedBy("eu-central", "no"), west}, nil, "", nil},
		{"two refusals end it", []catalog.Ballot{refusedBy("asia-east", "never"), refusedBy("eu-central", "no"), west}, nil, "d ended refused",
			[]string{"1 of 3 regions granted it, 2 are needed", "region asia-east refuses: never", "region eu-central refuses: no"}},
		{"an older release cannot vote", []catalog.Ballot{refusedBy("asia-east", "never"), west}, old("eu-central"), "d ended refused",
			[]string{"region eu-central runs an older release and cannot vote"}},
		{"one older release does not matter", []catalog.Ballot{asia, west}, old("eu-central"), "d running", nil},
		{"silence ends it in time", []catalog.Ballot{west}, late, "d ended refused", []string{"no word from asia-east, eu-central"}},
		{"also if the wall clock went back", []catalog.Ballot{west}, lateHere, "d ended refused", nil},
		{"votes that come late do not count", []catalog.Ballot{asia, eu, west}, late, "d ended refused", nil},
		{"a released vote does not count", []catalog.Ballot{{Drill: "d", Region: "eu-central", Granted: true, Released: true}, west}, nil, "", nil},
		{"a region that was removed does not count", []catalog.Ballot{granted("gone"), west}, nil, "", nil},
		{"whoever wants it to end, ends it", []catalog.Ballot{eu, west, {Drill: "d", Region: "asia-east", End: &catalog.DrillEnd{Outcome: catalog.OutcomeStopped, Reason: "enough"}}}, nil,
			"d mark release, d ended stopped", nil},
	} {
		w := deciding("us-west", standing(catalog.DrillPending, tt.ballots...))
		if tt.change != nil {
			tt.change(w)
		}
		actions := w.decide()
		if got := brief(actions); got != tt.want {
			t.Errorf("%s: expected %q, found %q", tt.name, tt.want, got)
			continue
		}
		for _, words := range tt.words {
			if detail := actions[len(actions)-1].cmd.(*state.AdvanceDrill).Detail; !strings.Contains(detail, words) {
				t.Errorf("%s: expected %q in %q", tt.name, words, detail)
			}
		}
	}
}

func TestARegionVotesOnce(t *testing.T) {
	other := standing(catalog.DrillRunning, catalog.Ballot{Drill: "other", Region: "eu-central", Granted: true, Scope: catalog.Scope{Region: "asia-east"}, Acks: []catalog.PhaseAck{{Phase: catalog.PhaseHold}}})
	other.ID, other.Region = "other", "asia-east"
	over := other
	over.State, over.Phase = catalog.DrillEnded, catalog.PhaseOver
	elsewhere := other
	elsewhere.Ballots = []catalog.Ballot{{Drill: "other", Region: "eu-central", Reason: "refused"}}
	elsewhere.Ballots[0].Acks = []catalog.PhaseAck{{Phase: catalog.PhaseHold}}
	forced := standing(catalog.DrillPending)
	forced.Forced = true
	late := func(w *drillWorld) { w.seen["d"] = drillNoon.Add(-catalog.VoteWindow - 1) }
	for _, tt := range []struct {
		name   string
		drills []catalog.DrillView
		change func(*drillWorld)
		want   string
	}{
		{"what is safe is granted", []catalog.DrillView{standing(catalog.DrillPending)}, nil, "d grant"},
		{"once", []catalog.DrillView{standing(catalog.DrillPending, granted("eu-central"))}, nil, ""},
		{"a refusal, too, is cast once", []catalog.DrillView{standing(catalog.DrillPending, refusedBy("eu-central", "no"))}, nil, ""},
		{"what is unsafe is refused", []catalog.DrillView{standing(catalog.DrillPending)}, func(w *drillWorld) { w.judge = finding(drill.UnderMinRegions) }, "d refuse"},
		{"unless it was forced", []catalog.DrillView{forced}, func(w *drillWorld) { w.judge = finding(drill.UnderMinRegions) }, "d grant"},
		{"force opens no gate", []catalog.DrillView{forced}, func(w *drillWorld) { w.judge = finding(drill.GateClosed) }, "d refuse"},
		{"who is cut off refuses", []catalog.DrillView{standing(catalog.DrillPending)}, func(w *drillWorld) { w.isolated = true }, "d refuse"},
		{"a vote that is with another is not given twice", []catalog.DrillView{other, standing(catalog.DrillPending)}, nil, "d refuse"},
		{"a drill that is over frees it first", []catalog.DrillView{over, standing(catalog.DrillPending)}, nil, "other mark over release, d grant"},
		{"a drill that was refused here does not hold it", []catalog.DrillView{elsewhere, standing(catalog.DrillPending)}, nil, "d grant"},
		{"that others are pending is for the votes to decide", []catalog.DrillView{standing(catalog.DrillPending)}, func(w *drillWorld) { w.judge = finding(drill.OtherDrill) }, "d grant"},
		{"after the vote it is too late", []catalog.DrillView{standing(catalog.DrillPending)}, late, ""},
		{"a vote that was missed is cast late", []catalog.DrillView{standing(catalog.DrillRunning)}, late, "d grant"},
		{"nobody votes on what is over", []catalog.DrillView{standing(catalog.DrillEnded)}, nil, ""},
	} {
		w := deciding("eu-central", tt.drills...)
		if tt.change != nil {
			tt.change(w)
		}
		if got := brief(w.decide()); got != tt.want {
			t.Errorf("%s: expected %q, found %q", tt.name, tt.want, got)
		}
	}
}

func TestTheGuardEndsADrillThatMeetsAFailure(t *testing.T) {
	running := func(change func(*catalog.DrillView)) catalog.DrillView {
		v := standing(catalog.DrillRunning, granted("eu-central"), granted("us-west"))
		for i := range v.Ballots {
			v.Ballots[i].Acks = []catalog.PhaseAck{{Phase: catalog.PhaseHold}}
		}
		if change != nil {
			change(&v)
		}
		return v
	}
	scheduled := func(v *catalog.DrillView) { v.Schedule = "nightly" }
	for _, tt := range []struct {
		name   string
		region string
		v      catalog.DrillView
		change func(*drillWorld)
		want   string
	}{
		{"all is well", "eu-central", running(nil), nil, ""},
		{"a rule would be broken", "eu-central", running(nil), func(w *drillWorld) { w.judge = finding(drill.UnderMinEndpoints) }, "d mark end aborted"},
		{"a gate was closed", "eu-central", running(nil), func(w *drillWorld) { w.judge = finding(drill.GateClosed) }, "d mark end aborted"},
		{"a silent region breaks no rule by itself", "eu-central", running(nil), func(w *drillWorld) { w.judge = finding(drill.RegionUnreachable) }, ""},
		{"rules do not end what was forced", "eu-central", running(func(v *catalog.DrillView) { v.Forced = true }), func(w *drillWorld) { w.judge = finding(drill.UnderMinEndpoints) }, ""},
		{"who is cut off only counts down", "eu-central", running(nil), func(w *drillWorld) { w.isolated, w.judge = true, finding(drill.UnderMinEndpoints) }, ""},
		{"an alarm ends it", "us-west", running(nil), func(w *drillWorld) { w.failing = func(string) string { return "alarm a: bad" } }, "d mark end aborted"},
		{"alarms are the coordinator's", "eu-central", running(nil), func(w *drillWorld) { w.failing = func(string) string { return "alarm a: bad" } }, ""},
		{"an evacuation ends practice on schedule", "eu-central", running(scheduled), func(w *drillWorld) { w.evacuations = []string{"asia-east"} }, "d mark end interrupted"},
		{"and no operator's drill", "eu-central", running(nil), func(w *drillWorld) { w.evacuations = []string{"asia-east"} }, ""},
		{"a blocked window that begins ends practice", "us-west", running(scheduled), func(w *drillWorld) { w.blocked = func(string) bool { return true } }, "d mark end interrupted"},
		{"a pending one, too", "us-west", func() catalog.DrillView {
			v := standing(catalog.DrillPending, granted("us-west"))
			v.Schedule = "nightly"
			return v
		}(), func(w *drillWorld) { w.blocked = func(string) bool { return true } }, "d mark end interrupted"},
		{"a region ends it once", "eu-central", running(func(v *catalog.DrillView) { v.Ballots[0].End = &catalog.DrillEnd{} }), func(w *drillWorld) { w.judge = finding(drill.GateClosed) }, ""},
	} {
		w := deciding(tt.region, tt.v)
		if tt.change != nil {
			tt.change(w)
		}
		if got := brief(w.decide()); got != tt.want {
			t.Errorf("%s: expected %q, found %q", tt.name, tt.want, got)
		}
	}
}

func TestARegionWritesDownHowFarItIs(t *testing.T) {
	at := func(elapsed time.Duration, phase catalog.DrillPhase, s catalog.DrillState, b catalog.Ballot) catalog.DrillView {
		v := standing(catalog.DrillRunning, b)
		v.Elapsed, v.Phase, v.State = elapsed, phase, s
		return v
	}
	acked := func(b catalog.Ballot, phases ...catalog.DrillPhase) catalog.Ballot {
		for _, p := range phases {
			b.Acks = append(b.Acks, catalog.PhaseAck{Phase: p})
		}
		return b
	}
	eu := granted("eu-central")
	done := acked(eu, catalog.PhaseHold, catalog.PhaseOver)
	done.Released = true
	for _, tt := range []struct {
		name string
		v    catalog.DrillView
		want string
	}{
		{"a phase that began", at(2*time.Second, catalog.PhaseHold, catalog.DrillRunning, eu), "d mark hold 2s"},
		{"nothing new", at(9*time.Second, catalog.PhaseHold, catalog.DrillRunning, acked(eu, catalog.PhaseHold)), ""},
		{"ten seconds more", at(10*time.Second, catalog.PhaseHold, catalog.DrillRunning, acked(eu, catalog.PhaseHold)), "d mark 10s"},
		{"its end", at(time.Minute, catalog.PhaseOver, catalog.DrillEnded, acked(eu, catalog.PhaseHold)), "d mark over 1m0s release"},
		{"its end was written", at(time.Minute, catalog.PhaseOver, catalog.DrillEnded, done), ""},
		{"the end of what was refused here", at(time.Minute, catalog.PhaseOver, catalog.DrillEnded, acked(refusedBy("eu-central", "no"), catalog.PhaseHold)), "d mark over 1m0s release"},
		{"nothing without a ballot", at(time.Minute, catalog.PhaseOver, catalog.DrillEnded, granted("asia-east")), ""},
	} {
		if got := brief(deciding("eu-central", tt.v).decide()); got != tt.want {
			t.Errorf("%s: expected %q, found %q", tt.name, tt.want, got)
		}
	}
}

func TestOldDrillsAreRetired(t *testing.T) {
	w := deciding("us-west")
	var objects []*catalog.Object
	object := func(kind catalog.ObjectKind, name string, age time.Duration) *catalog.Object {
		o := &catalog.Object{ObjectKey: catalog.ObjectKey{Kind: kind, Name: name}, Version: catalog.ObjectVersion{HLC: drillNoon.Add(-age).UnixNano()}}
		objects = append(objects, o)
		return o
	}
	for i := range keptDrills + 2 {
		v := standing(catalog.DrillEnded)
		v.ID = fmt.Sprintf("d%02d", i)
		w.drills = append(w.drills, v)
		object(catalog.KindDrill, v.ID, 0)
		object(catalog.KindBallot, v.ID+"@us-west", 0)
	}
	for i := range keptDrills + 1 { // of users, and younger
		v := standing(catalog.DrillEnded)
		v.ID, v.Actor = fmt.Sprintf("u%02d", i), "kubernetes:us-west-1/shop/practice"
		w.drills = append(w.drills, v)
		object(catalog.KindDrill, v.ID, 0)
	}
	running, foreign, orphan := standing(catalog.DrillRunning), standing(catalog.DrillEnded), standing(catalog.DrillEnded)
	running.ID, foreign.ID, foreign.Region, orphan.ID, orphan.Region = "running", "foreign", "eu-central", "orphan", "gone"
	w.drills = append([]catalog.DrillView{foreign, orphan}, append(w.drills, running)...)
	for _, id := range []string{"running", "foreign", "orphan"} {
		object(catalog.KindDrill, id, 0)
	}
	object(catalog.KindDrill, "deleted", 0).Deleted = true
	object(catalog.KindBallot, "deleted@us-west", 0)
	object(catalog.KindBallot, "deleted@eu-central", 0)
	object(catalog.KindDrillSamples, "deleted@us-west", 0)
	object(catalog.KindBallot, "unknown@us-west", time.Minute)
	object(catalog.KindBallot, "long-unknown@us-west", 2*time.Hour)
	object(catalog.KindBallot, "deleted@gone", 0)
	object(catalog.KindPolicy, "default", 0)
	names := func(authority bool) string {
		var out []string
		for _, key := range retired(objects, w, authority) {
			out = append(out, key.String())
		}
		return strings.Join(out, " ")
	}
	want := "drill/d00 drill/d01 drill/u00 ballot/deleted@us-west drill-samples/deleted@us-west ballot/long-unknown@us-west"
	if got := names(false); got != want {
		t.Errorf("expected %s, found %s", want, got)
	}
	want = "drill/d00 drill/d01 drill/u00 drill/orphan ballot/deleted@us-west drill-samples/deleted@us-west ballot/long-unknown@us-west ballot/deleted@gone"
	if got := names(true); got != want {
		t.Errorf("of the authority expected %s, found %s", want, got)
	}
}
