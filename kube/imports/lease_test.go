package imports

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	coordinationclient "k8s.io/client-go/kubernetes/typed/coordination/v1"
)

func TestAHolderWhoseLeaseIsInConflictEndsAfterAFewRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, w := newServer(t), newWorld()
		r := s.start(t, "replica-0", w.Catalog)
		pass(5 * time.Second)
		updates := 0
		s.set(func(s *server) {
			s.refusing = func(verb, resource, name string) error {
				if resource != "leases" {
					return nil
				}
				if updates++; updates > 1000 {
					return errors.New("this never ends")
				}
				return apierrors.NewConflict(coordinationv1.Resource(resource), name, errors.New("the object has been modified"))
			}
		})
		// It renews every two seconds for ten, then gives up; then others may hold it.
		pass(20 * time.Second)
		s.set(func(*server) {
			if updates > 40 {
				t.Errorf("20 s later: expected at most 40 updates of the Lease, found %d", updates)
			}
		})
		if r.Leading() {
			t.Error("20 s later: expected no writer")
		}
		r.stop()
	})
}

func TestAHolderStopsTenSecondsAfterItLastRenewedTheLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, w := newServer(t), newWorld()
		w.export(t, backend("west-1@us-west/a hh"))
		r := s.start(t, "replica-0", w.Catalog)
		defer r.stop()
		pass(5 * time.Second)
		have, err := s.core.CoordinationV1().Leases("federator-system").Get(context.Background(), LeaseName, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		last := have.Spec.RenewTime.Time
		s.set(func(s *server) {
			s.refusing = func(_, resource, _ string) error {
				if resource == "leases" {
					return errAway
				}
				return nil
			}
		})
		pass(time.Until(last.Add(renewDeadline - time.Second)))
		if !r.Leading() {
			t.Errorf("9 s after it was renewed: expected the writer to go on")
		}
		pass(time.Second + 10*time.Millisecond)
		s.forget()
		w.export(t, backend("west-1@us-west/a h"))
		pass(leaseDuration)
		if got := s.written(); r.Leading() || len(got) != 0 {
			t.Errorf("10 s after it was renewed: expected no writer and no writes, found %v and %v", r.Leading(), got)
		}
	})
}

// hanging is Leases that nobody answers for.
type hanging struct {
	coordinationclient.LeaseInterface
}

func (hanging) Get(ctx context.Context, _ string, _ metav1.GetOptions) (*coordinationv1.Lease, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func TestARequestThatHangsIsMissedAndOneThatIsCalledOffIsNot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c contact
		l := lease{hanging{}, leases{contact: &c}}
		ctx, cancel := context.WithCancel(context.Background())
		time.AfterFunc(time.Second, cancel)
		if _, err := l.Get(ctx, LeaseName, metav1.GetOptions{}); err == nil || !c.since().IsZero() {
			t.Errorf("called off: expected nothing missed, found %v since %v", err, c.since())
		}
		begun := time.Now()
		if _, err := l.Get(context.Background(), LeaseName, metav1.GetOptions{}); err == nil || !c.since().Equal(begun) || time.Since(begun) > leaseTimeout {
			t.Errorf("hanging: expected the API server missed since %v within %v, found %v since %v at %v", begun, leaseTimeout, err, c.since(), time.Now())
		}
	})
}

func TestAHolderDoesNotGiveUpTheLeaseOfAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, w := newServer(t), newWorld()
		r := s.start(t, "replica-0", w.Catalog)
		pass(5 * time.Second)
		ctx, client := context.Background(), s.core.CoordinationV1().Leases("federator-system")
		have, err := client.Get(ctx, LeaseName, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		have.Spec.HolderIdentity = new("replica-1") // and the first does not know yet
		if _, err := client.Update(ctx, have, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
		r.stop()
		have, err = client.Get(ctx, LeaseName, metav1.GetOptions{})
		if err != nil || holder(have) != "replica-1" {
			t.Errorf("expected the Lease to stay with replica-1, found %q, %v", holder(have), err)
		}
	})
}

// sworn is a replica that may write as long as its office is true.
func sworn(office *atomic.Bool) func(*Config) {
	return func(c *Config) { c.May = office.Load }
}

func TestAHolderThatMayNotWriteAnyMoreLeavesTheLeaseToAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var may atomic.Bool
		may.Store(true)
		s, w := newServer(t), newWorld()
		w.export(t, backend("west-1@us-west/a hh"))
		first := s.start(t, "replica-0", w.Catalog, sworn(&may))
		pass(5 * time.Second)
		second := s.start(t, "replica-1", w.Catalog)
		pass(5 * time.Second)
		if !first.Leading() || second.Leading() {
			t.Fatalf("expected the first to write, found %v and %v", first.Leading(), second.Leading())
		}
		may.Store(false)
		pass(askAgain + 10*time.Millisecond)
		if first.Leading() {
			t.Error("it may not write any more: expected that it stops, found that it writes")
		}
		pass(leaseDuration + retryPeriod)
		s.forget()
		w.export(t, backend("west-1@us-west/a h"))
		pass(time.Second)
		if status := first.Status(); !second.Leading() || len(s.written()) == 0 || status.Holder != "replica-1" {
			t.Errorf("expected the second to write, found %v and the writes %v; the first sees the holder %q", second.Leading(), s.written(), status.Holder)
		}
		second.stop()
		pass(time.Minute)
		if status := first.Status(); status.Writer || status.Holder != "" {
			t.Errorf("expected that nobody takes the Lease, found %+v", status)
		}
		may.Store(true)
		pass(askAgain + 2*retryPeriod)
		if status := first.Status(); !status.Writer || status.Holder != "replica-0" {
			t.Errorf("it may write again: expected it to, found %+v", status)
		}
	})
}

func TestAReplicaThatMayNotWriteAtAllHearsOfTheAPIServerAllTheSame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, w := newServer(t), newWorld()
		w.export(t, backend("west-1@us-west/a hh"))
		r := s.start(t, "replica-0", w.Catalog, sworn(new(atomic.Bool)))
		pass(time.Minute)
		if got := s.written(); r.Leading() || len(got) != 0 || r.Status().Holder != "" {
			t.Errorf("expected no writer and no writes, found %+v and %v", r.Status(), got)
		}
		for _, a := range s.core.Actions() {
			if a.GetResource().Resource == "leases" && a.GetVerb() != "get" {
				t.Errorf("expected that it only reads the Lease, found %s", a.GetVerb())
			}
		}
		s.set(func(s *server) { s.away = true })
		pass(2 * retryPeriod)
		if r.StaleSince().IsZero() {
			t.Error("the API server is away: expected that it is missed")
		}
		s.set(func(s *server) { s.away = false })
		pass(2 * retryPeriod)
		if since := r.StaleSince(); !since.IsZero() {
			t.Errorf("the API server is back: expected that it is not missed, found that it is since %v", since)
		}
	})
}

func TestAWriterTellsSinceWhenItKnowsLessThanTheObjectsSay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, ahead, behind := newServer(t), newWorld(), newWorld()
		behind.export(t, backend("west-1@us-west/a hhh"))
		ahead.export(t, backend("west-1@us-west/a hhh"))
		ahead.export(t, backend("west-1@us-west/a hh"))
		first := s.start(t, "replica-0", ahead.Catalog)
		pass(5 * time.Second)
		first.stop()
		begun := time.Now()
		r := s.start(t, "replica-1", behind.Catalog)
		pass(time.Minute)
		status := r.Status()
		if since := status.BehindSince; status.Behind != 1 || since.Before(begun) || since.After(begun.Add(10*time.Second)) {
			t.Errorf("it wrote %v; expected one service left alone since it began at %v, found %d since %v", s.written(), begun, status.Behind, since)
		}
		behind.export(t, backend("west-1@us-west/a hh"))
		pass(behindPause + time.Second)
		if status := r.Status(); status.Behind != 0 || !status.BehindSince.IsZero() || status.Imports != 1 {
			t.Errorf("it has caught up: expected an import and none left alone, found %+v", status)
		}
	})
}
