// Package kube is how federator sees Kubernetes: one API server, through
// client-go. Its own cluster's only: no replica ever holds a credential of
// another cluster.
//
// The room has one idea a folder:
//
//   - kube/exports is a source of services: what the cluster's ServiceExports
//     select (Multi-Cluster Services API, KEP-1645).
//   - kube/imports writes what the federation resolves for this cluster into it:
//     ServiceImports, the derived Services and their EndpointSlices.
//   - kube/intents takes what users of namespaces want of the federation there, and
//     tells them what has become of it; kube/api has the types of that.
//
// This package itself connects to an API server, with bounds on how often and
// for how long it is asked, and remembers what it refuses ([Rights]).
package kube
