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
		o := newObserver(c, nil, workloads.once, slog.New(slog.DiscardHandler))
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
	q := inquest{observer: newObserver(c, nil, nil, slog.New(slog.DiscardHandler)), region: "r"}
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
