package port

import (
	"net"
	"net/netip"
	"sync"

	"github.com/federator/federator/peering/throttle"
)

// limiter counts what is open, in all and per remote address.
type limiter struct {
	mu        sync.Mutex
	max, each int
	total     int
	by        map[netip.Addr]int
}

func newLimiter(limit, each int) *limiter {
	return &limiter{max: limit, each: each, by: map[netip.Addr]int{}}
}

// take counts one more of the address, or reports that it is one too many.
func (l *limiter) take(a netip.Addr) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.total >= l.max || l.by[a] >= l.each {
		return false
	}
	l.total++
	l.by[a]++
	return true
}

func (l *limiter) give(a netip.Addr) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.total--
	if l.by[a]--; l.by[a] <= 0 {
		delete(l.by, a)
	}
}

// remote is the address that limits count by.
func remote(a net.Addr) netip.Addr {
	ap, err := netip.ParseAddrPort(a.String())
	if err != nil {
		return netip.Addr{}
	}
	return throttle.Key(ap.Addr())
}
