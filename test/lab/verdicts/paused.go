package verdicts

import (
	"fmt"
	"time"

	"github.com/federator/federator/test/e2e/fleet"
)

// waitsOut is for how long an agent that stood still does not judge: what it did
// that long before a loss makes it late, too.
const waitsOut = 2 * time.Second

// maxAgain is how many losses are made instead of those that were seen late because
// agents or the WAN stood still, and againWithin for how long it is begun with them: a
// test has its time.
const (
	maxAgain    = 8
	againWithin = 12 * time.Minute
)

// calmFor is for how long no agent is to have stood still before a region is lost,
// and calmWithin how long it is waited for that.
const (
	calmFor    = 10 * time.Second
	calmWithin = 2 * time.Minute
)

// calm waits until memberlist has had its time after the last loss, and the agents
// outside of a region have not stood still for a while: they would be late for a loss,
// which then would not count. A machine that is never so calm has its losses all the
// same.
func (r *run) calm(without string) {
	r.Helper()
	if n := len(r.outages); n > 0 && len(r.peers) > 0 {
		r.pass(r.outages[n-1].Began.Add(peerPatience + mendPatience))
	}
	last, since := r.pauses(without), time.Now()
	for deadline := since.Add(calmWithin); time.Since(since) < calmFor && time.Now().Before(deadline) && !r.enough(); {
		r.pass(time.Now().Add(2 * time.Second))
		now := r.pauses(without)
		if rose(last, now) > 0 {
			since = time.Now()
		}
		last = now
	}
}

// lateness is the most that the WAN was late since it was asked last.
func (r *run) lateness() time.Duration {
	r.glance(time.Now())
	r.mu.Lock()
	defer r.mu.Unlock()
	late := r.lately
	r.lately = 0
	return late
}

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
