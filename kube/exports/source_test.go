package exports

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	corefake "k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	mcsfake "sigs.k8s.io/mcs-api/pkg/client/clientset/versioned/fake"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/kube"
	"github.com/federator/federator/source"
)

// plumbed is a source over real informers of a client that keeps its objects in
// memory: what happens on the way to a real API server is tested in package kube.
type plumbed struct {
	*Source
	cluster *kube.Cluster
	custom  *mcsfake.Clientset
	link    *fakeLink
	metrics *prometheus.Registry
	updates chan source.Update
}

// plumb starts a source; its informers start with the returned function.
func plumb(t *testing.T) (*plumbed, func()) {
	t.Helper()
	core, custom := corefake.NewClientset(), mcsfake.NewSimpleClientset()
	p := &plumbed{
		cluster: &kube.Cluster{Core: core, MCS: custom}, custom: custom,
		link: newFakeLink(), metrics: prometheus.NewRegistry(), updates: make(chan source.Update, 64),
	}
	p.cluster.CoreInformers, p.cluster.MCSInformers = kube.Informers(core, custom)
	var err error
	p.Source, err = New(Options{Cluster: p.cluster, Link: p.link, Name: "west", Log: slog.New(slog.DiscardHandler), Metrics: p.metrics})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	t.Cleanup(func() { cancel(); wg.Wait() })
	wg.Go(func() {
		if err := p.Run(ctx, func(u source.Update) { p.updates <- u }); err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return p, func() { wg.Go(func() { p.cluster.Run(ctx.Done()) }) }
}

// until waits for an update that is as expected.
func (p *plumbed) until(t *testing.T, what string, is func(source.Update) bool) source.Update {
	t.Helper()
	deadline := time.After(time.Minute)
	for {
		select {
		case u := <-p.updates:
			if is(u) {
				return u
			}
		case <-deadline:
			t.Fatalf("no update in a minute in which %s", what)
		}
	}
}

// watched waits until the exports are watched. Their client loses what is made between
// a list and the watch after it, as no API server does.
func (p *plumbed) watched(t *testing.T) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; {
		if slices.ContainsFunc(p.custom.Actions(), func(a clienttesting.Action) bool { return a.Matches("watch", "serviceexports") }) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("nobody watches the exports")
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// receive waits for a change of the verdicts.
func receive(t *testing.T, changed <-chan struct{}) {
	t.Helper()
	select {
	case <-changed:
	case <-time.After(time.Minute):
		t.Fatal("the verdicts did not change in a minute")
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestNothingIsHandedOverBeforeAllInformersAreInSync(t *testing.T) {
	p, start := plumb(t)
	away := errors.New("the API server knows no serviceexports")
	p.link.set(t0, away)
	p.until(t, "the error is said", func(u source.Update) bool { return u.Err == away && u.StaleSince.Equal(t0) })
	p.link.set(time.Time{}, nil)
	start()
	u := p.until(t, "there is nothing", func(u source.Update) bool { return u.Err == nil })
	if len(u.Sets) != 0 || len(p.updates) != 0 {
		t.Errorf("the first state of an empty cluster is %+v, and %d more", u, len(p.updates))
	}
}

func TestAServiceIsExportedFlippedAndWithdrawn(t *testing.T) {
	p, start := plumb(t)
	start()
	p.until(t, "there is nothing", func(u source.Update) bool { return true })
	p.watched(t)
	ctx := t.Context()
	exports := p.cluster.MCS.MulticlusterV1beta1().ServiceExports("shop")
	services := p.cluster.Core.CoreV1().Services("shop")
	endpoints := p.cluster.Core.DiscoveryV1().EndpointSlices("shop")

	changed := p.Changed()
	_, err := exports.Create(ctx, anExport("web"), metav1.CreateOptions{})
	must(t, err)
	receive(t, changed)
	if v := p.Exports(); len(v) != 1 || v[0].Valid || v[0].Reason != "NoService" {
		t.Fatalf("verdicts %+v", v)
	}
	if v, ok := p.Verdict(catalog.ServiceName{Namespace: "shop", Name: "web"}); !ok || v.Reason != "NoService" {
		t.Fatalf("verdict %+v", v)
	}
	_, err = services.Create(ctx, aService("web"), metav1.CreateOptions{})
	must(t, err)
	_, err = endpoints.Create(ctx, aSlice("web-1", "web", aPod("p1", "10.0.0.1")), metav1.CreateOptions{})
	must(t, err)
	p.until(t, "the service has an endpoint", func(u source.Update) bool { return len(u.Sets) == 1 && len(u.Sets[0].Endpoints) == 1 })
	if families, err := p.metrics.Gather(); err != nil || len(families) != 2 {
		t.Errorf("metrics %v, %v", families, err)
	}

	_, err = endpoints.Update(ctx, aSlice("web-1", "web", aPod("p1", "10.0.0.1", being(false, true, true))), metav1.UpdateOptions{})
	must(t, err)
	p.until(t, "the endpoint drains", func(u source.Update) bool {
		return len(u.Sets) == 1 && u.Sets[0].Endpoints[0].Health == catalog.Draining
	})
	_, err = endpoints.Update(ctx, aSlice("web-1", "elsewhere", aPod("p1", "10.0.0.1")), metav1.UpdateOptions{})
	must(t, err)
	p.until(t, "the slice has left the service", func(u source.Update) bool { return len(u.Sets) == 1 && len(u.Sets[0].Endpoints) == 0 })
	must(t, services.Delete(ctx, "web", metav1.DeleteOptions{}))
	p.until(t, "the service is gone", func(u source.Update) bool { return len(u.Sets) == 0 && u.Err == nil })
	must(t, exports.Delete(ctx, "web", metav1.DeleteOptions{}))
	for changed := p.Changed(); len(p.Exports()) > 0; changed = p.Changed() {
		receive(t, changed)
	}
}
