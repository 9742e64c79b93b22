package locality

import (
	"testing"
	"time"

	"github.com/federator/federator/federation/catalog"
)

func TestConditionsAreEquivalentIfOnlyDistancesDifferAndNotTheirOrder(t *testing.T) {
	base := func() *catalog.Conditions {
		return &catalog.Conditions{Region: "us-west", Reach: map[string]catalog.Reach{"us-west": catalog.Reachable},
			RTT: map[string]time.Duration{"eu-central": 80 * time.Millisecond, "asia-east": 90 * time.Millisecond}}
	}
	for name, tt := range map[string]struct {
		change func(*catalog.Conditions)
		want   bool
	}{
		"nothing":          {func(*catalog.Conditions) {}, true},
		"a little further": {func(c *catalog.Conditions) { c.RTT["eu-central"] = 89 * time.Millisecond }, true},
		"another order":    {func(c *catalog.Conditions) { c.RTT["eu-central"] = 91 * time.Millisecond }, false},
		"no longer known":  {func(c *catalog.Conditions) { delete(c.RTT, "asia-east") }, false},
		"isolated":         {func(c *catalog.Conditions) { c.Isolated = true }, false},
		"a region is out":  {func(c *catalog.Conditions) { c.Reach["us-west"] = catalog.Out }, false},
	} {
		b := base()
		tt.change(b)
		if got := Equivalent(base(), b); got != tt.want {
			t.Errorf("%s: expected %v, found %v", name, tt.want, got)
		}
	}
	if Equivalent(nil, base()) || !Equivalent(nil, nil) {
		t.Error("expected nil to be equivalent to nil only")
	}
}
