package federation

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/source/probe"
)

// distant is a pulse that has measured how far a region r is, unless it is 0.
type distant time.Duration

func (d distant) Reach() (map[string]bool, bool) { return nil, false }
func (d distant) RTTs() map[string]time.Duration {
	return map[string]time.Duration{"r": time.Duration(d)}
}

// far answers probes after three round trips, as over TLS.
type far time.Duration

func (f far) once(ctx context.Context, t probe.Target) error {
	if time.Duration(f)*3 > t.Check.Timeout {
		return errors.New("no answer")
	}
	return nil
}

func TestAnEndpointFarAwayHasTheTimeOfTheWayToAnswer(t *testing.T) {
	_, c := reviewDesk(t, 1, 1, &reviewLedger{})
	quick := func(o *observer) []probe.Target {
		q := inquest{observer: o, region: "r"}
		targets := q.sample()
		for i := range targets {
			targets[i].Check.Timeout = 50 * time.Millisecond // enough nearby
		}
		return targets
	}
	for _, tt := range []struct {
		name     string
		rtt, way time.Duration
		answers  bool
	}{
		{"150 ms, measured", 150 * time.Millisecond, 150 * time.Millisecond, true},
		{"150 ms, not measured yet", 0, 150 * time.Millisecond, true},
		{"ten times farther than measured", 10 * time.Millisecond, 100 * time.Millisecond, false},
		{"so far that waiting would hold up the verdict", 5 * time.Second, 5 * time.Second, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := newObserver(c, distant(tt.rtt), far(tt.way).once, slog.New(slog.DiscardHandler))
			q := inquest{observer: o, region: "r"}
			if got := q.anyAnswers(t.Context(), quick(o)); got != tt.answers {
				t.Errorf("expected that it answers: %v, found %v", tt.answers, got)
			}
		})
	}
}

// stoppable answers probes while it is up, and else lets them time out.
type stoppable struct{ down atomic.Bool }

func (s *stoppable) once(ctx context.Context, t probe.Target) error {
	if !s.down.Load() {
		return nil
	}
	select {
	case <-ctx.Done():
	case <-time.After(t.Check.Timeout):
	}
	return errors.New("no answer")
}

func TestALargeRegionWhoseWorkloadsDieAfterItsReplicasIsSoonOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, c := reviewDesk(t, 500, 10, &reviewLedger{})
		workloads := &stoppable{}
		o := newObserver(c, distant(0), workloads.once, slog.New(slog.DiscardHandler))
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); o.inquire(ctx, "r") }()
		verdict := func() catalog.Reach {
			o.mu.Lock()
			defer o.mu.Unlock()
			return o.verdicts["r"]
		}
		time.Sleep(20 * time.Second) // some sweeps find everything alive
		if v := verdict(); v != catalog.ControlPlaneLost {
			t.Errorf("the workloads answer, and the region is %s", v)
		}
		workloads.down.Store(true)
		time.Sleep(15 * time.Second)
		if v := verdict(); v != catalog.Out {
			t.Errorf("15 s after the last workload died the region is %s", v)
		}
		workloads.down.Store(false)
		time.Sleep(15 * time.Second)
		if v := verdict(); v != catalog.ControlPlaneLost {
			t.Errorf("15 s after the workloads came back the region is %s", v)
		}
		cancel()
		<-done
	})
}

func TestSweepsGoRoundEveryEndpoint(t *testing.T) {
	_, c := reviewDesk(t, 130, 10, &reviewLedger{})
	q := inquest{observer: newObserver(c, distant(0), nil, slog.New(slog.DiscardHandler)), region: "r"}
	for round := range 2 {
		seen := map[probe.Key]bool{}
		for len(seen) < 1300 {
			part := q.part()
			if len(part) == 0 || len(part) > sweepLimit {
				t.Fatalf("round %d: a sweep of %d endpoints after %d", round, len(part), len(seen))
			}
			for _, target := range part {
				if seen[target.Key] {
					t.Fatalf("round %d: %v is asked twice", round, target.Key)
				}
				seen[target.Key] = true
			}
		}
	}
}

// A process that stands still fails its probes by itself: the answers are there, and
// their time is over when it goes on.
func TestALookDuringWhichTheObserverStoodStillShowsNoRegionOut(t *testing.T) {
	for _, tt := range []struct {
		name   string
		stalls int64 // looks that the observer stands still in
		down   bool
		reach  catalog.Reach
	}{
		{"never, and the workloads answer", 0, false, catalog.ControlPlaneLost},
		{"in the first look, and the workloads answer", 1, false, catalog.ControlPlaneLost},
		{"in the first look, and the workloads are dead", 1, true, catalog.Out},
		{"in every look: it does not wait for ever", 1 << 40, false, catalog.Out},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, c := reviewDesk(t, 1, 1, &reviewLedger{})
				var stood, stalls atomic.Int64
				once := func(ctx context.Context, _ probe.Target) error {
					if stalls.Add(1) <= tt.stalls {
						stood.Add(int64(time.Second))
						return context.DeadlineExceeded
					}
					if tt.down {
						return errors.New("no answer")
					}
					return nil
				}
				o := newObserver(c, distant(0), once, slog.New(slog.DiscardHandler))
				o.clock = func() time.Time { return time.Now().Add(time.Duration(stood.Load())) }
				q := inquest{observer: o, region: "r"}
				if found := q.look(t.Context()); found != tt.reach {
					t.Errorf("expected %s, found %s", tt.reach, found)
				}
			})
		})
	}
}
