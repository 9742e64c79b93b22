package kube

import (
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// absentUntil answers for federator's own kinds: unknown, until they are installed.
type absentUntil struct {
	mu    sync.Mutex
	there string // of which kinds: in the path
	asked map[string][]time.Time
}

func (a *absentUntil) RoundTrip(req *http.Request) (*http.Response, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.asked[req.URL.Path] = append(a.asked[req.URL.Path], time.Now())
	status := http.StatusNotFound
	if a.there != "" && strings.Contains(req.URL.Path, a.there) {
		status = http.StatusOK
	}
	return &http.Response{StatusCode: status, Body: io.NopCloser(strings.NewReader("{}")), Request: req}, nil
}

func (a *absentUntil) install(kinds string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.there = kinds
}

func (a *absentUntil) count() (n int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, times := range a.asked {
		n += len(times)
	}
	return n
}

// findKind asks for a kind of federator's own until it is there.
func findKind(t *testing.T, client *patient, kind string) {
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://server/apis/federator.dev/v1alpha1/"+kind, nil)
	if err != nil {
		t.Error(err)
		return
	}
	if resp, err := client.RoundTrip(req); err != nil || resp.StatusCode != http.StatusOK {
		t.Errorf("%s: expected it to be found in the end, found %v %v", kind, resp, err)
	}
}

// CRDs are applied one after the other, and known by an API server one by one.
func TestAKindThatIsInstalledSoonAfterAnotherIsNotWaitedForAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := &absentUntil{asked: map[string][]time.Time{}}
		client := &patient{newPatience(), server}
		var first, second sync.WaitGroup
		first.Go(func() { findKind(t, client, "resolutionpolicies") })
		second.Go(func() { findKind(t, client, "drills") })
		time.Sleep(10 * time.Minute)
		server.install("resolutionpolicies")
		first.Wait()
		time.Sleep(5 * time.Second)
		server.install("/")
		installed := time.Now()
		second.Wait()
		if took := time.Since(installed); took > 2*askAgain {
			t.Errorf("expected the second kind to be asked for every %s once the first was there, found it taken up after %s", askAgain, took)
		}
	})
}

func TestAClusterWithoutFederatorsKindsIsSeldomAskedForThemAndTheyAreTakenUpWithinAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := &absentUntil{asked: map[string][]time.Time{}}
		client := &patient{newPatience(), server}
		var found sync.WaitGroup
		ask := func(kind string) { findKind(t, client, kind) }
		found.Go(func() { ask("resolutionpolicies") })
		time.Sleep(20 * time.Second)
		found.Go(func() { ask("drills") })

		time.Sleep(100 * time.Second)
		if n := server.count(); n < 200 {
			t.Errorf("expected each kind to be asked for every second while it may be being installed, found %d requests", n)
		}
		time.Sleep(time.Minute)
		before := server.count()
		time.Sleep(10 * time.Minute)
		if n := server.count() - before; n < 18 || n > 22 {
			t.Errorf("expected both kinds to be asked for once a minute, found %d requests in ten", n)
		}

		server.install("/")
		installed := time.Now()
		found.Wait()
		if took := time.Since(installed); took > askSeldom {
			t.Errorf("expected the kinds to be taken up within %s, found %s", askSeldom, took)
		}
		last := func(kind string) time.Time {
			times := server.asked["/apis/federator.dev/v1alpha1/"+kind]
			return times[len(times)-1]
		}
		if apart := last("drills").Sub(last("resolutionpolicies")).Abs(); apart > time.Second {
			t.Errorf("expected the one kind to be asked for as soon as the other was there, found %s between them", apart)
		}
	})
}
