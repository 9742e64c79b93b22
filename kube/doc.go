// Package kube is how a replica sees Kubernetes: one API server, through client-go.
// Its own cluster's only: no replica ever holds a credential of another cluster.
//
// The room has one idea a folder. What replicas do:
//
//   - kube/exports is a source of services: what the cluster's ServiceExports
//     select (Multi-Cluster Services API, KEP-1645).
//   - kube/imports writes what the federation resolves for this cluster into it:
//     ServiceImports, the derived Services and their EndpointSlices.
//   - kube/intents takes what users of namespaces want of the federation there, and
//     tells them what has become of it; kube/api has the types of that.
//   - kube/attest finds out which pod somebody is, by its token.
//   - kube/pod is what a replica that runs as a pod needs of its cluster.
//
// And what an operator's own program does, with the operator's own rights, in as many
// clusters as there are contexts in the kubeconfig:
//
//   - kube/laptop reaches clusters, and replicas in their pods.
//   - kube/link installs, joins and parts clusters, and says what is in the way.
//   - kube/corefile edits the configuration of CoreDNS.
//
// This package itself connects to an API server, with bounds on how often and
// for how long it is asked, and remembers what it refuses ([Rights]).
package kube
