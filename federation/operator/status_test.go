package operator

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/federation/gossip"
	"github.com/federator/federator/federation/state"
)

func TestWhatStatusSaysOfARegion(t *testing.T) {
	for _, c := range []struct {
		name  string
		spoil func(*view, *regionView)
		fresh string
		note  string
	}{
		{"all is well", func(*view, *regionView) {}, "fresh", ""},
		{"its data is old", func(_ *view, r *regionView) { r.link.LastEvent = noon.Add(-8 * time.Second) }, "stale",
			"its replicas answer, but its stream brought nothing for 8s; serving the last known state"},
		{"its data is very old", func(_ *view, r *regionView) { r.link.LastEvent = noon.Add(-time.Hour) }, "lost",
			"its replicas answer, but its stream brought nothing for 1h0m0s; serving the last known state"},
		{"it comes from the cache", func(v *view, r *regionView) {
			v.started = noon.Add(-time.Second)
			r.link.LastEvent, r.heard = time.Time{}, time.Time{}
		}, "stale", "not heard from since this replica started; serving what it knew before"},
		{"only its stream is missing", func(v *view, r *regionView) {
			v.started = noon.Add(-time.Second)
			r.link.LastEvent = time.Time{}
		}, "stale", "its replicas answer, and its stream has yet to come; serving what was known before"},
		{"nothing is held", func(_ *view, r *regionView) { r.version = catalog.Version{} }, "lost", "nothing is known of its services yet"},
		{"its replicas fell silent", func(_ *view, r *regionView) {
			r.reach, r.heard = catalog.Silent, noon.Add(-2500*time.Millisecond)
		}, "stale", "replicas silent for 2.5s; asking its endpoints; serving the last known state"},
		{"its control plane is lost", func(_ *view, r *regionView) {
			r.reach, r.heard, r.endpoints, r.answering = catalog.ControlPlaneLost, noon.Add(-12*time.Second), 9, 9
		}, "stale", "replicas silent for 12s; 9 of 9 endpoints answer; serving the last known state"},
		{"it is out", func(_ *view, r *regionView) {
			r.reach, r.heard, r.endpoints = catalog.Out, noon.Add(-12*time.Second), 9
		}, "stale", "replicas silent for 12s; its endpoints do not answer either; it serves nobody while another region can"},
		{"it was never heard of", func(_ *view, r *regionView) {
			r.reach, r.heard, r.since = catalog.Out, time.Time{}, noon.Add(-time.Minute)
		}, "stale", "replicas silent for 1m0s; it has no endpoints that could answer"},
		{"we are isolated", func(v *view, _ *regionView) { v.cond.Isolated = true }, "stale", "cut off from here; serving the last known state"},
		{"it was removed", func(_ *view, r *regionView) { r.record = &catalog.Region{Epoch: 1, Removed: true} }, "fresh", "epoch 1 was removed for good"},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := well()
			r := v.region("eu-central")
			c.spoil(v, r)
			s := v.regionStatus(r)
			if s.GetFreshness() != c.fresh || s.GetNote() != c.note {
				t.Errorf("expected %s and %q, found %s and %q", c.fresh, c.note, s.GetFreshness(), s.GetNote())
			}
		})
	}
}

func TestWhatStatusSaysOfTheOwnRegion(t *testing.T) {
	for want, spoil := range map[string]func(*view){
		"": func(*view) {},
		"recovered or restored; publishes nothing until the authority region issues a new epoch": func(v *view) { v.about.NeedsEpoch = true },
		"every other region is silent, so the fault is probably here":                            func(v *view) { v.cond.Isolated = true },
		"region asia-east says that epoch 1 was removed; rejoin with a new token":                func(v *view) { v.region("asia-east").link.RemovedEpoch = 1 },
	} {
		v := well()
		spoil(v)
		s := v.regionStatus(v.region("us-west"))
		if s.GetNote() != want || s.GetFreshness() != "own" || s.GetLeader() != "us-west-1" {
			t.Errorf("expected %q, found %q (%s, leader %s)", want, s.GetNote(), s.GetFreshness(), s.GetLeader())
		}
	}
}

func TestARelayedStreamNamesTheRegionThatRelays(t *testing.T) {
	v := well()
	r := v.region("eu-central")
	r.link.Upstream, r.link.Announced.Seq = "us-west-2", 12
	if s := v.regionStatus(r); s.GetRelayedBy() != "us-west" || s.GetStreamFrom() != "us-west-2" || s.GetLag() != 3 {
		t.Errorf("unexpected status: %v", s)
	}
}

func TestThePartInRaftIsAWord(t *testing.T) {
	for want, spoil := range map[string]func(*view){
		"follower":  func(v *view) { v.stats.State = "Follower" },
		"leader":    func(v *view) { v.stats.State = "Leader" },
		"candidate": func(v *view) { v.stats.State = "Candidate" },
		"standby":   func(v *view) { v.stats.State = "Follower"; v.stats.Servers[0].Voter = false },
		"halted":    func(v *view) { v.stats.State = "Shutdown"; v.health = []error{errors.New("x"), state.ErrHalted} },
	} {
		v := well()
		spoil(v)
		if got := v.raft(); got.GetState() != want || (got.GetHalted() != "") != (want == "halted") {
			t.Errorf("expected %s, found %v", want, got)
		}
	}
}

func TestTheWordsForAMember(t *testing.T) {
	for _, c := range []struct {
		state     gossip.MemberState
		gossiping bool
		answers   bool
		remote    string
		sibling   string
	}{
		{gossip.MemberAlive, true, true, "alive", "alive"},
		{gossip.MemberAlive, true, false, "alive", "suspect"},
		{gossip.MemberSilent, true, false, "suspect", "dead"},
		{gossip.MemberSilent, false, false, "dead", "dead"},
		{gossip.MemberUnknown, false, false, "unknown", "unknown"},
		{"", false, false, "unknown", "unknown"},
	} {
		m := gossip.Member{State: c.state, Gossiping: c.gossiping}
		if got := stateOf(m); got != c.remote {
			t.Errorf("%+v: expected %s, found %s", c, c.remote, got)
		}
		if got := siblingState(m, c.answers); got != c.sibling {
			t.Errorf("%+v: expected %s, found %s", c, c.sibling, got)
		}
	}
}

func TestWhoDecidedTheHealthOfAnEndpoint(t *testing.T) {
	e := &catalog.Endpoint{ID: "e", Health: catalog.Healthy}
	bad := map[string]catalog.Health{"e": catalog.Unhealthy}
	for _, c := range []struct {
		name      string
		w         witnesses
		source    catalog.Health
		effective catalog.Health
		want      string
	}{
		{"nobody else", witnesses{}, catalog.Healthy, catalog.Healthy, "source"},
		{"the region", witnesses{table: bad}, catalog.Healthy, catalog.Unhealthy, "region"},
		{"gossip after the region", witnesses{table: bad, gossip: map[string]catalog.Health{"e": catalog.Healthy}}, catalog.Healthy, catalog.Healthy, "gossip"},
		{"our probes", witnesses{silent: true}, catalog.Healthy, catalog.Unhealthy, "probe"},
		{"our probes agree", witnesses{silent: true, table: bad}, catalog.Healthy, catalog.Unhealthy, "region"},
		{"draining stands", witnesses{table: bad}, catalog.Draining, catalog.Draining, "source"},
	} {
		e.Health = c.source
		if got := c.w.decided(e, c.effective); got != c.want {
			t.Errorf("%s: expected %s, found %s", c.name, c.want, got)
		}
	}
}

func TestLeavingWarnsOfWhatTheRegionCouldNoLongerDo(t *testing.T) {
	for _, c := range []struct {
		name                      string
		remaining, usable, voters int
		votes                     bool
		warns                     string
	}{
		{"one of three", 2, 2, 3, true, ""},
		{"one of three while another is dead", 2, 1, 3, true, "2 are needed"},
		{"a standby", 2, 1, 3, false, ""},
		{"the voter of two", 1, 1, 1, true, ""},
		{"the voter of two while the standby is dead", 1, 0, 1, true, "1 are needed"},
		{"the last", 0, 0, 1, true, "federator region remove r"},
		{"one of five", 4, 3, 5, true, ""},
	} {
		got := strings.Join(lossWarnings("r", "a", c.remaining, c.usable, c.voters, c.votes), " ")
		if (got == "") != (c.warns == "") || !strings.Contains(got, c.warns) {
			t.Errorf("%s: expected %q, found %q", c.name, c.warns, got)
		}
	}
}
