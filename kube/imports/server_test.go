package imports

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"
	clientfeatures "k8s.io/client-go/features"
	clientfeaturestesting "k8s.io/client-go/features/testing"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	mcsv1beta1 "sigs.k8s.io/mcs-api/pkg/apis/v1beta1"
	mcsfake "sigs.k8s.io/mcs-api/pkg/client/clientset/versioned/fake"
	mcsinformers "sigs.k8s.io/mcs-api/pkg/client/informers/externalversions"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/kube"
)

// server is client-go's fake clientsets made to behave like an API server where
// writers depend on it: UIDs, resource versions that are checked, cluster IPs,
// status subresources and, unless told otherwise, garbage collection.
type server struct {
	core *fake.Clientset
	mcs  *mcsfake.Clientset

	mu       sync.Mutex
	version  int
	ip       int
	writes   []string                         // "verb resource name", Leases and Events aside
	applied  map[types.UID][]metav1.Condition // of ServiceExports, as last applied
	noGC     bool
	away     bool
	losing   bool // updates are answered and not kept, as before its store goes back in time
	refusing func(verb, resource, name string) error
	admits   func(runtime.Object) // changes what is written, as admission webhooks do
}

var errAway = errors.New("dial tcp 10.0.0.1:6443: connect: connection refused")

func newServer(t testing.TB) *server {
	t.Helper()
	// The fake of sigs.k8s.io/mcs-api knows lists and watches, but no watches that
	// begin with a list.
	clientfeaturestesting.SetFeatureDuringTest(t, clientfeatures.WatchListClient, false)
	s := &server{core: fake.NewClientset(), mcs: mcsfake.NewSimpleClientset(), applied: map[types.UID][]metav1.Condition{}}
	s.core.PrependReactor("*", "*", s.react(s.core.Tracker()))
	s.mcs.PrependReactor("*", "*", s.react(s.mcs.Tracker()))
	s.create(t, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop"}})
	return s
}

// create makes an object as somebody else does.
func (s *server) create(t testing.TB, object runtime.Object) {
	t.Helper()
	var err error
	ctx := context.Background()
	switch o := object.(type) {
	case *corev1.Namespace:
		_, err = s.core.CoreV1().Namespaces().Create(ctx, o, metav1.CreateOptions{})
	case *corev1.Service:
		_, err = s.core.CoreV1().Services(o.Namespace).Create(ctx, o, metav1.CreateOptions{})
	case *mcsv1beta1.ServiceImport:
		_, err = s.mcs.MulticlusterV1beta1().ServiceImports(o.Namespace).Create(ctx, o, metav1.CreateOptions{})
	case *mcsv1beta1.ServiceExport:
		_, err = s.mcs.MulticlusterV1beta1().ServiceExports(o.Namespace).Create(ctx, o, metav1.CreateOptions{})
	}
	if err != nil {
		t.Fatal(err)
	}
	s.forget()
}

// forget forgets the writes so far.
func (s *server) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writes = nil
}

// written returns the writes since they were forgotten.
func (s *server) written() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.writes)
}

func (s *server) set(change func(*server)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(s)
}

func (s *server) react(tracker clienttesting.ObjectTracker) clienttesting.ReactionFunc {
	return func(action clienttesting.Action) (bool, runtime.Object, error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		resource := action.GetResource().Resource
		if s.away {
			return true, nil, errAway
		}
		if verb := action.GetVerb(); verb == "get" || verb == "list" || verb == "watch" {
			return false, nil, nil
		}
		name := ""
		var object metav1.Object
		switch a := action.(type) {
		case clienttesting.CreateAction: // an UpdateAction is one, too
			object, _ = meta.Accessor(a.GetObject())
			name = object.GetName()
		case clienttesting.DeleteAction:
			name = a.GetName()
		case clienttesting.PatchAction:
			name = a.GetName()
		default:
			return false, nil, nil
		}
		if s.refusing != nil {
			if err := s.refusing(action.GetVerb(), resource, name); err != nil {
				return true, nil, err
			}
		}
		if resource != "leases" && resource != "events" {
			s.writes = append(s.writes, fmt.Sprint(action.GetVerb(), " ", resource, " ", name))
		}
		return s.write(tracker, action, object)
	}
}

func (s *server) write(tracker clienttesting.ObjectTracker, action clienttesting.Action, object metav1.Object) (bool, runtime.Object, error) {
	s.version++
	version := strconv.Itoa(s.version)
	if create, ok := action.(clienttesting.CreateAction); ok && s.admits != nil {
		s.admits(create.GetObject())
	}
	gvr, ns := action.GetResource(), action.GetNamespace()
	switch a := action.(type) {
	case clienttesting.UpdateActionImpl:
		have, err := tracker.Get(gvr, ns, object.GetName())
		if err != nil {
			return true, nil, err
		}
		old, _ := meta.Accessor(have)
		if v := object.GetResourceVersion(); v != "" && v != old.GetResourceVersion() {
			return true, nil, apierrors.NewConflict(gvr.GroupResource(), object.GetName(), errors.New("the object has been modified"))
		}
		keepStatus(have, a.GetObject(), a.GetSubresource() == "status")
		object.SetResourceVersion(version)
		if s.losing {
			return true, a.GetObject(), nil
		}
	case clienttesting.CreateActionImpl:
		object.SetUID(types.UID("uid-" + version))
		object.SetResourceVersion(version)
		if svc, ok := a.GetObject().(*corev1.Service); ok {
			if slices.Contains(svc.Spec.IPFamilies, corev1.IPv6Protocol) {
				return true, nil, apierrors.NewInvalid(corev1.SchemeGroupVersion.WithKind("Service").GroupKind(), svc.Name,
					field.ErrorList{field.Invalid(field.NewPath("spec", "ipFamilies").Index(0), "IPv6", "not configured on this cluster")})
			}
			s.address(svc)
		}
	case clienttesting.DeleteActionImpl:
		have, err := tracker.Get(gvr, ns, a.GetName())
		if err != nil {
			return true, nil, err
		}
		old, _ := meta.Accessor(have)
		if p := a.DeleteOptions.Preconditions; p != nil && (*p.UID != old.GetUID() || *p.ResourceVersion != old.GetResourceVersion()) {
			return true, nil, apierrors.NewConflict(gvr.GroupResource(), a.GetName(), errors.New("precondition failed"))
		}
		if !s.noGC {
			s.collect(ns, old.GetUID())
		}
	case clienttesting.PatchActionImpl:
		return s.applyStatus(tracker, a, version)
	}
	return false, nil, nil
}

// keepStatus lets an update of the object keep its status, and one of the status the
// rest.
func keepStatus(have, next runtime.Object, status bool) {
	old, ok := have.(*mcsv1beta1.ServiceImport)
	if !ok {
		return
	}
	now := next.(*mcsv1beta1.ServiceImport)
	if status {
		kept := now.Status
		*now = *old.DeepCopy()
		now.Status = kept
		return
	}
	now.Status = *old.Status.DeepCopy()
	now.Generation = old.Generation + 1
}

func (s *server) address(svc *corev1.Service) {
	if svc.Spec.ClusterIP == "" {
		s.ip++
		svc.Spec.ClusterIP = fmt.Sprintf("172.20.%d.%d", s.ip>>8, s.ip&255)
	}
	svc.Spec.ClusterIPs = []string{svc.Spec.ClusterIP}
	svc.Spec.IPFamilies = []corev1.IPFamily{corev1.IPv4Protocol}
}

// collect deletes what belongs to an object.
func (s *server) collect(ns string, uid types.UID) {
	belongs := func(o metav1.Object) bool {
		return slices.ContainsFunc(o.GetOwnerReferences(), func(r metav1.OwnerReference) bool { return r.UID == uid })
	}
	services := corev1.SchemeGroupVersion.WithResource("services")
	endpoints := discoveryv1.SchemeGroupVersion.WithResource("endpointslices")
	if list, err := s.core.Tracker().List(services, corev1.SchemeGroupVersion.WithKind("Service"), ns); err == nil {
		for _, o := range list.(*corev1.ServiceList).Items {
			if belongs(&o) {
				_ = s.core.Tracker().Delete(services, ns, o.Name)
			}
		}
	}
	if list, err := s.core.Tracker().List(endpoints, discoveryv1.SchemeGroupVersion.WithKind("EndpointSlice"), ns); err == nil {
		for _, o := range list.(*discoveryv1.EndpointSliceList).Items {
			if belongs(&o) {
				_ = s.core.Tracker().Delete(endpoints, ns, o.Name)
			}
		}
	}
}

// applyStatus is a server-side apply of a ServiceExport's status.
func (s *server) applyStatus(tracker clienttesting.ObjectTracker, a clienttesting.PatchActionImpl, version string) (bool, runtime.Object, error) {
	if a.GetPatchType() != types.ApplyPatchType || a.GetSubresource() != "status" {
		return false, nil, nil
	}
	var patch mcsv1beta1.ServiceExport
	if err := json.Unmarshal(a.GetPatch(), &patch); err != nil {
		return true, nil, err
	}
	have, err := tracker.Get(a.GetResource(), a.GetNamespace(), a.GetName())
	if err != nil {
		return true, nil, err
	}
	next := have.(*mcsv1beta1.ServiceExport).DeepCopy()
	if patch.ResourceVersion != next.ResourceVersion || patch.UID != next.UID {
		return true, nil, apierrors.NewConflict(a.GetResource().GroupResource(), a.GetName(), errors.New("the object has been modified"))
	}
	for _, c := range s.applied[patch.UID] { // what is no longer applied goes
		if meta.FindStatusCondition(patch.Status.Conditions, c.Type) == nil {
			meta.RemoveStatusCondition(&next.Status.Conditions, c.Type)
		}
	}
	s.applied[patch.UID] = patch.Status.Conditions
	for _, c := range patch.Status.Conditions {
		meta.SetStatusCondition(&next.Status.Conditions, c)
	}
	next.ResourceVersion = version
	return true, next, tracker.Update(a.GetResource(), next, a.GetNamespace())
}

// cluster is one replica's clients and informers.
func (s *server) cluster() *kube.Cluster {
	return &kube.Cluster{
		Core: s.core, MCS: s.mcs,
		CoreInformers: informers.NewSharedInformerFactory(s.core, 0), MCSInformers: mcsinformers.NewSharedInformerFactory(s.mcs, 0),
	}
}

// replica is a writer of cluster west-1 with a catalog of its own.
type replica struct {
	*Writer
	vips    *VIPs
	catalog *catalog.Catalog
	notices chan Notice
	metrics *prometheus.Registry
	stop    func()
}

// start starts a replica; it stops with the test, or before.
func (s *server) start(t testing.TB, name string, c *catalog.Catalog, change ...func(*Config)) *replica {
	t.Helper()
	r := &replica{catalog: c, notices: make(chan Notice), metrics: prometheus.NewRegistry()}
	cl := s.cluster()
	cfg := Config{
		Kube: cl, Catalog: c, Cluster: "west-1", Region: "us-west", Replica: name, Namespace: "federator-system", Federation: func() string { return "acme" },
		Notices: r.notices, Logger: slog.New(slog.DiscardHandler), Metrics: r.metrics,
		Verdict: func(catalog.ServiceName) *Verdict { return &Verdict{Valid: true} },
	}
	for _, f := range change {
		f(&cfg)
	}
	var err error
	if r.Writer, err = New(cfg); err != nil {
		t.Fatal(err)
	}
	if r.vips, err = NewVIPs(cl); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var group sync.WaitGroup
	group.Go(func() { cl.Run(ctx.Done()) })
	group.Go(func() { _ = r.Run(ctx) })
	r.stop = sync.OnceFunc(func() { cancel(); group.Wait() })
	t.Cleanup(r.stop)
	return r
}

// world is a catalog with one region's records per backend.
type world struct {
	*catalog.Catalog
	seq uint64
}

func newWorld() *world { return &world{Catalog: catalog.New("us-west", "")} }

// export publishes what the regions export, everything anew.
func (w *world) export(t testing.TB, backends ...catalog.Backend) {
	t.Helper()
	w.seq++
	regions := map[string][]catalog.Record{"us-west": nil, "us-east": nil}
	clusters := map[string]bool{}
	for _, b := range backends {
		set := *b.Set
		set.Endpoints = slices.Clone(set.Endpoints)
		for i := range set.Endpoints {
			set.Endpoints[i].Health = b.Health[i]
		}
		regions[b.Region] = append(regions[b.Region], catalog.Record{Set: &set})
		if !clusters[set.Cluster] {
			clusters[set.Cluster] = true
			regions[b.Region] = append(regions[b.Region], catalog.Record{Cluster: &catalog.Cluster{Name: set.Cluster}})
		}
	}
	for region, records := range regions {
		snapshot := catalog.Snapshot{Region: region, Version: catalog.Version{Epoch: 1, Seq: w.seq}, Records: records}
		if err := w.Reset(snapshot, start); err != nil {
			t.Fatal(err)
		}
	}
}

func (s *server) serviceImport(t testing.TB) *mcsv1beta1.ServiceImport {
	t.Helper()
	i, err := s.mcs.MulticlusterV1beta1().ServiceImports("shop").Get(context.Background(), "checkout", metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	return i
}

func (s *server) slices(t testing.TB) []discoveryv1.EndpointSlice {
	t.Helper()
	list, err := s.core.DiscoveryV1().EndpointSlices("shop").List(context.Background(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return list.Items
}

// ready returns "cluster" once for each ready endpoint, in order.
func (s *server) ready(t testing.TB) (out []string) {
	for _, slice := range s.slices(t) {
		for _, e := range slice.Endpoints {
			if *e.Conditions.Ready {
				out = append(out, slice.Labels[mcsv1beta1.LabelSourceCluster])
			}
		}
	}
	slices.Sort(out)
	return out
}

// reasons returns the reasons of all Events, in order and once each. Each has the UID
// of the object that it is about, without which it would not be shown with that.
func (s *server) reasons(t testing.TB) (out []string) {
	list, err := s.core.CoreV1().Events("").List(context.Background(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range list.Items {
		if !strings.HasPrefix(string(e.InvolvedObject.UID), "uid-") {
			t.Errorf("the Event %s of %s %s has the UID %q", e.Reason, e.InvolvedObject.Kind, e.InvolvedObject.Name, e.InvolvedObject.UID)
		}
		out = append(out, e.InvolvedObject.Kind+" "+e.Reason)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }
