package exports

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/client-go/tools/cache"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/kube"
	"github.com/federator/federator/source"
)

// coalesce is how long a change of membership waits for its like. A rollout
// changes a service a few times a second; a readiness flip does not wait.
const coalesce = 50 * time.Millisecond

// byService is the index of EndpointSlices by their service, "NAMESPACE/NAME".
const byService = "federator.dev/service"

// Link is what is known of the connection to the API server; a [kube.Cluster].
type Link interface {
	// State says since when, and why, what the informers hold may be old; a nil
	// error while it is not.
	State() (since time.Time, err error)
	// Changed is closed at the next change of State.
	Changed() <-chan struct{}
}

// Options is what a [Source] works with.
type Options struct {
	// Cluster is not running yet: the source asks for its informers.
	Cluster *kube.Cluster
	// Link is the connection that the informers use.
	Link Link
	// Name is what the federation calls the cluster.
	Name    string
	Log     *slog.Logger
	Metrics prometheus.Registerer
}

// Source is a Kubernetes cluster as a source of services. It implements
// [source.Source].
type Source struct {
	name     string
	link     Link
	log      *slog.Logger
	objects  objects
	dirty    *dirty
	verdicts *verdicts
	metrics  *metrics
	synced   []cache.DoneChecker // of the handlers
}

var _ source.Source = (*Source)(nil)

// objects is what the informers hold.
type objects struct {
	exports, services, nodes cache.Store
	slices                   cache.Indexer
	nodesListed              cache.InformerSynced
}

func (o objects) allNodes() []*corev1.Node {
	var nodes []*corev1.Node
	for _, object := range o.nodes.List() {
		nodes = append(nodes, object.(*corev1.Node))
	}
	return nodes
}

// New asks the cluster's informers for what the source needs. Call it before the
// cluster runs.
func New(o Options) (*Source, error) {
	s := &Source{name: o.Name, link: o.Link, log: o.Log.With("cluster", o.Name), dirty: newDirty(), verdicts: newVerdicts()}
	var err error
	if s.metrics, err = newMetrics(o.Metrics, s.verdicts); err != nil {
		return nil, err
	}
	exports := o.Cluster.MCSInformers.Multicluster().V1beta1().ServiceExports().Informer()
	services := o.Cluster.CoreInformers.Core().V1().Services().Informer()
	nodes := o.Cluster.CoreInformers.Core().V1().Nodes().Informer()
	slices := o.Cluster.CoreInformers.Discovery().V1().EndpointSlices().Informer()
	if err := slices.AddIndexers(cache.Indexers{byService: indexSlice}); err != nil {
		return nil, err
	}
	s.objects = objects{exports: exports.GetStore(), services: services.GetStore(), nodes: nodes.GetStore(), slices: slices.GetIndexer(), nodesListed: nodes.HasSynced}
	for _, one := range []struct {
		informer cache.SharedIndexInformer
		handler  cache.ResourceEventHandler
	}{
		{exports, s.dirty.named()}, {services, s.dirty.named()}, {nodes, s.dirty.placed()}, {slices, s.dirty.sliced()},
	} {
		registration, err := one.informer.AddEventHandler(one.handler)
		if err != nil {
			return nil, err
		}
		s.synced = append(s.synced, registration.HasSyncedChecker())
	}
	return s, nil
}

func indexSlice(object any) ([]string, error) {
	slice, ok := object.(*discoveryv1.EndpointSlice)
	if !ok {
		return nil, nil
	}
	name, ok := serviceOf(slice)
	if !ok {
		return nil, nil
	}
	return []string{name.String()}, nil
}

// Exports says what became of every ServiceExport, ordered by service. It is
// complete once the source has handed over its first state.
func (s *Source) Exports() []Verdict { return s.verdicts.list() }

// Verdict says what became of the ServiceExport of a service; false if there is
// none.
func (s *Source) Verdict(name catalog.ServiceName) (Verdict, bool) { return s.verdicts.get(name) }

// Zones counts the nodes of every zone, those without one under ""; nil until all
// nodes are known.
func (s *Source) Zones() map[string]int {
	if !s.objects.nodesListed() {
		return nil
	}
	counts := map[string]int{}
	for _, zone := range placesOf(s.objects.allNodes()).zones {
		counts[zone]++
	}
	return counts
}

// Turned returns the services whose verdicts are others, or gone, since it was last
// called. It is for one caller.
func (s *Source) Turned() map[catalog.ServiceName]struct{} { return s.verdicts.takeTurned() }

// Changed is closed at the next change of [Source.Exports]. Take it first.
func (s *Source) Changed() <-chan struct{} { return s.verdicts.next() }

// Run implements [source.Source]. Nothing is handed over before all informers
// hold everything there is.
func (s *Source) Run(ctx context.Context, out func(source.Update)) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	complete := make(chan struct{})
	wg.Go(func() {
		if s.waitForSync(ctx) {
			close(complete)
		}
	})
	w := newWorker(s, out)
	defer w.settle.Stop()
	for {
		changed := s.link.Changed()
		w.look()
		select {
		case <-ctx.Done():
			return nil
		case <-complete:
			complete = nil
			w.begin()
		case <-changed:
		case <-s.dirty.wake:
			w.work()
		case <-w.settle.C:
			w.publish()
		}
	}
}

// waitForSync reports whether every handler has seen all that was there.
func (s *Source) waitForSync(ctx context.Context) bool {
	for _, one := range s.synced {
		select {
		case <-one.Done():
		case <-ctx.Done():
			return false
		}
	}
	return true
}
