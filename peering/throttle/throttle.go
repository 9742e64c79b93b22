// Package throttle limits how often each of many strangers may ask, in bounded
// memory.
package throttle

import (
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// Table is a token bucket per address. It remembers the addresses seen last, at
// most the number it was made for: who is forgotten starts with a full bucket.
type Table struct {
	rate  rate.Limit
	burst int
	half  int
	now   func() time.Time

	mu       sync.Mutex
	new, old map[netip.Addr]*rate.Limiter
}

// New makes a table of at most size addresses (at least 2), each with burst
// tokens that come back at perSecond. The clock is now.
func New(perSecond float64, burst, size int, now func() time.Time) *Table {
	return &Table{
		rate: rate.Limit(perSecond), burst: burst, half: max(size/2, 1), now: now,
		new: map[netip.Addr]*rate.Limiter{},
	}
}

// Allow takes a token of the address, or reports that none is left.
func (t *Table) Allow(a netip.Addr) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.bucket(a).AllowN(t.now(), 1)
}

// bucket finds the address's bucket. The table is kept as two generations: when
// the new one is full it becomes the old one, and the old one is forgotten.
func (t *Table) bucket(a netip.Addr) *rate.Limiter {
	if b, ok := t.new[a]; ok {
		return b
	}
	b, ok := t.old[a]
	if !ok {
		b = rate.NewLimiter(t.rate, t.burst)
	}
	if len(t.new) >= t.half {
		t.new, t.old = map[netip.Addr]*rate.Limiter{}, t.new
	}
	t.new[a] = b
	return b
}

// Key is what to count an address by: an IPv4 address is itself, an IPv6 one is
// its /64, of which one host commonly has all.
func Key(a netip.Addr) netip.Addr {
	a = a.Unmap().WithZone("")
	if !a.Is6() {
		return a
	}
	return netip.PrefixFrom(a, 64).Masked().Addr()
}
