package kube

import (
	"fmt"
	"time"

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
	Core      kubernetes.Interface
	MCS       mcs.Interface
	Federator *Federator
	// CoreInformers and MCSInformers hold objects without their managed fields,
	// which are most of what an object weighs and which nobody here reads.
	CoreInformers informers.SharedInformerFactory
	MCSInformers  mcsinformers.SharedInformerFactory
	// FederatorInformers are those of federator's own kinds, whose
	// CustomResourceDefinitions a cluster may lack: that holds nothing else up. See
	// [Cluster.Lacking].
	FederatorInformers *FederatorInformers

	link *link
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
	own, err := NewFederator(config)
	if err != nil {
		return nil, fmt.Errorf("kubernetes: client of %s: %w", config.Host, err)
	}
	c := &Cluster{Core: coreClient, MCS: mcsClient, Federator: own, link: newLink(coreClient)}
	if err := c.openInformers(core, config); err != nil {
		return nil, fmt.Errorf("kubernetes: informers of %s: %w", config.Host, err)
	}
	return c, nil
}

// openInformers makes the informers. They have clients of their own: a watch goes
// on for minutes, which a bound on the time of a request would cut short, and the
// link has to see what they ask.
func (c *Cluster) openInformers(core, custom *rest.Config) error {
	coreClient, err := kubernetes.NewForConfig(c.link.patience.through(core))
	if err != nil {
		return err
	}
	mcsClient, err := mcs.NewForConfig(c.link.patience.through(custom))
	if err != nil {
		return err
	}
	own, err := NewFederator(c.link.patience.through(custom))
	if err != nil {
		return err
	}
	c.CoreInformers, c.MCSInformers = Informers(coreClient, mcsClient)
	c.FederatorInformers = NewFederatorInformers(own)
	return nil
}

// Run keeps the informers that were asked for going until done is closed.
func (c *Cluster) Run(done <-chan struct{}) {
	c.CoreInformers.Start(done)
	c.MCSInformers.Start(done)
	c.FederatorInformers.Start(done)
	if c.link != nil {
		c.link.run(done)
	}
	<-done
	c.CoreInformers.Shutdown()
	c.MCSInformers.Shutdown()
	c.FederatorInformers.Shutdown()
}

// State says since when, and why, what the informers hold may be old. The error is
// nil while the API server answers and every informer has listed what there is
// since it last did not.
func (c *Cluster) State() (since time.Time, err error) { return c.link.state() }

// Changed is closed at the next change of [Cluster.State]. Take it first.
func (c *Cluster) Changed() <-chan struct{} { return c.link.next() }

// Lacking says since when and why a kind of federator's own, such as
// "resolutionpolicies", cannot be read although the API server answers. The error is
// [ErrNotInstalled] for one that it does not know, and nil if nothing is in the way.
func (c *Cluster) Lacking(resource string) (since time.Time, err error) {
	if c.link == nil {
		return time.Time{}, nil
	}
	return c.link.patience.lacking(resource)
}
