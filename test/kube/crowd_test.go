//go:build linux

package kube_test

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"testing"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	apiwatch "k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	mcs "sigs.k8s.io/mcs-api/pkg/apis/v1beta1"

	"github.com/federator/federator/kube"
	"github.com/federator/federator/test/controlplane"
)

// perService is how many endpoints each service of a crowd has.
const perService = 10

// crowd is so many services, and which of their endpoints are not ready.
type crowd struct {
	services int
	unready  map[string]bool
}

func (c crowd) name(i int) string { return fmt.Sprintf("s%05d", i) }

// address is that of one endpoint, like no other's.
func (c crowd) address(i, j int) string {
	n := i*perService + j + 1
	return netip.AddrFrom4([4]byte{10, byte(16 + n>>16), byte(n >> 8), byte(n)}).String()
}

// endpoints are those of a service as [slice] takes them.
func (c crowd) endpoints(i int) []string {
	var out []string
	for j := range perService {
		address := c.address(i, j)
		if c.unready[address] {
			address += "!"
		}
		out = append(out, address)
	}
	return out
}

// slice is the EndpointSlice of a service, with all that those of pods have.
func (c crowd) slice(i int) *discoveryv1.EndpointSlice {
	s := slice(c.name(i), c.endpoints(i)...)
	for j := range s.Endpoints {
		e := &s.Endpoints[j]
		e.NodeName, e.Zone = new("node"), new("a")
		e.TargetRef = &corev1.ObjectReference{
			Kind: "Pod", Namespace: shop, Name: fmt.Sprintf("%s-7d9c5b8f6d-%05d", c.name(i), j),
			UID: types.UID(fmt.Sprintf("00000000-0000-4000-8000-%06d%06d", i, j)),
		}
	}
	return s
}

// export makes all services in a cluster, and exports them.
func (c crowd) export(cluster *controlplane.Cluster) error {
	config := rest.CopyConfig(cluster.Config)
	config.QPS = -1 // unbounded
	clients, err := kube.New(config)
	if err != nil {
		return err
	}
	var g errgroup.Group
	g.SetLimit(16)
	for i := range c.services {
		g.Go(func() error {
			ctx, meta := context.Background(), metav1.ObjectMeta{Namespace: shop, Name: c.name(i)}
			spec := corev1.ServiceSpec{Ports: []corev1.ServicePort{{Name: "http", Port: 80}}}
			_, err := clients.Core.CoreV1().Services(shop).Create(ctx, &corev1.Service{ObjectMeta: meta, Spec: spec}, metav1.CreateOptions{})
			if err != nil {
				return err
			}
			if _, err = clients.Core.DiscoveryV1().EndpointSlices(shop).Create(ctx, c.slice(i), metav1.CreateOptions{}); err != nil {
				return err
			}
			_, err = clients.MCS.MulticlusterV1beta1().ServiceExports(shop).Create(ctx, &mcs.ServiceExport{ObjectMeta: meta}, metav1.CreateOptions{})
			return err
		})
	}
	return g.Wait()
}

// mirror is what a cluster has, kept up to date by watches of the test's own.
type mirror struct {
	imports, services cache.Store
	slices            cache.SharedIndexInformer
}

func mirrorOf(t testing.TB, cluster *controlplane.Cluster) *mirror {
	t.Helper()
	own, err := kube.New(cluster.Config)
	must(t, err)
	m := &mirror{
		imports:  own.MCSInformers.Multicluster().V1beta1().ServiceImports().Informer().GetStore(),
		services: own.CoreInformers.Core().V1().Services().Informer().GetStore(),
		slices:   own.CoreInformers.Discovery().V1().EndpointSlices().Informer(),
	}
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() { own.Run(done) })
	t.Cleanup(func() { close(done); wg.Wait() })
	return m
}

// changes tells of every slice of an import that is there, comes, changes or goes, as
// a watch does, and for as long as the test lasts, which no watch does.
func (m *mirror) changes() (<-chan apiwatch.Event, error) {
	out := make(chan apiwatch.Event, 1<<16)
	tell := func(what apiwatch.EventType) func(any) {
		return func(object any) {
			if gone, ok := object.(cache.DeletedFinalStateUnknown); ok {
				object = gone.Obj
			}
			if s, ok := object.(*discoveryv1.EndpointSlice); ok && s.Labels["federator.dev/import"] != "" {
				out <- apiwatch.Event{Type: what, Object: s}
			}
		}
	}
	_, err := m.slices.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: tell(apiwatch.Added), DeleteFunc: tell(apiwatch.Deleted),
		UpdateFunc: func(_, next any) { tell(apiwatch.Modified)(next) },
	})
	return out, err
}

// imported are the endpoints of every import, sorted, by the name of the service.
// An error is something of an import that is not as it has to be.
func (m *mirror) imported(from string) (map[string][]string, error) {
	derived := map[string]*corev1.Service{}
	for _, one := range m.services.List() {
		if s := one.(*corev1.Service); s.Labels["federator.dev/import"] != "" {
			derived[s.Name] = s
		}
	}
	out := map[string][]string{}
	for _, one := range m.imports.List() {
		i := one.(*mcs.ServiceImport)
		s := derived[i.Annotations["multicluster.kubernetes.io/derived-service"]]
		switch {
		case s == nil || len(i.Spec.IPs) == 0 || !slices.Equal(i.Spec.IPs, s.Spec.ClusterIPs):
			return nil, fmt.Errorf("the import of %s has the addresses %v, its Service is %v", i.Name, i.Spec.IPs, s)
		case len(i.Status.Clusters) != 1 || i.Status.Clusters[0].Cluster != from:
			return nil, fmt.Errorf("the import of %s says that it is exported by %v", i.Name, i.Status.Clusters)
		case len(i.Status.Conditions) != 1 || i.Status.Conditions[0].Status != metav1.ConditionTrue:
			return nil, fmt.Errorf("the import of %s says %v", i.Name, i.Status.Conditions)
		}
		out[i.Name] = nil
		delete(derived, s.Name)
	}
	if len(derived) > 0 {
		return nil, fmt.Errorf("%d Services have no import", len(derived))
	}
	for _, one := range m.slices.GetStore().List() {
		s := one.(*discoveryv1.EndpointSlice)
		name := s.Labels["federator.dev/import"]
		if name == "" {
			continue
		}
		if _, found := out[name]; !found || s.Labels[mcs.LabelSourceCluster] != from {
			return nil, fmt.Errorf("found a slice of %s from %s", name, s.Labels[mcs.LabelSourceCluster])
		}
		for _, e := range s.Endpoints {
			address := e.Addresses[0]
			if !*e.Conditions.Ready {
				address += "!"
			}
			out[name] = append(out[name], address)
		}
	}
	for _, endpoints := range out {
		slices.Sort(endpoints)
	}
	return out, nil
}

// has is nil if exactly the crowd is imported.
func (m *mirror) has(c crowd, from string) error {
	if n := len(m.imports.ListKeys()); n != c.services { // before what costs more to find out
		return fmt.Errorf("found %d imports", n)
	}
	all, err := m.imported(from)
	if err != nil {
		return err
	}
	for i := range c.services {
		want := c.endpoints(i)
		slices.Sort(want)
		if got := all[c.name(i)]; !slices.Equal(got, want) {
			return fmt.Errorf("expected %v of %s, found %v", want, c.name(i), got)
		}
	}
	return nil
}
