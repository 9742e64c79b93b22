package imports

import (
	"context"
	"fmt"
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	coordinationclient "k8s.io/client-go/kubernetes/typed/coordination/v1"
)

// contact is whether the API server answers. Every replica knows, not only the
// writer: all ask for the Lease every two seconds.
type contact struct {
	mu    sync.Mutex
	lost  time.Time
	again chan struct{}
	// holder is whose the Lease was when it was last seen, refusal why it cannot be
	// read or taken although the API server answers.
	holder  string
	refusal string
	uid     types.UID // of the Lease, as last seen
}

// leased takes the outcome of one request for the Lease, which began at a time.
func (c *contact) leased(begun time.Time, have *coordinationv1.Lease, err error) {
	c.heard(err, begun)
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case err == nil:
		c.holder, c.refusal, c.uid = holder(have), "", have.UID
	case apierrors.IsNotFound(err): // the first to come makes it
		c.holder = ""
	case !unanswered(err) && !raced(err):
		c.refusal = err.Error()
	}
}

// heard takes the outcome of one request, which began at a time.
func (c *contact) heard(err error, begun time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch gone := unanswered(err); {
	case gone && c.lost.IsZero():
		c.lost = begun
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

// lease is the UID of the Lease, "" before it was seen.
func (c *contact) lease() types.UID {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.uid
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

// leaseTimeout bounds one request for the Lease: of one that hangs nobody would hear
// before the election is lost. releases is how often a holder tries to give up its
// Lease, releaseTimeout how long in all: a replica that is told to end does not wait
// for its API server.
const (
	leaseTimeout   = 4 * time.Second
	releases       = 3
	releaseTimeout = 3 * time.Second
)

// leases is a client of Leases that tells a contact how it went, and gives up only
// what replica holds. Once one is taken or renewed it calls renewed, if that is not nil,
// with when the request began.
type leases struct {
	coordinationclient.LeasesGetter
	contact *contact
	replica string
	renewed func(time.Time)
}

// Leases returns the client for one namespace.
func (l leases) Leases(namespace string) coordinationclient.LeaseInterface {
	return lease{l.LeasesGetter.Leases(namespace), l}
}

// lease is what an election does with a Lease.
type lease struct {
	coordinationclient.LeaseInterface
	of leases
}

// ask makes one request. One that was called off says nothing of the API server.
func (l lease) ask(ctx context.Context, request func(context.Context) (*coordinationv1.Lease, error)) (*coordinationv1.Lease, error) {
	begun := time.Now()
	limited, cancel := context.WithTimeout(ctx, leaseTimeout)
	defer cancel()
	have, err := request(limited)
	if ctx.Err() != context.Canceled {
		l.of.contact.leased(begun, have, err)
	}
	return have, err
}

// take makes a request that takes or renews the Lease.
func (l lease) take(ctx context.Context, request func(context.Context) (*coordinationv1.Lease, error)) (*coordinationv1.Lease, error) {
	begun := time.Now()
	have, err := l.ask(ctx, request)
	if err == nil && l.of.renewed != nil {
		l.of.renewed(begun)
	}
	return have, err
}

// Get reads the Lease.
func (l lease) Get(ctx context.Context, name string, o metav1.GetOptions) (*coordinationv1.Lease, error) {
	return l.ask(ctx, func(ctx context.Context) (*coordinationv1.Lease, error) { return l.LeaseInterface.Get(ctx, name, o) })
}

// Update takes, renews or gives up the Lease.
func (l lease) Update(ctx context.Context, next *coordinationv1.Lease, o metav1.UpdateOptions) (*coordinationv1.Lease, error) {
	if holder(next) == "" {
		return l.release(ctx, next, o)
	}
	return l.take(ctx, func(ctx context.Context) (*coordinationv1.Lease, error) { return l.LeaseInterface.Update(ctx, next, o) })
}

// release gives up the Lease if it is still this replica's. client-go's elector goes
// by what it knew when it last renewed, and so would give up a Lease that another
// has taken since; and it tries again, deeper in its stack each time, for as long as
// the API server answers with a conflict. So none is handed on to it.
func (l lease) release(ctx context.Context, next *coordinationv1.Lease, o metav1.UpdateOptions) (*coordinationv1.Lease, error) {
	ctx, cancel := context.WithTimeout(ctx, releaseTimeout)
	defer cancel()
	var err error
	for range releases {
		var have *coordinationv1.Lease
		if have, err = l.Get(ctx, next.Name, metav1.GetOptions{}); err != nil {
			return nil, err
		}
		if is := holder(have); is != l.of.replica {
			return nil, fmt.Errorf("lease %s: expected to give it up as %s, found it held by %q: nothing to do", next.Name, l.of.replica, is)
		}
		have = have.DeepCopy()
		have.Spec = next.Spec
		have, err = l.ask(ctx, func(ctx context.Context) (*coordinationv1.Lease, error) { return l.LeaseInterface.Update(ctx, have, o) })
		if err == nil || !apierrors.IsConflict(err) {
			return have, err
		}
	}
	return nil, fmt.Errorf("lease %s: expected to give it up, found %d conflicts, the last: %v; it runs out by itself", next.Name, releases, err)
}

func holder(l *coordinationv1.Lease) string {
	if l.Spec.HolderIdentity == nil {
		return ""
	}
	return *l.Spec.HolderIdentity
}

// Create makes the Lease.
func (l lease) Create(ctx context.Context, next *coordinationv1.Lease, o metav1.CreateOptions) (*coordinationv1.Lease, error) {
	return l.take(ctx, func(ctx context.Context) (*coordinationv1.Lease, error) { return l.LeaseInterface.Create(ctx, next, o) })
}
