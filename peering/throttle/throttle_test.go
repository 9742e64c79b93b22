package throttle_test

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"github.com/federator/federator/peering/throttle"
)

func addr(n uint32) netip.Addr {
	return netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, n)))
}

func TestAnAddressGetsItsBurstAndThenItsRate(t *testing.T) {
	now := time.Unix(0, 0)
	table := throttle.New(1, 3, 100, func() time.Time { return now })
	for i := range 3 {
		if !table.Allow(addr(1)) {
			t.Fatalf("call %d of the burst: refused", i)
		}
	}
	if table.Allow(addr(1)) {
		t.Error("after the burst: expected a refusal")
	}
	if !table.Allow(addr(2)) {
		t.Error("another address: expected its own burst")
	}
	now = now.Add(time.Second)
	if !table.Allow(addr(1)) || table.Allow(addr(1)) {
		t.Error("after a second: expected exactly one call more")
	}
}

func TestAnAddressThatKeepsAskingIsNotForgottenInAFlood(t *testing.T) {
	now := time.Unix(0, 0)
	table := throttle.New(0.001, 1, 100, func() time.Time { return now })
	table.Allow(addr(0))
	for n := range uint32(10_000) {
		table.Allow(addr(n + 1))
		if n%20 == 0 && table.Allow(addr(0)) {
			t.Fatalf("after %d strangers: expected the first to be known still", n)
		}
	}
}
