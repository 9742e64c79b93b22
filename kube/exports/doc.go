// Package exports is a Kubernetes cluster as a source of services: what its
// ServiceExports select (Multi-Cluster Services API, KEP-1645).
//
// # From objects to sets
//
// One pure function, derive, turns a ServiceExport, the Service of its name and
// the Service's EndpointSlices into an endpoint set and a [Verdict]. It knows
// everything there is to know about Kubernetes: families of addresses, ports by
// name and number, readiness, termination, headless services, slices that overlap.
//
// # From events to updates
//
// The handlers of the informers only note which service an event touches. One
// goroutine, [Source.Run], derives those services again, and no others. What
// changed in health alone is handed over at once; what changed in anything else
// waits a moment for its like, because it costs a write to the region's Raft.
// Updates are complete states all the same (see package source).
//
// An API server that cannot be reached says nothing about the workloads: the last
// state stays, and the Update says since when it may be old. See package kube for
// how that is noticed, and for why a server that came back is read in full.
package exports
