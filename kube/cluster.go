package kube

import (
	"fmt"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	mcs "sigs.k8s.io/mcs-api/pkg/client/clientset/versioned"
	mcsinformers "sigs.k8s.io/mcs-api/pkg/client/informers/externalversions"
)

// Cluster is the own cluster: clients of its API server, and the one set of
// informers that everything in this process shares. Ask the factories for
// listers and add handlers before [Cluster.Run].
type Cluster struct {
	Core kubernetes.Interface
	MCS  mcs.Interface
	// CoreInformers and MCSInformers hold objects without their managed fields,
	// which are most of what an object weighs and which nobody here reads.
	CoreInformers informers.SharedInformerFactory
	MCSInformers  mcsinformers.SharedInformerFactory
}

// New makes the clients and informers of a cluster. It does not contact the API
// server.
func New(config *rest.Config) (*Cluster, error) {
	// Multi-Cluster Services are custom resources, which are JSON only.
	core := rest.CopyConfig(config)
	core.ContentType = "application/vnd.kubernetes.protobuf"
	core.AcceptContentTypes = "application/vnd.kubernetes.protobuf,application/json"
	coreClient, err := kubernetes.NewForConfig(core)
	if err != nil {
		return nil, fmt.Errorf("kubernetes: client of %s: %w", config.Host, err)
	}
	mcsClient, err := mcs.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("kubernetes: client of %s: %w", config.Host, err)
	}
	return &Cluster{
		Core: coreClient, MCS: mcsClient,
		CoreInformers: informers.NewSharedInformerFactoryWithOptions(coreClient, 0, informers.WithTransform(strip)),
		MCSInformers:  mcsinformers.NewSharedInformerFactoryWithOptions(mcsClient, 0, mcsinformers.WithTransform(strip)),
	}, nil
}

// Run keeps the informers that were asked for going until done is closed.
func (c *Cluster) Run(done <-chan struct{}) {
	c.CoreInformers.Start(done)
	c.MCSInformers.Start(done)
	<-done
	c.CoreInformers.Shutdown()
	c.MCSInformers.Shutdown()
}

// strip drops from an object what nobody reads.
func strip(object any) (any, error) {
	if m, err := meta.Accessor(object); err == nil {
		m.SetManagedFields(nil)
	}
	return object, nil
}
