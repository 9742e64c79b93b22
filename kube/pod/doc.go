// Package pod is what a replica has to do with Kubernetes because it runs in a pod
// of a StatefulSet there: where others reach it, how it becomes a member of its
// region, and how it stops being one. It knows Kubernetes and nothing of the
// replica; package inpod puts the two together.
//
// A pod with an empty disk says so in a ConfigMap of its own, federator-waiting-POD,
// and waits for the Secret federator-join-POD, whose key "token" holds a join token.
// Both are deleted by the pod once it has joined, also when it crashed in between,
// and by Kubernetes when the pod is deleted. Who puts the Secret there does not
// matter: a replica of the cluster that is a member already ([Inviter]), or an
// operator from another cluster. A pod asks for one Secret by its name and never
// lists or watches Secrets.
//
// One pod may found the trust domain instead: that of ordinal 0, while the ConfigMap
// federator-init is there and does not say that it was used. It holds the recovery
// recipient, and so the recovery key never reaches the cluster.
package pod
