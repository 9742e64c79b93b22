package exports

import (
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	mcs "sigs.k8s.io/mcs-api/pkg/apis/v1beta1"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/source"
)

// worker derives what is dirty and hands over what came of it. It belongs to the
// one goroutine of [Source.Run].
type worker struct {
	*Source
	out func(source.Update)
	// settle fires when what waits has waited long enough.
	settle *time.Timer
	due    bool // settle is running
	// begun: all informers are in sync. stale: the last word was an error.
	begun, stale bool
	told         string // the error that was last handed over
	places       places
	// said is what was handed over, ordered by service, with its endpoints counted;
	// waiting are the changes of membership that were not yet, nil for a service that
	// is gone.
	said      []*catalog.EndpointSet
	endpoints int
	waiting   map[catalog.ServiceName]*catalog.EndpointSet
}

func newWorker(s *Source, out func(source.Update)) *worker {
	w := &worker{
		Source: s, out: out, settle: time.NewTimer(0), waiting: map[catalog.ServiceName]*catalog.EndpointSet{},
	}
	w.settle.Stop()
	return w
}

// look hands over that the API server cannot be read, or that it can again.
func (w *worker) look() {
	since, err := w.link.State()
	switch {
	case err != nil && (!w.stale || err.Error() != w.told):
		w.log.Warn("the Kubernetes API server cannot be read; the last good state stays", "since", since, "error", err)
		w.stale, w.told = true, err.Error()
		w.out(source.Update{Err: err, StaleSince: since})
	case err == nil && w.stale:
		w.log.Info("the Kubernetes API server is read again")
		w.stale, w.told = false, ""
		w.work()
		w.publish()
	}
}

// begin hands over the first complete state.
func (w *worker) begin() {
	w.begun = true
	w.work()
	w.publish()
}

// work derives what is dirty. What changed in health alone is handed over now.
func (w *worker) work() {
	if !w.begun {
		return
	}
	services, nodes := w.dirty.take()
	if nodes {
		w.relocate(services)
	}
	flipped := map[catalog.ServiceName]*catalog.EndpointSet{}
	for name := range services {
		w.rederive(name, flipped)
	}
	if len(flipped) > 0 {
		w.lay(flipped)
		w.handOver()
	}
}

// relocate reads the nodes anew. Should a zone have changed, every service may have
// an endpoint there.
func (w *worker) relocate(services map[catalog.ServiceName]struct{}) {
	old := w.places
	w.places = placesOf(w.objects.allNodes())
	if !slices.Equal(old.prefixes, w.places.prefixes) {
		w.wait()
	}
	if maps.Equal(old.zones, w.places.zones) {
		return
	}
	for _, object := range w.objects.exports.List() {
		e := object.(*mcs.ServiceExport)
		services[catalog.ServiceName{Namespace: e.Namespace, Name: e.Name}] = struct{}{}
	}
}

// rederive derives one service: it waits, or it is flipped if only health changed.
// The set that was said stays the same value if nothing did.
func (w *worker) rederive(name catalog.ServiceName, flipped map[catalog.ServiceName]*catalog.EndpointSet) {
	next := w.derive(name)
	var old *catalog.EndpointSet
	if at, ok := source.Find(w.said, name); ok {
		old = w.said[at]
	}
	difference := source.Membership
	switch {
	case old == nil && next == nil:
		difference = source.Same
	case old != nil && next != nil:
		difference = source.Compare(old, next)
	}
	if difference == source.Membership {
		w.waiting[name] = next
		w.wait()
		return
	}
	delete(w.waiting, name) // it is as it was said again
	if difference == source.HealthOnly {
		flipped[name] = next
	}
}

// derive finds the objects of a service. An export that is being deleted is none.
func (w *worker) derive(name catalog.ServiceName) *catalog.EndpointSet {
	key := name.String()
	object, ok, _ := w.objects.exports.GetByKey(key)
	export, _ := object.(*mcs.ServiceExport)
	if !ok || export.DeletionTimestamp != nil {
		w.verdicts.drop(name)
		return nil
	}
	in := facts{cluster: w.name, export: export, zone: w.places.zone}
	if object, ok, _ := w.objects.services.GetByKey(key); ok {
		in.service = object.(*corev1.Service)
	}
	found, _ := w.objects.slices.ByIndex(byService, key) // the index is there
	for _, object := range found {
		in.slices = append(in.slices, object.(*discoveryv1.EndpointSlice))
	}
	set, verdict := derive(in)
	w.verdicts.put(verdict)
	return set
}

// wait begins a wait, unless one is going on: the first change of a long row must
// not wait for its end.
func (w *worker) wait() {
	if !w.due {
		w.due = true
		w.settle.Reset(coalesce)
	}
}

// publish hands over everything, also what waits.
func (w *worker) publish() {
	w.due = false
	w.settle.Stop()
	w.lay(w.waiting)
	clear(w.waiting)
	w.handOver()
}

// lay lays changes over what is said; nil takes a service out. What was handed over
// stays as it is.
func (w *worker) lay(changes map[catalog.ServiceName]*catalog.EndpointSet) {
	old := w.said
	next := make([]*catalog.EndpointSet, 0, len(old)+len(changes))
	for _, name := range slices.SortedFunc(maps.Keys(changes), catalog.ServiceName.Compare) {
		at, found := source.Find(old, name)
		next = append(next, old[:at]...)
		if found {
			w.endpoints -= len(old[at].Endpoints)
			at++
		}
		if set := changes[name]; set != nil {
			next = append(next, set)
			w.endpoints += len(set.Endpoints)
		}
		old = old[at:]
	}
	w.said = append(next, old...)
}

// handOver hands over what is said, unless there is something against it.
func (w *worker) handOver() {
	if !w.begun || w.stale {
		return
	}
	w.metrics.endpoints.Set(float64(w.endpoints))
	w.out(source.Update{Sets: w.said, Prefixes: w.places.prefixes})
}
