//go:build linux

package imports

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	mcsv1beta1 "sigs.k8s.io/mcs-api/pkg/apis/v1beta1"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/kube"
	"github.com/federator/federator/test/controlplane"
)

// real is a writer on a real API server.
type real struct {
	t       *testing.T
	cluster *controlplane.Cluster
	world   *world
	vips    *VIPs
	metrics *prometheus.Registry
	writer  *Writer
	stop    func()
}

func (r *real) start(name string) {
	r.t.Helper()
	c, err := kube.New(r.cluster.Config)
	if err != nil {
		r.t.Fatal(err)
	}
	r.metrics = prometheus.NewRegistry()
	r.writer, err = New(Config{
		Kube: c, Catalog: r.world.Catalog, Cluster: "west-1", Region: "us-west", Replica: name, Namespace: "federator-system", Federation: func() string { return "acme" },
		Logger: slog.New(slog.DiscardHandler), Metrics: r.metrics,
		Verdict: func(catalog.ServiceName) *Verdict { return &Verdict{Valid: true} },
	})
	if err != nil {
		r.t.Fatal(err)
	}
	if r.vips, err = NewVIPs(c); err != nil {
		r.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var group sync.WaitGroup
	group.Go(func() { c.Run(ctx.Done()) })
	group.Go(func() { _ = r.writer.Run(ctx) })
	r.stop = sync.OnceFunc(func() { cancel(); group.Wait() })
	r.t.Cleanup(r.stop)
}

// until waits for something to become true, and says what was there if it does not.
func (r *real) until(what string, ok func() (found any, yes bool)) {
	r.t.Helper()
	begun := time.Now()
	for {
		found, yes := ok()
		if yes {
			r.t.Logf("%s: after %v", what, time.Since(begun).Round(time.Millisecond))
			return
		}
		if time.Since(begun) > 2*time.Minute {
			r.t.Fatalf("expected %s within two minutes, found %v", what, found)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// ready returns the source cluster of every ready endpoint.
func (r *real) ready() (any, []string) {
	list, err := r.cluster.Clients.Core.DiscoveryV1().EndpointSlices("shop").List(context.Background(), metav1.ListOptions{LabelSelector: LabelImport + "=checkout"})
	if err != nil {
		return err, nil
	}
	out := []string{}
	for _, s := range list.Items {
		for _, e := range s.Endpoints {
			if *e.Conditions.Ready {
				out = append(out, s.Labels[mcsv1beta1.LabelSourceCluster])
			}
		}
	}
	slices.Sort(out)
	return out, out
}

func (r *real) lists(what string, want ...string) {
	r.t.Helper()
	r.until(what, func() (any, bool) {
		found, got := r.ready()
		return found, got != nil && slices.Equal(got, want)
	})
}

func (r *real) writes() float64 { return r.metric("federator_kube_import_writes_total") }

// metric is the sum of a metric of the writer.
func (r *real) metric(name string) float64 {
	families, err := r.metrics.Gather()
	if err != nil {
		r.t.Fatal(err)
	}
	sum := 0.0
	for _, f := range families {
		if f.GetName() == name {
			for _, m := range f.GetMetric() {
				sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return sum
}

// quiet waits until nothing has been written for longer than a step of a ramp takes.
func (r *real) quiet() {
	r.t.Helper()
	last, since := r.writes(), time.Now()
	r.until("nothing to be written", func() (any, bool) {
		if now := r.writes(); now != last {
			last, since = now, time.Now()
		}
		return last, time.Since(since) > 2*rampPause
	})
}

func TestImportsOnARealAPIServer(t *testing.T) {
	w := controlplane.Need(t, controlplane.Options{Clusters: []string{"us-west"}})
	ctx := context.Background()
	r := &real{t: t, cluster: w.Cluster("us-west"), world: newWorld()}
	core, custom := r.cluster.Clients.Core, r.cluster.Clients.MCS.MulticlusterV1beta1()
	for _, ns := range []string{"shop", "federator-system"} {
		if _, err := core.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: ns}}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	export := &mcsv1beta1.ServiceExport{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "checkout"}}
	if _, err := custom.ServiceExports("shop").Create(ctx, export, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	west, east := backend("west-1@us-west/a hh"), backend("east-1@us-east/a hhh")
	r.world.export(t, west, east)
	r.start("replica-0")
	r.lists("the import to have its endpoints", "west-1", "west-1")
	r.until("a clusterset IP", func() (any, bool) { ips := r.vips.Lookup(checkout); return ips, len(ips) > 0 })
	r.until("conditions on the import and the export", func() (any, bool) {
		i, err := custom.ServiceImports("shop").Get(ctx, "checkout", metav1.GetOptions{})
		x, err2 := custom.ServiceExports("shop").Get(ctx, "checkout", metav1.GetOptions{})
		if err != nil || err2 != nil {
			return []error{err, err2}, false
		}
		return []any{i.Status, x.Status}, len(i.Status.Conditions) == 1 && i.Status.Conditions[0].Status == metav1.ConditionTrue && len(x.Status.Conditions) == 3
	})

	t.Run("users are shown what happened", func(t *testing.T) { r.described(t, w) })
	t.Run("what the API server would refuse is left out", func(t *testing.T) { r.refused(t, west, east) })
	t.Run("a failed region is left within moments", func(t *testing.T) { r.fails(t, west, east) })
	t.Run("a new writer writes nothing", func(t *testing.T) { r.succeeded(t, west, east) })
	t.Run("an API that drops fields is not sent them again and again", func(t *testing.T) { r.older(t, west, east) })
	t.Run("who always changes it back is not fought", func(t *testing.T) { r.contested(t, west, east) })
	t.Run("an API server that was away is compared in full", func(t *testing.T) { r.away(t, west, east) })
	t.Run("etcd goes back in time", func(t *testing.T) { r.backInTime(t, west, east) })
	t.Run("everything goes with the last export", func(t *testing.T) { r.goes(t) })
	t.Run("what is not ours stays as it is", func(t *testing.T) { r.foreign(t, west, east) })
}

// described looks at the import and the export as users do.
func (r *real) described(t *testing.T, w *controlplane.World) {
	for kind, reason := range map[string]string{"serviceimport": "Imported", "serviceexport": "Exported"} {
		r.until("an Event "+reason+" with the "+kind, func() (any, bool) {
			out, err := w.Kubectl(t.Context(), "us-west", "-n", "shop", "describe", kind, "checkout")
			_, told, _ := strings.Cut(out, "\nEvents:")
			return []any{out, err}, err == nil && strings.Contains(told, reason)
		})
	}
}

// refused has a cluster export what no EndpointSlice may have.
func (r *real) refused(t *testing.T, west, east catalog.Backend) {
	r.world.export(t, unlistable(backend("west-1@us-west/a hhhh")), east)
	r.lists("the one endpoint that other hosts can reach", "west-1")
	r.world.export(t, west, east)
	r.lists("the endpoints of west-1", "west-1", "west-1")
}

// fails has a region fail and return.
func (r *real) fails(t *testing.T, west, east catalog.Backend) {
	r.world.export(t, backend("west-1@us-west/a uu"), east)
	r.lists("the endpoints of east-1", "east-1", "east-1", "east-1")
	r.world.export(t, west, east)
	r.lists("the endpoints of west-1", "west-1", "west-1")
}

// succeeded has another writer take over.
func (r *real) succeeded(t *testing.T, west, east catalog.Backend) {
	r.quiet() // what came back ramps
	r.lists("the endpoints of west-1", "west-1", "west-1")
	r.stop()
	r.start("replica-1")
	r.until("replica-1 to have looked at everything", func() (any, bool) {
		return nil, r.metric("federator_kube_imports") == 1
	})
	r.quiet()
	if got := r.writes(); got != 0 {
		t.Errorf("expected no writes, found %v", got)
	}
}

// contested has a controller take the ports out of the slices whenever they have some.
func (r *real) contested(t *testing.T, west, east catalog.Backend) {
	endpoints := r.cluster.Clients.Core.DiscoveryV1().EndpointSlices("shop")
	empty := func(ctx context.Context) {
		list, err := endpoints.List(ctx, metav1.ListOptions{LabelSelector: LabelImport + "=checkout"})
		if err != nil {
			return
		}
		for i := range list.Items {
			if s := &list.Items[i]; len(s.Ports) > 0 {
				s.Ports = nil
				_, _ = endpoints.Update(ctx, s, metav1.UpdateOptions{}) // else the next time
			}
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	var controller sync.WaitGroup
	controller.Go(func() {
		for ctx.Err() == nil {
			empty(ctx)
			time.Sleep(5 * time.Millisecond)
		}
	})
	defer controller.Wait()
	defer cancel()
	r.until("the service to be told as contested", func() (any, bool) {
		got := r.metric("federator_kube_import_contested_services")
		return got, got == 1
	})
	before, begun := r.writes(), time.Now()
	r.until("four seconds to pass", func() (any, bool) { return nil, time.Since(begun) > 4*time.Second })
	n, most := r.writes()-before, 2.0*boutPasses*2 // two bouts, of at most two writes each
	if n > most {
		t.Errorf("expected at most %v writes, found %v", most, n)
	}
	t.Logf("%v writes, of %v at most", n, most)
	r.world.export(t, backend("west-1@us-west/a hhhu"), east)
	r.lists("three endpoints", "west-1", "west-1", "west-1")
	r.world.export(t, west, east)
	r.lists("two endpoints", "west-1", "west-1")
	cancel()
	controller.Wait()
	r.until("the ports to be there", func() (any, bool) {
		list, err := endpoints.List(t.Context(), metav1.ListOptions{LabelSelector: LabelImport + "=checkout"})
		return list, err == nil && !slices.ContainsFunc(list.Items, func(s discoveryv1.EndpointSlice) bool { return len(s.Ports) == 0 })
	})
}

// away stops the API server for a while.
func (r *real) away(t *testing.T, west, east catalog.Backend) {
	ctx := context.Background()
	if err := r.cluster.StopAPIServer(); err != nil {
		t.Fatal(err)
	}
	r.until("it to be missed", func() (any, bool) { return nil, !r.writer.StaleSince().IsZero() })
	r.world.export(t, backend("west-1@us-west/a hhhhh"), east)
	if err := r.cluster.StartAPIServer(ctx); err != nil {
		t.Fatal(err)
	}
	r.lists("five endpoints", "west-1", "west-1", "west-1", "west-1", "west-1")
	r.until("nothing to be stale", func() (any, bool) { return nil, r.writer.StaleSince().IsZero() })
}

// backInTime restores an older snapshot of etcd.
func (r *real) backInTime(t *testing.T, west, east catalog.Backend) {
	ctx, ips := context.Background(), fmt.Sprint(r.vips.Lookup(checkout))
	snapshot := filepath.Join(t.TempDir(), "snapshot")
	if err := r.cluster.SnapshotEtcd(ctx, snapshot); err != nil {
		t.Fatal(err)
	}
	r.world.export(t, west, east)
	r.lists("two endpoints", "west-1", "west-1")
	if err := r.cluster.RestoreEtcd(ctx, snapshot); err != nil {
		t.Fatal(err)
	}
	r.lists("two endpoints again", "west-1", "west-1")
	if got := fmt.Sprint(r.vips.Lookup(checkout)); got != ips {
		t.Errorf("expected the clusterset IPs to stay %s, found %s", ips, got)
	}
}

// goes withdraws the last export.
func (r *real) goes(t *testing.T) {
	ctx, core, custom := context.Background(), r.cluster.Clients.Core, r.cluster.Clients.MCS.MulticlusterV1beta1()
	r.world.export(t)
	r.lists("no endpoints")
	r.until("nothing left", func() (any, bool) {
		services, err := core.CoreV1().Services("shop").List(ctx, metav1.ListOptions{})
		imports, err2 := custom.ServiceImports("shop").List(ctx, metav1.ListOptions{})
		return []any{err, err2}, err == nil && err2 == nil && len(services.Items)+len(imports.Items) == 0
	})
}

// foreign puts an object of somebody else in the way.
func (r *real) foreign(t *testing.T, west, east catalog.Backend) {
	ctx, core, custom := context.Background(), r.cluster.Clients.Core, r.cluster.Clients.MCS.MulticlusterV1beta1()
	theirs, err := core.CoreV1().Services("shop").Create(ctx, &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: DerivedName(checkout)},
		Spec:       corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 1}}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	r.world.export(t, west, east)
	r.until("the import to say so", func() (any, bool) {
		i, err := custom.ServiceImports("shop").Get(ctx, "checkout", metav1.GetOptions{})
		if err != nil || len(i.Status.Conditions) == 0 {
			return err, false
		}
		return i.Status, i.Status.Conditions[0].Reason == ReasonNameTaken
	})
	now, err := core.CoreV1().Services("shop").Get(ctx, theirs.Name, metav1.GetOptions{})
	list, err2 := core.DiscoveryV1().EndpointSlices("shop").List(ctx, metav1.ListOptions{LabelSelector: discoveryv1.LabelServiceName + "=" + theirs.Name})
	if err != nil || err2 != nil || now.ResourceVersion != theirs.ResourceVersion || len(list.Items) != 0 {
		t.Errorf("expected their Service unchanged and without slices, found %+v, %d slices, %v, %v", now, len(list.Items), err, err2)
	}
}
