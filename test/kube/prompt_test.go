//go:build linux

package kube_test

import (
	"slices"
	"testing"
	"time"

	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apiwatch "k8s.io/apimachinery/pkg/watch"

	"github.com/federator/federator/test/still"
)

const (
	// promptly is how long it may take from when the API server tells of a change of
	// readiness until the source hands it over, from where gossip tells the others: for
	// nine of ten changes.
	promptly = 250 * time.Millisecond
	// promptTurns are timed in a round.
	promptTurns = 20
	// promptRounds is how often it is tried: a machine may be slow for a while, federator
	// is slow always.
	promptRounds = 3
)

// prompt times changes of the readiness of the only endpoint of a service. Beside the
// source a plain watch tells when the API server tells of each, since what etcd takes
// to store it is not federator's.
func (w *watcher) prompt(t *testing.T, name, address string) {
	plain, err := w.cluster.Clients.Core.DiscoveryV1().EndpointSlices("shop").Watch(t.Context(), metav1.ListOptions{FieldSelector: "metadata.name=" + name})
	must(t, err)
	defer plain.Stop()
	machine := still.Begin(nil)
	defer machine.End()
	ready, left := true, promptRounds*promptTurns // how many at most do not count
	var p90 time.Duration
	for range promptRounds {
		var took []time.Duration
		for len(took) < promptTurns {
			ready = !ready
			machine.Longest()
			lasted := w.turnBeside(t, plain.ResultChan(), name, address, ready)
			gap := machine.Longest()
			if gap == 0 || left == 0 {
				took = append(took, lasted)
				continue
			}
			left--
			t.Logf("a change that was told of after %v does not count: this process stood still, or one of it waited for a CPU, for %v", lasted, gap)
		}
		slices.Sort(took)
		p90 = took[promptTurns*9/10-1]
		t.Logf("%d changes of readiness were told, after the API server had told of them, after p50 %v, p90 %v, slowest %v", promptTurns, took[promptTurns/2], p90, took[promptTurns-1])
		if !ready { // what comes after finds the endpoint as it was
			ready = true
			w.turnBeside(t, plain.ResultChan(), name, address, ready)
		}
		if p90 <= promptly {
			return
		}
	}
	t.Errorf("expected nine of ten changes of readiness to be told within %v in one of %d rounds, found %v in the last", promptly, promptRounds, p90)
}

// turnBeside turns the endpoint, and returns how long after the plain watch the source
// told of it, 0 if it was first.
func (w *watcher) turnBeside(t *testing.T, plain <-chan apiwatch.Event, name, address string, ready bool) time.Duration {
	t.Helper()
	told := make(chan time.Time, 1)
	go func() {
		defer close(told)
		for event := range plain {
			s, is := event.Object.(*discoveryv1.EndpointSlice)
			if is && len(s.Endpoints) == 1 && *s.Endpoints[0].Conditions.Ready == ready {
				told <- time.Now()
				return
			}
		}
	}()
	begun := time.Now()
	handed := begun.Add(w.turn(name, address, ready))
	select {
	case at, open := <-told:
		if !open {
			t.Fatal("expected the plain watch to go on, found it ended")
		}
		return max(0, handed.Sub(at))
	case <-time.After(soon):
		t.Fatalf("expected the plain watch to tell of it within %v", soon)
	}
	return 0
}
