package exports

import (
	"sync"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/client-go/tools/cache"

	"github.com/federator/federator/federation/catalog"
)

// dirty collects what events touched until it is derived again. Events are many
// and their order says nothing: what counts is what the informers hold when the
// service is derived.
type dirty struct {
	mu       sync.Mutex
	services map[catalog.ServiceName]struct{}
	nodes    bool
	// wake has room for one, so that marking never waits.
	wake chan struct{}
}

func newDirty() *dirty {
	return &dirty{services: map[catalog.ServiceName]struct{}{}, wake: make(chan struct{}, 1)}
}

func (d *dirty) service(name catalog.ServiceName) {
	d.mu.Lock()
	d.services[name] = struct{}{}
	d.mu.Unlock()
	d.rouse()
}

func (d *dirty) node() {
	d.mu.Lock()
	d.nodes = true
	d.mu.Unlock()
	d.rouse()
}

func (d *dirty) rouse() {
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// take returns what is dirty, which is clean from now on.
func (d *dirty) take() (services map[catalog.ServiceName]struct{}, nodes bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	services, nodes = d.services, d.nodes
	d.services, d.nodes = map[catalog.ServiceName]struct{}{}, false
	return services, nodes
}

// named marks the service that a ServiceExport or a Service is about.
func (d *dirty) named() cache.ResourceEventHandler {
	mark := func(object any) {
		if m, err := meta.Accessor(last(object)); err == nil {
			d.service(catalog.ServiceName{Namespace: m.GetNamespace(), Name: m.GetName()})
		}
	}
	return cache.ResourceEventHandlerFuncs{
		AddFunc: mark, DeleteFunc: mark,
		UpdateFunc: func(_, next any) { mark(next) },
	}
}

// sliced marks the service that an EndpointSlice belongs to, and on a change of
// its label also the one that it left.
func (d *dirty) sliced() cache.ResourceEventHandler {
	mark := func(object any) {
		if slice, ok := last(object).(*discoveryv1.EndpointSlice); ok {
			if name, ok := serviceOf(slice); ok {
				d.service(name)
			}
		}
	}
	return cache.ResourceEventHandlerFuncs{
		AddFunc: mark, DeleteFunc: mark,
		UpdateFunc: func(old, next any) { mark(old); mark(next) },
	}
}

// placed marks the nodes when one has another zone or network. Nodes report their
// state all the time, and nearly never that.
func (d *dirty) placed() cache.ResourceEventHandler {
	return cache.ResourceEventHandlerFuncs{
		AddFunc: func(any) { d.node() }, DeleteFunc: func(any) { d.node() },
		UpdateFunc: func(old, next any) {
			a, okA := old.(*corev1.Node)
			b, okB := next.(*corev1.Node)
			if !okA || !okB || !placesOf([]*corev1.Node{a}).equal(placesOf([]*corev1.Node{b})) {
				d.node()
			}
		},
	}
}

// last returns an object, also one whose deletion was missed: then it is as it was
// last seen.
func last(object any) any {
	if gone, ok := object.(cache.DeletedFinalStateUnknown); ok {
		return gone.Obj
	}
	return object
}

// serviceOf is the service that a slice says it belongs to.
func serviceOf(slice *discoveryv1.EndpointSlice) (catalog.ServiceName, bool) {
	name := slice.Labels[discoveryv1.LabelServiceName]
	return catalog.ServiceName{Namespace: slice.Namespace, Name: name}, name != ""
}
