package imports

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
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
