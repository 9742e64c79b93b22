package checker

import (
	"testing"
	"time"

	"github.com/federator/federator/peering/pb"
)

func TestCheckMustNameWhatIsExpectedAndNothingNewAfterwards(t *testing.T) {
	targets := []Target{{Region: "west", Name: "west-0"}, {Region: "east", Name: "east-0"}}
	few := Finding{"warning", "few-replicas", "region west", "one"}
	silent := Finding{"error", "region-silent", "region south", "it is silent"}
	shown := Finding{"status", inStatus + "region-out", "region south", "out"}
	louder := few
	louder.Severity, louder.Found = "error", "none"
	baseline := map[string][]Finding{"west/west-0": {few}}
	west := func(t Target) bool { return t.Region == "west" }
	expected := Expectation{By: west, Codes: []string{"region-out", "region-silent"}, Subject: "south"}
	quiet := answers{ok: true}
	for _, tt := range []struct {
		name          string
		west, east    answers
		unnamed, loud int
	}{
		{"all quiet", quiet, quiet, 1, 0},
		{"the baseline is no noise", answers{[]Finding{few}, true}, quiet, 1, 0},
		{"nor in other words", answers{[]Finding{louder}, true}, quiet, 1, 0},
		{"elsewhere it is", quiet, answers{[]Finding{few}, true}, 1, 1},
		{"named", answers{[]Finding{few, silent, shown}, true}, quiet, 0, 1},
		{"named, and status does not show it", answers{[]Finding{few, silent}, true}, quiet, 1, 1},
		{"in status only", answers{[]Finding{shown}, true}, quiet, 1, 1},
		{"named by another only", quiet, answers{[]Finding{silent}, true}, 1, 1},
		{"no answer", answers{}, quiet, 1, 1},
	} {
		replies := []answers{tt.west, tt.east}
		if found := unnamed(targets, replies, []Expectation{expected}, time.Time{}); len(found) != tt.unnamed {
			t.Errorf("%s: expected %d unnamed, found %v", tt.name, tt.unnamed, found)
		}
		if found := noise(targets, replies, baseline, time.Time{}); len(found) != tt.loud {
			t.Errorf("%s: expected noise of %d, found %v", tt.name, tt.loud, found)
		}
	}
}

func TestStatusIsQuietWhenAllIsWell(t *testing.T) {
	well := func() *pb.StatusResponse {
		return &pb.StatusResponse{
			Self: &pb.Replica{Name: "west-0", Region: "west"}, Ready: true, Raft: &pb.RaftStatus{Leader: "west-1"},
			Regions: []*pb.RegionStatus{
				{Name: "west", Own: true, Reach: "reachable", Freshness: "own"},
				{Name: "east", Reach: "reachable", Freshness: "fresh"},
				{Name: "gone", Removed: true, Reach: "out", Freshness: "lost"},
			},
		}
	}
	if found := shows(well()); len(found) != 0 {
		t.Errorf("expected nothing, found %v", found)
	}
	for code, spoil := range map[string]func(s *pb.StatusResponse){
		"isolated":      func(s *pb.StatusResponse) { s.Isolated = true },
		"not-ready":     func(s *pb.StatusResponse) { s.Ready = false },
		"no-leader":     func(s *pb.StatusResponse) { s.Raft.Leader = "" },
		"region-silent": func(s *pb.StatusResponse) { s.Regions[1].Reach = "silent" },
		"region-stale":  func(s *pb.StatusResponse) { s.Regions[1].Freshness = "lost" },
	} {
		s := well()
		spoil(s)
		if found := shows(s); len(found) != 1 || found[0].Code != inStatus+code {
			t.Errorf("expected %s, found %v", code, found)
		}
	}
}

func TestWhatCheckersWriteIsNoProblem(t *testing.T) {
	found := findings([]*pb.Problem{
		{Code: "policy-unused", Subject: "policy lab/register-west-1"},
		{Code: "policy-unused", Subject: "1 more", Found: "the same in policy lab/register-west-1 and others"},
		{Code: "policy-unused", Subject: "policy shop/gone"},
	})
	if len(found) != 1 || found[0].Subject != "policy shop/gone" {
		t.Errorf("expected only the policy of an operator, found %v", found)
	}
}

func TestAProblemThatIsExpectedToStayIsNoNoise(t *testing.T) {
	target := Target{Region: "west", Name: "west-0"}
	p := NewProblems([]Target{target}, time.Second)
	aborted := answers{[]Finding{{"warning", "drill-aborted", "drill one", "aborted: a rule"}}, true}
	if found := noise(p.targets, []answers{aborted}, p.baseline, time.Time{}); len(found) != 1 {
		t.Errorf("expected it to be noise before, found %v", found)
	}
	p.Expect("drill-aborted", "drill one")
	if found := noise(p.targets, []answers{aborted}, p.baseline, time.Time{}); len(found) != 0 {
		t.Errorf("expected no noise, found %v", found)
	}
	p.Expect("drill-aborted", "drill two")
	other := answers{[]Finding{{"warning", "drill-aborted", "drill three", "aborted: a rule"}}, true}
	if found := noise(p.targets, []answers{other}, p.baseline, time.Time{}); len(found) != 1 {
		t.Errorf("expected another drill to be noise, found %v", found)
	}
}
