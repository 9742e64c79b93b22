package gossip

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/hashicorp/memberlist"

	"github.com/federator/federator/federation/catalog"
)

func TestOnlyReplicasOfThisFederationAreTakenIn(t *testing.T) {
	removed := errors.New("the region was removed")
	d := delegate{&Gossip{cfg: Config{Allowed: func(region, _ string) error {
		if region == "gone" {
			return removed
		}
		return nil
	}}}}
	ip, meta := net.IPv4(192, 0, 2, 1).To4(), appendText([]byte{wireVersion}, "192.0.2.1:7443")
	tests := []struct {
		name string
		node memberlist.Node
		ok   bool
	}{
		{"a replica", memberlist.Node{Name: "eu/r1", Addr: ip, Port: 7946, Meta: meta}, true},
		{"of a removed region", memberlist.Node{Name: "gone/r1", Addr: ip, Port: 7946, Meta: meta}, false},
		{"without a region", memberlist.Node{Name: "r1", Addr: ip, Port: 7946, Meta: meta}, false},
		{"with a name that is no label", memberlist.Node{Name: "eu/R 1", Addr: ip, Port: 7946, Meta: meta}, false},
		{"without meta", memberlist.Node{Name: "eu/r1", Addr: ip, Port: 7946}, false},
		{"with more meta than ours", memberlist.Node{Name: "eu/r1", Addr: ip, Port: 7946, Meta: append(meta[:len(meta):len(meta)], 0)}, false},
		{"at no address", memberlist.Node{Name: "eu/r1", Addr: net.IPv4zero, Port: 7946, Meta: meta}, false},
		{"at half an address", memberlist.Node{Name: "eu/r1", Addr: []byte{1, 2}, Port: 7946, Meta: meta}, false},
		{"at no port", memberlist.Node{Name: "eu/r1", Addr: ip, Meta: meta}, false},
	}
	for _, tt := range tests {
		if err := d.NotifyAlive(&tt.node); (err == nil) != tt.ok {
			t.Errorf("a node %s: %v", tt.name, err)
		}
	}
}

func TestTheDirectoryFindsStreamsByNameInBothSpellingsAndByAddress(t *testing.T) {
	d := newDirectory(NodeName{"us", "r0"})
	d.setMember(target{NodeName: NodeName{"eu", "r0"}, UDP: netip.MustParseAddrPort("192.0.2.1:7946"), TCP: "old:7443"})
	d.record([]target{{NodeName: NodeName{"eu", "r0"}, UDP: netip.MustParseAddrPort("192.0.2.2:7946"), TCP: "new:7443"}})
	for _, a := range []memberlist.Address{{Name: "eu/r0"}, {Name: "eu.r0", Addr: "192.0.2.2:7946"}, {Addr: "192.0.2.2:7946"}} {
		if got, err := d.dial(a); err != nil || got != "new:7443" {
			t.Errorf("%s: %q, %v", a.String(), got, err)
		}
	}
	if _, err := d.dial(memberlist.Address{Name: "eu/r9", Addr: "192.0.2.2:7946"}); err == nil {
		t.Error("a replica that nobody knows has an address")
	}
}

func TestPacketsFollowTheNameInARecordAndElseWhatMemberlistSays(t *testing.T) {
	at := netip.MustParseAddrPort
	d := newDirectory(NodeName{"us", "r0"})
	d.record([]target{
		{NodeName: NodeName{"eu", "balanced"}, UDP: at("192.0.2.2:7946"), Named: true},
		{NodeName: NodeName{"eu", "unknown"}},                          // its name was never found
		{NodeName: NodeName{"eu", "moved"}, UDP: at("192.0.2.3:7946")}, // the record does not say so yet
	})
	for name, want := range map[string]string{
		"eu/balanced": "192.0.2.2:7946", "eu/unknown": "10.0.0.1:7946", "eu/moved": "10.0.0.1:7946", "eu/new": "10.0.0.1:7946", "": "10.0.0.1:7946",
	} {
		if got := d.where(memberlist.Address{Name: name, Addr: "10.0.0.1:7946"}); got != want {
			t.Errorf("packets to %q: expected at %s, found at %s", name, want, got)
		}
	}
}

func TestAHostNameIsLookedUpOnceAndKeptWhenTheLookupFails(t *testing.T) {
	d := newDirectory(NodeName{"us", "r0"})
	lookups, fail := 0, error(nil)
	d.lookup = func(context.Context, string) (netip.Addr, error) {
		lookups++
		return netip.MustParseAddr("192.0.2.7"), fail
	}
	now := time.Unix(0, 0)
	for range 3 {
		if ap, err := d.locate(t.Context(), now, "pod-1.agents:7946"); err != nil || ap.String() != "192.0.2.7:7946" {
			t.Fatalf("%v, %v", ap, err)
		}
	}
	fail = errors.New("no answer")
	if _, err := d.locate(t.Context(), now.Add(time.Hour), "pod-1.agents:7946"); err != nil || lookups != 2 {
		t.Errorf("after %d lookups: %v", lookups, err)
	}
	if _, err := d.locate(t.Context(), now, "pod-2.agents:7946"); err == nil {
		t.Error("a name that never resolved has an address")
	}
}

func TestConfigReportsEverythingMissingAtOnce(t *testing.T) {
	err := (&Config{Region: "US", Name: "r0"}).Validate()
	var joined interface{ Unwrap() []error }
	if !errors.As(err, &joined) || len(joined.Unwrap()) != 10 {
		t.Errorf("error is %v", err)
	}
}

func TestAResyncIsAnnouncedOncePerVersion(t *testing.T) {
	p := newPuller()
	m := resync{Cluster: testCluster, Version: catalog.HealthVersion{Epoch: 1, Term: 1, Seq: 5}}
	if !p.announce(m) || p.announce(m) {
		t.Error("the same version is news twice, or never")
	}
	m.Version.Term++
	if !p.announce(m) {
		t.Error("a newer version is no news")
	}
}

func TestANewerChangeTakesThePlaceOfAnOlderOne(t *testing.T) {
	o := newOutbox(func() int { return 3 })
	for seq := range uint64(10) {
		o.change(testCluster, flip("e1", seq).Changes[0])
	}
	messages := o.queue.GetBroadcasts(2, 10000)
	if len(messages) != 1 || o.pending() != 1 || o.full(testCluster, maxQueued-1) {
		t.Fatalf("%d messages, %v pending", len(messages), o.pending())
	}
	if d, err := decodeDelta(messages[0]); err != nil || d.Changes[0].Version.Seq != 9 {
		t.Errorf("%v, %v", d, err)
	}
	if !o.full(testCluster, maxQueued) {
		t.Error("the outbox has no limit")
	}
}
