//go:build linux

package clusters

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
)

// flipBound is the 99th percentile that a change of readiness may take from the
// EndpointSlice of one cluster to those of the imports in the others.
const flipBound = time.Second

func TestAReadinessFlipReachesTheImportsOfOtherClustersInTime(t *testing.T) {
	f := need(t)
	s := newShop(t, f, "flips")
	home, others := f.clusters[0], f.clusters[1:]
	addresses := []string{"192.0.2.1", "192.0.2.2", "192.0.2.3"}
	slice := s.openByHand(home, "checkout", addresses)
	var seen []chan seenFlip
	for _, c := range others {
		s.address(c, "checkout")
		seen = append(seen, s.flipsOf(c, "checkout", addresses[0]))
	}
	for _, ch := range seen {
		awaitFlip(t, ch, true)
	}
	var took []time.Duration
	for i := range 40 {
		ready := i%2 == 1
		slice.Endpoints[0].Conditions.Ready = &ready
		began := time.Now()
		updated, err := home.Core.DiscoveryV1().EndpointSlices(s.namespace).Update(t.Context(), slice, metav1.UpdateOptions{})
		ok(t, err)
		slice = updated
		for _, ch := range seen {
			took = append(took, awaitFlip(t, ch, ready).Sub(began))
		}
	}
	slices.Sort(took)
	worst := took[len(took)*99/100]
	t.Logf("%d flips seen in other clusters: p50 %s, p99 %s", len(took), took[len(took)/2].Round(time.Millisecond), worst.Round(time.Millisecond))
	if worst > flipBound {
		t.Errorf("expected a p99 of at most %s", flipBound)
	}
}

// seenFlip is what an import's EndpointSlice says of an endpoint, and when it was seen.
type seenFlip struct {
	ready bool
	at    time.Time
}

// flipsOf watches what the EndpointSlices of an import say of an endpoint.
func (s *shop) flipsOf(c *cluster, service, address string) chan seenFlip {
	s.Helper()
	w, err := c.Core.DiscoveryV1().EndpointSlices(s.namespace).Watch(s.Context(), metav1.ListOptions{LabelSelector: "federator.dev/import=" + service})
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
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
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
