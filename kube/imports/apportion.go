package imports

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
//     their error is within hysteresis of what would be taken anew, unless endpoints
//     are idle for a reason that such a change cannot be, see idle. Beyond, what
//     moves is the difference of the counts, since subsets by rendezvous are nested.
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
	limit = max(limit, sum(bins, (*bin).least))
	kept, ok := hold(bins, limit)
	idle := ok && idle(bins, limit, kept)
	fresh := best(bins, limit, tolerance)
	if ok && !idle && kept <= max(fresh, tolerance)+hysteresis {
		for i := range bins {
			bins[i].count = bins[i].keep()
		}
		return deviation(bins, sum(bins, (*bin).counted), (*bin).counted)
	}
	return fresh
}

// used is the count in force, as far as it still can be, and keep that with the
// first endpoint of a bin that has come to minimum.
func (b *bin) used() int { return min(b.size, b.held) }
func (b *bin) keep() int { return min(b.size, max(b.held, b.least())) }

// hold returns the error of the counts in force, and whether there are any and they
// may be kept within the limit.
func hold(bins []bin, limit int) (uint64, bool) {
	used, keep := sum(bins, (*bin).used), sum(bins, (*bin).keep)
	if used == 0 || keep > limit {
		return 0, false
	}
	return deviation(bins, used, (*bin).used), true
}

func sum(bins []bin, count func(*bin) int) (n int) {
	for i := range bins {
		n += count(&bins[i])
	}
	return n
}

// idle reports whether the counts in force, whose error is kept, leave out endpoints
// for a reason that no change of the shares by hysteresis/2 is: some have been added.
// Such a change alters every error by as much at most. When the counts in force were
// taken, all larger totals had an error above tolerance and above theirs; so they
// cannot be off by less than firm now, nor can twice the counts, which have the same
// error, have been there to be taken. It sets the counts to any value.
func idle(bins []bin, limit int, kept uint64) bool {
	have := sum(bins, (*bin).used)
	twice := 2*have <= limit
	for i := range bins {
		twice = twice && 2*bins[i].used() <= bins[i].size
	}
	if twice {
		return true
	}
	firm := max(tolerance, kept-min(kept, hysteresis/2)) - hysteresis/2 - 1 // errors are rounded
	if best(bins, limit, firm) > firm {
		return false
	}
	more, exhausts := sum(bins, (*bin).counted), false
	for i := range bins {
		b := &bins[i]
		exhausts = exhausts || b.keep() < b.size && b.count == b.size
	}
	return more > have && exhausts || have < more*7/8
}

// best sets the counts for the best total up to limit, the largest whose error is at
// most enough or else the one with the smallest error, and returns their error.
func best(bins []bin, limit int, enough uint64) uint64 {
	most, good := 0, limit
	for i := range bins {
		b := &bins[i]
		most += b.size
		// No total is good at which a bin is short by more than enough.
		if b.share > enough {
			good = min(good, b.size*unit/int(b.share-enough))
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
		if e < least || e == least && total > at {
			least, at = e, total
		}
		return e <= enough
	}
	for total := good; total > 0; total-- {
		if try(total) {
			return deviation(bins, fill(bins, total), (*bin).counted)
		}
	}
	for total := good + 1; total <= most && shortage(bins, total) <= least; total++ {
		try(total)
	}
	if at == 0 {
		return 0
	}
	return deviation(bins, fill(bins, at), (*bin).counted)
}

func (b *bin) counted() int { return b.count }

// shortage is by how much, in parts per million of all traffic, the bin that is
// short most is short at a total, which no error can be below. It grows with totals.
func shortage(bins []bin, total int) uint64 {
	most := uint64(0)
	for i := range bins {
		b := &bins[i]
		lack := b.share * uint64(total)
		most = max(most, lack-min(lack, uint64(b.size)*unit))
	}
	return most / uint64(total)
}

// fill sets the counts that are nearest to the shares of a total, and returns their
// sum, which is the total unless the bins are too small for it or may not have so
// few: whole parts first, then to the bin that lacks most, or exceeds least.
func fill(bins []bin, total int) int {
	reached := 0
	for i := range bins {
		b := &bins[i]
		b.count = min(b.size, max(b.least(), int(uint64(total)*b.share/unit)))
		reached += b.count
	}
	for reached < total {
		next, worth := -1, 0
		for i := range bins {
			b := &bins[i]
			if lacks := total*int(b.share) - b.count*unit; b.count < b.size && (next < 0 || lacks > worth) {
				next, worth = i, lacks
			}
		}
		if next < 0 {
			break
		}
		bins[next].count++
		reached++
	}
	return reached
}

// deviation is the error of the counts, whose sum is total.
func deviation(bins []bin, total int, count func(*bin) int) uint64 {
	var off uint64
	for i := range bins {
		b := &bins[i]
		off += distance(uint64(count(b))*unit, b.share*uint64(total))
	}
	return off / 2 / uint64(total)
}

func distance(a, b uint64) uint64 { return max(a, b) - min(a, b) }
