// Package v1alpha1 is federator's own API group in a Kubernetes cluster,
// federator.dev/v1alpha1: what the users of a namespace may say about its services
// for the whole federation.
//
// The CustomResourceDefinitions in deploy/clusters/crds and the deep copies are
// made of these types and their markers by make generate. All that can be checked
// of an object by itself is checked there, so that the API server refuses it with a
// message; every list and string is bounded, for the rules cost the API server time.
//
// +kubebuilder:object:generate=true
// +groupName=federator.dev
package v1alpha1
