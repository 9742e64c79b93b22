package kube

import (
	"context"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/gentype"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"

	"github.com/federator/federator/kube/api/v1alpha1"
)

// Federator is a client of federator's own API group.
type Federator struct{ v1alpha1 *FederatorV1alpha1 }

// FederatorV1alpha1 is a client of one version of it.
type FederatorV1alpha1 struct {
	client rest.Interface
	codec  runtime.ParameterCodec
}

// NewFederator makes a client.
func NewFederator(config *rest.Config) (*Federator, error) {
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		return nil, err
	}
	version := v1alpha1.GroupVersion()
	c := rest.CopyConfig(config)
	c.GroupVersion, c.APIPath = &version, "/apis"
	c.NegotiatedSerializer = rest.CodecFactoryForGeneratedClient(scheme, serializer.NewCodecFactory(scheme)).WithoutConversion()
	client, err := rest.RESTClientFor(c)
	if err != nil {
		return nil, err
	}
	return &Federator{&FederatorV1alpha1{client, runtime.NewParameterCodec(scheme)}}, nil
}

// FederatorV1alpha1 returns the client of the version.
func (f *Federator) FederatorV1alpha1() *FederatorV1alpha1 { return f.v1alpha1 }

// ResolutionPolicies is a client of ResolutionPolicies.
type ResolutionPolicies = gentype.ClientWithList[*v1alpha1.ResolutionPolicy, *v1alpha1.ResolutionPolicyList]

// ResolutionPolicies returns the client of those of one namespace, or of all.
func (c *FederatorV1alpha1) ResolutionPolicies(namespace string) *ResolutionPolicies {
	return gentype.NewClientWithList(v1alpha1.ResourceResolutionPolicies, c.client, c.codec, namespace,
		func() *v1alpha1.ResolutionPolicy { return &v1alpha1.ResolutionPolicy{} },
		func() *v1alpha1.ResolutionPolicyList { return &v1alpha1.ResolutionPolicyList{} })
}

// Drills is a client of Drills.
type Drills = gentype.ClientWithList[*v1alpha1.Drill, *v1alpha1.DrillList]

// Drills returns the client of those of one namespace, or of all.
func (c *FederatorV1alpha1) Drills(namespace string) *Drills {
	return gentype.NewClientWithList(v1alpha1.ResourceDrills, c.client, c.codec, namespace,
		func() *v1alpha1.Drill { return &v1alpha1.Drill{} },
		func() *v1alpha1.DrillList { return &v1alpha1.DrillList{} })
}

// FederatorInformers are the informers of federator's own kinds. Only those that
// were asked for run.
type FederatorInformers struct {
	client *Federator

	mu      sync.Mutex
	asked   map[string]cache.SharedIndexInformer
	running sync.WaitGroup
}

// NewFederatorInformers returns informers over a client.
func NewFederatorInformers(client *Federator) *FederatorInformers {
	return &FederatorInformers{client: client, asked: map[string]cache.SharedIndexInformer{}}
}

// ResolutionPolicies returns the informer of all ResolutionPolicies.
func (f *FederatorInformers) ResolutionPolicies() cache.SharedIndexInformer {
	return f.informer(v1alpha1.ResourceResolutionPolicies, &v1alpha1.ResolutionPolicy{},
		func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			return f.client.FederatorV1alpha1().ResolutionPolicies(metav1.NamespaceAll).List(ctx, o)
		},
		func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			return f.client.FederatorV1alpha1().ResolutionPolicies(metav1.NamespaceAll).Watch(ctx, o)
		})
}

// Drills returns the informer of all Drills.
func (f *FederatorInformers) Drills() cache.SharedIndexInformer {
	return f.informer(v1alpha1.ResourceDrills, &v1alpha1.Drill{},
		func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			return f.client.FederatorV1alpha1().Drills(metav1.NamespaceAll).List(ctx, o)
		},
		func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			return f.client.FederatorV1alpha1().Drills(metav1.NamespaceAll).Watch(ctx, o)
		})
}

func (f *FederatorInformers) informer(resource string, of runtime.Object, list cache.ListWithContextFunc, watches cache.WatchFuncWithContext) cache.SharedIndexInformer {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.asked[resource] == nil {
		i := informer(of, 0, list, watches)
		_ = i.SetTransform(strip) // fails only for an informer that runs
		f.asked[resource] = i
	}
	return f.asked[resource]
}

// Start runs the informers that were asked for until done is closed.
func (f *FederatorInformers) Start(done <-chan struct{}) {
	if f == nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, i := range f.asked {
		f.running.Go(func() { i.Run(done) })
	}
}

// Shutdown waits until they have ended.
func (f *FederatorInformers) Shutdown() {
	if f != nil {
		f.running.Wait()
	}
}
