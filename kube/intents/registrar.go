package intents

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/kube"
	"github.com/federator/federator/kube/api/v1alpha1"
)

const (
	// FieldManager is who the API server says wrote.
	FieldManager = "federator"
	// statusesPerSecond bounds the writes to the API server, and with statusBurst those
	// in any second: see [MostWritesPerSecond].
	statusesPerSecond = 6
	statusBurst       = 2
	// writeTimeout bounds one write to the API server, recordTimeout one to the
	// federation.
	writeTimeout  = 10 * time.Second
	recordTimeout = 10 * time.Second
	// lookEvery is how often everything is compared although nothing is known to have
	// changed, and how soon what failed is tried again.
	lookEvery = 2 * time.Second
	// lookAfter is how long a change waits for its like.
	lookAfter = 250 * time.Millisecond
	// changeEvery and changeBurst bound how often the users of a namespace change what
	// the federation has of their policies, and changesEvery and MaxPolicies all of the
	// cluster: each change is in the audit trail of the region, which is of a bounded
	// length, and is judged by every replica of the federation.
	changeEvery  = 10 * time.Second
	changeBurst  = MaxPoliciesPerNamespace
	changesEvery = time.Second
	// uninstalledAfter is how long the API server must not know a kind until there
	// are none of it: one that starts may not know it yet.
	uninstalledAfter = time.Minute
	// maxUnwritten bounds the objects of which is remembered what was said of them.
	maxUnwritten = 1000
)

// MostWritesPerSecond is how many writes of a registrar reach the API server in any
// second at most. Events are not among them: whom it tells bounds those.
const MostWritesPerSecond = statusesPerSecond + statusBurst + 1 // one may have been on its way before

// Federation is where intents are written.
type Federation interface {
	// Policies returns the newest version that is known of every object of kind
	// [catalog.KindClusterPolicy].
	Policies() []*catalog.Object
	// PutPolicy writes a policy, or deletes it if p is nil, in the place of the version
	// that was seen; zero if there was none.
	PutPolicy(ctx context.Context, origin catalog.PolicyOrigin, p *catalog.ClusterPolicy, seen catalog.ObjectVersion) error
	// Drills returns the drills that the own region coordinates, and Report how one of
	// them goes.
	Drills() []catalog.DrillView
	Report(*catalog.DrillView) DrillReport
	// StartDrill begins a drill, unless one with its id has begun; a [Refusal] is for
	// good. StopDrill ends it.
	StartDrill(context.Context, catalog.Drill) error
	StopDrill(ctx context.Context, id, reason string) error
}

// Link is whether the API server is read.
type Link interface {
	// State returns an error while what the informers hold may be old.
	State() (since time.Time, err error)
	// Lacking returns since when and why a kind of federator.dev cannot be read although
	// the API server answers; [kube.ErrNotInstalled] if it does not know the kind.
	Lacking(resource string) (since time.Time, err error)
	// Changed is closed at the next change of State.
	Changed() <-chan struct{}
}

// Config is what a [Registrar] works with. Cluster's informers must not run yet.
type Config struct {
	Kube *kube.Cluster
	Link Link
	// Cluster and Region are the own ones.
	Cluster, Region string
	Catalog         *catalog.Catalog
	Federation      Federation
	// Leading reports whether this replica is the one of the cluster that writes.
	Leading func() bool
	// Tell makes an Event of what has become of an object. It does not wait.
	Tell    func(on *corev1.ObjectReference, n Notice)
	Logger  *slog.Logger
	Metrics prometheus.Registerer
}

// Registrar takes intents to the federation and tells what has become of them, while
// this replica is the one of its cluster to do so.
type Registrar struct {
	cfg      Config
	policies *shelf[*v1alpha1.ResolutionPolicy]
	drills   *shelf[*v1alpha1.Drill]
	limit    *rate.Limiter
	changes  *allowance // of Run alone
	starts   *allowance // of Run alone
	turn     int        // of Run alone; see inTurn
	wake     chan struct{}
	metrics  *meters
	stuck    map[catalog.PolicyOrigin]string // of Run alone
	tries    tries                           // of Run alone
	lacking  map[string]string               // by resource, of Run alone
	// unwritten is why the status of an object could not be written, by kind and name;
	// of Run alone.
	unwritten map[string]string
	standing  atomic.Pointer[map[string]int]
}

// New makes the registrar of a cluster, and asks the cluster for its informers.
func New(cfg Config) (*Registrar, error) {
	r := &Registrar{
		cfg: cfg, limit: rate.NewLimiter(statusesPerSecond, statusBurst), wake: make(chan struct{}, 1),
		changes: newAllowance(changesEvery, MaxPolicies, changeEvery, changeBurst), starts: newAllowance(startsEvery, startsBurst, startEvery, startBurst),
		stuck: map[catalog.PolicyOrigin]string{}, lacking: map[string]string{}, unwritten: map[string]string{},
	}
	r.policies = newShelf[*v1alpha1.ResolutionPolicy](cfg.Kube.FederatorInformers.ResolutionPolicies())
	r.drills = newShelf[*v1alpha1.Drill](cfg.Kube.FederatorInformers.Drills())
	if err := errors.Join(r.policies.listen(r.Look), r.drills.listen(r.Look)); err != nil {
		return nil, fmt.Errorf("kubernetes intents: %w", err)
	}
	r.metrics = newMeters(r)
	if err := r.metrics.register(cfg.Metrics); err != nil {
		return nil, fmt.Errorf("kubernetes intents: %w", err)
	}
	return r, nil
}

// Look has everything compared soon.
func (r *Registrar) Look() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// Run works until ctx ends.
func (r *Registrar) Run(ctx context.Context) error {
	watch := r.cfg.Catalog.Watch()
	defer watch.Close()
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		link := r.cfg.Link.Changed()
		if r.cfg.Leading() {
			r.stepDrills(ctx)
			r.stepPolicies(ctx)
		} else {
			r.standing.Store(nil)
			clear(r.stuck)
			r.tries = tries{}
		}
		for waiting := true; waiting; {
			waiting = false
			select {
			case <-ctx.Done():
				return nil
			case <-watch.Changed():
				ch := watch.Take()
				waiting = !ch.All && !ch.Conditions
			case <-r.wake:
			case <-link: // its store may have gone back
				r.policies.forget()
				r.drills.forget()
			case <-tick.C:
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(lookAfter):
		}
	}
}

// stepPolicies compares and writes the policies once.
func (r *Registrar) stepPolicies(ctx context.Context) {
	now := time.Now()
	in := Policies{
		Cluster: r.cfg.Cluster, Region: r.cfg.Region,
		Written: r.cfg.Federation.Policies(), Standings: r.cfg.Catalog.ClusterPolicies(),
		Stuck: r.stuck, Now: metav1.NewTime(now.Truncate(time.Second)),
	}
	in.Objects, in.Whole = read(r, v1alpha1.ResourceResolutionPolicies, r.policies, now)
	plan := in.Plan()
	r.standing.Store(&plan.Standing)
	clear(r.stuck)
	answered := true
	for i := range plan.Puts {
		answered = r.put(ctx, &plan.Puts[i], &plan.Puts[i].Policy, answered)
	}
	for i := range plan.Deletes {
		answered = r.put(ctx, &plan.Deletes[i], nil, answered)
	}
	r.turn++
	for _, next := range inTurn(plan.Statuses, r.turn) {
		if ctx.Err() != nil || !r.cfg.Leading() || !r.limit.Allow() {
			return // the rest at the next tick, so that nothing waits behind many statuses
		}
		write(ctx, r, v1alpha1.KindResolutionPolicy, r.policies, next, plan.Notices, func(ctx context.Context, o metav1.UpdateOptions) (*v1alpha1.ResolutionPolicy, error) {
			return r.cfg.Kube.Federator.FederatorV1alpha1().ResolutionPolicies(next.Namespace).UpdateStatus(ctx, next, o)
		})
	}
}

// read returns the objects of a kind, and whether there are no others. A kind that is
// not installed, and not for a moment only, has none.
func read[T object](r *Registrar, resource string, from *shelf[T], now time.Time) (objects []T, whole bool) {
	since, err := r.cfg.Link.Lacking(resource)
	if says := fmt.Sprint(err); err != nil && says != r.lacking[resource] {
		r.cfg.Logger.Info("objects of the cluster cannot be read", "cluster", r.cfg.Cluster, "kind", resource, "reason", says)
		r.lacking[resource] = says
	}
	switch {
	case errors.Is(err, kube.ErrNotInstalled) && now.Sub(since) > uninstalledAfter:
		return nil, true
	case err != nil:
		return from.objects(now), false
	}
	delete(r.lacking, resource)
	_, away := r.cfg.Link.State()
	return from.objects(now), away == nil && from.synced()
}

// put makes one write to the federation; p is nil for a deletion. It reports whether
// the region answers: while it does not, the others are not tried, so that nothing else
// waits for all of them.
func (r *Registrar) put(ctx context.Context, put *PolicyPut, p *catalog.ClusterPolicy, answered bool) bool {
	namespace := put.Origin.Namespace
	switch {
	case ctx.Err() != nil || !r.cfg.Leading():
		return answered
	case !answered:
		r.stuck[put.Origin] = "the region takes no writes now; a majority of its voters has to run"
		return false
	case !r.changes.has(namespace, time.Now()):
		r.stuck[put.Origin] = fmt.Sprintf("the policies of namespace %s, or of the cluster, change too often: of a namespace one change in %s is taken to the federation, after a burst of %d", namespace, changeEvery, changeBurst)
		return true
	}
	limited, cancel := context.WithTimeout(ctx, recordTimeout)
	defer cancel()
	err := r.cfg.Federation.PutPolicy(limited, put.Origin, p, put.Seen)
	r.metrics.recorded(v1alpha1.KindResolutionPolicy, err)
	switch {
	case ctx.Err() != nil:
	case err != nil:
		r.stuck[put.Origin] = err.Error()
		r.cfg.Logger.Warn("a resolution policy of the cluster did not reach the federation; trying again", "policy", put.Origin, "error", err)
		// What gives up does so a little before its time is up.
		deadline, _ := limited.Deadline()
		return time.Until(deadline) > recordTimeout/5
	default:
		r.changes.take(namespace, time.Now())
		r.cfg.Logger.Info("a resolution policy of the cluster", "policy", put.Origin, "deleted", p == nil, "service", put.Policy.Service)
	}
	return true
}

// write updates the status of one object, tells what is to be told with that, and
// reports whether it could. That it could not is said once for each reason.
func write[T object](ctx context.Context, r *Registrar, kind string, on *shelf[T], next T, notices map[types.UID]Notice, update func(context.Context, metav1.UpdateOptions) (T, error)) bool {
	limited, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	have, err := update(limited, metav1.UpdateOptions{FieldManager: FieldManager})
	r.metrics.wrote(kind, err)
	switch name := next.GetNamespace() + "/" + next.GetName(); {
	case err == nil:
		on.wrote(have, time.Now())
		delete(r.unwritten, kind+" "+name)
		if n, ok := notices[next.GetUID()]; ok {
			r.cfg.Tell(&corev1.ObjectReference{
				APIVersion: v1alpha1.GroupVersion().String(), Kind: kind, Namespace: next.GetNamespace(), Name: next.GetName(), UID: next.GetUID(), ResourceVersion: have.GetResourceVersion(),
			}, n)
		}
	case ctx.Err() != nil || apierrors.IsConflict(err) || apierrors.IsNotFound(err): // the informer will tell
	case r.unwritten[kind+" "+name] != err.Error():
		if len(r.unwritten) >= maxUnwritten {
			clear(r.unwritten) // objects that are gone; what is said twice does no harm
		}
		r.unwritten[kind+" "+name] = err.Error()
		r.cfg.Logger.Warn("the status of an object could not be written; trying again", "kind", kind, "object", name, "error", err)
	}
	return err == nil
}

// listen has fn called whenever the informer's objects change.
func (s *shelf[T]) listen(fn func()) error {
	handler, err := s.informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: func(any) { fn() }, UpdateFunc: func(any, any) { fn() }, DeleteFunc: func(any) { fn() },
	})
	if err == nil {
		s.synced = handler.HasSynced
	}
	return err
}
