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
	there bool
	asked map[string][]time.Time
}

func (a *absentUntil) RoundTrip(req *http.Request) (*http.Response, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.asked[req.URL.Path] = append(a.asked[req.URL.Path], time.Now())
	status := http.StatusNotFound
	if a.there {
		status = http.StatusOK
	}
	return &http.Response{StatusCode: status, Body: io.NopCloser(strings.NewReader("{}")), Request: req}, nil
}

func (a *absentUntil) count() (n int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, times := range a.asked {
		n += len(times)
	}
	return n
}

func TestAClusterWithoutFederatorsKindsIsSeldomAskedForThemAndTheyAreTakenUpWithinAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := &absentUntil{asked: map[string][]time.Time{}}
		client := &patient{newPatience(), server}
		var found sync.WaitGroup
		ask := func(kind string) {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://server/apis/federator.dev/v1alpha1/"+kind, nil)
			if err != nil {
				t.Error(err)
				return
			}
			if resp, err := client.RoundTrip(req); err != nil || resp.StatusCode != http.StatusOK {
				t.Errorf("%s: expected it to be found in the end, found %v %v", kind, resp, err)
			}
		}
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

		server.mu.Lock()
		server.there = true
		server.mu.Unlock()
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
