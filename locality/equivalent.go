package locality

import (
	"cmp"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/federator/federator/federation/catalog"
)

// Equivalent reports whether every service resolves alike under both conditions:
// round-trip times count by their order only.
func Equivalent(a, b *catalog.Conditions) bool {
	if a == b {
		return true
	}
	if a == nil || b == nil {
		return false
	}
	x, y := *a, *b
	x.RTT, y.RTT = nil, nil
	x.Prefixes, x.Networks, y.Prefixes, y.Networks = nil, nil, nil, nil // which place clients
	return reflect.DeepEqual(&x, &y) && slices.Equal(byRTT(a), byRTT(b))
}

// byRTT lists the measured regions, the nearest first.
func byRTT(c *catalog.Conditions) []string {
	return slices.SortedFunc(maps.Keys(c.RTT), func(r, o string) int {
		return cmp.Or(cmp.Compare(c.RTT[r], c.RTT[o]), strings.Compare(r, o))
	})
}
