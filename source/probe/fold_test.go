package probe

import (
	"testing"

	"github.com/federator/federator/federation/catalog"
)

func TestFoldCountsConsecutiveResults(t *testing.T) {
	check := &catalog.Check{HealthyThreshold: 2, UnhealthyThreshold: 3}
	// Each results letter is a probe: o answers, x fails. After it stands the
	// health: h or u.
	tests := []struct {
		name, results, want string
		from                catalog.Health
	}{
		{"a first success decides", "o", "h", catalog.Unknown},
		{"a first failure decides", "x", "u", catalog.Unknown},
		{"failures below the threshold change nothing", "xxo", "hhh", catalog.Healthy},
		{"a success starts the count again", "xxoxxo", "hhhhhh", catalog.Healthy},
		{"the third failure in a row turns it", "xxx", "hhu", catalog.Healthy},
		{"one success does not heal", "oxo", "uuu", catalog.Unhealthy},
		{"two successes heal", "oo", "uh", catalog.Unhealthy},
		{"there and back", "xxxoo", "hhuuh", catalog.Healthy},
	}
	letters := map[catalog.Health]byte{catalog.Healthy: 'h', catalog.Unhealthy: 'u'}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			s, got := State{Health: tc.from}, ""
			for _, r := range tc.results {
				before := s.Health
				next, flipped := Fold(s, r == 'o', check)
				if flipped != (next.Health != before) {
					t.Errorf("flipped is %v from %v to %v", flipped, before, next.Health)
				}
				s, got = next, got+string(letters[next.Health])
			}
			if got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}
