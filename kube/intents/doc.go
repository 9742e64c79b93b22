// Package intents takes what the users of a Kubernetes cluster want of the
// federation, the objects of federator.dev, to the federation, and tells them what
// has become of it.
//
// A ResolutionPolicy becomes an object of the federation
// ([catalog.ClusterPolicy]), which every reader judges by itself: the oldest for a
// service counts, an operator's comes before all of them, and a cluster that may not
// export a service does not speak for it.
//
// One replica of the cluster does so, the one that writes its imports (the Lease
// federator-imports). [Policies.Plan] is pure: the objects of the API server and what
// the federation has of them go in, and what is to be written to either comes out.
// [Registrar] feeds it and writes. A writer that is not the only one does no harm:
// writes to the federation name the version that they follow, writes of a status the
// resourceVersion.
//
// Users of namespaces write these objects, and need not mean well: how many count, how
// often they change and how many drills begin is bounded for each namespace and for the
// cluster, and statuses are written in turn.
//
// What the API server does not show counts as deleted only while it is read in full;
// while it is away everything stays as it is.
package intents
