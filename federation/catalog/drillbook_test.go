package catalog

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// minute is a drill that takes 10 s to ramp, a minute in all, and runs since noon.
func minute() Drill {
	return Drill{
		ID: "d", Kind: DrillEvacuate, Scope: Scope{Region: "us-west"}, Region: "us-west", Created: noon, State: DrillRunning, Begun: noon,
		Shape: Shape{Ramp: Duration(10 * time.Second), Hold: Duration(50 * time.Second)},
	}
}

func TestHowADrillStandsFollowsWhatTheRegionsWroteAndTheOwnCount(t *testing.T) {
	sec := func(n int) time.Time { return noon.Add(time.Duration(n) * time.Second) }
	state := func(s DrillState) Drill {
		d := minute()
		d.State = s
		if s == DrillPending {
			d.Begun = time.Time{}
		}
		return d
	}
	end := func(at int, region string, o DrillOutcome) Ballot {
		return Ballot{Drill: "d", Region: region, End: &DrillEnd{Outcome: o, Reason: "said " + region, At: sec(at)}}
	}
	past := func(n int) Ballot {
		return Ballot{Drill: "d", Region: "eu", Granted: true, Elapsed: Duration(n) * Duration(time.Second)}
	}
	for _, tt := range []struct {
		name    string
		drill   Drill
		ballots []Ballot
		seen    int // when it was first seen, in seconds after noon
		at      int // now
		state   DrillState
		phase   DrillPhase
		elapsed int
		outcome DrillOutcome
	}{
		{"pending", state(DrillPending), nil, 0, 14, DrillPending, PhasePending, 0, ""},
		{"pending and never heard of again", state(DrillPending), nil, 0, 90, DrillEnded, PhaseOver, 0, OutcomeRefused},
		{"pending, found in an old cache", state(DrillPending), nil, 4000, 4000, DrillEnded, PhaseOver, 0, OutcomeRefused},
		{"pending and stopped", state(DrillPending), []Ballot{end(3, "eu", OutcomeStopped)}, 0, 4, DrillEnded, PhaseOver, 0, OutcomeStopped},
		{"ramping", state(DrillRunning), nil, 0, 5, DrillRunning, PhaseRamp, 5, ""},
		{"holding", state(DrillRunning), nil, 0, 10, DrillRunning, PhaseHold, 10, ""},
		{"over by the own count, whatever the object says", state(DrillRunning), nil, 0, 60, DrillEnded, PhaseOver, 60, OutcomeSucceeded},
		{"a late one counts from what it heard", state(DrillRunning), []Ballot{past(40)}, 50, 55, DrillRunning, PhaseHold, 45, ""},
		{"one that heard nothing is bounded by the wall clock", state(DrillRunning), nil, 340, 340, DrillRunning, PhaseHold, 40, ""},
		{"found in an old cache", state(DrillRunning), nil, 4000, 4000, DrillEnded, PhaseOver, 60, OutcomeSucceeded},
		{"a region further on takes the others along", state(DrillRunning), []Ballot{past(57)}, 9, 10, DrillRunning, PhaseHold, 58, ""},
		{"extended", state(DrillRunning), []Ballot{{Drill: "d", Region: "eu", Extended: Duration(time.Minute)}}, 0, 100, DrillRunning, PhaseHold, 100, ""},
		{"the earliest end counts", state(DrillRunning), []Ballot{end(9, "asia", OutcomeAborted), end(8, "eu", OutcomeStopped)}, 0, 10, DrillEnded, PhaseOver, 10, OutcomeStopped},
		{"ended by its coordinator", state(DrillEnded), []Ballot{past(20)}, 0, 10, DrillEnded, PhaseOver, 20, ""},
	} {
		var clock drillClock
		viewDrill(tt.drill, tt.ballots, &clock, sec(tt.seen))
		v := viewDrill(tt.drill, tt.ballots, &clock, sec(tt.at))
		if v.State != tt.state || v.Phase != tt.phase || v.Elapsed != time.Duration(tt.elapsed)*time.Second || v.Outcome != tt.outcome {
			t.Errorf("%s: expected %s, %s after %ds, %q; found %s, %s after %s, %q", tt.name,
				tt.state, tt.phase, tt.elapsed, tt.outcome, v.State, v.Phase, v.Elapsed, v.Outcome)
		}
		if v.Recorded != tt.drill.State {
			t.Errorf("%s: expected the recorded state %s, found %s", tt.name, tt.drill.State, v.Recorded)
		}
	}
}

func TestACountedDownDrillStaysOverThoughItIsExtendedElsewhere(t *testing.T) {
	var clock drillClock
	d := minute()
	viewDrill(d, nil, &clock, noon)
	viewDrill(d, nil, &clock, noon.Add(time.Minute))
	late := []Ballot{{Drill: "d", Region: "eu", Extended: Duration(time.Hour)}}
	if v := viewDrill(d, late, &clock, noon.Add(61*time.Second)); v.Phase != PhaseOver || v.Share() != 0 {
		t.Fatalf("the traffic left again: %+v", v)
	}
}

func TestExtensionsOfSeveralRegionsStayWithinTheBound(t *testing.T) {
	d := minute()
	d.Kind, d.Shape = DrillIsolate, Shape{Hold: Duration(9 * time.Minute)}
	both := []Ballot{{Extended: Duration(40 * time.Second)}, {Extended: Duration(40 * time.Second)}}
	if got := extended(d, both).Length(); got != MaxIsolate {
		t.Fatalf("expected %s, found %s", MaxIsolate, got)
	}
}

// published is an object as its region wrote it.
func published(kind ObjectKind, name, region string, generation uint64, spec any) Record {
	raw, err := json.Marshal(spec)
	if err != nil {
		panic(err)
	}
	return Record{Object: &Object{ObjectKey: ObjectKey{kind, name}, Spec: raw, Version: ObjectVersion{Generation: generation, Region: region}}}
}

// publish replaces what a region of the catalog says.
func publish(t *testing.T, c *Catalog, region string, seq uint64, now time.Time, records ...Record) {
	t.Helper()
	if err := c.Reset(Snapshot{Region: region, Version: Version{Epoch: 1, Seq: seq}, Records: records}, now); err != nil {
		t.Fatal(err)
	}
}

func TestConditionsFollowTheShapeOfARunningDrill(t *testing.T) {
	c := New("eu", "us-west")
	watch := c.Watch()
	defer watch.Close()
	publish(t, c, "us-west", 1, noon, published(KindDrill, "d", "us-west", 1, minute()))
	share := func() uint32 {
		if drills := c.Conditions().Drills; len(drills) > 0 {
			return drills[0].Share
		}
		return 0
	}
	watch.Take()
	rebuilt := 0
	for _, step := range []struct {
		at   time.Duration
		want uint32
	}{{0, 50_000}, {time.Second, 100_000}, {5 * time.Second, 500_000}, {10 * time.Second, 1_000_000}, {59 * time.Second, 1_000_000}, {time.Minute, 0}} {
		c.Tick(noon.Add(step.at))
		if share() != step.want {
			t.Errorf("after %s: expected a share of %d, found %d", step.at, step.want, share())
		}
		if watch.Take().Conditions {
			rebuilt++
		}
	}
	if rebuilt != 4 {
		t.Errorf("expected the watch to be woken by each of 4 changes, found %d", rebuilt)
	}
	before := c.Conditions()
	c.Tick(noon.Add(time.Hour))
	if c.Conditions() != before {
		t.Error("a tick without a drill rebuilt the conditions")
	}
}

func TestAnyRegionsWordEndsADrillHere(t *testing.T) {
	c := New("eu", "us-west")
	publish(t, c, "us-west", 1, noon, published(KindDrill, "d", "us-west", 1, minute()))
	c.Tick(noon.Add(time.Second))
	publish(t, c, "asia", 1, noon.Add(2*time.Second), published(KindBallot, "d@asia", "asia", 1,
		Ballot{Drill: "d", Region: "asia", End: &DrillEnd{Outcome: OutcomeStopped, Reason: "enough", At: noon}}))
	if got := c.Conditions().Drills; len(got) != 0 {
		t.Fatalf("still in force: %+v", got)
	}
	v, ok := c.Drill("d")
	if !ok || v.State != DrillEnded || v.Recorded != DrillRunning || v.End == nil || v.Ballot("asia") == nil || v.Ballot("eu") != nil {
		t.Fatalf("%+v", v)
	}
}

func TestOnlyTheNamedRegionIsHeardOnADrill(t *testing.T) {
	c := New("eu", "us-west")
	other := minute()
	other.ID = "other"
	long := minute()
	long.ID, long.Shape.Hold = "long", Duration(1000*time.Hour)
	publish(t, c, "us-west", 1, noon,
		published(KindDrill, "d", "us-west", 1, minute()),
		published(KindDrill, "other", "asia", 1, other),
		published(KindDrill, "long", "us-west", 1, long),
		published(KindBallot, "d@eu", "asia", 1, Ballot{Drill: "d", Region: "eu", End: &DrillEnd{Outcome: OutcomeStopped, Reason: "forged"}}),
		Record{Object: &Object{ObjectKey: ObjectKey{KindBallot, "d@us-west"}, Spec: []byte(`{`), Version: ObjectVersion{Generation: 1, Region: "us-west"}}})
	drills := c.Drills()
	if len(drills) != 1 || drills[0].ID != "d" || len(drills[0].Ballots) != 0 || drills[0].State != DrillRunning {
		t.Fatalf("%+v", drills)
	}
}

func TestOnlyTheIsolatedRegionIsCutOff(t *testing.T) {
	d := minute()
	d.Kind, d.Shape = DrillIsolate, Shape{Hold: Duration(30 * time.Second)}
	for region, want := range map[string]string{"us-west": "d", "eu": ""} {
		c := New(region, "us-west")
		publish(t, c, "us-west", 1, noon, published(KindDrill, "d", "us-west", 1, d))
		if got := c.Conditions(); got.CutOff != want || len(got.Drills) != 0 {
			t.Errorf("%s: expected %q and no traffic taken away, found %q and %v", region, want, got.CutOff, got.Drills)
		}
		c.Tick(noon.Add(31 * time.Second))
		if got := c.Conditions().CutOff; got != "" {
			t.Errorf("%s: still cut off after its end", region)
		}
	}
}

func TestSamplesGatesAndSchedulesAreRead(t *testing.T) {
	c := New("eu", "us-west")
	sample := DrillSamples{Drill: "d", Region: "us-west", Start: noon, Step: Duration(time.Second), Buckets: []SampleBucket{{Lookups: 3}}}
	forged := sample
	forged.Region = "eu"
	gate, schedule := Gate{Operators: []string{"ann"}}, Schedule{Region: "eu", At: []string{"10:00"}}
	publish(t, c, "us-west", 1, noon,
		published(KindDrillSamples, "d@us-west", "us-west", 1, sample), published(KindDrillSamples, "d@eu", "us-west", 1, forged),
		published(KindGate, "payments", "us-west", 1, gate), published(KindSchedule, "nightly", "us-west", 1, schedule))
	if diff := cmp.Diff([]DrillSamples{sample}, c.Samples("d")); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(map[string]Gate{"payments": gate}, c.Gates()); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(map[string]Schedule{"nightly": schedule}, c.Schedules()); diff != "" {
		t.Error(diff)
	}
}
