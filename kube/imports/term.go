package imports

import (
	"context"
	"runtime"
	"time"

	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/locality"
)

const (
	// resync is how often everything is looked at although nothing is known to have
	// changed.
	resync = 10 * time.Minute
	// rampPause is the least time between two steps of one service's ramp: each may
	// move endpoints.
	rampPause = 2 * time.Second
	// behindPause is how long a service waits for this replica to know more.
	behindPause = 2 * time.Second
	// gonePause is how long Kubernetes' garbage collector has for what belonged to a
	// ServiceImport before it is deleted one by one.
	gonePause = 10 * time.Second
	// knowledgeAge is how old knowledge may be: it only ever understates.
	knowledgeAge = 200 * time.Millisecond
	// rounds bounds how often one service is planned and written in a row.
	rounds = 6
)

func newTerm(c *catalog.Conditions) *term {
	t := &term{
		queue: newQueue(), planners: make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2)),
		contests: contests{of: map[catalog.ServiceName]*contest{}}, gone: map[catalog.ServiceName]time.Time{},
	}
	t.conditions.Store(c)
	return t
}

// lead writes until the context ends.
func (w *Writer) lead(ctx context.Context) {
	t := newTerm(w.cfg.Catalog.Conditions())
	watch := w.cfg.Catalog.Watch()
	defer watch.Close()
	w.leading.Store(t)
	defer w.leading.Store(nil)
	w.cfg.Logger.Info("writes the imports of the cluster", "cluster", w.cfg.Cluster)
	defer w.cfg.Logger.Info("no longer writes the imports of the cluster", "cluster", w.cfg.Cluster)
	defer w.books.clear()
	w.lookAll(t)
	group, ctx := errgroup.WithContext(ctx)
	for range writers {
		group.Go(func() error {
			for {
				name, urgency, ok := t.queue.next(ctx)
				if !ok {
					return ctx.Err()
				}
				w.handle(ctx, t, name, urgency)
			}
		})
	}
	group.Go(func() error { return w.follow(ctx, t, watch) })
	_ = group.Wait() // always the end of the context
}

// follow hands on what changes besides the cluster.
func (w *Writer) follow(ctx context.Context, t *term, watch *catalog.Watch) error {
	all := time.NewTicker(resync)
	defer all.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-watch.Changed():
			w.changed(t, watch.Take())
		case <-w.contact.back():
			w.cfg.Logger.Info("the API server answers again; everything is compared", "cluster", w.cfg.Cluster)
			w.view.doubt()
			t.queue.retryAll()
			w.lookAll(t)
		case <-all.C:
			t.contests.prune(time.Now())
			w.lookAll(t)
		}
	}
}

// changed takes over what changed in the catalog.
func (w *Writer) changed(t *term, ch catalog.Changes) {
	if ch.All || ch.Conditions {
		next := w.cfg.Catalog.Conditions()
		if ch.All || !locality.Equivalent(t.conditions.Load(), next) {
			t.conditions.Store(next)
			w.lookAll(t)
		}
	}
	for _, name := range ch.Services {
		t.queue.add(name)
	}
}

// handle looks at one service, and writes if its turn to be written has come: at once
// if nothing can be more urgent, else not before all have been looked at.
func (w *Writer) handle(ctx context.Context, t *term, name catalog.ServiceName, urgency Urgency) {
	p, due := w.plan(t, name)
	if len(p.Writes) > 0 && urgency == look && p.Urgency > Dead {
		t.queue.urge(name, p.Urgency)
		return
	}
	for range rounds {
		if len(p.Writes) == 0 {
			break
		}
		if !w.carryOut(ctx, t, name, &p) {
			return
		}
		if !p.Again {
			p.Writes = nil
			break
		}
		p, due = w.plan(t, name)
		if len(p.Writes) > 0 && t.queue.outranks(p.Urgency) {
			t.queue.urge(name, p.Urgency)
			return
		}
	}
	if p.Again || len(p.Writes) > 0 {
		due = sooner(due, time.Now().Add(rampPause))
	}
	t.queue.finish(name, sooner(due, w.view.unseen(name)))
}

// carryOut makes the writes of a plan. It returns false if the service is back in
// the queue: put off because one failed, or before one that can wait while services
// wait that are more urgent. At least one is made, so that all come to an end.
func (w *Writer) carryOut(ctx context.Context, t *term, name catalog.ServiceName, p *Plan) bool {
	for i := range p.Writes {
		write := &p.Writes[i]
		if u := p.urgency(i); i > 0 && t.queue.outranks(u) {
			t.contests.wrote(name, p, i, time.Now())
			t.queue.urge(name, u)
			return false
		}
		if w.limit.Wait(ctx) != nil { // the term ends
			t.queue.retry(name, true)
			return false
		}
		if err := w.send(ctx, name, write); err != nil {
			t.contests.wrote(name, p, i, time.Now())
			w.failed(ctx, t, name, write, err)
			return false
		}
		for _, n := range write.Notes {
			w.events.note(name, n)
		}
	}
	t.contests.wrote(name, p, len(p.Writes), time.Now())
	return true
}

func (w *Writer) send(ctx context.Context, name catalog.ServiceName, write *Write) error {
	begun := time.Now()
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	defer w.view.sending(name)()
	object, err := send(ctx, w.cfg.Kube, write)
	w.metrics.wrote(write, err)
	if ctx.Err() != context.Canceled {
		w.contact.heard(err, begun)
	}
	if err == nil {
		w.view.wrote(name, write, object, time.Now())
	}
	return err
}

// failed puts a service off.
func (w *Writer) failed(ctx context.Context, t *term, name catalog.ServiceName, write *Write, err error) {
	kind := kindOfObject(write.Object)
	switch {
	case ctx.Err() != nil:
	case apierrors.IsAlreadyExists(err) && kind == kindSlice:
		w.meet(ctx, name, write)
	case apierrors.IsInvalid(err) && kind == kindService && write.Verb == Create:
		w.view.refused(name, write)
	}
	times := t.queue.retry(name, unanswered(err) || apierrors.IsTooManyRequests(err))
	if ctx.Err() == nil && !raced(err) && !unanswered(err) && times == 1 {
		w.cfg.Logger.Warn("the API server refuses a write", "service", name, "verb", write.Verb, "kind", kind, "object", write.Object.GetName(), "err", err)
	}
}

// meet finds out whose slice it is that has the name of one that was to be created:
// ours, not shown by the informers yet, or somebody else's.
func (w *Writer) meet(ctx context.Context, name catalog.ServiceName, write *Write) {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	defer w.view.sending(name)()
	have, err := w.cfg.Kube.Core.DiscoveryV1().EndpointSlices(name.Namespace).Get(ctx, write.Object.GetName(), metav1.GetOptions{})
	switch {
	case err != nil:
	case ours(have, name.Name):
		w.view.wrote(name, &Write{Verb: Update, Object: have}, have, time.Now())
	default:
		w.view.refused(name, write)
		w.events.foreign(name, "EndpointSlice "+name.Namespace+"/"+have.Name)
	}
}

// plan plans one service, and says when it is to be looked at again even if nothing
// changes, zero if never.
func (w *Writer) plan(t *term, name catalog.ServiceName) (Plan, time.Time) {
	t.planners <- struct{}{}
	defer func() { <-t.planners }()
	in, due := w.input(t, name, knowledgeAge)
	p := Make(in)
	if p.Behind != "" {
		in, due = w.input(t, name, 0)
		p = Make(in)
	}
	if p.Behind != "" {
		due = sooner(due, in.Now.Add(behindPause))
	}
	due = sooner(due, t.contests.hold(name, &p, time.Now()))
	w.note(name, &p)
	return p, due
}

func sooner(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// input gathers what a plan depends on. Knowledge first: it must not claim more than
// the service is.
func (w *Writer) input(t *term, name catalog.ServiceName, age time.Duration) (Input, time.Time) {
	now := time.Now()
	knowledge := w.know(age)
	in := Input{
		Name: name, Service: w.cfg.Catalog.Service(name), Conditions: t.conditions.Load(),
		Cluster: w.cfg.Cluster, Region: w.cfg.Region, Zones: w.cfg.Zones(),
		Knowledge: knowledge, Facts: w.view.facts(name, now), Now: metav1.NewTime(now.Truncate(time.Second)),
	}
	if in.Facts.Export != nil {
		in.Verdict = w.cfg.Verdict(name)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if in.Service == nil {
		t.ramps.Drop(name)
		due := t.leftovers(&in, now)
		return in, due
	}
	var due time.Time
	in.Ramp, due = t.ramps.Step(now, locality.Input{Service: in.Service, Conditions: in.Conditions})
	if !due.IsZero() && due.Before(now.Add(rampPause)) {
		due = now.Add(rampPause)
	}
	return in, due
}

// leftovers hides what is left of an import that is gone from the plan while
// Kubernetes' garbage collector may still be at it, and returns until when.
func (t *term) leftovers(in *Input, now time.Time) time.Time {
	left := len(in.Facts.Slices) > 0 || in.Facts.Service != nil && ours(in.Facts.Service, in.Name.Name)
	if in.Facts.Import != nil || !left {
		delete(t.gone, in.Name)
		return time.Time{}
	}
	first, ok := t.gone[in.Name]
	if !ok {
		first = now
		t.gone[in.Name] = now
	}
	due := first.Add(gonePause)
	if !now.Before(due) {
		return time.Time{}
	}
	in.Facts.Service, in.Facts.Slices = nil, nil
	return due
}
