package locality

import (
	"math/bits"
	"slices"
	"sort"

	"github.com/federator/federator/federation/catalog"
)

// Table draws localities of a resolution with their effective weights. The zero
// Table is empty. Values are immutable and may be shared.
type Table struct {
	// Localities with a weight, in the order of the resolution.
	Localities []catalog.Locality
	// ends holds the cumulative weights; the last is Unit.
	ends []uint32
}

// NewTable makes the table of a resolution. It keeps nothing of res alive but
// the names of the localities.
func NewTable(res Resolution) Table {
	var t Table
	var end uint32
	for i := range res.Priorities {
		for j := range res.Priorities[i].Localities {
			l := &res.Priorities[i].Localities[j]
			if l.Weight == 0 {
				continue
			}
			end += l.Weight
			t.Localities = append(t.Localities, l.Locality)
			t.ends = append(t.ends, end)
		}
	}
	return t
}

// Pick returns the index in t.Localities that the random number r draws, or -1
// if the table is empty. Uniform r make locality i come up with its weight.
func (t Table) Pick(r uint32) int {
	if len(t.ends) == 0 {
		return -1
	}
	at := uint32(uint64(r) * uint64(t.ends[len(t.ends)-1]) >> 32)
	return sort.Search(len(t.ends), func(i int) bool { return at < t.ends[i] })
}

// Weight returns the effective weight of t.Localities[i], in parts per million.
func (t Table) Weight(i int) uint32 {
	if i == 0 {
		return t.ends[0]
	}
	return t.ends[i] - t.ends[i-1]
}

// Equal reports whether both tables draw alike.
func (t Table) Equal(o Table) bool {
	return slices.Equal(t.Localities, o.Localities) && slices.Equal(t.ends, o.ends)
}

// MaxApportion bounds how many endpoints [Apportion] picks.
const MaxApportion = 1024

// Apportion picks up to n endpoints that together represent the effective
// weights, for resolvers that many clients stand behind.
//
// The number of endpoints per locality follows the largest remainder method. A
// locality cannot give more endpoints than serve in it, so as to keep the
// proportions the answer is then made smaller: the largest size up to n is taken
// at which no locality is short. Every locality with a share of at least 1/n has
// at least one endpoint whatever the size.
//
// Within a locality, endpoints are drawn without replacement by weight, and the
// whole answer is shuffled. Equal seeds give equal answers; turn the seed to
// spread load over all endpoints.
func Apportion(res Resolution, n int, seed uint64) []Endpoint {
	return ApportionFunc(res, n, seed, nil)
}

// ApportionFunc is [Apportion] over the endpoints for which keep is true, such as
// those of one address family. A locality without any is as if it had no weight.
func ApportionFunc(res Resolution, n int, seed uint64, keep func(*catalog.Endpoint) bool) []Endpoint {
	if n <= 0 {
		return nil
	}
	n = min(n, MaxApportion)
	bins := binsOf(res, keep)
	seats(bins, n)
	out := make([]Endpoint, 0, n)
	random := splitmix(seed)
	for i := range bins {
		out = bins[i].draw(out, keep, &random)
	}
	for i := len(out) - 1; i > 0; i-- {
		j := random.below(uint64(i + 1))
		out[i], out[j] = out[j], out[i]
	}
	return out
}

// bin is one locality in an apportionment.
type bin struct {
	of      *Locality
	serving int
	total   uint64 // sum of the weights of the serving endpoints
	seats   int
}

func binsOf(res Resolution, keep func(*catalog.Endpoint) bool) []bin {
	var bins []bin
	for i := range res.Priorities {
		for j := range res.Priorities[i].Localities {
			b := bin{of: &res.Priorities[i].Localities[j]}
			if b.of.Weight == 0 {
				continue
			}
			for k := range b.of.Endpoints {
				if b.of.Endpoints[k].eligible(keep) {
					b.serving++
					b.total += uint64(b.of.Endpoints[k].Weight)
				}
			}
			if b.serving > 0 {
				bins = append(bins, b)
			}
		}
	}
	return bins
}

func (e *Endpoint) eligible(keep func(*catalog.Endpoint) bool) bool {
	return e.Weight > 0 && (keep == nil || keep(e.Endpoint))
}

// seats gives every bin its number of endpoints. Size 1 always fits: its one seat
// goes to the largest share, which deserves one if any does.
func seats(bins []bin, n int) {
	var all uint64
	for i := range bins {
		all += uint64(bins[i].of.Weight)
	}
	for size := n; size > 0; size-- {
		split(uint64(size), len(bins), func(i int) uint64 { return uint64(bins[i].of.Weight) },
			func(i int, part uint64) { bins[i].seats = int(part) })
		if fits(bins, n, all) {
			return
		}
	}
}

// fits gives a seat to every bin that deserves one and has none, and reports
// whether all seats can be filled and are no more than n.
func fits(bins []bin, n int, all uint64) bool {
	total, short := 0, false
	for i := range bins {
		b := &bins[i]
		if b.seats == 0 && uint64(b.of.Weight)*uint64(n) >= all {
			b.seats = 1
		}
		total += b.seats
		short = short || b.seats > b.serving
	}
	return !short && total <= n
}

// draw appends the bin's endpoints to out, by weight without replacement.
func (b *bin) draw(out []Endpoint, keep func(*catalog.Endpoint) bool, random *splitmix) []Endpoint {
	first := len(out)
	left := b.total
	for range b.seats {
		at := random.below(left)
		for i := range b.of.Endpoints {
			e := &b.of.Endpoints[i]
			if !e.eligible(keep) || contains(out[first:], e.Endpoint) {
				continue
			}
			if at < uint64(e.Weight) {
				out = append(out, *e)
				left -= uint64(e.Weight)
				break
			}
			at -= uint64(e.Weight)
		}
	}
	return out
}

func contains(drawn []Endpoint, e *catalog.Endpoint) bool {
	for i := range drawn {
		if drawn[i].Endpoint == e {
			return true
		}
	}
	return false
}

// splitmix is the SplitMix64 generator (Steele, Lea and Flood, 2014): small,
// seedable with any value, and the same everywhere.
type splitmix uint64

func (s *splitmix) next() uint64 {
	*s += 0x9e3779b97f4a7c15
	z := uint64(*s)
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// below returns a number in [0, n); n must not be 0.
func (s *splitmix) below(n uint64) uint64 {
	hi, _ := bits.Mul64(s.next(), n)
	return hi
}
