// Package controlplane gives tests real Kubernetes: as many clusters as they
// ask for, each an etcd, a kube-apiserver, a kube-controller-manager and a
// kube-scheduler, and, with [Options.Nodes], a node with containerd, kubelet and
// kube-proxy that runs pods. Nothing comes from an image registry.
//
//	func TestSomething(t *testing.T) {
//		w := controlplane.Need(t, controlplane.Options{Clusters: []string{"us-west", "eu-central"}})
//		west := w.Cluster("us-west")
//		_, err := west.Clients.Core.CoreV1().Services("default").List(ctx, metav1.ListOptions{})
//		...
//	}
//
// [Need] skips the test unless FEDERATOR_CONTROLPLANE=1, fails it where it cannot
// run, removes the world after it and, if the test failed, shows the last lines of
// what each program said. [Start] is for a TestMain whose tests share one world.
//
// # What it needs
//
// Linux, root, cgroup v1 (with [Options.Nodes]) and Go. The programs of Kubernetes
// and etcd are built from the modules in tools/, once, into
// os.UserCacheDir()/federator/controlplane: make controlplane does it, which takes
// some ten minutes; a test that finds them missing builds them, too, and then
// easily outlasts its timeout. Nodes also need the Debian packages containerd, runc
// and containernetworking-plugins; the errors say so.
//
// # What it looks like
//
// Control planes are processes of the machine, on fixed ports that belong to the
// world's number, which they keep across restarts. Without nodes they listen on
// the loopback. With nodes:
//
//	this machine  10.W.0.1/24   API servers, the tests
//	     |  veth fcpW
//	   bridge, in a network namespace without a name
//	     |  veth                 |                     |
//	  node us-west 10.W.0.11   eu-central 10.W.0.12   asia-east 10.W.0.13
//	  pods 10.W.32.0/19        pods 10.W.64.0/19      pods 10.W.96.0/19
//	  services 10.96.0.0/16    services 10.97.0.0/16  services 10.98.0.0/16
//
// W is 160 plus the world's number. Pods reach pods of every cluster, without
// translation, and so does the test itself; service addresses mean something on
// their own cluster's node only. A node is a process in namespaces of its own
// (process ids, mounts, network, cgroups), so that ending it ends all that runs on
// it.
//
// A node runs kube-proxy in its nftables mode, so that service addresses work in
// pods. It has the image [WorkloadImage], takes others by [Cluster.Load], and has
// eight volumes of the default storage class. With [Options.DNS] pods resolve names
// by CoreDNS. Nothing enforces NetworkPolicies, and there is no way out of the
// network of the nodes but to this machine.
//
// # What is left behind
//
// Nothing. Processes are killed by the kernel when the test process is gone,
// however it went; mounts, bridges, links and network namespaces go with them.
// Directories and cgroups, which can be left by a SIGKILL, are removed by the next
// [Start] or [Reap]: each world holds a lock, and notes what it made.
//
// # Faults
//
// [Cluster.StopAPIServer], [Cluster.FreezeEtcd], [Cluster.KillKubelet],
// [World.Cut], [Cluster.SnapshotEtcd], [Cluster.RestoreEtcd], [Cluster.Rebuild],
// and what undoes them.
//
// The package and what uses it is built on Linux only: such files begin with
// //go:build linux.
package controlplane
