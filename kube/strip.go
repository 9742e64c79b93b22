package kube

import (
	"unique"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/meta"
)

// strip drops from an object what nobody reads, which is most of what it weighs,
// and makes the texts one that many endpoints have alike.
func strip(object any) (any, error) {
	if m, err := meta.Accessor(object); err == nil {
		m.SetManagedFields(nil)
	}
	switch o := object.(type) {
	case *corev1.Node:
		o.Status = corev1.NodeStatus{Addresses: o.Status.Addresses}
	case *discoveryv1.EndpointSlice:
		for i := range o.Endpoints {
			slim(&o.Endpoints[i])
		}
	}
	return object, nil
}

func slim(e *discoveryv1.Endpoint) {
	e.NodeName, e.Zone = shared(e.NodeName), shared(e.Zone)
	if ref := e.TargetRef; ref != nil {
		e.TargetRef = &corev1.ObjectReference{Kind: unique.Make(ref.Kind).Value(), UID: ref.UID}
	}
}

func shared(s *string) *string {
	if s == nil {
		return nil
	}
	one := unique.Make(*s).Value()
	return &one
}
