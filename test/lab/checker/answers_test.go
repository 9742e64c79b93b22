package checker

import (
	"slices"
	"testing"
	"time"
)

// second is a moment of the tables.
func second(n float64) time.Time { return time.Unix(1_000_000, 0).Add(time.Duration(n * 1e9)) }

const shop = "checkout.shop."

var (
	dnsBounds = Bounds{Dead: 2 * time.Second, Cut: 5 * time.Second, Back: 3 * time.Second, Up: time.Second}
	shopAt    = []Endpoint{
		{Name: shop, Address: "10.0.0.1", Region: "west"}, {Name: shop, Address: "10.0.0.2", Region: "west"}, {Name: shop, Address: "10.0.1.1", Region: "east"},
		{Name: "other.", Address: "10.0.9.9", Region: "west"}, {Name: "east.", Address: "10.0.1.1", Region: "east", Pinned: true},
	}
)

func TestAnswersAreJudgedByWhatWasTrue(t *testing.T) {
	dead := func(at float64, of string) Fact { return Fact{At: second(at), Condition: Dead, Of: of} }
	down := func(at float64, of string) Fact { return Fact{At: second(at), Condition: Down, Of: of} }
	cut := func(at float64, from, to string) Fact {
		return Fact{At: second(at), Condition: Cut, From: from, Of: to}
	}
	ended := func(at float64, f Fact) Fact { f.At, f.Ended = second(at), true; return f }
	d1, d2, d3 := dead(10, "10.0.0.1"), dead(10, "10.0.0.2"), dead(10, "10.0.1.1")
	for _, tt := range []struct {
		name  string
		facts []Fact
		asked float64
		named []string
		want  Class
		late  time.Duration
	}{
		{"all alive", nil, 20, []string{"10.0.0.1", "10.0.1.1"}, Right, 0},
		{"nothing named", nil, 20, nil, NoAnswer, 0},
		{"a stranger", nil, 20, []string{"10.9.9.9"}, Wrong, 0},
		{"an endpoint of another name", nil, 20, []string{"10.0.9.9"}, Wrong, 0},
		{"before a death", []Fact{d1}, 9, []string{"10.0.0.1"}, Right, 0},
		{"just after a death", []Fact{d1}, 11.5, []string{"10.0.0.1"}, Right, 1500 * time.Millisecond},
		{"at the bound", []Fact{d1}, 12, []string{"10.0.0.1"}, Right, 2 * time.Second},
		{"long after a death", []Fact{d1}, 13, []string{"10.0.0.2", "10.0.0.1"}, Wrong, 3 * time.Second},
		{"a living one after a death", []Fact{d1}, 13, []string{"10.0.0.2"}, Right, 0},
		{"after it came back", []Fact{d1, ended(14, d1)}, 15, []string{"10.0.0.1"}, Right, 0},
		{"all are dead: any answer is as good", []Fact{d1, d2, d3}, 20, []string{"10.0.0.1"}, Right, 0},
		{"all are dead: an answer all the same", []Fact{d1, d2, d3}, 20, nil, NoAnswer, 0},
		{"the only better one is back for too short", []Fact{d1, d2, d3, ended(20, d2)}, 22, []string{"10.0.0.1"}, Right, 0},
		{"the only better one is back for long", []Fact{d1, d2, d3, ended(20, d2)}, 24, []string{"10.0.0.1"}, Wrong, 14 * time.Second},
		{"just after a cut", []Fact{cut(10, "west", "east")}, 14, []string{"10.0.1.1"}, Right, 4 * time.Second},
		{"long after a cut", []Fact{cut(10, "west", "east")}, 16, []string{"10.0.1.1"}, Wrong, 6 * time.Second},
		{"a cut the other way", []Fact{cut(10, "east", "west")}, 16, []string{"10.0.1.1"}, Right, 0},
		{"a cut that ended", []Fact{cut(10, "west", "east"), ended(15, cut(10, "west", "east"))}, 16, []string{"10.0.1.1"}, Right, 0},
		{"cut off, and dead here", []Fact{cut(10, "west", "east"), d1, d2}, 20, []string{"10.0.1.1"}, Right, 0},
		{"the replica is down", []Fact{down(10, "west/west-0")}, 20, nil, Excused, 0},
		{"it is just up again", []Fact{down(10, "west/west-0"), ended(20, down(10, "west/west-0"))}, 20.5, nil, Excused, 0},
		{"it is up for long", []Fact{down(10, "west/west-0"), ended(20, down(10, "west/west-0"))}, 21.5, nil, NoAnswer, 0},
		{"it went down while it was asked", []Fact{down(20.05, "west/west-0")}, 20, nil, Excused, 0},
		{"another replica is down", []Fact{down(10, "west/west-1")}, 20, nil, NoAnswer, 0},
	} {
		a := Answer{Asked: second(tt.asked), Took: 100 * time.Millisecond, Replica: "west/west-0", Region: "west", Name: shop, Addresses: tt.named}
		found := Judge(a, newFacts(tt.facts), shopAt, dnsBounds)
		if found.Class != tt.want || found.Late != tt.late {
			t.Errorf("%s: expected class %d, late %v, found %+v", tt.name, tt.want, tt.late, found)
		}
		if (found.Why == "") != (found.Class == Right) {
			t.Errorf("%s: expected a reason, and only for what is not right, found %+v", tt.name, found)
		}
	}
}

func TestAPinnedNameMayBeEmptyOnlyWhileItsRegionsEndpointsAreGone(t *testing.T) {
	gone := newFacts([]Fact{{At: second(10), Condition: Dead, Of: "10.0.1.1"}})
	lost := newFacts([]Fact{{At: second(10), Condition: Down, Of: "east/east-0"}})
	for _, tt := range []struct {
		name, trouble string
		facts         Facts
		named         []string
		want          Class
	}{
		{"its endpoint is dead", "", gone, nil, Right},
		{"its endpoint is dead, so the name is not there", "NXDOMAIN", gone, nil, Right},
		{"its endpoint is dead, and named all the same", "", gone, []string{"10.0.1.1"}, Right},
		{"its endpoint is dead, and nobody says anything", "timeout", gone, nil, NoAnswer},
		{"only its replicas are gone", "", lost, nil, NoAnswer},
		{"only its replicas are gone, and the name", "NXDOMAIN", lost, nil, NoAnswer},
		{"only its replicas are gone, and its endpoint named", "", lost, []string{"10.0.1.1"}, Right},
	} {
		a := Answer{Asked: second(20), Replica: "west/west-0", Region: "west", Name: "east.", Addresses: tt.named, Trouble: tt.trouble}
		if found := Judge(a, tt.facts, shopAt, dnsBounds); found.Class != tt.want {
			t.Errorf("%s: expected class %d, found %+v", tt.name, tt.want, found)
		}
	}
}

func TestAnswersAreCounted(t *testing.T) {
	facts := newFacts([]Fact{{At: second(10), Condition: Dead, Of: "10.0.0.1"}})
	answer := func(at float64, took time.Duration, named ...string) Answer {
		return Answer{Asked: second(at), Took: took, Replica: "west/west-0", Region: "west", Name: shop, Addresses: named}
	}
	silent := answer(12, 2*time.Second)
	silent.Trouble = "timeout"
	old := answer(13, 3*time.Millisecond, "10.0.1.1")
	old.Stale = true
	all := []Answer{answer(1, time.Millisecond, "10.0.0.1"), answer(11, 2*time.Millisecond, "10.0.0.1"), silent, old, answer(14, 4*time.Millisecond, "10.0.0.1")}
	found := Count(all, facts, shopAt, dnsBounds)
	if found.Asked != 5 || found.Right != 3 || found.NoAnswer != 1 || found.Wrong != 1 || found.Stale != 1 ||
		found.Slowest != 4*time.Millisecond || found.Median != 3*time.Millisecond || found.Latest != 4*time.Second || len(found.Violations) != 2 {
		t.Errorf("found %+v", found)
	}
}

func TestAnswersThatNameAScopeAfterAMomentAreFound(t *testing.T) {
	at := func(n float64, named ...string) Answer { return Answer{Asked: second(n), Name: shop, Addresses: named} }
	all := []Answer{at(1, "10.0.0.1"), at(5, "10.0.0.1"), at(6, "10.0.1.1"), at(7, "10.0.1.1", "10.0.0.2"), at(8)}
	west := func(e Endpoint) bool { return e.Region == "west" }
	found := NamingAfter(all, shopAt, west, second(4))
	times := []time.Time{second(5), second(7)}
	if !slices.EqualFunc(found, times, func(a Answer, at time.Time) bool { return a.Asked.Equal(at) }) {
		t.Errorf("expected those at 5 and 7, found %v", found)
	}
}

func TestATimelineRemembersOnlyChanges(t *testing.T) {
	var line Timeline
	line.Begin(Dead, "a")
	line.Begin(Dead, "a")
	line.End(Dead, "a")
	line.End(Dead, "a")
	line.BeginCut("west", "east")
	facts := line.Facts()
	if n := len(facts.spans[subject{Dead, "", "a"}]); n != 1 {
		t.Errorf("expected one death, found %d", n)
	}
	if _, ok := facts.holds(subject{Cut, "west", "east"}, time.Now()); !ok {
		t.Error("expected the cut to last")
	}
	if _, ok := facts.holds(subject{Cut, "east", "west"}, time.Now()); ok {
		t.Error("expected nothing of the other direction")
	}
}
