package verdicts

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// zero is when the imagined runs begin.
var zero = time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)

func at(seconds float64) time.Time {
	return zero.Add(time.Duration(seconds * float64(time.Second)))
}

func event(seconds float64, by, of string, what What) Event {
	region, _, _ := strings.Cut(by, "-")
	return Event{At: at(seconds), By: Place{region, by}, Of: of, What: what}
}

func TestAVerdictIsReadFromALineOfAnAgentsLogAndNothingElseIs(t *testing.T) {
	const stamp = "time=2026-11-25T15:50:01.806Z "
	for line, want := range map[string]Event{
		stamp + `level=WARN msg="the replicas of a region are silent; asking its endpoints" region=west replica=west-0 peer=east`: {Of: "east", What: Silent},
		stamp + `level=WARN msg="verdict on a silent region" region=west replica=west-0 peer=south reach=out`:                     {Of: "south", What: Out},
		stamp + `level=WARN msg="verdict on a silent region" region=west replica=west-0 peer=south reach=control-plane-lost`:      {Of: "south", What: ControlPlaneLost},
		stamp + `level=INFO msg="a region is back" region=west replica=west-0 peer=south`:                                         {Of: "south", What: Back},
		stamp + `level=INFO msg="this replica leads its region" region=west replica=west-0`:                                       {},
		`time=today level=INFO msg="a region is back" region=west`:                                                                {},
		`level=INFO msg="a region is back" region=west`:                                                                           {},
		"": {},
	} {
		found, ok := parse(line)
		if ok != (want.What != "") {
			t.Errorf("%s: found %v, %v", line, found, ok)
			continue
		}
		if want.At = time.Date(2026, 11, 25, 15, 50, 1, 806e6, time.UTC); ok && (found.Of != want.Of || found.What != want.What || !found.At.Equal(want.At)) {
			t.Errorf("%s: expected %v, found %v", line, want, found)
		}
	}
}

func TestALogIsReadWhileItIsWrittenAndALineInTwoPartsIsRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	line := "time=2026-11-25T15:50:01.806Z level=INFO msg=\"a region is back\" region=west replica=west-0 peer=south\n"
	w := Watch{logs: []*log{{by: Place{"west", "west-0"}, path: path}}}
	if err := w.Read(); err == nil {
		t.Error("a log that is not there was read")
	}
	w.err = nil
	for i, text := range []string{line + line[:40], line[40:], line} {
		f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteString(text); err != nil {
			t.Fatal(err)
		}
		_ = f.Close()
		if err := w.Read(); err != nil {
			t.Fatal(err)
		}
		if found := len(w.Events()); found != i+1 {
			t.Errorf("expected %d verdicts, found %d", i+1, found)
		}
	}
}

func TestAVerdictIsFalseUnlessALossOfOneOfItsRegionsExplainsIt(t *testing.T) {
	outage := Outage{Loss: Loss{Region: "east", Kind: Isolated}, Began: at(100), Ended: at(140), Back: at(150)}
	open := Outage{Loss: Loss{Region: "south", Kind: Killed}, Began: at(500)}
	stall := Stall{At: at(300), Late: 2 * time.Second}
	for _, tt := range []struct {
		event         Event
		wrong, stalls int
	}{
		{event(102, "west-0", "east", Silent), 0, 0},
		{event(102, "east-0", "west", Silent), 0, 0}, // it is alone
		{event(102, "west-0", "south", Silent), 1, 0},
		{event(99, "west-0", "east", Silent), 1, 0},
		{event(154, "west-0", "east", Silent), 0, 0},
		{event(156, "west-0", "east", Silent), 1, 0},
		{event(156, "west-0", "east", Out), 0, 0}, // said of a silent one
		{event(200, "west-0", "east", Back), 0, 0},
		{event(298, "west-0", "east", Silent), 0, 1},
		{event(302, "west-0", "east", Silent), 0, 1},
		{event(296, "west-0", "east", Silent), 1, 0},
		{event(304, "west-0", "east", Silent), 1, 0},
		{event(900, "west-0", "south", Silent), 0, 0},
		{event(900, "west-0", "east", Silent), 1, 0},
	} {
		wrong, ofStalls := False([]Event{tt.event}, []Outage{outage, open}, []Stall{stall})
		if len(wrong) != tt.wrong || len(ofStalls) != tt.stalls {
			t.Errorf("%v: expected %d false and %d of a stall, found %v and %v", tt.event, tt.wrong, tt.stalls, wrong, ofStalls)
		}
	}
}

func TestALossIsSeenWhenTheLastAgentOfTheOthersSaysSoAndOverWhenTheLastTakesItBack(t *testing.T) {
	agents := []Place{{"west", "west-0"}, {"west", "west-1"}, {"east", "east-0"}}
	o := Outage{Loss: Loss{Region: "east", Kind: Isolated}, Began: at(10), Ended: at(30)}
	events := []Event{
		event(5, "west-1", "east", Silent), event(7, "west-1", "east", Back), // before
		event(12, "west-0", "east", Silent), event(12.5, "east-0", "west", Silent), event(13, "west-0", "east", Out),
	}
	if when, ok := Seen(events, agents, o, Silent); ok {
		t.Errorf("one has not seen it, found %v", when)
	}
	events = append(events, event(14, "west-1", "east", Silent))
	if when, ok := Seen(events, agents, o, Silent); !ok || !when.Equal(at(14)) {
		t.Errorf("expected it seen at 14 s, found %v, %v", when, ok)
	}
	if _, ok := Seen(events, agents, o, Out); ok {
		t.Error("only one has said that it is out")
	}
	o.Gone = at(11)
	for what, want := range map[What]time.Duration{Silent: 3 * time.Second, Out: 0} {
		if found := o.after(events, agents, what); found != want {
			t.Errorf("%s: expected %v after it was gone, found %v", what, want, found)
		}
	}
	if o.Gone = at(15); o.after(events, agents, Silent) <= 0 {
		t.Error("what was seen before the region was gone counts as not seen")
	}
	events = append(events, event(33, "west-0", "east", Back), event(34, "west-1", "east", Back))
	if _, ok := ReturnedBy(events, o); ok {
		t.Error("the isolated one still takes the others for silent")
	}
	events = append(events, event(35, "east-0", "west", Back))
	if when, ok := ReturnedBy(events, o); !ok || !when.Equal(at(35)) {
		t.Errorf("expected it over at 35 s, found %v, %v", when, ok)
	}
	o.Kind = Killed // what the killed agents thought died with them
	if when, ok := ReturnedBy(slices.DeleteFunc(events, func(e Event) bool { return e.By.Region == "east" && e.What == Back }), o); !ok || !when.Equal(at(34)) {
		t.Errorf("expected it over at 34 s, found %v, %v", when, ok)
	}
}

func TestTheQuietTimeIsThatOfThePairWithTheMostLosses(t *testing.T) {
	regions := []string{"west", "east", "south"}
	outages := []Outage{
		{Loss: Loss{Region: "east"}, Began: at(10), Back: at(30)},                    // 25 s with the settling
		{Loss: Loss{Region: "south"}, Began: at(100), Ended: at(110), Back: at(115)}, // 20 s
		{Loss: Loss{Region: "east"}, Began: at(190)},                                 // open, 10 s so far
	}
	if found := Quiet(regions, outages, zero, at(200)); found != 145*time.Second {
		t.Errorf("expected 145 s between east and south, found %v", found)
	}
	if found := Quiet(regions, nil, zero, at(200)); found != 200*time.Second {
		t.Errorf("expected all of 200 s without losses, found %v", found)
	}
}

func TestAPlanLosesEveryRegionInTurnInBothWaysAndIsTheSameForASeed(t *testing.T) {
	regions := []string{"west", "east", "south"}
	for seed := range uint64(50) {
		plan := Plan(seed, 30*time.Minute, regions)
		if !slices.Equal(plan, Plan(seed, 30*time.Minute, regions)) {
			t.Fatalf("seed %d: two plans differ", seed)
		}
		lost, ways := map[string]int{}, map[Kind]int{}
		for i, l := range plan {
			lost[l.Region]++
			ways[l.Kind]++
			if i > 0 && l.At-plan[i-1].At < peerPatience+mendPatience {
				t.Errorf("seed %d: only %v from one loss to the next", seed, l.At-plan[i-1].At)
			}
		}
		if len(plan) != 6 || len(lost) != 3 || ways[Isolated] != 3 || ways[Killed] != 3 {
			t.Errorf("seed %d: expected 6 losses of 3 regions, half of each kind, found %v", seed, plan)
		}
	}
	if short := Plan(1, time.Minute, regions); len(short) != 1 || short[0].At < 10*time.Second || short[0].At > 20*time.Second {
		t.Errorf("expected one loss within 10 to 20 s of a minute, found %v", short)
	}
}

func TestADeathIsFalseUnlessALossExplainsItAndReportsOfOneAreOne(t *testing.T) {
	place := func(name string) Place { region, _, _ := strings.Cut(name, "-"); return Place{region, name} }
	outages := []PeerOutage{{Region: "east", Began: at(100), Ended: at(150), Whole: at(160)}}
	death := func(seconds float64, by, of string) Death { return Death{at(seconds), place(by), place(of)} }
	for _, tt := range []struct {
		name              string
		deaths            []Death
		declared, reports int
	}{
		{"a real one", []Death{death(120, "west-0", "east-1"), death(120, "east-1", "west-0")}, 0, 0},
		{"of others while a region is lost", []Death{death(120, "west-0", "south-1")}, 1, 1},
		{"of its own while a region is isolated", []Death{death(120, "east-0", "east-1")}, 1, 1},
		{"while all come together again", []Death{death(155, "west-0", "south-1"), death(164, "west-0", "west-1")}, 0, 0},
		{"before the run", []Death{death(-1, "west-0", "south-1")}, 0, 0},
		{"told to many", []Death{death(220, "west-0", "east-1"), death(200, "south-0", "east-1"), death(249, "south-1", "east-1")}, 1, 3},
		{"twice", []Death{death(200, "west-0", "east-1"), death(231, "west-0", "east-1"), death(231, "west-0", "east-2")}, 3, 3},
	} {
		declared, reports := FalseDeaths(tt.deaths, outages, zero)
		if declared != tt.declared || reports != tt.reports {
			t.Errorf("%s: expected %d and %d, found %d and %d", tt.name, tt.declared, tt.reports, declared, reports)
		}
	}
}

func TestCountersAreAddedOverProcesses(t *testing.T) {
	text := `# HELP federator_gossip_echoes_total Echoes.
federator_gossip_echoes_total{region="east",result="answered"} 64
federator_gossip_echoes_total{region="east",result="lost"} 3
federator_gossip_echoes_total{region="east",result="sent"} 100
federator_gossip_echoes_total{region="south",result="sent"} 50
federator_gossip_pauses_total 2
process_cpu_seconds_total 1.5
`
	c, err := readCounts(strings.NewReader(text), "south")
	if want := (Counts{Sent: 100, Answered: 64, Pauses: 2, CPU: 1.5}); err != nil || c != want {
		t.Errorf("expected %v, found %v, %v", want, c, err)
	}
	var sum tally
	for _, sent := range []float64{1000, 1010, 1030, 5, 6} { // it began anew
		sum.add("a", Counts{Sent: sent})
	}
	sum.add("b", Counts{Sent: 7})
	sum.add("b", Counts{Sent: 8})
	if sum.sum.Sent != 37 {
		t.Errorf("expected 30 of the first process, 6 of the second and 1 of another agent, found %v", sum.sum.Sent)
	}
}

func TestTheTableIsWrittenBetweenItsMarksAndNothingElseChanges(t *testing.T) {
	seconds := func(all ...float64) (d []time.Duration) {
		for _, s := range all {
			d = append(d, time.Duration(s*float64(time.Second)))
		}
		return d
	}
	result := Result{World: "20 % loss", Losses: []SeenLoss{{Kind: Killed, Silent: 2 * time.Second, Out: 3 * time.Second}, {Kind: Isolated, Silent: 4 * time.Second, Out: 5 * time.Second, Back: time.Second}},
		False: make([]Event, 7), Peers: []PeerResult{{Name: "LAN", Members: 51, FalseDeaths: 3, Reports: 99, Known: seconds(8, 0, 10)}}}
	table := Table([]Result{result})
	for _, cell := range []string{"| **7** |", "| **3.0 s / 4.0 s** |", "| **4.0 s / 5.0 s** |", "| 1.0 s / 1.0 s, 1 of 2 not in time |", "| 3; 99 |", "| 9.0 s / 10.0 s, 1 of 3 not in time |", "2: 1 isolated, 1 killed", "| 2 of 2 |"} {
		if !strings.Contains(table, cell) {
			t.Errorf("expected %q in the table:\n%s", cell, table)
		}
	}
	path := filepath.Join(t.TempDir(), "doc.md")
	for _, text := range []string{"one\n", "two\n"} {
		if err := WriteInto(path, "# Head\n", text); err != nil {
			t.Fatal(err)
		}
	}
	if b, _ := os.ReadFile(path); string(b) != "# Head\n\n"+opening+"\ntwo\n"+closing+"\n" {
		t.Errorf("found %q", b)
	}
	if err := os.WriteFile(path, []byte("no marks"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := WriteInto(path, "", "x"); err == nil || !strings.Contains(err.Error(), opening) {
		t.Errorf("expected an error that names the mark, found %v", err)
	}
}

func TestALossThatWasSeenLateBecauseAgentsOrTheWANStoodStillDoesNotCount(t *testing.T) {
	before := map[string]float64{"west-0": 2, "west-1": 0}
	for _, tt := range []struct {
		after  map[string]float64
		late   time.Duration
		out    time.Duration
		paused int
		excuse bool
	}{
		{map[string]float64{"west-0": 2, "west-1": 0}, 0, 4 * time.Second, 0, false},
		{map[string]float64{"west-0": 2, "west-1": 0}, 0, 7 * time.Second, 0, false}, // nothing excuses it
		{map[string]float64{"west-0": 3, "west-1": 0}, 0, 4 * time.Second, 1, false}, // nothing is to be excused
		{map[string]float64{"west-0": 4, "west-1": 1}, 0, 7 * time.Second, 2, true},
		{map[string]float64{"west-0": 4, "west-1": 1}, 0, 0, 2, false}, // it was never seen
		{map[string]float64{"west-0": 2, "west-1": 0}, 249 * time.Millisecond, 7 * time.Second, 0, false},
		{map[string]float64{"west-0": 2, "west-1": 0}, 250 * time.Millisecond, 7 * time.Second, 0, true},
		{map[string]float64{"west-0": 2, "west-1": 0}, 250 * time.Millisecond, 0, 0, false},
	} {
		l := SeenLoss{Out: tt.out, Paused: rose(before, tt.after), Late: tt.late}
		if l.Paused != tt.paused || l.Excused() != tt.excuse {
			t.Errorf("%v, late by %v, out after %v: expected %d paused and excused %v, found %d and %v",
				tt.after, tt.late, tt.out, tt.paused, tt.excuse, l.Paused, l.Excused())
		}
	}
}
