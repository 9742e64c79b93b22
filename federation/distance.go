package federation

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"
)

// Regions go by the order of their round-trip times, which vary. Of two that are
// about as far as each other, now one and now the other would be the nearer: what
// spills over would move between them with every measurement, and with it DNS
// answers and the EndpointSlices of imports. So the one that was nearer stays so
// until the other is clearly nearer: by more than nearPart of the longer way and
// more than nearLeast, which is more than measurements in one place vary.
const (
	nearPart  = 5 // a fifth
	nearLeast = 2 * time.Millisecond
)

// isClearlyNearer reports whether a way is shorter than another by more than noise.
func isClearlyNearer(a, b time.Duration) bool { return b-a > max(b/nearPart, nearLeast) }

// steady returns the measured round-trip times of regions such that they keep the
// order of those that were told before, unless another is clear: a region that comes
// after one that was measured to be a little farther is told to be as far. A region
// of which nothing was told takes its place by what was measured.
func steady(told, measured map[string]time.Duration) map[string]time.Duration {
	place := func(region string) time.Duration { // where it was told to be, or is
		if d, ok := told[region]; ok {
			return d
		}
		return measured[region]
	}
	left := slices.SortedFunc(maps.Keys(measured), func(a, b string) int {
		return cmp.Or(cmp.Compare(place(a), place(b)), strings.Compare(a, b))
	})
	out := make(map[string]time.Duration, len(left))
	last := time.Duration(-1)
	for len(left) > 0 {
		next := slices.IndexFunc(left, func(region string) bool {
			return !slices.ContainsFunc(left, func(other string) bool { return isClearlyNearer(measured[other], measured[region]) })
		}) // the nearest of all at least
		last = max(measured[left[next]], last+1)
		out[left[next]] = last
		left = slices.Delete(left, next, next+1)
	}
	return out
}
