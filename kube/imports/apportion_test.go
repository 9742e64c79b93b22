package imports

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func TestSharesOfTrafficBecomeSharesOfEndpoints(t *testing.T) {
	const pct = unit / 100
	for name, tt := range map[string]struct {
		shares, sizes, held []int
		limit               int
		want                []int
		err                 int // at most, in percent
	}{
		"one locality lists all":                        {shares: []int{100}, sizes: []int{7}, want: []int{7}},
		"up to the limit":                               {shares: []int{100}, sizes: []int{5000}, limit: 1000, want: []int{1000}},
		"shares of the sizes list all":                  {shares: []int{25, 75}, sizes: []int{3, 9}, want: []int{3, 9}},
		"half and half lists as many of both":           {shares: []int{50, 50}, sizes: []int{3, 100}, want: []int{3, 3}, err: 2},
		"a spill of 30 %":                               {shares: []int{70, 30}, sizes: []int{7, 10}, want: []int{7, 3}},
		"a canary of 10 % keeps an endpoint":            {shares: []int{90, 10}, sizes: []int{1, 1}, want: []int{1, 1}, err: 40},
		"3 % of one endpoint each is left out":          {shares: []int{97, 3}, sizes: []int{1, 1}, want: []int{1, 0}, err: 3},
		"3 % of many is not":                            {shares: []int{97, 3}, sizes: []int{97, 9}, want: []int{97, 5}, err: 2},
		"what cannot be told is as near as it can be":   {shares: []int{40, 60}, sizes: []int{1, 2}, want: []int{1, 2}, err: 7},
		"counts in force stay while they are near":      {shares: []int{52, 48}, sizes: []int{100, 100}, held: []int{100, 100}, want: []int{100, 100}, err: 2},
		"but not where a new endpoint would be idle":    {shares: []int{100}, sizes: []int{11}, held: []int{10}, want: []int{11}},
		"nor far from the shares":                       {shares: []int{70, 30}, sizes: []int{100, 100}, held: []int{100, 100}, want: []int{100, 47}, err: 2},
		"nor where twice as many would be as near":      {shares: []int{97, 3}, sizes: []int{10, 1}, held: []int{1, 0}, want: []int{10, 0}, err: 3},
		"nor far from the limit":                        {shares: []int{100}, sizes: []int{5000}, held: []int{600}, want: []int{1000}},
		"but where more would be as near by chance":     {shares: []int{86, 3, 10, 1}, sizes: []int{13, 2, 1, 1}, held: []int{8, 0, 1, 0}, want: []int{8, 0, 1, 0}, err: 5},
		"a locality that comes to 10 % is not left out": {shares: []int{90, 10}, sizes: []int{5, 5}, held: []int{5, 0}, want: []int{5, 1}, err: 7},
	} {
		bins := make([]bin, len(tt.shares))
		for i := range bins {
			bins[i] = bin{share: uint64(tt.shares[i]) * pct, size: tt.sizes[i]}
			if tt.held != nil {
				bins[i].held = tt.held[i]
			}
		}
		if tt.limit == 0 {
			tt.limit = maxEndpoints
		}
		err := apportion(bins, tt.limit)
		var got []int
		for i := range bins {
			got = append(got, bins[i].count)
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s: expected %v, found %v", name, tt.want, got)
		}
		if err > uint64(tt.err)*pct {
			t.Errorf("%s: expected an error up to %d %%, found %.2f %%", name, tt.err, float64(err)/pct)
		}
	}
}

// drawBins draws up to 8 localities whose shares sum up to all.
func drawBins(t *rapid.T) []bin {
	n := rapid.IntRange(1, 8).Draw(t, "localities")
	weights := make([]uint64, n)
	var sum uint64
	for i := range weights {
		weights[i] = uint64(rapid.IntRange(1, 1000).Draw(t, "weight"))
		sum += weights[i]
	}
	bins := make([]bin, n)
	left := uint64(unit)
	for i := range bins {
		bins[i] = bin{share: weights[i] * unit / sum, size: rapid.IntRange(1, 300).Draw(t, "size")}
		left -= bins[i].share
	}
	bins[0].share += left
	return bins
}

func counts(bins []bin) (out []int, sum int) {
	for i := range bins {
		out = append(out, bins[i].count)
		sum += bins[i].count
	}
	return out, sum
}

func TestTheErrorOfAnApportionmentIsBounded(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		bins, limit := drawBins(t), rapid.IntRange(1, 400).Draw(t, "limit")
		err := apportion(bins, limit)
		got, sum := counts(bins)
		least, short := 0, 0
		for i := range bins {
			b := &bins[i]
			least += b.least()
			if b.count > b.size || b.count < b.least() {
				t.Fatalf("locality %d with a share of %d has %d of %d endpoints: %v", i, b.share, b.count, b.size, got)
			}
			// The largest total at which no locality is short.
			if fits := b.size * unit / int(max(1, b.share)); short == 0 || fits < short {
				short = fits
			}
		}
		if sum > max(limit, least) || sum == 0 {
			t.Fatalf("%d endpoints, expected 1 to %d: %v", sum, max(limit, least), got)
		}
		if real := deviation(bins, sum, (*bin).counted); real != err {
			t.Fatalf("claims an error of %d, it is %d", err, real)
		}
		// Rounding moves less than one endpoint a locality; the one endpoint that is
		// kept whatever the share at most one more each.
		if n := min(short, limit); n >= 10*len(bins) {
			if most := uint64(tolerance) + uint64(len(bins)*unit/n); err > most {
				t.Fatalf("error %d with room for %d endpoints, expected at most %d: %v", err, n, most, got)
			}
		}
	})
}

func TestASmallChangeOfSharesMovesNextToNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		bins := drawBins(t)
		apportion(bins, maxEndpoints)
		before, _ := counts(bins)
		// Up to 1 % of all traffic goes from one locality to another.
		from, to := rapid.IntRange(0, len(bins)-1).Draw(t, "from"), rapid.IntRange(0, len(bins)-1).Draw(t, "to")
		moved := min(bins[from].share-1, uint64(rapid.IntRange(0, hysteresis/2).Draw(t, "moved")))
		bins[from].share -= moved
		bins[to].share += moved
		for i := range bins {
			bins[i].held = bins[i].count
		}
		apportion(bins, maxEndpoints)
		after, _ := counts(bins)
		for i := range bins {
			if before[i] != after[i] && !(before[i] == 0 && after[i] == 1 && bins[i].share >= minimum) {
				t.Fatalf("a change by %d moved endpoints: %v before, %v after, of %+v", moved, before, after, bins)
			}
		}
	})
}

func TestWhatIsApportionedStays(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		bins := drawBins(t)
		limit := rapid.IntRange(1, 400).Draw(t, "limit")
		apportion(bins, limit)
		before := fmt.Sprint(counts(bins))
		for i := range bins {
			bins[i].held = bins[i].count
		}
		apportion(bins, limit)
		if after := fmt.Sprint(counts(bins)); after != before {
			t.Fatalf("%s before, %s after", before, after)
		}
	})
}

func BenchmarkApportion(b *testing.B) {
	bins := []bin{{share: 700_000, size: 400}, {share: 200_000, size: 30}, {share: 100_000, size: 900}}
	for b.Loop() {
		apportion(bins, maxEndpoints)
	}
}
