package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Group and Version are those of the API.
const (
	Group   = "federator.dev"
	Version = "v1alpha1"
)

// The resources, as they are in paths and roles.
const (
	ResourceResolutionPolicies = "resolutionpolicies"
	ResourceDrills             = "drills"
)

// The kinds.
const (
	KindResolutionPolicy = "ResolutionPolicy"
	KindDrill            = "Drill"
)

// GroupVersion returns the group and version of the API.
func GroupVersion() schema.GroupVersion { return schema.GroupVersion{Group: Group, Version: Version} }

// AddToScheme makes the types known to a scheme.
func AddToScheme(s *runtime.Scheme) error {
	s.AddKnownTypes(GroupVersion(), &ResolutionPolicy{}, &ResolutionPolicyList{}, &Drill{}, &DrillList{})
	metav1.AddToGroupVersion(s, GroupVersion())
	return nil
}
