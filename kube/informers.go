package kube

import (
	"context"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"sigs.k8s.io/mcs-api/pkg/apis/v1beta1"
	mcs "sigs.k8s.io/mcs-api/pkg/client/clientset/versioned"
	mcsinformers "sigs.k8s.io/mcs-api/pkg/client/informers/externalversions"
)

// Informers returns informers over clients, which may be fakes. They list before
// they watch, instead of having the list streamed by a watch: that a list was read
// in full can be seen. The Multi-Cluster Services objects are asked for at once.
func Informers(core kubernetes.Interface, custom mcs.Interface) (informers.SharedInformerFactory, mcsinformers.SharedInformerFactory) {
	c := informers.NewSharedInformerFactoryWithOptions(listing{core}, 0, informers.WithTransform(strip))
	m := mcsinformers.NewSharedInformerFactoryWithOptions(custom, 0, mcsinformers.WithTransform(strip))
	// The generated informers of this API cannot be stopped while they wait for an
	// answer, and do not ask whether to stream. Those made first are the ones used.
	m.InformerFor(&v1beta1.ServiceExport{}, func(client mcs.Interface, resync time.Duration) cache.SharedIndexInformer {
		return informer(&v1beta1.ServiceExport{}, resync,
			func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
				return client.MulticlusterV1beta1().ServiceExports(metav1.NamespaceAll).List(ctx, o)
			},
			func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
				return client.MulticlusterV1beta1().ServiceExports(metav1.NamespaceAll).Watch(ctx, o)
			})
	})
	m.InformerFor(&v1beta1.ServiceImport{}, func(client mcs.Interface, resync time.Duration) cache.SharedIndexInformer {
		return informer(&v1beta1.ServiceImport{}, resync,
			func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
				return client.MulticlusterV1beta1().ServiceImports(metav1.NamespaceAll).List(ctx, o)
			},
			func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
				return client.MulticlusterV1beta1().ServiceImports(metav1.NamespaceAll).Watch(ctx, o)
			})
	})
	return c, m
}

func informer(of runtime.Object, resync time.Duration, list cache.ListWithContextFunc, watches cache.WatchFuncWithContext) cache.SharedIndexInformer {
	lw := &cache.ListWatch{ListWithContextFunc: list, WatchFuncWithContext: watches}
	return cache.NewSharedIndexInformer(cache.ToListWatcherWithWatchListSemantics(lw, listing{}), of, resync,
		cache.Indexers{cache.NamespaceIndex: cache.MetaNamespaceIndexFunc})
}

// listing is a client that has no lists streamed.
type listing struct{ kubernetes.Interface }

// IsWatchListSemanticsUnSupported is how client-go asks.
func (listing) IsWatchListSemanticsUnSupported() bool { return true }
