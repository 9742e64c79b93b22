package imports

import (
	corev1 "k8s.io/api/core/v1"

	"github.com/federator/federator/federation/catalog"
)

// affinity is for how many seconds connections of one client address go to one
// endpoint; 0 is no session affinity.
type affinity uint32

// kubernetes is the affinity as Service and ServiceImport have it.
func (a affinity) kubernetes() (corev1.ServiceAffinity, *corev1.SessionAffinityConfig) {
	if a == 0 {
		return corev1.ServiceAffinityNone, nil
	}
	return corev1.ServiceAffinityClientIP, &corev1.SessionAffinityConfig{ClientIP: &corev1.ClientIPConfig{
		TimeoutSeconds: new(int32(min(a, catalog.MaxAffinitySeconds))),
	}}
}

// affinity is what holds: the oldest export decides.
func (in *Input) affinity() affinity { return affinity(in.oldest().Set.AffinitySeconds) }

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
