package network

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
)

// rule says that a share of the packets from one host to another is dropped. The
// zero address stands for every host.
type rule struct {
	from, to netip.Addr
	share    float64 // 0 to 1
}

// faults are the rules of a region's bridge.
type faults map[[2]netip.Addr]float64

// drop makes a rule, changes it, or ends it if the share is 0.
func (f faults) drop(r rule) error {
	if !(r.share >= 0 && r.share <= 1) { // also not a number
		return fmt.Errorf("expected a share of packets from 0 to 1, found %v", r.share)
	}
	pair := [2]netip.Addr{r.from, r.to}
	if r.share == 0 {
		delete(f, pair)
	} else {
		f[pair] = r.share
	}
	return nil
}

// rules are the rules in a fixed order.
func (f faults) rules() []rule {
	var all []rule
	for pair, share := range f {
		all = append(all, rule{from: pair[0], to: pair[1], share: share})
	}
	slices.SortFunc(all, func(a, b rule) int { return cmp.Or(a.from.Compare(b.from), a.to.Compare(b.to)) })
	return all
}
