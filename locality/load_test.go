package locality

import (
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// levelsOf makes levels of 100 endpoints from "healthy[+degraded]" percentages.
func levelsOf(spec string) []level {
	var out []level
	for _, f := range strings.Fields(spec) {
		l := level{total: 100}
		if _, err := fmt.Sscanf(f, "%d+%d", &l.healthy, &l.degraded); err != nil {
			l.degraded = 0
			_, _ = fmt.Sscanf(f, "%d", &l.healthy)
		}
		l.admitted = l.healthy * Unit
		out = append(out, l)
	}
	return out
}

func loadsOf(levels []level) string {
	var out []string
	for _, l := range levels {
		s := fmt.Sprint(l.healthyLoad)
		if l.sickLoad > 0 {
			s += fmt.Sprintf("+%d", l.sickLoad)
		}
		if l.panic {
			s += "!"
		}
		out = append(out, s)
	}
	return strings.Join(out, " ")
}

// The tables of Envoy's documentation on priority levels, panic and degraded
// endpoints. Where the documentation's own tables round and its source does not
// (marked "source"), the numbers are those of the source, which is what an
// Envoy that is given the same endpoints does.
func TestLoadsAreThoseOfEnvoy(t *testing.T) {
	for _, tt := range []struct {
		levels    string
		threshold uint64
		want      string
	}{
		{"100 100", 50, "100 0"},
		{"72 100", 50, "100 0"},
		{"71 100", 50, "99 1"},
		{"50 100", 50, "70 30"},
		{"25 100", 50, "35 65"},
		{"0 100", 50, "0 100"},

		{"72 72", 50, "100 0"},
		{"71 71", 50, "99 1"},
		{"50 50", 50, "70 30"},
		{"50 60", 50, "70 30"},
		{"25 25", 50, "50! 50!"},
		{"5 65", 50, "8! 92"}, // source: 7 and 92, and the first gets what rounding leaves

		{"100 100 100", 50, "100 0 0"},
		{"72 72 100", 50, "100 0 0"},
		{"71 71 100", 50, "99 1 0"},
		{"50 50 100", 50, "70 30 0"},
		{"25 100 100", 50, "35 65 0"},
		{"25 25 100", 50, "35 35 30"},
		{"25 25 20", 0, "37 35 28"},     // source: 35, 35 and 28, and the first gets what is left
		{"25 25 20", 50, "34! 33! 33!"}, // all in panic: by host count
		{"60 20 0", 50, "84 16 0"},      // 84 + 28 is over 100: no panic
		{"50 10 0", 50, "84 16! 0!"},    // 70 + 14 is not

		{"0 0", 50, "50! 50!"},
		{"0 0 0", 50, "34! 33! 33!"},
		{"0 0", 0, "100 0"}, // panic turned off: nobody answers
		{"100", 50, "100"},
		{"0", 50, "100!"},

		{"71+0", 50, "100"},
		{"71+29", 50, "99+1"},
		{"25+65", 50, "35+65"},
		{"5+0", 0, "100"},
		{"5+0", 50, "100!"},
		{"10+20 20+10 10+0", 0, "16+28 28+14 14"}, // the example in Envoy's source
		{"0+50 100", 50, "0 100"},                 // healthy of a lower priority before degraded of a higher
		{"0+100", 50, "0+100"},
		{"20+30 20+30", 50, "28+42 28+2"},
	} {
		levels := levelsOf(tt.levels)
		spread(levels, DefaultOverprovisioning, tt.threshold)
		if got := loadsOf(levels); got != tt.want {
			t.Errorf("%s, threshold %d: loads %s, want %s", tt.levels, tt.threshold, got, tt.want)
		}
	}
}

func TestWithPanicOffAndHealthRoundedAwayWhoIsThereAnswers(t *testing.T) {
	levels := []level{{total: 200}, {total: 200, degraded: 1}, {total: 200, healthy: 1, admitted: Unit}}
	spread(levels, DefaultOverprovisioning, 0)
	if got, want := loadsOf(levels), "0 0+100 0"; got != want {
		t.Errorf("loads %s, want %s", got, want)
	}
}

func TestARampMovesLoadButNeverCausesPanic(t *testing.T) {
	levels := []level{{total: 100, healthy: 100, admitted: 100 * Unit / 10}, {total: 100, healthy: 40, admitted: 40 * Unit}}
	spread(levels, DefaultOverprovisioning, 50)
	if got, want := loadsOf(levels), "20 80"; got != want { // 14 and 56 of 70
		t.Errorf("loads %s, want %s", got, want)
	}
	levels = []level{{total: 200, healthy: 2, admitted: 2 * Unit / 10}}
	spread(levels, DefaultOverprovisioning, 0)
	if got, want := loadsOf(levels), "100"; got != want {
		t.Errorf("loads %s, want %s", got, want)
	}
}

func TestSplitIsExactAndWithinOneOfTheProportion(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		whole := rapid.Uint64Range(0, Unit).Draw(t, "whole")
		weights := rapid.SliceOfN(rapid.Uint64Range(0, 1e12), 1, 20).Draw(t, "weights")
		parts := make([]uint64, len(weights))
		split(whole, len(weights), func(i int) uint64 { return weights[i] }, func(i int, p uint64) { parts[i] = p })
		var sum, total uint64
		for i := range weights {
			sum, total = sum+weights[i], total+parts[i]
		}
		if sum == 0 {
			return
		}
		if total != whole {
			t.Fatalf("parts sum to %d, want %d", total, whole)
		}
		for i := range weights {
			exact := float64(whole) * float64(weights[i]) / float64(sum)
			if d := float64(parts[i]) - exact; d <= -1.001 || d >= 1.001 {
				t.Errorf("part %d is %d, want within one of %f", i, parts[i], exact)
			}
		}
	})
}
