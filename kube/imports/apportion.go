package imports

import "cmp"

// This file decides how many endpoints of each bin (a locality, or the drilled or
// degraded part of one) kube-proxy gets to see, so that the share of endpoints is
// near the share of traffic.
//
// Bounds, with the error being the part of all traffic that goes elsewhere than
// wanted, ½·Σ|achieved−wanted|:
//
//   - Of all totals, the largest is taken whose error is at most tolerance; if none
//     has, the one with the smallest error. So capacity is left out only for the
//     sake of shares. With n wanted endpoints in all that fit (no bin short), the
//     error is at most (bins-1)/(2·n): rounding only.
//   - A bin with a share of at least minimum never loses all its endpoints, even
//     where that costs accuracy: 90 % and 10 % with one endpoint each become 50 %
//     and 50 %. Below, accuracy decides, once it is below by hysteresis.
//   - No more than a given number in all, unless there are more bins with at least
//     minimum than that.
//   - A change of the shares by up to hysteresis/2 in all moves nothing but, for a
//     bin that comes to minimum, its first endpoint: counts in force are kept while
//     their error is within hysteresis of what would be taken anew, as long as no
//     bin leaves out endpoints that it would not leave out anew. Beyond, what moves
//     is the difference of the counts, since subsets by rendezvous are nested.
const (
	unit       = 1_000_000 // shares are parts per million
	tolerance  = unit / 50 // 2 %
	minimum    = unit / 10 // 10 %
	hysteresis = unit / 50 // 2 %
	// maxEndpoints bounds the endpoints of one import: what kube-proxy, and whoever
	// else watches EndpointSlices on every node, can follow.
	maxEndpoints = 1000
)

// bin is one group of endpoints with a share of the traffic.
type bin struct {
	share uint64 // parts per million of all traffic; the sum over all bins is unit
	size  int    // endpoints that can serve
	held  int    // of them in use now
	count int    // the result
}

// least returns the fewest endpoints that the bin may have.
func (b *bin) least() int {
	if b.share >= minimum || b.held > 0 && b.share >= minimum-hysteresis {
		return 1
	}
	return 0
}

// apportion sets the counts of the bins, at most limit in all, and returns the
// error in parts per million of all traffic. Every bin has a size of at least 1.
func apportion(bins []bin, limit int) uint64 {
	least := 0
	for i := range bins {
		least += bins[i].least()
	}
	limit = max(limit, least)
	fresh := best(bins, limit)
	if kept, ok := hold(bins, limit); ok && kept <= max(fresh, tolerance)+hysteresis {
		for i := range bins {
			bins[i].count = bins[i].keep()
		}
		return kept
	}
	return fresh
}

// keep is the count in force, as far as it still can be.
func (b *bin) keep() int { return min(b.size, max(b.held, b.least())) }

// hold returns the error of the counts in force, and whether they may be kept: no
// bin has endpoints to spare that the fresh counts would use, and in all they are
// not much fewer.
func hold(bins []bin, limit int) (uint64, bool) {
	kept, fresh := 0, 0
	for i := range bins {
		b := &bins[i]
		if b.keep() < b.size && b.count == b.size {
			return 0, false
		}
		kept += b.keep()
		fresh += b.count
	}
	if kept == 0 || kept > limit || kept < fresh*7/8 {
		return 0, false
	}
	return deviation(bins, kept, (*bin).keep), true
}

// best sets the counts for the best total up to limit, and returns their error.
func best(bins []bin, limit int) uint64 {
	most, good := 0, limit
	for i := range bins {
		b := &bins[i]
		most += b.size
		// No total is within tolerance at which a bin is short by more than that.
		if b.share > tolerance {
			good = min(good, b.size*unit/int(b.share-tolerance))
		}
	}
	most = min(most, limit)
	good = min(good, most)
	least, at := uint64(2*unit), 0
	try := func(total int) bool {
		reached := fill(bins, total)
		if reached == 0 || reached > limit {
			return false
		}
		e := deviation(bins, reached, (*bin).counted)
		if e < least {
			least, at = e, total
		}
		return e <= tolerance
	}
	for total := good; total > 0; total-- {
		if try(total) {
			return deviation(bins, fill(bins, total), (*bin).counted)
		}
	}
	for total := good + 1; total <= most; total++ {
		try(total)
	}
	if at == 0 {
		return 0
	}
	return deviation(bins, fill(bins, at), (*bin).counted)
}

func (b *bin) counted() int { return b.count }

// fill sets the counts that are nearest to the shares of a total, as far as the
// bins reach, and returns their sum: whole parts first, then by the largest
// remainder.
func fill(bins []bin, total int) int {
	sum := 0
	for i := range bins {
		b := &bins[i]
		b.count = min(b.size, max(b.least(), int(uint64(total)*b.share/unit)))
		sum += b.count
	}
	for sum < total {
		next, worth := -1, uint64(0)
		for i := range bins {
			b := &bins[i]
			exact, have := uint64(total)*b.share, uint64(b.count)*unit
			if b.count < b.size && exact > have && cmp.Compare(exact-have, worth) > 0 {
				next, worth = i, exact-have
			}
		}
		if next < 0 {
			break
		}
		bins[next].count++
		sum++
	}
	return sum
}

// deviation is the error of the counts, whose sum is total.
func deviation(bins []bin, total int, count func(*bin) int) uint64 {
	var sum uint64
	for i := range bins {
		b := &bins[i]
		sum += distance(uint64(count(b))*unit/uint64(total), b.share)
	}
	return sum / 2
}

func distance(a, b uint64) uint64 { return max(a, b) - min(a, b) }
