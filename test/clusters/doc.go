// Package clusters has the end-to-end tests on Kubernetes: three clusters with nodes,
// us-west, eu-central and asia-east, which are regions of those names; in each what
// deploy/clusters holds for it, applied as kustomize builds it, with the image of
// make image. The stories are in the files that are not named like a thing:
//
//	formed_test.go      what a federation of three clusters looks like
//	called_test.go      who is called by whom, by the name of an imported service
//	flips_test.go       how fast readiness reaches the imports of other clusters
//	pods_test.go        pods that come back elsewhere, replicas that come and go
//	headless_test.go    pods that have names of their own
//	privileges_test.go  what is granted, and what is used
//	severed_test.go     a region that is cut off from the others
//	users_test.go       what the users of a namespace do with policies and drills, and
//	                    who their pods are
//	without_test.go     an API server that is away
//	wrecked_test.go     a cluster that is built anew under its old name
//
// All tests share one federation, made by TestMain, and leave it as they found it. They
// wait for conditions and bound the wait; what they measure they log.
//
// They run with FEDERATOR_CONTROLPLANE=1, on clusters of package controlplane. With
// FEDERATOR_CLUSTERS_KUBECONFIG=FILE they run on clusters that exist instead, such as
// those of test/kind: contexts named like the clusters, with or without kind- before it,
// images that are loaded, and pods that reach pods of the other clusters. What takes
// faults that only controlplane can make is skipped there.
package clusters
