package state

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// roster reads candidates written as "name@cluster:flags"; the flags are V voter,
// m member only, L leader, A alive, R ready, G gone, X expired.
func roster(spec string) []Candidate {
	var out []Candidate
	for _, word := range strings.Fields(spec) {
		who, flags, _ := strings.Cut(word, ":")
		name, cluster, _ := strings.Cut(who, "@")
		has := func(f string) bool { return strings.Contains(flags, f) }
		out = append(out, Candidate{
			ID: name, Name: name, Cluster: cluster, Voter: has("V"), Leader: has("L"), Member: has("V") || has("m"),
			Alive: has("A"), Ready: has("R"), Gone: has("G"), Expired: has("X"),
		})
	}
	return out
}

func TestWhoVotes(t *testing.T) {
	for name, tc := range map[string]struct{ in, target, step string }{
		"nobody":                                      {"", "", " "},
		"one replica votes alone":                     {"a@1:VLA", "a", " "},
		"two are a voter and a standby":               {"a@1:VLA b@2:mAR", "a", " "},
		"a registered replica is added first":         {"a@1:VLA b@2:AR", "a", "add b"},
		"three vote":                                  {"a@1:VLA b@2:mAR c@3:mAR", "a b c", "promote b"},
		"the third is not ready":                      {"a@1:VLA b@2:mAR c@3:mA", "a", " "},
		"four are three and a standby":                {"a@1:VLA b@2:VA c@3:VA d@1:mAR", "a b c", " "},
		"no more than five vote":                      {"a@1:VLA b@2:VA c@3:VA d@1:VA e@2:VA f@3:mAR g@1:mAR", "a b c d e", " "},
		"a dead voter gives way to a standby":         {"a@1:VLA b@2:VA c@3:V d@3:mAR", "a b d", "promote d"},
		"and is demoted once the standby votes":       {"a@1:VLA b@2:VA c@3:V d@3:VA", "a b d", "demote c"},
		"a dead voter without a standby stays":        {"a@1:VLA b@2:VA c@3:V", "a b c", " "},
		"a healthy voter stays when an older returns": {"a@1:VLA b@2:VA d@3:VA c@3:mAR", "a b d", " "},
		"a cluster with a quorum gives a seat away":   {"a@1:VLA b@1:VA c@2:VA d@3:mAR", "a c d", "promote d"},
		"then the surplus voter goes":                 {"a@1:VLA b@1:VA c@2:VA d@3:VA", "a c d", "demote b"},
		"two clusters cannot avoid it":                {"a@1:VLA b@1:VA c@2:VA", "a b c", " "},
		"five in 3+1+1 are only three voters":         {"a@1:VLA b@1:mAR c@1:mAR d@2:VA e@3:VA", "a d e", " "},
		"five in 2+2+1 all vote":                      {"a@1:VLA b@1:mAR c@2:VA d@2:mAR e@3:VA", "a b c d e", "promote b"},
		"six in 2+2+2 are five":                       {"a@1:VLA b@1:VA c@2:VA d@2:VA e@3:VA f@3:mAR", "a b c d e", " "},
		"a removed voter is removed":                  {"a@1:VLA b@2:VA c@3:VAG d@3:VA", "a b d", "remove c"},
		"a removed standby is removed":                {"a@1:VLA b@2:mG", "a", "remove b"},
		"a leader that must go hands over first":      {"a@1:VLAG b@2:VA c@3:VA d@1:VA", "b c d", "transfer b"},
		"unless nobody else can lead":                 {"a@1:VLAG b@2:m", "", " "},
		"of two left one is demoted, not the leader":  {"b@2:VA a@1:VLA", "a", "demote b"},
		"a live voter is not given up for the quorum": {"a@1:VLA b@2:VAG c@3:V", "a", "demote c"},
		"a long dead standby is taken out":            {"a@1:VLA b@2:mX", "a", "remove b"},
		"a long dead voter is not":                    {"a@1:VLA b@2:VA c@3:VX", "a b c", " "},
		"without a quorum nothing is done":            {"a@1:VA b@2:V c@3:V d@1:mAR", "a b d", " "},
		"a voter of an emptied disk is replaced":      {"a@1:VLA b@2:VA c-old@3:VG c-new@3:mAR", "a b c-new", "promote c-new"},
		"a pair shrinks when the other was removed":   {"a@1:VLA b@2:VG", "a", "remove b"},
	} {
		t.Run(name, func(t *testing.T) {
			p := Voters(roster(tc.in))
			if got := strings.Join(p.Target, " "); got != tc.target {
				t.Errorf("target %q, expected %q", got, tc.target)
			}
			if got := fmt.Sprintf("%s %s", p.Action, p.ID); got != tc.step {
				t.Errorf("step %q, expected %q", got, tc.step)
			}
		})
	}
}

func TestVoterWarnings(t *testing.T) {
	for in, want := range map[string]string{
		"a@1:VLA":                 "one replica only",
		"a@1:VLA b@2:mAR":         "join a third",
		"a@1:VA b@2:V c@3:V":      "region recover",
		"a@1:VLA b@1:VA c@2:VA":   "loss of cluster 1",
		"a@1:VLA b@2:VA c@3:V":    "voter c does not answer",
		"a@1:VLA b@2:VA c@3:VA":   "",
		"a@1:VLA b@1:VA c@1:VA":   "",
		"a@1:VLA b@2:VA c@3:VAG ": "two replicas",
	} {
		got := strings.Join(Voters(roster(in)).Warnings, "; ")
		if !strings.Contains(got, want) || (want == "" && got != "") {
			t.Errorf("%s: warnings %q, expected %q", in, got, want)
		}
	}
}

// settle follows the plan as Raft would, until it asks for nothing, and checks
// every step on the way.
func settle(t interface{ Fatalf(string, ...any) }, cs []Candidate) []Candidate {
	for range 100 {
		p := Voters(cs)
		if p.Action == ActNone {
			return cs
		}
		before := countLive(cs)
		cs = perform(cs, p)
		voters, live := countVoters(cs), countLive(cs)
		if live < quorum(voters) {
			t.Fatalf("%s %s lost the quorum: %d of %d (before %d live)", p.Action, p.ID, live, voters, before)
		}
	}
	t.Fatalf("it never settles: %+v", cs)
	return nil
}

func perform(cs []Candidate, p Plan) []Candidate {
	cs = slices.Clone(cs)
	for i := range cs {
		c := &cs[i]
		if p.Action == ActTransfer {
			c.Leader = c.ID == p.ID
		}
		if c.ID != p.ID {
			continue
		}
		switch p.Action {
		case ActAdd:
			c.Member = true
		case ActPromote:
			c.Voter = true
		case ActDemote:
			c.Voter = false
		case ActRemove:
			c.Voter, c.Member = false, false
		}
	}
	return slices.DeleteFunc(cs, func(c Candidate) bool { return p.Action == ActRemove && c.ID == p.ID })
}

func countVoters(cs []Candidate) (n int) {
	for _, c := range cs {
		if c.Voter {
			n++
		}
	}
	return n
}

func countLive(cs []Candidate) (n int) {
	for _, c := range cs {
		if c.Voter && c.Alive {
			n++
		}
	}
	return n
}

// checkSettled holds a settled configuration to the rule, in a dumb way.
func checkSettled(t interface{ Fatalf(string, ...any) }, cs []Candidate) {
	var voters, standbys []Candidate
	per, liveClusters := map[string]int{}, map[string]bool{}
	for _, c := range cs {
		fit := c.Alive && !c.Gone && (c.Voter || c.Ready)
		if fit {
			liveClusters[c.Cluster] = true
		}
		if c.Voter {
			voters = append(voters, c)
			per[c.Cluster]++
		} else if fit {
			standbys = append(standbys, c)
		}
	}
	if n := len(voters); n%2 == 0 || n > maxVoters {
		t.Fatalf("%d voters: %+v", n, cs)
	}
	for cluster, n := range per {
		if len(liveClusters) >= 3 && len(voters) > 1 && n >= quorum(len(voters)) {
			t.Fatalf("cluster %s holds a quorum: %+v", cluster, cs)
		}
	}
	if len(standbys) >= 2 && len(voters) < maxVoters && len(liveClusters) < 3 {
		t.Fatalf("two standbys could vote: %+v", cs)
	}
}

// TestEverySmallRegionSettles tries every mix of up to four replicas in three
// clusters, voters or not, alive or not, beside a live leader.
func TestEverySmallRegionSettles(t *testing.T) {
	kinds := []string{"VA", "V", "mAR", "mA", "m", "AR", "VAG", "mG"}
	var try func(prefix string, left int)
	try = func(prefix string, left int) {
		cs := roster(prefix)
		if countLive(cs) >= quorum(countVoters(cs)) {
			checkSettled(t, settle(t, cs))
		}
		if left == 0 {
			return
		}
		for cluster := range 3 {
			for _, kind := range kinds {
				try(fmt.Sprintf("%s %c@%d:%s", prefix, 'b'+rune(left), cluster, kind), left-1)
			}
		}
	}
	try("a@0:VLA", 3)
}

func TestLargeRegionsSettleAndStay(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(0, 11).Draw(t, "n")
		in := "a@0:VLA"
		voters, live := 1, 1
		for i := range n {
			kind := rapid.SampledFrom([]string{"VA", "VA", "V", "mAR", "mAR", "mA", "m", "AR", "VAG", "mG", "mX"}).Draw(t, "kind")
			if strings.Contains(kind, "V") {
				voters++
				if strings.Contains(kind, "A") {
					live++
				} else if live < quorum(voters) {
					voters--
					kind = "m"
				}
			}
			in += fmt.Sprintf(" %c@%d:%s", 'b'+rune(i), rapid.IntRange(0, 4).Draw(t, "cluster"), kind)
		}
		if live < quorum(voters) {
			t.Skip()
		}
		settled := settle(t, roster(in))
		checkSettled(t, settled)
		// The order they are listed in does not matter, and a settled region stays.
		shuffled := rapid.Permutation(settled).Draw(t, "order")
		if p := Voters(shuffled); p.Action != ActNone {
			t.Fatalf("churn: %s %s in %+v", p.Action, p.ID, settled)
		}
	})
}
