package checker

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// entry is what was acknowledged of one key: a number that only its one writer
// raises, or a state.
type entry struct {
	region           string
	tried, confirmed uint64
	state            string
}

// book records what was acknowledged, by "kind key". It is safe for concurrent
// use.
type book struct {
	mu      sync.Mutex
	entries map[string]*entry
	total   int
}

// attempt returns the next number of a key, which is about to be written.
func (b *book) attempt(id, region string) uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	e := b.entries[id]
	if e == nil {
		e = &entry{region: region}
		b.entries[id] = e
	}
	e.tried++
	return e.tried
}

// acknowledge notes that a number was acknowledged.
func (b *book) acknowledge(id string, n uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.entries[id].confirmed = max(b.entries[id].confirmed, n)
	b.total++
}

// keep notes an acknowledged state.
func (b *book) keep(id, region, state string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.entries[id] = &entry{region: region, state: state}
	b.total++
}

func (b *book) forgive(region string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for id, e := range b.entries {
		if e.region == region {
			e.confirmed = 0
			if e.state != "" {
				delete(b.entries, id)
			}
		}
	}
}

func (b *book) acknowledged() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.total
}

func (b *book) copy() map[string]entry {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := make(map[string]entry, len(b.entries))
	for id, e := range b.entries {
		out[id] = *e
	}
	return out
}

// neverWritten is what is expected instead of a number that nobody has written.
const neverWritten = "a number that was written"

// missing compares what was acknowledged with what a replica holds. Tokens are
// known in their own region only; a token that is gone when it was expected
// unused is lost, too.
func missing(t Target, kept map[string]entry, have map[string]string, now time.Time) []Violation {
	var out []Violation
	for _, id := range slices.Sorted(maps.Keys(kept)) {
		e := kept[id]
		held, ok := have[id]
		if !ok {
			held = "nothing"
		}
		switch {
		case strings.HasPrefix(id, kindToken+" "):
			if t.Region == e.region && held != e.state {
				out = append(out, Violation{At: now, Where: t.String() + " " + id, Expected: e.state + ", which was acknowledged", Found: held})
			}
		case e.confirmed == 0 && !ok:
		default:
			n, err := strconv.ParseUint(held, 10, 64)
			v := Violation{At: now, Where: t.String() + " " + id, Found: held}
			switch {
			case err == nil && n > e.tried:
				v.Expected = neverWritten
				out = append(out, v)
			case err != nil || n < e.confirmed:
				v.Expected = fmt.Sprintf("number %d, which was acknowledged, or a later one up to %d", e.confirmed, e.tried)
				out = append(out, v)
			}
		}
	}
	return out
}
