package replication

import (
	"math"
	"time"

	"github.com/federator/federator/federation/catalog"
)

// upstream is a replica that a region's state can come from: one of the region,
// or a sibling that relays it.
type upstream struct {
	catalog.Replica
	relays bool
}

func (u upstream) id() string { return u.Region + "/" + u.Name + "@" + u.PeerAddress }

// ledger is the memory of how upstreams fared, and chooses the next. It is pure:
// time and randomness are arguments.
type ledger struct {
	entries map[string]*account
	base    time.Duration // the first delay after a failure
	limit   time.Duration // the longest
}

type account struct {
	failures int
	retryAt  time.Time
	tried    time.Time
	rank     float64 // random, so that replicas spread over upstreams
}

// preference says which upstreams a link asks.
type preference uint8

const (
	directFirst   preference = iota // siblings while no replica of the region can be had
	siblingsFirst                   // to fill an empty or old cache
	directOnly                      // to leave a relay
)

func newLedger(base, limit time.Duration) *ledger {
	return &ledger{entries: map[string]*account{}, base: base, limit: limit}
}

// pick chooses among the candidates that may be tried now. When there is none,
// wait is how long until there is (0 if there are no candidates at all).
func (l *ledger) pick(now time.Time, candidates []upstream, p preference, random func() float64) (best upstream, wait time.Duration, ok bool) {
	l.keep(candidates, random)
	wait = math.MaxInt64
	for _, c := range candidates {
		if p == directOnly && c.relays {
			continue
		}
		if d := l.entries[c.id()].retryAt.Sub(now); d > 0 {
			wait = min(wait, d)
			continue
		}
		if !ok || l.better(c, best, p) {
			best, ok = c, true
		}
	}
	if wait == math.MaxInt64 {
		wait = 0
	}
	return best, wait, ok
}

// keep makes the entries those of the candidates.
func (l *ledger) keep(candidates []upstream, random func() float64) {
	next := make(map[string]*account, len(candidates))
	for _, c := range candidates {
		a := l.entries[c.id()]
		if a == nil {
			a = &account{rank: random()}
		}
		next[c.id()] = a
	}
	l.entries = next
}

// better orders candidates: by kind, then the fewest failures, then the one not
// tried for longest, then at random.
func (l *ledger) better(a, b upstream, p preference) bool {
	if a.relays != b.relays {
		return a.relays == (p == siblingsFirst)
	}
	x, y := l.entries[a.id()], l.entries[b.id()]
	switch {
	case x.failures != y.failures:
		return x.failures < y.failures
	case !x.tried.Equal(y.tried):
		return x.tried.Before(y.tried)
	}
	return x.rank < y.rank
}

// untried reports whether a sibling is left that has not failed.
func (l *ledger) untried(candidates []upstream) bool {
	for _, c := range candidates {
		if a := l.entries[c.id()]; c.relays && (a == nil || a.failures == 0) {
			return true
		}
	}
	return false
}

// tried notes that an upstream is being tried.
func (l *ledger) tried(u upstream, now time.Time) {
	if a := l.entries[u.id()]; a != nil {
		a.tried = now
	}
}

// worked notes that an upstream gave all it had.
func (l *ledger) worked(u upstream) {
	if a := l.entries[u.id()]; a != nil {
		a.failures, a.retryAt = 0, time.Time{}
	}
}

// failed notes a failure: the upstream is left alone for twice as long each
// time, give or take half of it.
func (l *ledger) failed(u upstream, now time.Time, random float64) {
	a := l.entries[u.id()]
	if a == nil {
		return
	}
	delay := min(l.limit, l.base<<min(a.failures, 16))
	a.failures++
	a.retryAt = now.Add(delay/2 + time.Duration(random*float64(delay)))
}
