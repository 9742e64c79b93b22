package drill

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/federator/federator/federation/catalog"
)

var update = flag.Bool("update", false, "rewrite the golden files")

const hostile = "<script>alert(1)</script>\"'&\x1b[31m\u202e\npower {{.}} work"

// practised is a drill of us-west as three regions lived through it: 10 s of ramp,
// 30 s away, 10 s of return, with samples from 20 s before to 20 s after.
func practised() Story {
	begun := noon.Add(time.Second)
	at := func(s float64) time.Time { return begun.Add(time.Duration(s * float64(time.Second))) }
	d := catalog.Drill{
		ID: "us-west-20261125-1200-k3f9", Kind: catalog.DrillEvacuate, Scope: catalog.Scope{Region: "us-west"}, Reason: "quarterly practice",
		Shape:     catalog.Shape{Ramp: seconds(10), Hold: seconds(30), Return: seconds(10)},
		Objective: seconds(5), Actor: "spiffe://acme.example/operator/ada", Region: "eu-central",
		Created: noon, State: catalog.DrillEnded, Begun: begun, Ended: at(50), Outcome: catalog.OutcomeSucceeded,
	}
	s := Story{Drill: catalog.DrillView{Drill: d, Elapsed: d.Shape.Length(), Phase: catalog.PhaseOver}, Regions: []string{"asia-east", "eu-central", "us-west"}, Now: at(120)}
	for i, region := range s.Regions {
		late := 0.12 + 0.1*float64(i)
		s.Drill.Ballots = append(s.Drill.Ballots, catalog.Ballot{
			Drill: d.ID, Region: region, Granted: true, Released: true, Scope: d.Scope, Elapsed: catalog.Duration(d.Shape.Length()),
			Acks: []catalog.PhaseAck{{Phase: catalog.PhaseRamp, At: at(late)}, {Phase: catalog.PhaseHold, At: at(10 + late)}, {Phase: catalog.PhaseReturn, At: at(40 + late)}, {Phase: catalog.PhaseOver, At: at(50 + late)}},
		})
		s.Samples = append(s.Samples, lived(d, region, i))
	}
	return s
}

func seconds(n int) catalog.Duration { return catalog.Duration(time.Duration(n) * time.Second) }

// lived is what a region answered: by its own habit before and after, and less and
// less from us-west as the drill says.
func lived(d catalog.Drill, region string, i int) catalog.DrillSamples {
	out := catalog.DrillSamples{Drill: d.ID, Region: region, Start: d.Begun.Add(-20 * time.Second), Step: seconds(1)}
	for s := -20; s < 70; s++ {
		share := float64(d.Shape.Share(time.Duration(s)*time.Second)) / 1e6
		if s < 0 {
			share = 0
		}
		lookups := uint64(90 + 10*i + (s*7+i*5)%9)
		west := uint64(float64(lookups) * (1 - share) * []float64{0.6, 0.15, 0.92}[i])
		b := catalog.SampleBucket{Lookups: lookups, Scope: west, Named: map[string]uint64{"us-west": west, "eu-central": lookups - west - lookups/20, "asia-east": lookups / 20},
			P50: catalog.Duration((60 + 5*i + (s*3)%7) * int(time.Microsecond)), P99: catalog.Duration((240 + 30*i + (s*37+i*11)%90) * int(time.Microsecond))}
		out.Buckets = append(out.Buckets, b)
	}
	return out
}

// spoiled is the same drill gone wrong: asia-east went on naming us-west, lookups
// failed in us-west, a real failure ended it, and whoever started it is hostile.
func spoiled() Story {
	s := practised()
	d := &s.Drill
	d.Reason, d.Forced = hostile, true
	d.Ended, d.Outcome, d.Detail = d.Begun.Add(31*time.Second), catalog.OutcomeAborted, "service shop/checkout: it would leave 1 region serving, the policy asks for 2"
	d.End = &catalog.DrillEnd{Outcome: d.Outcome, Reason: d.Detail, At: d.Ended}
	for i := range d.Ballots {
		d.Ballots[i].Acks = append(d.Ballots[i].Acks[:2], catalog.PhaseAck{Phase: catalog.PhaseOver, At: d.Ended.Add(80 * time.Millisecond)})
	}
	d.Ballots[0].End = d.End
	for i := 20; i < 60; i++ {
		b := &s.Samples[0].Buckets[i]
		b.Scope, b.Named["us-west"] = b.Lookups/4, b.Lookups/4
	}
	for i := 45; i < 51; i++ {
		s.Samples[2].Buckets[i].Failed = 3
	}
	s.Drill.Ballots[1].Granted, s.Drill.Ballots[1].Reason = false, hostile
	s.Samples = slices.Delete(s.Samples, 1, 2)
	return s
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s: -want +got:\n%s", name, diff)
	}
}

func TestAReportIsWrittenAsTextAndJSON(t *testing.T) {
	for name, s := range map[string]Story{"passed": practised(), "failed": spoiled()} {
		r := MakeReport(s)
		var text bytes.Buffer
		if err := r.Text(&text); err != nil {
			t.Fatal(err)
		}
		golden(t, name+".txt", text.Bytes())
		for i := range r.Regions { // golden enough without the samples
			r.Regions[i].Samples = nil
		}
		b, err := json.MarshalIndent(r, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		golden(t, name+".json", append(b, '\n'))
	}
}

func TestAReportSurvivesItsJSON(t *testing.T) {
	r := MakeReport(spoiled())
	b, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	var again Report
	if err := json.Unmarshal(b, &again); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(r, again); diff != "" {
		t.Errorf("-made +read:\n%s", diff)
	}
}

func TestTheTextOfAReportHoldsNoControlCharacters(t *testing.T) {
	r := MakeReport(spoiled())
	var text bytes.Buffer
	if err := r.Text(&text); err != nil {
		t.Fatal(err)
	}
	if strings.ContainsAny(text.String(), "\x1b\u202e") || strings.Contains(text.String(), "\npower") {
		t.Errorf("a reason got through as it is:\n%q", text.String())
	}
}

func TestAVerdictFollowsFromWhatWasAnswered(t *testing.T) {
	for _, tt := range []struct {
		name string
		make func(*Story)
		want Verdict
		why  string
	}{
		{"as it should be", func(*Story) {}, Passed, "no lookup failed, and no answer named us-west later than 5s after the ramp, in 3 regions"},
		{"answers within the objective", func(s *Story) { s.Samples[0].Buckets[34].Scope = 9 }, Passed, ""},
		{"an answer in the second of the deadline", func(s *Story) {
			s.Samples[0].Start = s.Samples[0].Start.Add(-time.Millisecond)
			s.Samples[0].Buckets[35].Scope = 9
		}, Passed, ""},
		{"an answer after it", func(s *Story) { s.Samples[0].Buckets[36].Scope = 1 }, Failed, "asia-east: 1 answer named us-west after the objective of 5s, the last 7s after the ramp"},
		{"answers while traffic returns", func(s *Story) { s.Samples[0].Buckets[61].Scope = 9 }, Passed, ""},
		{"an answer after it, without an objective", func(s *Story) { s.Drill.Objective, s.Samples[0].Buckets[36].Scope = 0, 1 }, Passed, "no lookup failed, in 3 regions"},
		{"a failed lookup", func(s *Story) { s.Samples[1].Buckets[25].Failed = 2 }, Failed, "eu-central: 2 lookups failed"},
		{"a failed lookup before", func(s *Story) { s.Samples[1].Buckets[3].Failed = 2 }, Passed, ""},
		{"a region that tells nothing", func(s *Story) { s.Samples = s.Samples[:2] }, Unproven, "us-west: the region has not told what it answered"},
		{"nobody asked in a region", func(s *Story) { clear(s.Samples[1].Buckets) }, Unproven, "eu-central: nobody asked, so nothing was shown"},
		{"an abort", func(s *Story) { s.Drill.Outcome, s.Drill.Detail = catalog.OutcomeAborted, "alarm errors: 7" }, Failed, "it was aborted: alarm errors: 7"},
		{"a stop before the objective", func(s *Story) {
			s.Drill.Outcome, s.Drill.Ended = catalog.OutcomeStopped, s.Drill.Begun.Add(12*time.Second)
		}, Open, "the drill ended before the objective could be measured"},
		{"a stop after the objective", func(s *Story) {
			s.Drill.Outcome, s.Drill.Ended = catalog.OutcomeStopped, s.Drill.Begun.Add(25*time.Second)
		}, Passed, ""},
		{"a drill that goes on", func(s *Story) {
			s.Drill.State, s.Drill.Phase, s.Drill.Outcome, s.Drill.Ended = catalog.DrillRunning, catalog.PhaseHold, "", time.Time{}
		}, Open, "the drill is not over"},
		{"a drill whose coordinator is gone", func(s *Story) {
			s.Drill.State, s.Drill.Outcome, s.Drill.Ended = catalog.DrillRunning, "", time.Time{}
		}, Passed, ""},
		{"a drill that was refused", func(s *Story) {
			s.Drill.Begun, s.Drill.Outcome, s.Drill.Detail = time.Time{}, catalog.OutcomeRefused, "us-west: gate till is closed"
		}, Open, "it did not run: us-west: gate till is closed"},
		{"an isolation", func(s *Story) {
			s.Drill.Kind, s.Samples[0].Buckets[36].Scope = catalog.DrillIsolate, 1
		}, Passed, "no lookup failed, in 3 regions"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := practised()
			tt.make(&s)
			r := MakeReport(s)
			if r.Verdict != tt.want || tt.why != "" && strings.Join(r.Why, "; ") != tt.why {
				t.Errorf("got %s %q, want %s %q", r.Verdict, r.Why, tt.want, tt.why)
			}
		})
	}
}

func TestAReportOfHardlyAnythingIsStillAReport(t *testing.T) {
	for name, s := range map[string]Story{
		"nothing":                {},
		"pending":                {Drill: catalog.DrillView{Drill: catalog.Drill{ID: "d", Created: noon, State: catalog.DrillPending}}, Now: noon},
		"samples of no length":   {Drill: practised().Drill, Samples: []catalog.DrillSamples{{Region: "us-west"}}, Now: noon},
		"samples from elsewhere": {Drill: practised().Drill, Samples: []catalog.DrillSamples{{Region: "mars", Step: 1, Buckets: make([]catalog.SampleBucket, 3)}}, Now: noon},
	} {
		r := MakeReport(s)
		var out bytes.Buffer
		if err := r.Text(&out); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if err := r.HTML(&out); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if out.Len() > 100_000 {
			t.Errorf("%s: %d bytes", name, out.Len())
		}
		if strings.Contains(out.String(), "NaN") || strings.Contains(out.String(), "Inf") {
			t.Errorf("%s: the page holds what is no number", name)
		}
	}
}

func TestAPageIsOfBoundedSize(t *testing.T) {
	s := practised()
	s.Regions, s.Samples = nil, nil
	for i := range 10 {
		g := catalog.DrillSamples{Region: fmt.Sprintf("region-%d", i), Start: s.Drill.Begun, Step: seconds(1)}
		for range catalog.MaxSampleBuckets {
			named := map[string]uint64{}
			for j := range 10 {
				named[fmt.Sprintf("region-%d", j)] = uint64(j)
			}
			g.Buckets = append(g.Buckets, catalog.SampleBucket{Lookups: 45, Named: named})
		}
		s.Samples = append(s.Samples, g)
	}
	r := MakeReport(s)
	var out bytes.Buffer
	if err := r.HTML(&out); err != nil || out.Len() > 1<<20 {
		t.Errorf("%v, %d bytes", err, out.Len())
	}
}
