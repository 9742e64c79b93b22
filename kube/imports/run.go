package imports

import (
	"context"
	"fmt"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

// LeaseName is the Lease whose holder writes the imports of its cluster.
const LeaseName = "federator-imports"

// The times of the Lease, as Kubernetes' own controllers have them: a holder that
// has not renewed it for renewDeadline stops, well before another may take it. It is
// [Writer.campaign] that sees to that: client-go's elector counts from when it next
// meant to renew it, and says that it has lost only after it has tried to give it up.
const (
	leaseDuration = 15 * time.Second
	renewDeadline = 10 * time.Second
	retryPeriod   = 2 * time.Second
)

// settling is how long the first plans wait for what else decides them: planned
// without, what is there would be changed, and changed back a moment later. A node
// that may not be read, or a region that nobody hears of, must not keep all imports
// back.
const settling = 5 * time.Second

// askAgain is how often it is asked whether this replica may write.
const askAgain = 500 * time.Millisecond

// Run takes part in the election of the cluster's writer, and writes while it is
// this replica, until the context ends. The cluster's informers must be running.
func (w *Writer) Run(ctx context.Context) error {
	if !w.complete(ctx) {
		return ctx.Err()
	}
	stop := w.events.start(ctx, w.cfg.Kube.Core)
	defer stop()
	told := make(chan struct{})
	go func() {
		defer close(told)
		w.tell(ctx)
	}()
	defer func() { <-told }()
	for w.authorized(ctx) {
		if err := w.whileAuthorized(ctx, w.campaign); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// authorized waits until this replica may write. It returns false if the context has
// ended.
func (w *Writer) authorized(ctx context.Context) bool {
	if ctx.Err() != nil || w.cfg.May() {
		return ctx.Err() == nil
	}
	w.cfg.Logger.Info("may not write the imports of the cluster, and leaves that to other replicas", "cluster", w.cfg.Cluster)
	defer w.askMeanwhile(ctx)()
	return until(ctx, askAgain, w.cfg.May)
}

// whileAuthorized ends what is done once this replica may not write any more.
func (w *Writer) whileAuthorized(ctx context.Context, do func(context.Context) error) error {
	ctx, cancel := context.WithCancel(ctx)
	var asked sync.WaitGroup
	defer asked.Wait()
	defer cancel()
	asked.Go(func() {
		until(ctx, askAgain, func() bool { return !w.cfg.May() })
		cancel()
	})
	return do(ctx)
}

// until waits until something holds, which it looks at again and again. It returns
// false if the context has ended.
func until(ctx context.Context, every time.Duration, holds func() bool) bool {
	again := time.NewTicker(every)
	defer again.Stop()
	for !holds() {
		select {
		case <-ctx.Done():
			return false
		case <-again.C:
		}
	}
	return true
}

// complete waits until the informers hold all there is, and for a while until all else
// that decides the plans is known.
func (w *Writer) complete(ctx context.Context) bool {
	defer w.askMeanwhile(ctx)()
	return cache.WaitForCacheSync(ctx.Done(), w.synced...) && w.settled(ctx)
}

// askMeanwhile asks for the Lease, as the election does, until it is stopped: else
// nobody would be told of an API server that does not answer before this replica takes
// part in the election.
func (w *Writer) askMeanwhile(ctx context.Context) (stop func()) {
	asking, enough := context.WithCancel(ctx)
	var asked sync.WaitGroup
	asked.Go(func() {
		lease := w.leases(nil).Leases(w.cfg.Namespace)
		again := time.NewTicker(retryPeriod)
		defer again.Stop()
		for {
			select {
			case <-asking.Done():
				return
			case <-again.C:
			}
			ctx, cancel := context.WithTimeout(asking, retryPeriod)
			_, _ = lease.Get(ctx, LeaseName, metav1.GetOptions{}) // the contact has what came of it
			cancel()
		}
	})
	return func() { enough(); asked.Wait() }
}

// settled waits until what decides plans is known, or has been waited for enough. It
// returns false if the context has ended.
func (w *Writer) settled(ctx context.Context) bool {
	enough := time.Now().Add(settling)
	return until(ctx, 20*time.Millisecond, func() bool { return w.cfg.Settled() || !time.Now().Before(enough) })
}

// campaign waits for the Lease, writes while it is held, and returns once it is not.
// At the end of the context writing stops first, and then the Lease is given up.
func (w *Writer) campaign(ctx context.Context) error {
	elected := make(chan context.Context, 1)
	writing, lapse := context.WithCancel(ctx)
	defer lapse()
	lapses := time.AfterFunc(renewDeadline, lapse)
	lapses.Stop() // until the Lease is taken
	defer lapses.Stop()
	elector, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Lock: &resourcelock.LeaseLock{
			LeaseMeta:  metav1.ObjectMeta{Namespace: w.cfg.Namespace, Name: LeaseName},
			Client:     w.leases(func(begun time.Time) { lapses.Reset(renewDeadline - time.Since(begun)) }),
			LockConfig: resourcelock.ResourceLockConfig{Identity: w.cfg.Replica},
		},
		LeaseDuration: leaseDuration, RenewDeadline: renewDeadline, RetryPeriod: retryPeriod, ReleaseOnCancel: true,
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: func(ctx context.Context) { elected <- ctx },
			OnStoppedLeading: func() {},
		},
		Name: LeaseName,
	})
	if err != nil {
		return fmt.Errorf("kubernetes imports: election of the writer: %w", err)
	}
	election, resign := context.WithCancel(context.WithoutCancel(ctx))
	defer resign()
	over := make(chan struct{})
	go func() {
		defer close(over)
		elector.Run(election)
	}()
	select {
	case <-ctx.Done():
	case <-over:
	case held := <-elected:
		w.whileHeld(writing, held)
	}
	resign()
	<-over
	return nil
}

func (w *Writer) leases(renewed func(time.Time)) leases {
	return leases{w.cfg.Kube.Core.CoordinationV1(), &w.contact, w.cfg.Replica, renewed}
}

// whileHeld leads until either context ends.
func (w *Writer) whileHeld(ctx, held context.Context) {
	both, cancel := context.WithCancel(held)
	defer cancel()
	defer context.AfterFunc(ctx, cancel)()
	w.lead(both)
}
