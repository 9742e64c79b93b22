package gossip

import (
	"net/netip"
	"testing"
	"time"

	"github.com/federator/federator/federation/gossip/verdict"
)

func TestAReplicaThatAnswersAgainAfterALongOutageIsJoinedAtOnce(t *testing.T) {
	self, away := NodeName{"us-west", "r0"}, NodeName{"eu-central", "r0"}
	began := time.Unix(1e9, 0)
	now := began
	g := &Gossip{
		self: self, began: began,
		cfg: Config{
			Clock: func() time.Time { return now }, Rand: func() uint64 { return 1 << 62 },
			Allowed: func(string, string) error { return nil },
		},
		observer: newObserver(self, verdict.Standard(), func() uint64 { return 1 }), directory: newDirectory(self),
	}
	targets := []target{{NodeName: away, UDP: netip.MustParseAddrPort("127.0.0.1:7946"), TCP: "127.0.0.1:7946"}}
	g.directory.record(targets)
	g.observer.direct(0, targets)
	attempts := map[NodeName]attempt{}
	tries := 0
	for ; now.Sub(began) < 10*time.Minute; now = now.Add(joinPeriod) {
		tries += len(g.dueJoins(attempts))
	}
	if tries < 10 || tries > 60 {
		t.Fatalf("expected a replica that does not answer to be tried about every %v, found %d tries in ten minutes", maxBackoff, tries)
	}
	for len(g.dueJoins(attempts)) == 0 { // a try has just failed: it is not due for long
		now = now.Add(joinPeriod)
	}

	now = now.Add(joinBackoff)
	if found := g.dueJoins(attempts); len(found) != 0 {
		t.Fatalf("expected a replica that does not answer to be left alone after a try, found another")
	}
	for _, p := range g.observer.peersLocked() {
		p.evidence = g.since(now)
	}
	if found := g.dueJoins(attempts); len(found) != 1 {
		t.Errorf("expected a replica that answers again to be joined at once, found %d tries", len(found))
	}
	if found := g.dueJoins(attempts); len(found) != 0 {
		t.Errorf("expected one try in %v, found another at once", joinBackoff)
	}
}
