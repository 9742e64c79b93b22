package state

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/federator/federator/federation/catalog"
)

// drilling returns a rig whose region understands drills.
func drilling(t *testing.T) *rig {
	r := newRig(t)
	f := foundUSWest()
	f.Replica.MaxProtocol = Protocol
	r.ok(f)
	return r
}

func drillOf(id, region string, service ...string) catalog.Drill {
	d := catalog.Drill{
		ID: id, Kind: catalog.DrillEvacuate, Region: region, Actor: "op",
		Scope: catalog.Scope{Region: "eu-central"}, Shape: catalog.Shape{Hold: catalog.Duration(time.Minute)},
	}
	if len(service) > 0 {
		d.Scope.Service = catalog.ServiceName{Namespace: "shop", Name: service[0]}
	}
	return d
}

func (r *rig) drill(id string) (d catalog.Drill) {
	r.t.Helper()
	if !(&change{State: r.s}).readSpec(drillKey(id), &d) {
		r.t.Fatalf("there is no drill %s", id)
	}
	return d
}

func (r *rig) ballot(id string) (b catalog.Ballot) {
	r.t.Helper()
	c := &change{State: r.s}
	if !c.readSpec(c.ballotKey(id), &b) {
		r.t.Fatalf("there is no ballot for drill %s", id)
	}
	return b
}

func grant(d catalog.Drill) *CastBallot {
	return &CastBallot{Drill: d.ID, Scope: d.Scope, Granted: true}
}

func TestADrillBeginsTogetherWithItsOwnRegionsVote(t *testing.T) {
	r := drilling(t)
	d := drillOf("west", "us-west")
	d.State, d.Outcome, d.Begun = catalog.DrillRunning, catalog.OutcomeSucceeded, epoch0 // not its word
	_, delta := r.ok(&StartDrill{Drill: d})
	if len(delta.Upserts) != 2 {
		t.Fatalf("expected the drill and the vote in one delta, found %d records", len(delta.Upserts))
	}
	got, vote := r.drill("west"), r.ballot("west")
	if got.State != catalog.DrillPending || got.Outcome != "" || !got.Begun.IsZero() || !got.Created.Equal(epoch0) {
		t.Fatalf("%+v", got)
	}
	if !vote.Granted || vote.Region != "us-west" || vote.Scope != d.Scope {
		t.Fatalf("%+v", vote)
	}
	r.refuse(&StartDrill{Drill: d}, ErrConflict)
	r.refuse(&StartDrill{Drill: drillOf("other", "us-west", "checkout")}, ErrConflict)
	r.refuse(&StartDrill{Drill: drillOf("foreign", "eu-central")}, ErrInvalid)
	if _, _, err := r.do(&StartDrill{Drill: drillOf("other", "us-west")}); !strings.Contains(fmt.Sprint(err), "drill west") {
		t.Fatalf("the refusal does not name the other drill: %v", err)
	}
}

func TestARegionGrantsOneOfTheDrillsThatOverlap(t *testing.T) {
	r := drilling(t)
	shop, bank, all := drillOf("a", "eu-central", "shop"), drillOf("b", "eu-central", "bank"), drillOf("c", "eu-central")
	r.ok(grant(shop))
	r.ok(grant(bank)) // another service
	r.refuse(grant(all), ErrConflict)
	r.ok(&CastBallot{Drill: "c", Scope: all.Scope, Reason: "a and b are under way"})
	r.ok(&MarkBallot{Drill: "a", Release: true})
	r.ok(&MarkBallot{Drill: "b", Release: true})
	r.ok(grant(all))
	if r.ballot("c").Granted {
		t.Fatal("a vote that was cast was changed")
	}
	all.ID = "d"
	r.ok(grant(all))
	if !r.ballot("d").Granted {
		t.Fatal("released votes still stand in the way")
	}
}

func TestAnOperatorsDrillTakesThePlaceOfAScheduledOne(t *testing.T) {
	r := drilling(t)
	practice := drillOf("practice-1", "us-west")
	practice.Schedule = "practice"
	r.ok(&StartDrill{Drill: practice})
	again := drillOf("practice-2", "us-west")
	again.Schedule = "practice"
	r.refuse(&StartDrill{Drill: again}, ErrConflict)
	r.ok(&StartDrill{Drill: drillOf("mine", "us-west")})
	old := r.ballot("practice-1")
	if !old.Released || old.End == nil || old.End.Outcome != catalog.OutcomeInterrupted || !strings.Contains(old.End.Reason, "mine") {
		t.Fatalf("%+v", old)
	}
	if !r.ballot("mine").Granted {
		t.Fatal("no vote for the operator's drill")
	}
}

func TestADrillThatCouldNotBeginIsRecorded(t *testing.T) {
	r := drilling(t)
	r.ok(&StartDrill{Drill: drillOf("running", "us-west")})
	r.ok(&StartDrill{Drill: drillOf("nightly", "us-west"), Failed: "shop/checkout would have nothing left"})
	d := r.drill("nightly")
	if d.State != catalog.DrillEnded || d.Outcome != catalog.OutcomeFailed || d.Detail == "" || !d.Ended.Equal(epoch0) {
		t.Fatalf("%+v", d)
	}
	if r.s.Object((&change{State: r.s}).ballotKey("nightly")) != nil {
		t.Fatal("it has a vote")
	}
}

func TestADrillOnlyGoesForward(t *testing.T) {
	r := drilling(t)
	r.refuse(&AdvanceDrill{ID: "d", State: catalog.DrillRunning}, ErrNotFound)
	r.ok(&StartDrill{Drill: drillOf("d", "us-west")})
	r.now = r.now.Add(time.Second)
	r.ok(&AdvanceDrill{ID: "d", State: catalog.DrillRunning, Begun: r.now})
	version := r.s.Version()
	r.ok(&AdvanceDrill{ID: "d", State: catalog.DrillRunning, Begun: r.now.Add(time.Hour)})
	if r.s.Version() != version || !r.drill("d").Begun.Equal(r.now) {
		t.Fatal("what was said before changed something")
	}
	r.ok(&AdvanceDrill{ID: "d", State: catalog.DrillEnded, Outcome: catalog.OutcomeStopped, Detail: "by op", Ended: r.now})
	r.ok(&AdvanceDrill{ID: "d", State: catalog.DrillRunning, Begun: r.now})
	if d := r.drill("d"); d.State != catalog.DrillEnded || d.Outcome != catalog.OutcomeStopped || d.Begun.IsZero() {
		t.Fatalf("%+v", d)
	}
}

func TestALateMajorityBeginsNothing(t *testing.T) {
	r := drilling(t)
	r.ok(&StartDrill{Drill: drillOf("d", "us-west")})
	r.now = r.now.Add(catalog.VoteWindow + lateness + time.Second)
	r.refuse(&AdvanceDrill{ID: "d", State: catalog.DrillRunning, Begun: r.now}, ErrConflict)
	r.ok(&AdvanceDrill{ID: "d", State: catalog.DrillEnded, Outcome: catalog.OutcomeRefused, Ended: r.now})
}

func TestWhatABallotSaysOnlyGrows(t *testing.T) {
	r := drilling(t)
	r.refuse(&MarkBallot{Drill: "d", Elapsed: catalog.Duration(time.Second)}, ErrNotFound)
	r.ok(&StartDrill{Drill: drillOf("d", "us-west")})
	ack := &catalog.PhaseAck{Phase: catalog.PhaseHold, At: epoch0}
	r.ok(&MarkBallot{Drill: "d", Elapsed: catalog.Duration(20 * time.Second), Ack: ack})
	r.ok(&MarkBallot{Drill: "d", Elapsed: catalog.Duration(10 * time.Second), Ack: &catalog.PhaseAck{Phase: catalog.PhaseHold, At: epoch0.Add(time.Hour)}})
	r.ok(&MarkBallot{Drill: "d", Extend: catalog.Duration(time.Minute)})
	r.ok(&MarkBallot{Drill: "d", Extend: catalog.Duration(time.Minute)})
	b := r.ballot("d")
	if time.Duration(b.Elapsed) != 20*time.Second || len(b.Acks) != 1 || !b.Acks[0].At.Equal(epoch0) || time.Duration(b.Extended) != 2*time.Minute {
		t.Fatalf("%+v", b)
	}
	r.refuse(&MarkBallot{Drill: "d", Extend: catalog.Duration(23*time.Hour + 58*time.Minute)}, ErrInvalid)
	first := &catalog.DrillEnd{Outcome: catalog.OutcomeAborted, Reason: "first", At: epoch0}
	r.ok(&MarkBallot{Drill: "d", End: first})
	r.ok(&MarkBallot{Drill: "d", End: &catalog.DrillEnd{Outcome: catalog.OutcomeStopped, Reason: "second", At: epoch0}})
	if b = r.ballot("d"); b.End == nil || b.End.Reason != "first" {
		t.Fatalf("%+v", b.End)
	}
	r.refuse(&MarkBallot{Drill: "d", Extend: catalog.Duration(time.Minute)}, ErrConflict)
	version := r.s.Version()
	r.ok(&MarkBallot{Drill: "d", Elapsed: catalog.Duration(time.Second)})
	if r.s.Version() != version {
		t.Fatal("saying the same again was published")
	}
}

func TestAnIsolationIsNotExtendedPastItsBound(t *testing.T) {
	r := drilling(t)
	d := drillOf("d", "us-west")
	d.Kind, d.Shape.Hold = catalog.DrillIsolate, catalog.Duration(9*time.Minute)
	r.ok(&StartDrill{Drill: d})
	r.ok(&MarkBallot{Drill: "d", Extend: catalog.Duration(time.Minute)})
	r.refuse(&MarkBallot{Drill: "d", Extend: catalog.Duration(time.Second)}, ErrInvalid)
}

func TestARegionThatDidNotVoteCanEndADrill(t *testing.T) {
	r := drilling(t)
	r.ok(&MarkBallot{Drill: "elsewhere", End: &catalog.DrillEnd{Outcome: catalog.OutcomeStopped, Reason: "enough", Actor: "op", At: epoch0}})
	if b := r.ballot("elsewhere"); b.Granted || b.End == nil {
		t.Fatalf("%+v", b)
	}
	r.ok(grant(drillOf("elsewhere", "eu-central")))
	if r.ballot("elsewhere").Granted {
		t.Fatal("a region granted what it wants to end")
	}
	r.ok(&StartDrill{Drill: drillOf("d", "us-west")})
	r.ok(&AdvanceDrill{ID: "d", State: catalog.DrillEnded, Outcome: catalog.OutcomeRefused, Ended: epoch0})
	r.refuse(&MarkBallot{Drill: "d", End: &catalog.DrillEnd{Outcome: catalog.OutcomeStopped, Reason: "late", At: epoch0}}, ErrConflict)
}

func TestARestoredRegionDoesNotVote(t *testing.T) {
	r := drilling(t)
	r.s.about.ObjectsSuspect = true
	r.refuse(&StartDrill{Drill: drillOf("d", "us-west")}, ErrConflict)
	r.refuse(grant(drillOf("e", "eu-central")), ErrConflict)
	r.ok(&MarkBallot{Drill: "e", End: &catalog.DrillEnd{Outcome: catalog.OutcomeStopped, Reason: "enough", At: epoch0}})
}

func TestAnOlderReplicaHoldsDrillsUp(t *testing.T) {
	r := drilling(t)
	b := replica("b", "west-1")
	r.ok(&AdmitReplica{b})
	for _, cmd := range []Command{&StartDrill{Drill: drillOf("d", "us-west")}, grant(drillOf("e", "eu-central"))} {
		r.refuse(cmd, ErrProtocol)
	}
	if _, _, err := r.do(&StartDrill{Drill: drillOf("d", "us-west")}); !strings.Contains(fmt.Sprint(err), "oldest replica") {
		t.Fatalf("the refusal does not say why: %v", err)
	}
	b.MaxProtocol = Protocol
	r.ok(&UpdateReplica{b})
	r.ok(&StartDrill{Drill: drillOf("d", "us-west")})
}

func TestNoClockHoldsUpTheEndOfADrill(t *testing.T) {
	r := drilling(t)
	r.ok(&StartDrill{Drill: drillOf("d", "us-west")})
	before := r.s.Object((&change{State: r.s}).ballotKey("d")).Version
	r.now = r.now.Add(-time.Hour)
	r.ok(&MarkBallot{Drill: "d", End: &catalog.DrillEnd{Outcome: catalog.OutcomeStopped, Reason: "enough", At: r.now}})
	if after := r.s.Object((&change{State: r.s}).ballotKey("d")).Version; after.Compare(before) <= 0 {
		t.Fatalf("%v does not follow %v", after, before)
	}
}

func TestDrillsAreAuditedAndTheirCountIsNot(t *testing.T) {
	r := drilling(t)
	start := r.s.auditSeq
	d := drillOf("d", "us-west")
	d.Forced, d.Reason = true, "practice"
	r.ok(&StartDrill{Drill: d})
	r.ok(&MarkBallot{Drill: "d", Elapsed: 1})
	r.ok(&MarkBallot{Drill: "d", Extend: catalog.Duration(time.Minute), End: &catalog.DrillEnd{Outcome: catalog.OutcomeStopped, Reason: "enough", At: r.now}})
	r.ok(&MarkBallot{Drill: "d", Release: true})
	r.ok(&AdvanceDrill{ID: "d", State: catalog.DrillEnded, Outcome: catalog.OutcomeStopped, Detail: "enough", Ended: r.now})
	var said []string
	for _, e := range r.s.Audit(int(r.s.auditSeq - start)) {
		said = append(said, e.Action+" "+e.Target+" "+e.Detail)
	}
	want := []string{
		"start-drill drill/d evacuate eu-central for 1m0s, forced: practice",
		"mark-ballot drill/d extended by 1m0s, to end, stopped: enough",
		"advance-drill drill/d ended: stopped: enough",
	}
	if fmt.Sprint(said) != fmt.Sprint(want) {
		t.Fatalf("expected\n%s\nfound\n%s", strings.Join(want, "\n"), strings.Join(said, "\n"))
	}
}

func samples(n int) *PutSamples {
	return &PutSamples{Samples: catalog.DrillSamples{Drill: "d", Region: "us-west", Start: epoch0, Step: catalog.Duration(time.Second), Buckets: make([]catalog.SampleBucket, n)}}
}

func TestSamplesAreBounded(t *testing.T) {
	r := drilling(t)
	r.ok(samples(catalog.MaxSampleBuckets))
	foreign := samples(1)
	foreign.Samples.Region = "eu-central"
	r.refuse(foreign, ErrInvalid)
}

func TestDrillCommandsOutOfBoundsAreRefusedBeforeTheyAreLogged(t *testing.T) {
	long, short := drillOf("d", "us-west"), drillOf("d", "us-west")
	long.Shape.Hold, short.Shape.Hold = catalog.Duration(25*time.Hour), 0
	fat := samples(1)
	fat.Samples.Buckets[0].Named = map[string]uint64{strings.Repeat("x", catalog.MaxSpec): 1}
	for name, cmd := range map[string]Command{
		"too long": &StartDrill{Drill: long}, "too short": &StartDrill{Drill: short},
		"no id":                 &StartDrill{Drill: drillOf("", "us-west")},
		"failure too long":      &StartDrill{Drill: drillOf("d", "us-west"), Failed: strings.Repeat("x", maxDrillDetail+1)},
		"no such state":         &AdvanceDrill{ID: "d", State: "paused"},
		"no outcome":            &AdvanceDrill{ID: "d", State: catalog.DrillEnded},
		"outcome of a running":  &AdvanceDrill{ID: "d", State: catalog.DrillRunning, Outcome: catalog.OutcomeStopped},
		"refused without why":   &CastBallot{Drill: "d", Scope: catalog.Scope{Region: "a"}},
		"granted with a reason": &CastBallot{Drill: "d", Scope: catalog.Scope{Region: "a"}, Granted: true, Reason: "x"},
		"no scope":              &CastBallot{Drill: "d", Granted: true},
		"no such phase":         &MarkBallot{Drill: "d", Ack: &catalog.PhaseAck{Phase: "later"}},
		"end without a reason":  &MarkBallot{Drill: "d", End: &catalog.DrillEnd{Outcome: catalog.OutcomeStopped}},
		"backwards":             &MarkBallot{Drill: "d", Elapsed: -1},
		"shorter":               &MarkBallot{Drill: "d", Extend: -1},
		"no buckets":            samples(0), "too many buckets": samples(catalog.MaxSampleBuckets + 1), "fat buckets": fat,
	} {
		if _, err := NewEnvelope(Meta{ID: "x"}, cmd); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
