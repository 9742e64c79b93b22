package inpod

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/federator/federator/federation"
	"github.com/federator/federator/kube"
	"github.com/federator/federator/kube/pod"
	"github.com/federator/federator/peering/enroll"
	"github.com/federator/federator/peering/token"
)

// Options say how a replica runs in its pod.
type Options struct {
	// Pod is the pod, and reaches the API server.
	Pod pod.Pod
	// Region and Cluster are those of the replica; its name is the pod's.
	Region, Cluster string
	// Expose says how replicas outside the cluster reach it. Addresses that
	// Config.Advertise holds count for more.
	Expose pod.Exposure
	// Config is valid, with its defaults.
	Config federation.Config
	// Build is the version of this binary.
	Build string
	Log   *slog.Logger
	// Ports are where it is reached on the host of its exposure; the zero value means
	// those of package pod.
	Ports Ports
	// Rights remembers what the API server refuses to the client of Pod; nil: nobody.
	Rights *kube.Rights
	// Patience is that of [pod.Inviter].
	Patience time.Duration
}

// Ports are those on which a replica is reached.
type Ports struct{ Peer, Gossip, DNS string }

// The pauses between attempts to join, and how long a replica may take to leave.
const (
	firstRetry  = time.Second
	lastRetry   = 30 * time.Second
	leaveWithin = 25 * time.Second
)

// Run makes the replica a member, if it is none, and runs it until ctx ends or it has
// left. A pod that ends because its StatefulSet was scaled down leaves first.
func Run(ctx context.Context, o Options) error {
	if o.Ports == (Ports{}) {
		o.Ports = Ports{pod.PeerPort, pod.GossipPort, pod.DNSPort}
	}
	if k := &o.Config.Kubernetes; k.Enabled {
		fill(&k.Namespace, o.Pod.Self.Namespace)
	}
	reviewing, done := context.WithCancel(ctx)
	var reviews sync.WaitGroup
	reviews.Go(func() { o.Rights.Run(reviewing) })
	defer reviews.Wait()
	defer done()
	r := &runner{Options: o}
	if err := r.settle(ctx); err != nil {
		if ctx.Err() != nil {
			return nil // told to end while it waited
		}
		return err
	}
	return r.serve(ctx)
}

// runner is one run.
type runner struct {
	Options
	uncleared error // why what it needed to become a member may still be there
	mu        sync.Mutex
	waiting   string
}

// settle finds the addresses and makes the replica a member, and answers probes
// meanwhile.
func (r *runner) settle(ctx context.Context) error {
	ctx, done := context.WithCancel(ctx)
	defer done()
	g, ctx := errgroup.WithContext(ctx)
	if address := r.Config.Listen.HTTP; address != "off" {
		g.Go(func() error { return federation.ServeWaiting(ctx, address, r.waitingFor) })
	}
	g.Go(func() error {
		defer done()
		if err := r.vacate(); err != nil {
			return err
		}
		if err := r.find(ctx); err != nil {
			return err
		}
		return r.enter(ctx)
	})
	return g.Wait()
}

// waitingFor says what the pod waits for; "" if for nothing but itself.
func (r *runner) waitingFor() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.waiting
}

// wait notes what the pod waits for, and logs it when that changes.
func (r *runner) wait(what string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if what != r.waiting && what != "" {
		r.Log.Info("waiting", "for", what)
	}
	r.waiting = what
}

// vacate empties the disk of a replica that has left its region. It comes before all
// else: such a disk is no member's, and must not spare the pod a wait.
func (r *runner) vacate() error {
	emptied, err := federation.Vacate(r.Config.DataDir)
	if emptied {
		r.Log.Info("the replica of this disk had left; the pod joins anew")
	}
	return err
}

// memberPatience bounds what a pod that is a member asks of its API server before it
// runs: without an answer it runs as it was.
const memberPatience = 5 * time.Second

// find learns from the cluster where the replica is.
func (r *runner) find(ctx context.Context) error {
	member := federation.HasReplica(r.Config.DataDir)
	a := &r.Config.Advertise
	if a.Peer == "" || a.Gossip == "" {
		host, err := r.host(ctx, member)
		switch {
		case err == nil:
			fill(&a.Peer, pod.HostPort(host, r.Ports.Peer))
			fill(&a.Gossip, pod.HostPort(host, r.Ports.Gossip))
		case ctx.Err() != nil || !member:
			return err
		default:
			r.Log.Warn("where this pod is reached is not known; others look for it where it was", "error", err)
		}
	}
	fill(&a.DNS, pod.HostPort(r.Pod.Self.IP.String(), r.Ports.DNS))
	if a.Zone == "" {
		a.Zone = r.zone(ctx, member)
	}
	r.wait("")
	return ctx.Err()
}

// zone is that of the pod's node; "" if it is not known. A pod that is no member waits
// for it while its API server is away: it would join without one.
func (r *runner) zone(ctx context.Context, member bool) (zone string) {
	look := func() (err error) {
		short, cancel := context.WithTimeout(ctx, memberPatience)
		defer cancel()
		zone, err = r.Pod.Zone(short)
		return err
	}
	if member {
		if err := look(); err != nil {
			r.Log.Warn("the zone is not known; this replica keeps the one that it had", "error", err)
		}
		return zone
	}
	err := r.retry(ctx, "learn the zone of this pod", func() error {
		err := look()
		if apierrors.IsForbidden(err) || apierrors.IsNotFound(err) {
			return backoff.Permanent(err)
		}
		return err
	})
	if err != nil && ctx.Err() == nil {
		r.Log.Warn("the zone is not known; this replica joins without one, and looks again at its next start", "error", err)
	}
	return zone
}

// host is where the pod is reached; a member does not wait for it.
func (r *runner) host(ctx context.Context, member bool) (string, error) {
	if member {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, memberPatience)
		defer cancel()
	}
	return r.Pod.Address(ctx, r.Expose, r.wait)
}

func fill(field *string, value string) {
	if *field == "" {
		*field = value
	}
}

// enter makes the replica a member if it is none. What it needed to become one is
// removed also when an earlier start was cut short after it had.
func (r *runner) enter(ctx context.Context) error {
	if !federation.HasReplica(r.Config.DataDir) {
		if err := r.retry(ctx, "become a member", func() error { return r.become(ctx) }); err != nil {
			return err
		}
	}
	r.wait("")
	short, cancel := context.WithTimeout(ctx, memberPatience)
	defer cancel()
	if r.uncleared = r.clear(short); r.uncleared != nil && ctx.Err() == nil {
		r.Log.Warn(stillThere, "error", r.uncleared)
	}
	return ctx.Err()
}

func (r *runner) place() federation.Place {
	a := r.Config.Advertise
	return federation.Place{
		DataDir: r.Config.DataDir, Region: r.Region, Cluster: r.Cluster, Zone: a.Zone, Name: r.Pod.Self.Name,
		PeerAddress: a.Peer, GossipAddress: a.Gossip, DNSAddress: a.DNS, Build: r.Build,
	}
}

// become makes the replica a member, as the cluster says.
func (r *runner) become(ctx context.Context) error {
	a, err := r.Pod.Admit(ctx, r.wait)
	if err != nil {
		return err
	}
	if a.Founding != nil {
		return r.found(ctx, *a.Founding)
	}
	return r.join(ctx, a)
}

// found founds the trust domain.
func (r *runner) found(ctx context.Context, f pod.Founding) error {
	result, err := federation.Init(federation.InitOptions{Place: r.place(), TrustDomain: f.TrustDomain, RecoveryRecipient: f.RecoveryRecipient})
	if err != nil {
		return fmt.Errorf("found the trust domain of ConfigMap %s: %w", pod.InitName, err)
	}
	r.Log.Info("founded the trust domain", "trustDomain", f.TrustDomain, "rootPin", result.RootPin)
	// It does not run before that is noted: should its disk be lost, the next start
	// must not found another.
	return r.retry(ctx, "note that the trust domain is founded", func() error { return r.Pod.Founded(ctx) })
}

// join redeems a token.
func (r *runner) join(ctx context.Context, a pod.Admission) error {
	tok, err := token.Parse(a.Token)
	if err != nil {
		return fmt.Errorf("the token in Secret %s: %w", pod.JoinSecret(r.Pod.Self.Name), err)
	}
	result, err := federation.Join(ctx, federation.JoinOptions{
		Place: r.place(), Token: tok, Log: r.Log,
		Progress: func(step string) { r.wait("the join: " + step) },
	})
	if err != nil {
		return r.discard(ctx, a, err)
	}
	r.Log.Info("joined", "trustDomain", result.TrustDomain, "epoch", result.Epoch, "founded", result.Founding)
	for _, w := range result.Warnings {
		r.Log.Warn(w)
	}
	return nil
}

// discard takes a token away that was refused for good, so that another is made: a pod
// that was killed while it joined comes back with one that is spent. It returns why the
// join failed.
func (r *runner) discard(ctx context.Context, a pod.Admission, refusal error) error {
	// One that is not known may be, once the replica that was asked has read its log.
	if !errors.Is(refusal, enroll.ErrReused) && !errors.Is(refusal, enroll.ErrExpired) {
		return refusal
	}
	short, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	return errors.Join(refusal, r.Pod.Discard(short, a))
}

// retry tries until it succeeds or ctx ends, and says what the pod waits for.
func (r *runner) retry(ctx context.Context, what string, try func() error) error {
	return again(ctx, try, func(err error, pause time.Duration) {
		r.wait(fmt.Sprintf("another try to %s: %v", what, err))
		r.Log.Warn("could not "+what+"; trying again", "error", err, "in", pause.Round(time.Millisecond))
	})
}

// again tries until it succeeds or ctx ends, with growing pauses; failed is told of each
// failure.
func again(ctx context.Context, try func() error, failed func(error, time.Duration)) error {
	pauses := backoff.NewExponentialBackOff()
	pauses.InitialInterval, pauses.MaxInterval = firstRetry, lastRetry
	_, err := backoff.Retry(ctx, func() (struct{}, error) { return struct{}{}, try() },
		backoff.WithBackOff(pauses), backoff.WithMaxElapsedTime(0), backoff.WithNotify(failed))
	return err
}

// serve runs the replica and its inviter. ctx asks the pod to end; the replica may
// have to go on a little to leave.
func (r *runner) serve(ctx context.Context) error {
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	agent, err := dial(r.Config.Listen.Socket, r.Cluster)
	if err != nil {
		return err
	}
	defer agent.Close()
	set, _, err := r.Pod.Self.Ordinal()
	if err != nil {
		return err
	}
	own := &federation.Pod{Namespace: r.Pod.Self.Namespace, StatefulSet: set, Rights: r.Rights}
	g, running := errgroup.WithContext(running)
	g.Go(func() error {
		defer stop()
		return federation.Run(running, r.Config, r.Log, own)
	})
	inviter := &pod.Inviter{Core: r.Pod.Core, Self: r.Pod.Self, Membership: agent, Log: r.Log, Now: time.Now, Every: r.Pod.Every, Patience: r.Patience}
	g.Go(func() error { return inviter.Run(running) })
	g.Go(func() error {
		r.clearLater(running)
		return nil
	})
	g.Go(func() error {
		select {
		case <-running.Done():
			return nil
		case <-ctx.Done():
		}
		if !r.leave(running, agent) {
			stop()
		}
		return nil
	})
	if err := g.Wait(); err != nil && !errors.Is(err, federation.ErrLeft) {
		return err
	}
	return nil
}

// leave takes the replica out of its region if its pod ends for good, and reports
// whether it did; the replica then ends by itself.
func (r *runner) leave(ctx context.Context, agent *agent) bool {
	ctx, cancel := context.WithTimeout(ctx, leaveWithin)
	defer cancel()
	for {
		down, err := r.Pod.ScaledDown(ctx)
		if err == nil && !down {
			return false
		}
		if err == nil {
			if err = agent.Remove(ctx, r.Pod.Self.Name); err == nil {
				r.Log.Info("the StatefulSet was scaled down: this replica has left its region")
				return true
			}
		}
		r.Log.Warn("could not leave the region; trying again", "error", err)
		if !sleep(ctx, firstRetry) {
			r.Log.Warn("this replica ends as a member of its region; the others take it out")
			return false
		}
	}
}

// sleep waits, and reports whether ctx is still going.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
