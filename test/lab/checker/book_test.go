package checker

import (
	"testing"
	"time"
)

func TestAWriteIsLostIfAReplicaHoldsLessThanWasAcknowledgedOrMoreThanWasTried(t *testing.T) {
	west := Target{Region: "west", Name: "west-0"}
	number := func(region string, confirmed, tried uint64) entry {
		return entry{region: region, confirmed: confirmed, tried: tried}
	}
	used := entry{region: "west", state: "used by east/east-0"}
	for _, tt := range []struct {
		name string
		id   string
		kept entry
		have string // "" for nothing
		lost bool
	}{
		{"the acknowledged one", "policy lab/a", number("west", 3, 3), "3", false},
		{"one of unknown outcome after it", "policy lab/a", number("west", 3, 5), "4", false},
		{"an older one", "policy lab/a", number("west", 3, 5), "2", true},
		{"one that nobody wrote", "policy lab/a", number("west", 3, 5), "6", true},
		{"nothing", "policy lab/a", number("west", 3, 5), "", true},
		{"nothing of another region's", "service lab/a", number("east", 1, 1), "", true},
		{"nothing where nothing was acknowledged", "service lab/a", number("east", 0, 2), "", false},
		{"what was never acknowledged, but tried", "service lab/a", number("east", 0, 2), "2", false},
		{"a used token", "token t", used, "used by east/east-0", false},
		{"a used token that can be used again", "token t", used, "unused", true},
		{"a used token that is gone", "token t", used, "", true},
		{"a token of another region is not known here", "token t", entry{region: "east", state: "unused"}, "", false},
		{"an unused token that is gone", "token t", entry{region: "west", state: "unused"}, "", true},
	} {
		have := map[string]string{}
		if tt.have != "" {
			have[tt.id] = tt.have
		}
		found := missing(west, map[string]entry{tt.id: tt.kept}, have, time.Time{})
		if (len(found) > 0) != tt.lost {
			t.Errorf("%s: expected lost %t, found %v", tt.name, tt.lost, found)
		}
	}
}

func TestWhatIsForgivenMayBeLostAndWhatComesAfterMayNot(t *testing.T) {
	b := book{entries: map[string]*entry{}}
	b.acknowledge("policy lab/a", b.attempt("policy lab/a", "west"))
	b.keep("token t", "west", "unused")
	b.acknowledge("policy lab/b", b.attempt("policy lab/b", "east"))
	b.forgive("west")
	west := Target{Region: "west"}
	if found := missing(west, b.copy(), nil, time.Time{}); len(found) != 1 || found[0].Where != "west/ policy lab/b" {
		t.Errorf("expected only the write of east to be missed, found %v", found)
	}
	b.acknowledge("policy lab/a", b.attempt("policy lab/a", "west"))
	if found := missing(west, b.copy(), nil, time.Time{}); len(found) != 2 {
		t.Errorf("expected the write after it to be missed, too, found %v", found)
	}
}

func TestNumbersSurviveAsAddresses(t *testing.T) {
	for _, n := range []uint64{0, 1, 255, 256, 65536, 1<<24 - 1} {
		if found, err := number(numbered(n).String()); err != nil || found != n {
			t.Errorf("%d: found %d, %v", n, found, err)
		}
	}
	for _, text := range []string{"", "11.0.0.1", "::1"} {
		if _, err := number(text); err == nil {
			t.Errorf("%q: expected an error", text)
		}
	}
}
