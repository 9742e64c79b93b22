package imports

import (
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/kube"
	"github.com/federator/federator/locality"
)

const (
	// writesPerSecond bounds the writes of objects, of which writeBurst may come at
	// once, and eventsPerSecond the Events.
	writesPerSecond = 160
	writeBurst      = 4
	eventsPerSecond = 15
	// writers is how many writes are on their way at a time.
	writers = 8
	// writeTimeout bounds one of them.
	writeTimeout = 10 * time.Second
	// leaseWrites is how often the Lease may be written in a second: taken or given up,
	// and renewed.
	leaseWrites = 2
)

// MostWritesPerSecond is how many writes of a Writer reach the API server in any second
// at most: of objects, of which some may have been on their way before, of Events,
// which go one after another, and of the Lease.
const MostWritesPerSecond = writesPerSecond + writeBurst + writers + eventsPerSecond + 2 + leaseWrites

// Config is what a [Writer] needs. Cluster's informers must not run yet.
type Config struct {
	Kube    *kube.Cluster
	Catalog *catalog.Catalog
	// Cluster and Region are this replica's, Replica is its name: it holds the Lease
	// "federator-imports" in Namespace while it writes.
	Cluster, Region, Replica, Namespace string
	// Federation identifies the trust domain from its founding on, without spaces;
	// see [Knowledge]. It is known, and not "", once [Writer.Run] is called.
	Federation func() string
	// Removed reports whether a region was removed from the federation for good.
	Removed func(region string) bool
	// Zones counts the nodes of every zone of the cluster; nil: not known, no hints.
	Zones func() map[string]int
	// Settled reports whether is known, after a start, what besides the catalog decides
	// the plans: the zones, and how far away the other regions are. nil: it is.
	Settled func() bool
	// May reports whether this replica may write for its cluster now. One that may not
	// leaves the Lease to others, and gives it up if it holds it. nil: it may.
	May func() bool
	// Verdict: see [Input]. It is nil for a service of which there is no ServiceExport.
	Verdict func(catalog.ServiceName) *Verdict
	// Notices become Events; see [Notice]. It may be nil.
	Notices <-chan Notice
	Logger  *slog.Logger
	Metrics prometheus.Registerer
}

// Writer keeps the imports of a cluster up to date while this replica is the one of
// the cluster to do so.
type Writer struct {
	cfg     Config
	view    *view
	synced  []cache.InformerSynced
	limit   *rate.Limiter
	events  *events
	metrics *meters
	contact contact
	books   books

	leading atomic.Pointer[term]

	mu        sync.Mutex
	knowledge *Knowledge
	known     time.Time // when it was taken
}

// term is one time of being the writer.
type term struct {
	queue *queue
	// planners bounds how many plans are made at a time, so that a change which
	// concerns all services leaves the replica some of its processors.
	planners   chan struct{}
	conditions atomic.Pointer[catalog.Conditions]
	contests   contests

	mu    sync.Mutex
	ramps locality.Ramps
	// gone is since when services have objects left whose ServiceImport is gone.
	gone map[catalog.ServiceName]time.Time
}

// New makes the writer of a cluster, and asks the cluster for its informers.
func New(cfg Config) (*Writer, error) {
	if cfg.Zones == nil {
		cfg.Zones = func() map[string]int { return nil }
	}
	if cfg.Settled == nil {
		cfg.Settled = func() bool { return true }
	}
	if cfg.May == nil {
		cfg.May = func() bool { return true }
	}
	if cfg.Verdict == nil {
		cfg.Verdict = func(catalog.ServiceName) *Verdict { return nil }
	}
	v, err := newView(cfg.Kube)
	if err != nil {
		return nil, fmt.Errorf("kubernetes imports: %w", err)
	}
	w := &Writer{cfg: cfg, view: v, limit: rate.NewLimiter(writesPerSecond, writeBurst)}
	w.events = newEvents(cfg.Namespace, cfg.Replica, w.uid)
	w.metrics = newMeters(w)
	for _, m := range w.metrics.all() {
		if err := cfg.Metrics.Register(m); err != nil {
			return nil, fmt.Errorf("kubernetes imports: %w", err)
		}
	}
	if err := w.listen(); err != nil {
		return nil, fmt.Errorf("kubernetes imports: %w", err)
	}
	return w, nil
}

// listen has everything looked at that changes in the cluster.
func (w *Writer) listen() error {
	core := w.cfg.Kube.CoreInformers.Core().V1()
	multi := w.cfg.Kube.MCSInformers.Multicluster().V1beta1()
	named := func(object any) {
		if key, err := cache.DeletionHandlingMetaNamespaceKeyFunc(object); err == nil {
			ns, name, _ := cache.SplitMetaNamespaceKey(key)
			w.Look(catalog.ServiceName{Namespace: ns, Name: name})
		}
	}
	labelled := func(object any) {
		if name, ok := serviceOf(object); ok {
			w.Look(name)
		}
	}
	for _, l := range []struct {
		informer cache.SharedIndexInformer
		changed  func(any)
	}{
		{multi.ServiceImports().Informer(), named},
		{multi.ServiceExports().Informer(), named},
		{core.Services().Informer(), labelled},
		{w.cfg.Kube.CoreInformers.Discovery().V1().EndpointSlices().Informer(), labelled},
		{core.Namespaces().Informer(), w.namespace},
	} {
		handler, err := l.informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
			AddFunc:    l.changed,
			UpdateFunc: func(old, next any) { l.changed(old); l.changed(next) },
			DeleteFunc: func(object any) { w.view.deleted(object); l.changed(object) },
		})
		if err != nil {
			return err
		}
		w.synced = append(w.synced, handler.HasSynced)
	}
	return nil
}

// namespace has the services of a namespace looked at that came or goes.
func (w *Writer) namespace(object any) {
	ns, ok := object.(*corev1.Namespace)
	if !ok || w.leading.Load() == nil {
		return
	}
	for _, s := range w.cfg.Catalog.Services() {
		if s.Name.Namespace == ns.Name {
			w.Look(s.Name)
		}
	}
}

// Look has a service looked at, as when the verdict on its export has changed.
func (w *Writer) Look(name catalog.ServiceName) {
	if t := w.leading.Load(); t != nil {
		t.queue.add(name)
	}
}

// LookAll has all services looked at, as when the zones of the cluster have changed.
func (w *Writer) LookAll() {
	if t := w.leading.Load(); t != nil {
		w.lookAll(t)
	}
}

// lookAll is also what collects the garbage: what is left of services that nobody
// exports is among the names.
func (w *Writer) lookAll(t *term) {
	for _, s := range w.cfg.Catalog.Services() {
		t.queue.add(s.Name)
	}
	for name := range w.view.names() {
		t.queue.add(name)
	}
}

// StaleSince is since when the API server has not answered, zero if it does.
func (w *Writer) StaleSince() time.Time { return w.contact.since() }

// uid is that of the writer's Lease, or of the import or the export of a service.
func (w *Writer) uid(kind string, name catalog.ServiceName) types.UID {
	if kind == kindLease {
		return w.contact.lease()
	}
	return w.view.uid(kind, name)
}

// Leading reports whether this replica is the writer of its cluster.
func (w *Writer) Leading() bool { return w.leading.Load() != nil }

// know returns what is known now; old says how old that may be.
func (w *Writer) know(old time.Duration) *Knowledge {
	w.mu.Lock()
	defer w.mu.Unlock()
	if now := time.Now(); w.knowledge == nil || now.Sub(w.known) > old {
		w.knowledge, w.known = w.takeKnowledge(), now
	}
	return w.knowledge
}

func (w *Writer) takeKnowledge() *Knowledge {
	c := w.cfg.Catalog
	k := &Knowledge{
		Federation: w.cfg.Federation(), Regions: map[string]catalog.Version{},
		Health: map[string]catalog.HealthVersion{}, Removed: w.cfg.Removed,
	}
	for _, region := range c.Known() {
		k.Regions[region] = c.Version(region)
	}
	for cluster := range c.Conditions().ClusterRegion {
		k.Health[cluster] = c.NewestHealth(cluster)
	}
	return k
}
