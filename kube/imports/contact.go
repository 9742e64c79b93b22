package imports

import (
	"context"
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	coordinationclient "k8s.io/client-go/kubernetes/typed/coordination/v1"
)

// contact is whether the API server answers. Every replica knows, not only the
// writer: all ask for the Lease every two seconds.
type contact struct {
	mu    sync.Mutex
	lost  time.Time
	again chan struct{}
}

// heard takes the outcome of one request.
func (c *contact) heard(err error, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch gone := unanswered(err); {
	case gone && c.lost.IsZero():
		c.lost = now
	case !gone && !c.lost.IsZero():
		c.lost = time.Time{}
		select {
		case c.channel() <- struct{}{}:
		default:
		}
	}
}

// since is since when it does not answer, zero if it does.
func (c *contact) since() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.lost
}

// back is readable once it answers again.
func (c *contact) back() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.channel()
}

func (c *contact) channel() chan struct{} {
	if c.again == nil {
		c.again = make(chan struct{}, 1)
	}
	return c.again
}

// leases is a client of Leases that tells a contact how it went.
type leases struct {
	coordinationclient.LeasesGetter
	contact *contact
}

// Leases returns the client for one namespace.
func (l leases) Leases(namespace string) coordinationclient.LeaseInterface {
	return lease{l.LeasesGetter.Leases(namespace), l.contact}
}

// lease is what an election does with a Lease.
type lease struct {
	coordinationclient.LeaseInterface
	contact *contact
}

// Get reads the Lease.
func (l lease) Get(ctx context.Context, name string, o metav1.GetOptions) (*coordinationv1.Lease, error) {
	have, err := l.LeaseInterface.Get(ctx, name, o)
	l.contact.heard(err, time.Now())
	return have, err
}

// Update takes or renews the Lease.
func (l lease) Update(ctx context.Context, next *coordinationv1.Lease, o metav1.UpdateOptions) (*coordinationv1.Lease, error) {
	have, err := l.LeaseInterface.Update(ctx, next, o)
	l.contact.heard(err, time.Now())
	return have, err
}
