package dns

import (
	"net/netip"
	"sync/atomic"
)

// limiter bounds how many answers a second a client network gets. It is a table
// of fixed size: networks that collide share a bound, and nothing grows.
type limiter struct {
	rate    uint32 // 0 means no bound
	buckets []atomic.Uint64
}

const limiterSize = 1 << 14

func newLimiter(rate int) *limiter {
	l := &limiter{}
	if rate > 0 {
		l.rate = uint32(rate)
		l.buckets = make([]atomic.Uint64, limiterSize)
	}
	return l
}

// allow counts one answer to a public network (/24 or /56) in the given second
// and reports whether it is within the bound. salt keeps collisions unpredictable.
func (l *limiter) allow(a netip.Addr, second uint32, salt uint64) bool {
	if l.rate == 0 || a.IsLoopback() || a.IsPrivate() || a.IsLinkLocalUnicast() {
		return true
	}
	bits := 56
	if a.Is4() {
		bits = 24
	}
	network, err := a.Prefix(bits)
	if err != nil {
		return false
	}
	b := &l.buckets[mix64(hashAddr(network.Addr()), salt)%limiterSize]
	for {
		old := b.Load()
		count := uint32(old)
		if uint32(old>>32) != second {
			count = 0
		}
		if count >= l.rate {
			return false
		}
		if b.CompareAndSwap(old, uint64(second)<<32|uint64(count+1)) {
			return true
		}
	}
}
