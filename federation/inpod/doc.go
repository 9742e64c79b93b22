// Package inpod runs a replica in a pod of a StatefulSet of Kubernetes: it becomes a
// member by itself, runs, follows its pod to other addresses, and leaves when the
// StatefulSet is scaled down. Package pod says what of it is in the cluster.
package inpod
