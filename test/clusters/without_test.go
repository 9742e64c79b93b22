//go:build linux

package clusters

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// outage is for how long the API server is away. With FEDERATOR_E2E_SLOW it is a minute.
func outage() time.Duration {
	if os.Getenv("FEDERATOR_E2E_SLOW") != "" {
		return time.Minute
	}
	return 15 * time.Second
}

// This comes late: kubelet, kube-proxy and the controllers of the cluster take up to a
// minute to look again for an API server that was away.
func TestNothingWrongIsServedWhileAnAPIServerIsAway(t *testing.T) {
	f := needWorld(t)
	s := newShop(t, f, "away")
	for _, c := range f.clusters {
		s.open(c, "checkout", 1)
	}
	s.answered("checkout", own())
	home := f.cluster("eu-central")
	pods, err := home.Core.CoreV1().Pods(namespace).List(t.Context(), metav1.ListOptions{})
	ok(t, err)

	stop := s.callAll("checkout", f.clusters...)
	ok(t, home.real.StopAPIServer())
	began := time.Now()
	for _, p := range pods.Items {
		eventually(t, 30*time.Second, p.Name+" to say that what it knows of its cluster is old", func(ctx context.Context) error {
			stale, err := gauge(ctx, p.Status.PodIP, "federator_kube_stale_seconds")
			if err == nil && stale == 0 {
				err = errors.New("it says that it is not")
			}
			return err
		})
	}
	t.Logf("noticed after %s", time.Since(began).Round(100*time.Millisecond))
	time.Sleep(outage() - time.Since(began)) // what is measured is that nothing happens
	for name, r := range s.right(stop()) {
		if r.repeated > max(r.calls/20, 5) {
			t.Errorf("%s: %d of %d calls were not answered at first: too many for packets that are lost now and then", name, r.repeated, r.calls)
		}
	}

	s.scale(f.cluster("us-west"), "checkout", 0)
	s.callersMove("checkout", f.cluster("us-west"))

	ok(t, home.real.StartAPIServer(t.Context()))
	s.scale(f.cluster("us-west"), "checkout", 1)
	s.answered("checkout", own())
	ok(t, f.quiet(t.Context()))
}

// callersMove waits until the callers of a cluster are answered by others.
func (s *shop) callersMove(service string, from *cluster) {
	s.Helper()
	url := "http://" + s.address(from, service)
	eventually(s.T, time.Minute, "callers of "+from.name+" to move", func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
		defer cancel()
		found, err := from.fetch(ctx, url)
		if err == nil && strings.HasPrefix(found, service+"-"+from.name+"-") {
			err = fmt.Errorf("found %s", found)
		}
		return err
	})
}

// record is what became of many calls.
type record struct {
	calls int
	// repeated are those to which there was nothing at all at first: a machine that stands
	// still loses packets.
	repeated int
	wrong    []string // at most some
}

// patience is for how long a call is repeated to which there is no answer.
const patience = 20 * time.Second

// right looks at what became of calls to the own clusters of callers, and returns it.
func (s *shop) right(records map[string]*record) map[string]*record {
	s.Helper()
	for name, r := range records {
		s.Logf("%s: %d calls, of which %d had to be repeated", name, r.calls, r.repeated)
		if r.calls == 0 || len(r.wrong) > 0 {
			s.Errorf("%s: expected every call to be answered by its own cluster, found of %d: %q", name, r.calls, r.wrong)
		}
	}
	return records
}

// callAll has the callers of clusters call a service all the time, until it is told to
// stop; every answer is to come from the caller's own cluster. The last call is answered,
// too.
func (s *shop) callAll(service string, from ...*cluster) (stop func() map[string]*record) {
	ctx, cancel := context.WithCancel(s.Context())
	records := map[string]*record{}
	var running sync.WaitGroup
	for _, c := range from {
		r, url := &record{}, "http://"+s.address(c, service)
		records[c.name] = r
		running.Go(func() {
			ticks := time.NewTicker(50 * time.Millisecond)
			defer ticks.Stop()
			for {
				select {
				case <-ctx.Done():
					return
				case <-ticks.C:
				}
				r.call(s.Context(), c, url, service+"-"+c.name+"-")
			}
		})
	}
	return func() map[string]*record {
		cancel()
		running.Wait()
		return records
	}
}

// call has a caller call until it is answered. A refusal is an answer, and a wrong one:
// only silence may be that of a lost packet.
func (r *record) call(ctx context.Context, c *cluster, url, prefix string) {
	began := time.Now()
	err := c.expect(ctx, url, prefix)
	if silent(err) {
		r.repeated++
	}
	for silent(err) && ctx.Err() == nil && time.Since(began) < patience {
		err = c.expect(ctx, url, prefix)
	}
	if ctx.Err() != nil {
		return
	}
	if r.calls++; err != nil && len(r.wrong) < 10 {
		r.wrong = append(r.wrong, err.Error())
	}
}

func silent(err error) bool { return errors.Is(err, context.DeadlineExceeded) }

// gauge reads a metric of a replica, the greatest if there are several of the name.
func gauge(ctx context.Context, address, name string) (value float64, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+":7480/metrics", nil)
	if err != nil {
		return 0, err
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(request)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	found := false
	for lines := bufio.NewScanner(io.LimitReader(response.Body, 4<<20)); lines.Scan(); {
		key, text, _ := strings.Cut(lines.Text(), " ")
		if key != name && !strings.HasPrefix(key, name+"{") {
			continue
		}
		v, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return 0, err
		}
		value, found = max(value, v), true
	}
	if !found {
		return 0, fmt.Errorf("expected the metric %s, found none", name)
	}
	return value, nil
}
