package imports

import (
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	mcsv1beta1 "sigs.k8s.io/mcs-api/pkg/apis/v1beta1"
	mcslisters "sigs.k8s.io/mcs-api/pkg/client/listers/apis/v1beta1"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/kube"
)

// byImport is the index of our objects by the service that they belong to.
const byImport = "federator-import"

// echoLife is how long a write of ours is remembered if the informers do not show
// it. They do within milliseconds; when they never do, the API server has gone back
// in time, and what it says counts.
const echoLife = 30 * time.Second

// view is the objects as the informers show them, with our own latest writes, which
// the informers show a little later.
type view struct {
	imports    mcslisters.ServiceImportLister
	exports    mcslisters.ServiceExportLister
	services   corelisters.ServiceLister
	namespaces corelisters.NamespaceLister
	slices     cache.Indexer
	owned      []cache.Indexer // of Services and EndpointSlices

	mu     sync.Mutex
	echoes map[catalog.ServiceName][]echo
	taken  map[catalog.ServiceName]taken
	// gone are the objects that the informers have shown to be deleted while something
	// of their service was being written.
	gone map[catalog.ServiceName]map[types.UID]bool
}

// echo is one write of ours: the object as the API server returned it, nil after a
// deletion.
type echo struct {
	kind, name string
	uid        types.UID
	object     metav1.Object
	until      time.Time
}

// taken is what the API server refused to give to a service.
type taken struct {
	slices map[string]bool
	ips    bool
	family bool
}

// indexed returns the service that an object of ours belongs to.
func indexed(object any) ([]string, error) {
	if name, ok := serviceOf(object); ok {
		return []string{name.String()}, nil
	}
	return nil, nil
}

// serviceOf returns the service whose label the object has.
func serviceOf(object any) (catalog.ServiceName, bool) {
	if gone, ok := object.(cache.DeletedFinalStateUnknown); ok {
		object = gone.Obj
	}
	o, ok := object.(metav1.Object)
	if !ok || o.GetLabels()[LabelImport] == "" {
		return catalog.ServiceName{}, false
	}
	return catalog.ServiceName{Namespace: o.GetNamespace(), Name: o.GetLabels()[LabelImport]}, true
}

// newView asks a cluster for the informers that are needed.
func newView(c *kube.Cluster) (*view, error) {
	core := c.CoreInformers.Core().V1()
	multi := c.MCSInformers.Multicluster().V1beta1()
	services := core.Services().Informer()
	endpoints := c.CoreInformers.Discovery().V1().EndpointSlices().Informer()
	for _, informer := range []cache.SharedIndexInformer{services, endpoints} {
		if err := informer.AddIndexers(cache.Indexers{byImport: indexed}); err != nil {
			return nil, err
		}
	}
	return &view{
		imports: multi.ServiceImports().Lister(), exports: multi.ServiceExports().Lister(),
		services: core.Services().Lister(), namespaces: core.Namespaces().Lister(),
		slices: endpoints.GetIndexer(), owned: []cache.Indexer{services.GetIndexer(), endpoints.GetIndexer()},
		echoes: map[catalog.ServiceName][]echo{}, taken: map[catalog.ServiceName]taken{},
		gone: map[catalog.ServiceName]map[types.UID]bool{},
	}, nil
}

// names returns the services of which there are objects of ours, or an export.
func (v *view) names() map[catalog.ServiceName]struct{} {
	out := map[catalog.ServiceName]struct{}{}
	imports, _ := v.imports.List(labels.Everything()) // a lister over a cache never fails
	for _, i := range imports {
		if ours(i, i.Name) {
			out[catalog.ServiceName{Namespace: i.Namespace, Name: i.Name}] = struct{}{}
		}
	}
	exports, _ := v.exports.List(labels.Everything())
	for _, x := range exports {
		out[catalog.ServiceName{Namespace: x.Namespace, Name: x.Name}] = struct{}{}
	}
	for _, indexer := range v.owned {
		for _, text := range indexer.ListIndexFuncValues(byImport) {
			if namespace, name, ok := strings.Cut(text, "/"); ok {
				out[catalog.ServiceName{Namespace: namespace, Name: name}] = struct{}{}
			}
		}
	}
	return out
}

// facts returns the objects of one service.
func (v *view) facts(name catalog.ServiceName, now time.Time) Facts {
	var f Facts
	if ns, err := v.namespaces.Get(name.Namespace); err == nil {
		f.Namespace = ns.DeletionTimestamp == nil && ns.Status.Phase != corev1.NamespaceTerminating
	}
	if i, err := v.imports.ServiceImports(name.Namespace).Get(name.Name); err == nil {
		f.Import = i
	}
	if x, err := v.exports.ServiceExports(name.Namespace).Get(name.Name); err == nil {
		f.Export = x
	}
	if s, err := v.services.Services(name.Namespace).Get(DerivedName(name)); err == nil {
		f.Service = s
	}
	listed, _ := v.slices.ByIndex(byImport, name.String()) // the index exists
	for _, o := range listed {
		if s := o.(*discoveryv1.EndpointSlice); s.Labels[discoveryv1.LabelManagedBy] == ManagedBy {
			f.Slices = append(f.Slices, s)
		}
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.overlay(name, &f, now)
	f.Taken, f.IPsTaken, f.NoFamily = v.taken[name].slices, v.taken[name].ips, v.taken[name].family
	slices.SortFunc(f.Slices, func(a, b *discoveryv1.EndpointSlice) int { return strings.Compare(a.Name, b.Name) })
	return f
}

// overlay lays our own writes over what the informers show, and forgets those that
// they show.
func (v *view) overlay(name catalog.ServiceName, f *Facts, now time.Time) {
	kept := v.echoes[name][:0]
	for _, e := range v.echoes[name] {
		var shown bool
		switch e.kind {
		case kindImport:
			f.Import, shown = over(&e, f.Import, now)
		case kindExport:
			f.Export, shown = over(&e, f.Export, now)
		case kindService:
			f.Service, shown = over(&e, f.Service, now)
		case kindSlice:
			at := slices.IndexFunc(f.Slices, func(s *discoveryv1.EndpointSlice) bool { return s.Name == e.name })
			var have, next *discoveryv1.EndpointSlice
			if at >= 0 {
				have = f.Slices[at]
			}
			next, shown = over(&e, have, now)
			if at >= 0 {
				f.Slices = slices.Delete(f.Slices, at, at+1)
			}
			if next != nil {
				f.Slices = append(f.Slices, next)
			}
		}
		if !shown {
			kept = append(kept, e)
		}
	}
	if v.echoes[name] = kept; len(kept) == 0 {
		delete(v.echoes, name)
	}
}

// over returns which counts, what the informer shows or our own write, and whether
// the write needs no longer be remembered.
func over[T interface {
	comparable
	metav1.Object
}](e *echo, have T, now time.Time) (T, bool) {
	var none T
	if now.After(e.until) {
		return have, true
	}
	wrote, _ := e.object.(T)
	switch {
	case e.object == nil:
		if have == none || have.GetUID() != e.uid {
			return have, true
		}
		return none, false
	case have == none:
		return wrote, false
	}
	order, err := resourceversion.CompareResourceVersion(have.GetResourceVersion(), wrote.GetResourceVersion())
	if err != nil || order >= 0 {
		return have, true
	}
	return wrote, false
}

// sending is called before something of a service is written, and what it returns once
// [view.wrote] was, or it failed.
func (v *view) sending(name catalog.ServiceName) (sent func()) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.gone[name] = map[types.UID]bool{}
	return func() {
		v.mu.Lock()
		defer v.mu.Unlock()
		delete(v.gone, name)
	}
}

// wrote remembers a write that the API server has answered with an object, nil for
// a deletion.
func (v *view) wrote(name catalog.ServiceName, w *Write, object metav1.Object, now time.Time) {
	e := echo{kind: kindOfObject(w.Object), name: w.Object.GetName(), uid: w.Object.GetUID(), object: object, until: now.Add(echoLife)}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.echoes[name] = append(slices.DeleteFunc(v.echoes[name], func(o echo) bool { return o.kind == e.kind && o.name == e.name }), e)
	if object != nil && v.gone[name][object.GetUID()] {
		v.forget(name, object.GetUID())
	}
	if e.kind == kindService && w.Verb == Create {
		delete(v.taken, name)
	}
}

// deleted forgets a write of an object that the informers have shown, and show no more:
// somebody deleted it right after. It may come before the answer to the write does.
func (v *view) deleted(object any) {
	if gone, ok := object.(cache.DeletedFinalStateUnknown); ok {
		object = gone.Obj
	}
	o, ok := object.(metav1.Object)
	if !ok {
		return
	}
	name, ok := serviceOf(o)
	if !ok { // an export, or nothing of ours
		name = catalog.ServiceName{Namespace: o.GetNamespace(), Name: o.GetName()}
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.forget(name, o.GetUID())
	if gone := v.gone[name]; gone != nil {
		gone[o.GetUID()] = true
	}
}

// forget forgets the writes of one object.
func (v *view) forget(name catalog.ServiceName, uid types.UID) {
	v.echoes[name] = slices.DeleteFunc(v.echoes[name], func(e echo) bool { return e.object != nil && e.object.GetUID() == uid })
	if len(v.echoes[name]) == 0 {
		delete(v.echoes, name)
	}
}

// unseen is when a write of ours that the informers have not shown is forgotten, and
// the service is to be looked at again, since nothing else will say so; zero if they
// have shown all.
func (v *view) unseen(name catalog.ServiceName) (due time.Time) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, e := range v.echoes[name] {
		due = sooner(due, e.until.Add(time.Millisecond))
	}
	return due
}

// uid is that of the ServiceImport or ServiceExport of a service, "" if there is none.
func (v *view) uid(kind string, name catalog.ServiceName) types.UID {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, e := range v.echoes[name] {
		if e.kind == kind && e.object != nil {
			return e.object.GetUID()
		}
	}
	if i, err := v.imports.ServiceImports(name.Namespace).Get(name.Name); err == nil && kind == kindImport {
		return i.UID
	}
	if x, err := v.exports.ServiceExports(name.Namespace).Get(name.Name); err == nil && kind == kindExport {
		return x.UID
	}
	return ""
}

// doubt forgets the writes of ours that the informers have not shown, as when the API
// server was away: its store may have lost them. Should it not have, what is decided
// without them names versions that have passed, and is refused.
func (v *view) doubt() {
	v.mu.Lock()
	defer v.mu.Unlock()
	clear(v.echoes)
}

// refused remembers what a service cannot have.
func (v *view) refused(name catalog.ServiceName, w *Write) {
	v.mu.Lock()
	defer v.mu.Unlock()
	t := v.taken[name]
	switch o := w.Object.(type) {
	case *corev1.Service:
		if len(o.Spec.ClusterIPs) > 0 {
			t.ips = true
		} else {
			t.family = len(o.Spec.IPFamilies) > 0
		}
	case *discoveryv1.EndpointSlice:
		next := map[string]bool{o.Name: true}
		if len(t.slices) < maxEndpoints {
			maps.Copy(next, t.slices)
		}
		t.slices = next
	}
	v.taken[name] = t
}

// The kinds of the objects that are written, as metrics and Events have them.
const (
	kindImport  = mcsv1beta1.ServiceImportKindName
	kindExport  = mcsv1beta1.ServiceExportKindName
	kindService = "Service"
	kindSlice   = "EndpointSlice"
	kindLease   = "Lease"
)

func kindOfObject(o metav1.Object) string {
	switch o.(type) {
	case *mcsv1beta1.ServiceImport:
		return kindImport
	case *mcsv1beta1.ServiceExport:
		return kindExport
	case *corev1.Service:
		return kindService
	}
	return kindSlice
}
