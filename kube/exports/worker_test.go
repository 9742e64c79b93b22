package exports

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/tools/cache"
	"pgregory.net/rapid"
	mcs "sigs.k8s.io/mcs-api/pkg/apis/v1beta1"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/source"
)

// fakeLink is a connection that a test cuts.
type fakeLink struct {
	mu      sync.Mutex
	since   time.Time
	err     error
	changed chan struct{}
}

func newFakeLink() *fakeLink { return &fakeLink{changed: make(chan struct{})} }

func (l *fakeLink) State() (time.Time, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.since, l.err
}

func (l *fakeLink) Changed() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.changed
}

func (l *fakeLink) set(since time.Time, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.since, l.err = since, err
	close(l.changed)
	l.changed = make(chan struct{})
}

// bare is a source over stores that a test fills, without informers.
func bare() *Source {
	s := &Source{name: "west", link: newFakeLink(), log: slog.New(slog.DiscardHandler), dirty: newDirty(), verdicts: newVerdicts()}
	s.metrics, _ = newMetrics(nil, s.verdicts)
	store := func() cache.Store { return cache.NewStore(cache.MetaNamespaceKeyFunc) }
	s.objects = objects{exports: store(), services: store(), nodes: store(),
		slices:      cache.NewIndexer(cache.MetaNamespaceKeyFunc, cache.Indexers{byService: indexSlice}),
		nodesListed: func() bool { return true }}
	return s
}

// begun is a worker that has handed over its first state, and what it said last.
func begun(s *Source) (*worker, *source.Update) {
	last := &source.Update{}
	w := newWorker(s, func(u source.Update) { *last = u })
	s.dirty.node()
	for _, name := range []string{"a", "b", "c", "web"} {
		s.dirty.service(catalog.ServiceName{Namespace: "shop", Name: name})
	}
	w.begin()
	return w, last
}

func put(store cache.Store, handler cache.ResourceEventHandler, object any) {
	old, existed, _ := store.Get(object)
	_ = store.Add(object)
	if existed {
		handler.OnUpdate(old, object)
	} else {
		handler.OnAdd(object, false)
	}
}

// take deletes an object; missed is how a deletion is told that nobody saw.
func take(store cache.Store, handler cache.ResourceEventHandler, object any, missed bool) {
	old, existed, _ := store.Get(object)
	if !existed {
		return
	}
	_ = store.Delete(old)
	if missed {
		key, _ := cache.MetaNamespaceKeyFunc(old)
		old = cache.DeletedFinalStateUnknown{Key: key, Obj: old}
	}
	handler.OnDelete(old)
}

func TestAFlipIsHandedOverAtOnceAndAChangeOfMembershipWaits(t *testing.T) {
	s := bare()
	for _, name := range []string{"a", "b"} {
		_ = s.objects.exports.Add(anExport(name))
		_ = s.objects.services.Add(aService(name))
		_ = s.objects.slices.Add(aSlice(name+"-1", name, aPod("p1", "10.0.0.1")))
	}
	w, said := begun(s)
	defer w.settle.Stop()
	first := *said
	put(s.objects.slices, s.dirty.sliced(), aSlice("a-1", "a", aPod("p1", "10.0.0.1"), aPod("p2", "10.0.0.2")))
	w.work()
	if len(said.Sets[0].Endpoints) != 1 || !w.due {
		t.Fatalf("a new endpoint did not wait: %v", short(said.Sets[0].Endpoints))
	}
	put(s.objects.slices, s.dirty.sliced(), aSlice("b-1", "b", aPod("p1", "10.0.0.1", being(false, false, false))))
	w.work()
	if said.Sets[1].Endpoints[0].Health != catalog.Unhealthy || len(said.Sets[0].Endpoints) != 1 {
		t.Fatalf("the flip of b waited, or a did not: %v %v", short(said.Sets[0].Endpoints), short(said.Sets[1].Endpoints))
	}
	if &said.Sets[0].Endpoints[0] != &first.Sets[0].Endpoints[0] {
		t.Error("what did not change is another value")
	}
	w.publish()
	if len(said.Sets[0].Endpoints) != 2 || &said.Sets[1].Endpoints[0] == &first.Sets[1].Endpoints[0] {
		t.Errorf("found %v", short(said.Sets[0].Endpoints))
	}
}

func TestWhatChangesAndChangesBackIsNotHandedOver(t *testing.T) {
	s := bare()
	_ = s.objects.exports.Add(anExport("a"))
	_ = s.objects.services.Add(aService("a"))
	_ = s.objects.slices.Add(aSlice("a-1", "a", aPod("p1", "10.0.0.1")))
	w, said := begun(s)
	defer w.settle.Stop()
	before := &said.Sets[0].Endpoints[0]
	put(s.objects.slices, s.dirty.sliced(), aSlice("a-1", "a"))
	w.work()
	put(s.objects.slices, s.dirty.sliced(), aSlice("a-1", "a", aPod("p1", "10.0.0.1")))
	w.work()
	w.publish()
	if &said.Sets[0].Endpoints[0] != before {
		t.Error("the set is another value")
	}
}

func TestAnAPIServerThatIsAwayEmptiesNothing(t *testing.T) {
	s := bare()
	link := s.link.(*fakeLink)
	_ = s.objects.exports.Add(anExport("a"))
	_ = s.objects.services.Add(aService("a"))
	w, said := begun(s)
	defer w.settle.Stop()
	away := errors.New("away")
	link.set(t0, away)
	w.look()
	if said.Err != away || !said.StaleSince.Equal(t0) || said.Sets != nil {
		t.Fatalf("got %+v, want the error and its time", said)
	}
	*said = source.Update{}
	w.look()
	put(s.objects.exports, s.dirty.named(), anExport("b"))
	w.work()
	w.publish()
	if said.Err != nil || said.Sets != nil {
		t.Fatalf("said %+v while it was away", said)
	}
	take(s.objects.exports, s.dirty.named(), anExport("a"), true) // found out by the list
	put(s.objects.services, s.dirty.named(), aService("b"))
	link.set(time.Time{}, nil)
	w.look()
	if len(said.Sets) != 1 || said.Sets[0].Service.Name != "b" || said.Err != nil {
		t.Fatalf("got %+v, want all that is there now", said)
	}
}

func TestZonesAreCountedByTheirNodes(t *testing.T) {
	s := bare()
	for name, zone := range map[string]string{"n1": "a", "n2": "a", "n3": "b", "n4": ""} {
		_ = s.objects.nodes.Add(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{corev1.LabelTopologyZone: zone}}})
	}
	if diff := cmp.Diff(map[string]int{"a": 2, "b": 1, "": 1}, s.Zones()); diff != "" {
		t.Error(diff)
	}
	s.objects.nodesListed = func() bool { return false }
	if got := s.Zones(); got != nil {
		t.Errorf("with some of the nodes read: got %v, want that none are known", got)
	}
}

func TestAnExportThatIsBeingDeletedIsNone(t *testing.T) {
	s := bare()
	_ = s.objects.exports.Add(anExport("a"))
	_ = s.objects.services.Add(aService("a"))
	w, said := begun(s)
	defer w.settle.Stop()
	if len(said.Sets) != 1 || len(s.Exports()) != 1 {
		t.Fatalf("got %+v", said)
	}
	changed := s.Changed()
	going := anExport("a")
	going.DeletionTimestamp = to(metav1.NewTime(t0))
	put(s.objects.exports, s.dirty.named(), going)
	w.work()
	w.publish()
	select {
	case <-changed:
	default:
		t.Error("nobody is told of the verdicts")
	}
	if len(said.Sets) != 0 || len(s.Exports()) != 0 {
		t.Errorf("got %+v, %+v", said, s.Exports())
	}
}

func TestAVerdictThatTurnedIsNamedOnce(t *testing.T) {
	s := bare()
	for _, name := range []string{"a", "b"} {
		_ = s.objects.exports.Add(anExport(name))
		_ = s.objects.services.Add(aService(name))
	}
	w, _ := begun(s)
	defer w.settle.Stop()
	turned := func(want ...string) {
		t.Helper()
		var got []string
		for name := range s.Turned() {
			got = append(got, name.Name)
		}
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("the verdicts on %q turned, expected %q", got, want)
		}
	}
	turned("a", "b")
	turned()
	take(s.objects.services, s.dirty.named(), aService("a"), false)
	put(s.objects.services, s.dirty.named(), aService("b"))
	w.work()
	turned("a")
	take(s.objects.exports, s.dirty.named(), anExport("b"), false)
	w.work()
	turned("b")
}

// genEvent does something to the objects of a cluster and tells the handlers, or
// forgets to: then a list finds out later.
func genEvent(t *rapid.T, s *Source) {
	name := rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "name")
	missed := rapid.Bool().Draw(t, "missed")
	gone := rapid.IntRange(0, 3).Draw(t, "gone") == 0
	var store cache.Store
	var handler cache.ResourceEventHandler
	var object any
	switch rapid.IntRange(0, 4).Draw(t, "kind") {
	case 0:
		store, handler, object = s.objects.exports, s.dirty.named(), anExport(name)
	case 1:
		service := aService(name)
		service.Spec.Type = rapid.SampledFrom([]corev1.ServiceType{corev1.ServiceTypeClusterIP, corev1.ServiceTypeExternalName}).Draw(t, "type")
		service.Spec.ClusterIP = rapid.SampledFrom([]string{"10.96.0.1", "None"}).Draw(t, "ip")
		store, handler, object = s.objects.services, s.dirty.named(), service
	case 2:
		node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: rapid.SampledFrom([]string{"n1", "n2"}).Draw(t, "node"), Labels: map[string]string{corev1.LabelTopologyZone: rapid.SampledFrom([]string{"", "a", "b"}).Draw(t, "zone")}}}
		node.Spec.PodCIDR = rapid.SampledFrom([]string{"", "10.1.0.0/24", "10.2.0.0/24"}).Draw(t, "cidr")
		store, handler, object = s.objects.nodes, s.dirty.placed(), node
	default: // a slice may belong to any service, and change to another
		slice := aSlice(rapid.SampledFrom([]string{"s1", "s2", "s3"}).Draw(t, "slice"), name)
		for i := range rapid.IntRange(0, 3).Draw(t, "endpoints") {
			pod := rapid.IntRange(0, 3).Draw(t, "pod")
			slice.Endpoints = append(slice.Endpoints, aPod(fmt.Sprint("p", pod), fmt.Sprintf("10.0.%d.%d", pod, i),
				being(rapid.Bool().Draw(t, "ready"), true, rapid.Bool().Draw(t, "terminating")),
				func(e *discoveryv1.Endpoint) { e.NodeName = to(rapid.SampledFrom([]string{"n1", "n2"}).Draw(t, "on")) }))
		}
		store, handler, object = s.objects.slices, s.dirty.sliced(), slice
	}
	if gone {
		take(store, handler, object, missed)
		return
	}
	put(store, handler, object)
}

func TestAnyOrderOfEventsEndsAtTheStateDerivedFromScratch(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := bare()
		w, said := begun(s)
		defer w.settle.Stop()
		for range rapid.IntRange(1, 40).Draw(t, "events") {
			genEvent(t, s)
			switch rapid.IntRange(0, 3).Draw(t, "then") {
			case 0:
				w.work()
			case 1:
				w.work()
				w.publish()
			}
		}
		w.work()
		w.publish()
		fresh := bare()
		fresh.objects = s.objects
		other, want := begun(fresh)
		defer other.settle.Stop()
		if diff := cmp.Diff(want, said, cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{}), cmpopts.EquateEmpty()); diff != "" {
			t.Fatal(diff)
		}
		if diff := cmp.Diff(fresh.Exports(), s.Exports(), cmpopts.EquateEmpty()); diff != "" {
			t.Fatal(diff)
		}
	})
}

func TestEverythingElseIsPassedOver(t *testing.T) {
	d := newDirty()
	slice := aSlice("s", "web")
	delete(slice.Labels, discoveryv1.LabelServiceName)
	d.sliced().OnAdd(slice, false)
	d.sliced().OnDelete(cache.DeletedFinalStateUnknown{Key: "shop/x"}) // without the object
	d.named().OnDelete(schema.GroupVersion{})
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}}
	busy := node.DeepCopy()
	busy.Status.Phase = corev1.NodeRunning
	d.placed().OnUpdate(node, busy)
	if services, nodes := d.take(); len(services) != 0 || nodes {
		t.Errorf("dirty: %v, nodes %v", services, nodes)
	}
}

// BenchmarkMemory measures what one exported endpoint weighs in a replica: as the
// informers hold it, and as the source does.
func BenchmarkMemory(b *testing.B) {
	const services, pods = 3000, 10
	weigh := func() uint64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	for b.Loop() {
		start := weigh()
		s := bare()
		for i := range services {
			name := fmt.Sprint("s", i)
			_ = s.objects.exports.Add(anExport(name))
			_ = s.objects.services.Add(aService(name))
			slice := aSlice(name+"-1", name)
			for j := range pods {
				slice.Endpoints = append(slice.Endpoints, aPod(fmt.Sprintf("%08d-aaaa-bbbb-cccc-%012d", i, j), fmt.Sprintf("10.%d.%d.%d", i>>8, i&255, j)))
			}
			_ = s.objects.slices.Add(slice)
		}
		informers := weigh()
		w := newWorker(s, func(source.Update) {})
		for _, object := range s.objects.exports.List() {
			s.dirty.service(catalog.ServiceName{Namespace: "shop", Name: object.(*mcs.ServiceExport).Name})
		}
		w.begin()
		b.ReportMetric(float64(informers-start)/services/pods, "informer-bytes/endpoint")
		b.ReportMetric(float64(weigh()-informers)/services/pods, "source-bytes/endpoint")
		runtime.KeepAlive(w)
		runtime.KeepAlive(s)
	}
}

// BenchmarkFlip measures one readiness change among 3,000 services.
func BenchmarkFlip(b *testing.B) {
	s := bare()
	handler := s.dirty.sliced()
	for i := range 3000 {
		name := fmt.Sprint("s", i)
		_ = s.objects.exports.Add(anExport(name))
		_ = s.objects.services.Add(aService(name))
		s.dirty.service(catalog.ServiceName{Namespace: "shop", Name: name})
	}
	var slices [2]*discoveryv1.EndpointSlice
	for k := range slices {
		slices[k] = aSlice("s7-1", "s7")
		for j := range 10 {
			slices[k].Endpoints = append(slices[k].Endpoints, aPod(fmt.Sprint("p", j), fmt.Sprintf("10.0.0.%d", j+1), being(k == 0, k == 0, false)))
		}
	}
	put(s.objects.slices, handler, slices[0])
	w := newWorker(s, func(source.Update) {})
	w.begin()
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		i++
		put(s.objects.slices, handler, slices[i%2])
		w.work()
	}
}
