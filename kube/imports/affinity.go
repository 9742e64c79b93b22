package imports

import (
	corev1 "k8s.io/api/core/v1"

	"github.com/federator/federator/federation/catalog"
)

// defaultAffinity is how many seconds the API server lets client affinity last
// where a Service does not say.
const defaultAffinity = 10800

// Affinity is the session affinity of a service.
type Affinity struct {
	// ClientIP: connections of one client address go to one endpoint.
	ClientIP bool
	// Seconds is for how long, 1 to 86400; 0 is the default of 3 hours.
	Seconds int32
}

// kubernetes is the affinity as Service and ServiceImport have it.
func (a Affinity) kubernetes() (corev1.ServiceAffinity, *corev1.SessionAffinityConfig) {
	if !a.ClientIP {
		return corev1.ServiceAffinityNone, nil
	}
	return corev1.ServiceAffinityClientIP, &corev1.SessionAffinityConfig{ClientIP: &corev1.ClientIPConfig{TimeoutSeconds: new(a.seconds())}}
}

func (a Affinity) seconds() int32 {
	if a.Seconds <= 0 {
		return defaultAffinity
	}
	return min(a.Seconds, 86400)
}

// affinityOf is what one exporter says.
func (in *Input) affinityOf(set *catalog.EndpointSet) Affinity {
	if in.Affinity == nil {
		return Affinity{}
	}
	return in.Affinity(set)
}

// affinity is what holds: the oldest export decides.
func (in *Input) affinity() Affinity { return in.affinityOf(in.oldest().Set) }

// oldest returns the export that decides where exports disagree: the first by
// creation, then by region and cluster.
func (in *Input) oldest() *catalog.Backend {
	first := &in.Service.Backends[0]
	for i := range in.Service.Backends {
		if b := &in.Service.Backends[i]; b.Set.CreatedAt.Before(first.Set.CreatedAt) {
			first = b
		}
	}
	return first
}
