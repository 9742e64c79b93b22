package verdicts

import (
	"fmt"
	"time"

	"github.com/federator/federator/test/e2e/fleet"
)

// waitsOut is for how long an agent that stood still does not judge: what it did
// that long before a loss makes it late, too.
const waitsOut = 2 * time.Second

// maxAgain is how many losses are made instead of those that agents saw late because
// they stood still.
const maxAgain = 3

// pauses are how often each agent outside of a region has stood still in its life.
func (r *run) pauses(without string) map[string]float64 {
	r.Helper()
	all := map[string]float64{}
	for _, a := range r.fleet.Replicas("") {
		if a.Region == without {
			continue
		}
		h, err := r.net.Host(a.Region, a.Name)
		r.must(err)
		r.must(fleet.Await(patience, func() error {
			c, err := scrape(h, a.HTTP, a.Region)
			if err != nil {
				return fmt.Errorf("the metrics of %s: %w", a, err)
			}
			all[a.String()] = c.Pauses
			return nil
		}))
	}
	return all
}

// rose is how many agents stood still from one look at the others to the next.
func rose(before, after map[string]float64) int {
	n := 0
	for agent, count := range after {
		if count > before[agent] {
			n++
		}
	}
	return n
}
