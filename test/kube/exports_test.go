//go:build linux

// Package kube_test has stories on real API servers, without nodes.
package kube_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	mcs "sigs.k8s.io/mcs-api/pkg/apis/v1beta1"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/kube"
	"github.com/federator/federator/kube/exports"
	"github.com/federator/federator/source"
	"github.com/federator/federator/test/controlplane"
)

// watcher is a source on a real cluster, and what it handed over.
type watcher struct {
	t       testing.TB
	cluster *controlplane.Cluster
	*exports.Source

	mu      sync.Mutex
	last    source.Update
	changed chan struct{}
}

func watch(t *testing.T, c *controlplane.Cluster) *watcher {
	t.Helper()
	own, err := kube.New(c.Config)
	must(t, err)
	w := &watcher{t: t, cluster: c, changed: make(chan struct{})}
	w.Source, err = exports.New(exports.Options{Cluster: own, Link: own, Name: c.Name, Log: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry()})
	must(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { own.Run(ctx.Done()) })
	wg.Go(func() { _ = w.Run(ctx, w.take) })
	t.Cleanup(func() { cancel(); wg.Wait() })
	return w
}

func (w *watcher) take(u source.Update) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.last = u
	close(w.changed)
	w.changed = make(chan struct{})
}

// until waits until the last update is as expected, and returns it.
func (w *watcher) until(what string, is func(source.Update) bool) source.Update {
	w.t.Helper()
	deadline := time.After(2 * time.Minute)
	for {
		w.mu.Lock()
		last, changed := w.last, w.changed
		w.mu.Unlock()
		if is(last) {
			return last
		}
		select {
		case <-changed:
		case <-deadline:
			w.t.Fatalf("expected that %s, found %+v", what, last)
		}
	}
}

// serving waits for exactly these services, "NAME ADDRESS:HEALTH...".
func (w *watcher) serving(want ...string) {
	w.t.Helper()
	w.until(fmt.Sprint("it exports ", want), func(u source.Update) bool {
		var got []string
		for _, s := range u.Sets {
			line := s.Service.Name
			for _, e := range s.Endpoints {
				line += fmt.Sprint(" ", e.Address, ":", e.Health)
			}
			got = append(got, line)
		}
		return u.Err == nil && strings.Join(got, ",") == strings.Join(want, ",")
	})
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// export makes a Service without a selector, its EndpointSlice and its export.
func export(t testing.TB, cluster *controlplane.Cluster, name string, addresses ...string) {
	t.Helper()
	exportOf(t, cluster, name, corev1.ServiceSpec{Ports: []corev1.ServicePort{{Name: "http", Port: 80}}}, addresses...)
}

func exportOf(t testing.TB, cluster *controlplane.Cluster, name string, spec corev1.ServiceSpec, addresses ...string) {
	t.Helper()
	meta := metav1.ObjectMeta{Namespace: "shop", Name: name}
	ctx, clients := context.Background(), cluster.Clients
	_, err := clients.Core.CoreV1().Services("shop").Create(ctx, &corev1.Service{ObjectMeta: meta, Spec: spec}, metav1.CreateOptions{})
	must(t, err)
	_, err = clients.Core.DiscoveryV1().EndpointSlices("shop").Create(ctx, slice(name, addresses...), metav1.CreateOptions{})
	must(t, err)
	_, err = clients.MCS.MulticlusterV1beta1().ServiceExports("shop").Create(ctx, &mcs.ServiceExport{ObjectMeta: meta}, metav1.CreateOptions{})
	must(t, err)
}

// slice is an EndpointSlice of these addresses; those with a "!" behind them are not
// ready.
func slice(name string, addresses ...string) *discoveryv1.EndpointSlice {
	port, http, tcp := int32(8080), "http", corev1.ProtocolTCP
	s := &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Namespace: "shop", Name: name, Labels: map[string]string{discoveryv1.LabelServiceName: name, discoveryv1.LabelManagedBy: "test"}},
		AddressType: discoveryv1.AddressTypeIPv4, Ports: []discoveryv1.EndpointPort{{Name: &http, Port: &port, Protocol: &tcp}},
	}
	for _, a := range addresses {
		address, unready := strings.CutSuffix(a, "!")
		s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{Addresses: []string{address}, Conditions: discoveryv1.EndpointConditions{Ready: new(!unready)}})
	}
	return s
}

// turn sets the readiness of the endpoint and returns how long it took to be told.
func (w *watcher) turn(name, address string, ready bool) time.Duration {
	w.t.Helper()
	want, written := catalog.Unhealthy, address+"!"
	if ready {
		want, written = catalog.Healthy, address
	}
	start := time.Now()
	_, err := w.cluster.Clients.Core.DiscoveryV1().EndpointSlices("shop").Update(w.t.Context(), slice(name, written), metav1.UpdateOptions{})
	must(w.t, err)
	w.until("the flip is told", func(u source.Update) bool {
		return len(u.Sets) > 0 && len(u.Sets[0].Endpoints) == 1 && u.Sets[0].Endpoints[0].Health == want
	})
	return time.Since(start)
}

func TestExportsOfARealCluster(t *testing.T) {
	world := need(t, controlplane.Options{Clusters: []string{"us-west"}})
	west := world.Cluster("us-west")
	ctx := t.Context()
	_, err := west.Clients.Core.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop"}}, metav1.CreateOptions{})
	must(t, err)
	for _, kind := range []string{"serviceexports", "serviceimports"} {
		definitions := schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}
		must(t, west.Dynamic.Resource(definitions).Delete(ctx, kind+".multicluster.x-k8s.io", metav1.DeleteOptions{}))
	}
	w := watch(t, west)
	w.until("the remedy is told", func(u source.Update) bool { return u.Err != nil && strings.Contains(u.Err.Error(), "install the CRDs") })
	must(t, controlplane.InstallCRDs(ctx, west.Config))
	w.serving()

	export(t, w.cluster, "a", "10.0.0.1")
	w.serving("a 10.0.0.1:healthy")
	a := w.until("it is exported", func(source.Update) bool { return true }).Sets[0]
	if len(a.Ports) != 1 || a.Endpoints[0].PortNumber(a.Ports[0]) != 8080 || a.Endpoints[0].Address != netip.MustParseAddr("10.0.0.1") {
		t.Errorf("exported %+v", a)
	}
	t.Run("a change of readiness is told at once", func(t *testing.T) { w.prompt(t, "a", "10.0.0.1") })

	t.Run("an API server that is away empties nothing", func(t *testing.T) {
		must(t, west.StopAPIServer())
		u := w.until("it is said", func(u source.Update) bool { return u.Err != nil })
		if u.StaleSince.IsZero() {
			t.Error("it is not said since when")
		}
		must(t, west.StartAPIServer(ctx))
		w.serving("a 10.0.0.1:healthy")
	})
	t.Run("a store that does not answer is noticed behind an API server that does", func(t *testing.T) {
		must(t, west.FreezeEtcd())
		w.until("it is said", func(u source.Update) bool { return u.Err != nil })
		must(t, west.ThawEtcd())
		w.serving("a 10.0.0.1:healthy")
	})
	t.Run("a store that was restored from a snapshot is read anew", func(t *testing.T) {
		snapshot := filepath.Join(t.TempDir(), "snapshot")
		must(t, west.SnapshotEtcd(ctx, snapshot))
		export(t, w.cluster, "b", "10.0.0.2")
		w.turn("a", "10.0.0.1", false)
		w.serving("a 10.0.0.1:unhealthy", "b 10.0.0.2:healthy")
		must(t, west.RestoreEtcd(ctx, snapshot))
		w.serving("a 10.0.0.1:healthy")
		export(t, w.cluster, "c", "10.0.0.3")
		w.serving("a 10.0.0.1:healthy", "c 10.0.0.3:healthy")
	})
}
