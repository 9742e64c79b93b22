// Package laptop reaches clusters from where an operator is, by the contexts of a
// kubeconfig file: their API servers, and through those the replicas in their pods.
//
// A replica is asked over its socket, as if the operator were on its machine: the
// tunnel is a connection through the pods/exec subresource of the API server
// (WebSocket, else SPDY) to "federator dial-stdio", which copies its standard input
// and output to the socket. What is asked and answered goes through it as gRPC, so
// that nothing is ever in the arguments of a process, in the shell of a pod or in
// what a command prints. The replica sees, checks and audits it as a call of its own
// socket; who may use the tunnel is for the cluster's RBAC to say ("create" on
// "pods/exec").
//
// Nothing of one cluster's kubeconfig is ever sent to another.
package laptop
