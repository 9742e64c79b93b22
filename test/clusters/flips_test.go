//go:build linux

package clusters

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
)

// flipBound is the 99th percentile that a change of readiness may take from the
// EndpointSlice of one cluster to those of the imports in the others.
const flipBound = time.Second

// flipsCounted is how many flips are measured: the two slowest may be slow in both of the
// other clusters, as when the machine stands still for a moment.
const flipsCounted = 200

// rounds is how often that is measured, if need be. A machine that stands still where this
// process does not see it, as in another cluster's API server, seldom does so in each of
// them; a federator that is too slow is so in all.
const rounds = 3

// stoodStill is for how long this process, or the API server that a flip begins in, may
// keep a flip waiting that is measured. What they do is not federator's.
const stoodStill = flipBound / 4

func TestAReadinessFlipReachesTheImportsOfOtherClustersInTime(t *testing.T) {
	f := need(t)
	s := newShop(t, f, "flips")
	home, others := f.clusters[0], f.clusters[1:]
	addresses := []string{"192.0.2.1", "192.0.2.2", "192.0.2.3"}
	slice := s.openByHand(home, "checkout", addresses)
	control := s.flipsOf(home, discoveryv1.LabelServiceName+"=checkout", addresses[0])
	awaitFlip(t, control, true)
	var seen []chan seenFlip
	for _, c := range others {
		s.address(c, "checkout")
		seen = append(seen, s.flipsOf(c, "federator.dev/import=checkout", addresses[0]))
		awaitFlip(t, seen[len(seen)-1], true)
	}
	m := measure{shop: s, home: home, slice: slice, pulse: beat(t), control: control, seen: seen}
	for round := 1; m.round(round) > flipBound; round++ {
		if round == rounds {
			t.Fatalf("expected a p99 of at most %s in one of %d rounds", flipBound, rounds)
		}
	}
}

// measure is what flips are measured with.
type measure struct {
	*shop
	home    *cluster
	slice   *discoveryv1.EndpointSlice
	pulse   *pulse
	control chan seenFlip   // of the cluster that they begin in
	seen    []chan seenFlip // of the others
	flips   int             // so far, counted or not
}

// round measures flips, says how long they took, and returns their 99th percentile.
func (m *measure) round(number int) time.Duration {
	m.Helper()
	var took []time.Duration
	left, first := 0, m.flips
	for len(took) < flipsCounted*len(m.seen) {
		each, known, still := m.flip()
		if still > stoodStill || known > stoodStill {
			m.Logf("flip %d, seen after %s, does not count: its own cluster told it after %s, and this process stood still for %s", m.flips, each, known, still)
			if left++; left > flipsCounted {
				m.Fatalf("the machine stood still during %d of %d flips: nothing can be measured on it", left, m.flips-first)
			}
			continue
		}
		took = append(took, each...)
	}
	slices.Sort(took)
	p99 := took[(len(took)*99+99)/100-1] // the least that 99 of 100 do not exceed
	m.Logf("round %d: %d flips seen in other clusters, %d more not counted: p50 %s, p99 %s, slowest %s", number, len(took), left,
		took[len(took)/2].Round(time.Millisecond), p99.Round(time.Millisecond), took[len(took)-10:])
	return p99
}

// flip has the endpoint turn once, and returns how long that took to each of the other
// clusters and to its own, and for how long this process stood still meanwhile.
func (m *measure) flip() (each []time.Duration, known, still time.Duration) {
	m.Helper()
	ready := m.flips%2 == 1
	m.flips++
	m.slice.Endpoints[0].Conditions.Ready = &ready
	m.pulse.longest()
	began := time.Now()
	updated, err := m.home.Core.DiscoveryV1().EndpointSlices(m.namespace).Update(m.Context(), m.slice, metav1.UpdateOptions{})
	ok(m.T, err)
	m.slice = updated
	known = awaitFlip(m.T, m.control, ready).Sub(began)
	for _, ch := range m.seen {
		each = append(each, awaitFlip(m.T, ch, ready).Sub(began))
	}
	return each, known, m.pulse.longest()
}

// pulse knows for how long this process stood still.
type pulse struct {
	mu   sync.Mutex
	last time.Time
	most time.Duration
}

// beat looks every few milliseconds, until the test ends.
func beat(t *testing.T) *pulse {
	p, every := &pulse{last: time.Now()}, time.NewTicker(5*time.Millisecond)
	var running sync.WaitGroup
	running.Go(func() {
		defer every.Stop()
		for t.Context().Err() == nil {
			<-every.C
			p.look()
		}
	})
	t.Cleanup(running.Wait) // the test's context ends before
	return p
}

func (p *pulse) look() {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	p.last, p.most = now, max(p.most, now.Sub(p.last))
}

// longest is the longest time without a look since it was asked last.
func (p *pulse) longest() time.Duration {
	p.look()
	p.mu.Lock()
	defer p.mu.Unlock()
	most := p.most
	p.most = 0
	return most
}

// seenFlip is what an EndpointSlice says of an endpoint, and when it was seen.
type seenFlip struct {
	ready bool
	at    time.Time
}

// flipsOf watches what the EndpointSlices with a label say of an endpoint.
func (s *shop) flipsOf(c *cluster, label, address string) chan seenFlip {
	s.Helper()
	w, err := c.Core.DiscoveryV1().EndpointSlices(s.namespace).Watch(s.Context(), metav1.ListOptions{LabelSelector: label})
	ok(s.T, err)
	s.Cleanup(w.Stop)
	out := make(chan seenFlip, 1000)
	go func() {
		for event := range w.ResultChan() {
			slice, isSlice := event.Object.(*discoveryv1.EndpointSlice)
			if !isSlice || event.Type == watch.Deleted {
				continue
			}
			for _, e := range slice.Endpoints {
				if e.Addresses[0] == address {
					out <- seenFlip{e.Conditions.Ready != nil && *e.Conditions.Ready, time.Now()}
				}
			}
		}
	}()
	return out
}

// awaitFlip waits until the endpoint is seen as expected, and returns when that was.
func awaitFlip(t *testing.T, seen chan seenFlip, ready bool) time.Time {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for {
		select {
		case f := <-seen:
			if f.ready == ready {
				return f.at
			}
		case <-ctx.Done():
			t.Fatal(fmt.Errorf("waited for the endpoint to be seen with ready %v: %w", ready, ctx.Err()))
		}
	}
}
