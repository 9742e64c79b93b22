package locality

import (
	"cmp"
	"math/bits"
	"slices"
)

// mulDiv returns floor(a*b/c). The quotient must fit 64 bits.
func mulDiv(a, b, c uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	q, _ := bits.Div64(hi, lo, c)
	return q
}

// split divides whole into integer parts in proportion to the weights and calls
// set for each part. The parts sum to whole exactly: what rounding down leaves
// goes one by one to the largest remainders, the first ones where equal
// (Hamilton's method, which keeps every part within one of its exact value).
// Nothing is set if all weights are zero.
func split(whole uint64, n int, weight func(int) uint64, set func(int, uint64)) {
	var sum uint64
	for i := range n {
		sum += weight(i)
	}
	if sum == 0 {
		return
	}
	if n == 1 {
		set(0, whole)
		return
	}
	var room [16]remainder
	rest := room[:0]
	left := whole
	for i := range n {
		hi, lo := bits.Mul64(whole, weight(i))
		q, r := bits.Div64(hi, lo, sum)
		rest = append(rest, remainder{index: i, part: q, left: r})
		left -= q
	}
	if left > 0 {
		slices.SortStableFunc(rest, func(a, b remainder) int { return cmp.Compare(b.left, a.left) })
	}
	for i, r := range rest {
		if uint64(i) < left {
			r.part++
		}
		set(r.index, r.part)
	}
}

type remainder struct {
	index      int
	part, left uint64
}
