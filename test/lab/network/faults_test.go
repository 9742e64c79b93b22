package network

import (
	"math"
	"net/netip"
	"slices"
	"testing"
)

func TestFaultsAreRulesInAFixedOrderAndAShareOfZeroEndsOne(t *testing.T) {
	a, b, every := netip.MustParseAddr("10.1.0.2"), netip.MustParseAddr("10.1.0.3"), netip.Addr{}
	f := faults{}
	for _, r := range []rule{{b, a, 0.5}, {a, b, 1}, {a, every, 0.2}, {every, a, 0.3}, {a, b, 0.1}, {b, a, 0}, {b, every, 0}} {
		if err := f.drop(r); err != nil {
			t.Fatal(err)
		}
	}
	if found, want := f.rules(), []rule{{every, a, 0.3}, {a, every, 0.2}, {a, b, 0.1}}; !slices.Equal(found, want) {
		t.Errorf("expected %v, found %v", want, found)
	}
	for _, share := range []float64{-0.1, 1.1, math.NaN()} {
		if err := f.drop(rule{a, b, share}); err == nil {
			t.Errorf("a share of %v was taken", share)
		}
	}
}

func TestTheDestinationOfWhatIsNotIPv4IsNobody(t *testing.T) {
	header := make([]byte, 20)
	header[0] = 0x45
	copy(header[16:], []byte{10, 2, 0, 9})
	if found := destination(header); found != netip.MustParseAddr("10.2.0.9") {
		t.Errorf("expected 10.2.0.9, found %v", found)
	}
	six := slices.Clone(header)
	six[0] = 0x60
	for name, packet := range map[string][]byte{"nothing": nil, "too short": header[:19], "IPv6": six} {
		if found := destination(packet); !found.IsUnspecified() {
			t.Errorf("%s: expected nobody, found %v", name, found)
		}
	}
}
