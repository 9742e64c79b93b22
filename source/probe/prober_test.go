package probe

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/test/leaks"
)

func TestMain(m *testing.M) { leaks.Main(m) }

// world is a fake network of endpoints, and what was seen of it.
type world struct {
	mu     sync.Mutex
	sick   map[string]bool
	took   time.Duration // how long a probe takes
	count  map[string]int
	flying int
	most   int
	flips  []string
	began  time.Time
}

func (w *world) once(ctx context.Context, t Target) error {
	w.mu.Lock()
	w.count[t.Endpoint]++
	w.flying++
	w.most = max(w.most, w.flying)
	took := w.took
	w.mu.Unlock()
	select {
	case <-ctx.Done():
	case <-time.After(took):
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.flying--
	if w.sick[t.Endpoint] {
		return errors.New("sick")
	}
	return ctx.Err()
}

func (w *world) flip(f Flip) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.flips = append(w.flips, f.Endpoint+" "+f.Health.String())
}

func (w *world) set(id string, sick bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sick[id] = sick
}

func (w *world) takeFlips() []string {
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	flips := w.flips
	w.flips = nil
	return flips
}

func (w *world) probes(id string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.count[id]
}

// simulate runs test in a bubble with a running Prober over a fake world.
func simulate(t *testing.T, concurrency int, test func(t *testing.T, w *world, p *Prober)) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{sick: map[string]bool{}, count: map[string]int{}, began: time.Now(), took: time.Millisecond}
		p := New(Options{
			Once: w.once, Flip: w.flip, Concurrency: concurrency, Rand: rand.New(rand.NewPCG(1, 2)),
			Log: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry(),
		})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- p.Run(ctx) }()
		test(t, w, p)
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
}

func targets(n int) []Target {
	check := &catalog.Check{
		Kind: catalog.CheckTCP, Interval: time.Second, Timeout: time.Second, HealthyThreshold: 2, UnhealthyThreshold: 2,
	}
	return Targets(backend("s", n, check, tcpPort("http", 80)).Set)
}

func expectFlips(t *testing.T, w *world, want ...string) {
	t.Helper()
	if got := w.takeFlips(); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("flips: got %q, want %q", got, want)
	}
}

func TestAnEndpointTurnsAfterItsThreshold(t *testing.T) {
	simulate(t, 0, func(t *testing.T, w *world, p *Prober) {
		p.Replace(targets(1), nil)
		time.Sleep(5 * time.Second)
		expectFlips(t, w, "0 healthy")
		w.set("0", true)
		time.Sleep(1050 * time.Millisecond)
		expectFlips(t, w)
		time.Sleep(1200 * time.Millisecond)
		expectFlips(t, w, "0 unhealthy")
		w.set("0", false)
		time.Sleep(2500 * time.Millisecond)
		expectFlips(t, w, "0 healthy")
		if h, ok := p.Health(p.targets[targets(1)[0].Key].Key); h != catalog.Healthy || !ok {
			t.Errorf("health is %v, %v", h, ok)
		}
	})
}

func TestEveryEndpointIsProbedOnceAnInterval(t *testing.T) {
	simulate(t, 0, func(t *testing.T, w *world, p *Prober) {
		p.Replace(targets(200), nil)
		time.Sleep(100*time.Second + time.Millisecond)
		for i := range 200 {
			if n := w.probes(fmt.Sprint(i)); n < 97 || n > 104 {
				t.Errorf("endpoint %d was probed %d times in 100 s", i, n)
			}
		}
		if w.most > 20 {
			t.Errorf("%d probes at once: beginnings are not spread", w.most)
		}
	})
}

func TestProbesInFlightAreBounded(t *testing.T) {
	simulate(t, 7, func(t *testing.T, w *world, p *Prober) {
		w.mu.Lock()
		w.took = time.Second
		w.mu.Unlock()
		p.Replace(targets(100), nil)
		time.Sleep(time.Minute)
		synctest.Wait()
		if w.most != 7 {
			t.Errorf("%d probes at once, want 7", w.most)
		}
		for i := range 100 {
			if w.probes(fmt.Sprint(i)) < 2 {
				t.Errorf("endpoint %d starved", i)
			}
		}
	})
}

func TestReplaceKeepsTheStateOfUnchangedTargets(t *testing.T) {
	simulate(t, 0, func(t *testing.T, w *world, p *Prober) {
		p.Replace(targets(2), nil)
		time.Sleep(3 * time.Second)
		w.takeFlips()
		before := w.probes("0")
		for range 100 { // each Replace would be a new beginning if it lost the pace
			p.Replace(targets(3)[:1], nil)
			time.Sleep(50 * time.Millisecond)
		}
		expectFlips(t, w)
		if n := w.probes("0") - before; n < 4 || n > 6 {
			t.Errorf("%d probes in 5 s of Replace, want about 5", n)
		}
		gone := w.probes("1")
		time.Sleep(5 * time.Second)
		if w.probes("1") != gone {
			t.Error("a removed endpoint is still probed")
		}
	})
}

func TestANewOwnerBeginsFromTheKnownHealth(t *testing.T) {
	simulate(t, 0, func(t *testing.T, w *world, p *Prober) {
		w.set("1", true)
		p.Replace(targets(3), func(k Key) catalog.Health {
			return map[string]catalog.Health{"0": catalog.Healthy, "1": catalog.Unhealthy, "2": catalog.Draining}[k.Endpoint]
		})
		time.Sleep(10 * time.Second)
		expectFlips(t, w, "2 healthy")
	})
}

func TestAResultForARemovedTargetIsDropped(t *testing.T) {
	simulate(t, 0, func(t *testing.T, w *world, p *Prober) {
		w.mu.Lock()
		w.took = 10 * time.Second
		w.mu.Unlock()
		p.Replace(targets(1), nil)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if w.probes("0") != 1 {
			t.Fatal("the probe is not in flight")
		}
		p.Replace(nil, nil)
		time.Sleep(20 * time.Second)
		expectFlips(t, w)
		if _, ok := p.Health(targets(1)[0].Key); ok {
			t.Error("a removed endpoint has a health")
		}
	})
}
