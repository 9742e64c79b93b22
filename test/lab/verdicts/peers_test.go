package verdicts_test

import (
	"testing"
	"time"

	"github.com/hashicorp/memberlist"

	"github.com/federator/federator/test/lab/network"
	"github.com/federator/federator/test/lab/verdicts"
)

// quick are LAN defaults for a test that does not measure them. What is suspected has
// as long to refute it as by default, 4 s: no living member may be declared dead here.
func quick() *memberlist.Config {
	c := memberlist.DefaultLANConfig()
	c.ProbeInterval, c.ProbeTimeout, c.GossipInterval = 200*time.Millisecond, 100*time.Millisecond, 50*time.Millisecond
	c.SuspicionMult = 20 // probe intervals
	return c
}

// patience is how long the test waits for what members come to know.
const patience = 90 * time.Second

// within waits for a condition.
func within(t *testing.T, limit time.Duration, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(limit); !holds(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited %v for %s", limit, what)
		}
	}
}

func TestMembersInTheLabLearnOfADeadRegionAndOfItsReturnAndOfOneThatIsIsolated(t *testing.T) {
	n := network.NeedLong(t, 1, "west", "east", "south")
	p, err := verdicts.NewPeers(n, "quick", quick, 2)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	}()
	if !p.Mend(patience) || p.Size() != 6 {
		t.Fatalf("expected 6 members that know each other, found %d", p.Size())
	}
	began := time.Now()
	if _, known := p.AllKnow("east", began); known {
		t.Error("a living region is known to be dead")
	}
	if err := p.Kill("east"); err != nil {
		t.Fatal(err)
	}
	known := func(region string) func() bool {
		return func() bool { at, ok := p.AllKnow(region, began); return ok && at.After(began) }
	}
	within(t, patience, "the others to know of a killed region", known("east"))
	if err := p.Revive("east"); err != nil {
		t.Fatal(err)
	}
	if !p.Mend(patience) {
		t.Error("the members of a region that was revived are not known to all")
	}
	began = time.Now()
	if err := n.Isolate("south"); err != nil {
		t.Fatal(err)
	}
	within(t, patience, "the others to know of an isolated region", known("south"))
	outage := []verdicts.PeerOutage{{Region: "south", Began: began}}
	if declared, _ := verdicts.FalseDeaths(p.Deaths(), outage, began); declared != 0 {
		t.Errorf("expected deaths of the isolated region, and of the others to it, only: %d more", declared)
	}
	if err := n.Heal(); err != nil {
		t.Fatal(err)
	}
	if !p.Mend(patience) {
		t.Error("the members of a region that is no longer isolated are not known to all")
	}
}
