// Package deploy is what is applied to a Kubernetes cluster to run federator there.
// The files in clusters are the one source of it: kustomize builds them, and [Render]
// makes the same of them for values that are given.
package deploy
