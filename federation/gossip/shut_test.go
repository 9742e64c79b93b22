package gossip

import (
	"net/netip"
	"testing"
)

func TestOnlySiblingsPassWhileADrillCutsTheRegionOff(t *testing.T) {
	at := netip.MustParseAddrPort
	self := NodeName{"us-west", "a"}
	d := newDirectory(self)
	d.record([]target{
		{NodeName: NodeName{"us-west", "b"}, UDP: at("10.0.0.2:7946")},
		{NodeName: NodeName{"eu-central", "c"}, UDP: at("10.1.0.3:7946")},
		{NodeName: NodeName{"eu-central", "d"}, UDP: at("10.0.0.2:7000")}, // on the sibling's machine
	})
	d.setMember(target{NodeName: NodeName{"asia-east", "e"}, UDP: at("10.2.0.5:7946")})
	for address, want := range map[string]bool{
		"10.0.0.2:7946": true,
		"10.0.0.2:5555": true, // behind the sibling's address translation
		"10.0.0.2:7000": false,
		"10.1.0.3:7946": false,
		"10.2.0.5:7946": false,
		"10.9.9.9:7946": false, // nobody knows it
	} {
		if got := d.sibling(at(address)); got != want {
			t.Errorf("%s: expected %v, found %v", address, want, got)
		}
	}
	shut := false
	g := &Gossip{directory: d, cfg: Config{Shut: func() bool { return shut }}}
	if !g.passes(at("10.1.0.3:7946")) {
		t.Error("nothing cuts the region off, and a packet is dropped")
	}
	if shut = true; g.passes(at("10.1.0.3:7946")) || !g.passes(at("10.0.0.2:7946")) {
		t.Error("expected the sibling only to pass")
	}
}
