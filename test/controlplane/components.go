//go:build linux

package controlplane

import (
	"fmt"
	"os"
	"slices"
	"strings"
)

// controllers are those that the tests need, of the kube-controller-manager's.
var controllers = [...]string{
	"clusterrole-aggregation-controller",
	"daemonset-controller",
	"deployment-controller",
	"disruption-controller",
	"endpointslice-controller",
	"garbage-collector-controller",
	"job-controller",
	"namespace-controller",
	"node-lifecycle-controller",
	"persistentvolume-binder-controller",
	"persistentvolume-protection-controller",
	"persistentvolumeclaim-protection-controller",
	"pod-garbage-collector-controller",
	"replicaset-controller",
	"root-ca-certificate-publisher-controller",
	"serviceaccount-controller",
	"serviceaccount-token-controller",
	"statefulset-controller",
	"taint-eviction-controller",
}

func (c *Cluster) etcdURL() string {
	return fmt.Sprintf("http://127.0.0.1:%d", c.plan.ports[portEtcd])
}

func (c *Cluster) etcdPeerURL() string {
	return fmt.Sprintf("http://127.0.0.1:%d", c.plan.ports[portEtcdPeer])
}

// server is the URL of the API server.
func (c *Cluster) server() string {
	return fmt.Sprintf("https://%s:%d", c.address, c.plan.ports[portAPIServer])
}

func (c *Cluster) etcdArgs() []string {
	return []string{
		c.world.programs["etcd"],
		"--name=" + c.Name,
		"--data-dir=" + c.etcdData(),
		"--listen-client-urls=" + c.etcdURL(),
		"--advertise-client-urls=" + c.etcdURL(),
		"--listen-peer-urls=" + c.etcdPeerURL(),
		"--initial-advertise-peer-urls=" + c.etcdPeerURL(),
		"--initial-cluster=" + c.Name + "=" + c.etcdPeerURL(),
		"--log-level=warn",
		// What a SIGKILL of etcd loses nothing by: only the machine's end would.
		"--unsafe-no-fsync",
	}
}

func (c *Cluster) apiServerArgs() []string {
	args := []string{
		c.world.programs["kube-apiserver"],
		"--etcd-servers=" + c.etcdURL(),
		"--bind-address=" + c.address.String(),
		fmt.Sprintf("--secure-port=%d", c.plan.ports[portAPIServer]),
		"--advertise-address=" + c.address.String(),
		"--tls-cert-file=" + c.authority.path("apiserver.crt"),
		"--tls-private-key-file=" + c.authority.path("apiserver.key"),
		"--client-ca-file=" + c.authority.path("ca.crt"),
		"--kubelet-client-certificate=" + c.authority.path("kubelet-client.crt"),
		"--kubelet-client-key=" + c.authority.path("kubelet-client.key"),
		"--kubelet-preferred-address-types=InternalIP",
		"--service-account-issuer=https://kubernetes.default.svc.cluster.local",
		"--service-account-key-file=" + c.authority.path("sa.pub"),
		"--service-account-signing-key-file=" + c.authority.path("sa.key"),
		"--service-cluster-ip-range=" + c.plan.services.String() + "," + c.plan.services6.String(),
		"--authorization-mode=Node,RBAC",
		"--enable-admission-plugins=NodeRestriction",
		"--allow-privileged",
		"--profiling=false",
	}
	if !c.world.options.Nodes {
		// A loopback address is no endpoint of a service.
		args = append(args, "--endpoint-reconciler-type=none")
	}
	if len(c.world.options.Audit) > 0 {
		args = append(args, "--audit-policy-file="+c.path("audit.yaml"), "--audit-log-path="+c.AuditLog())
	}
	return args
}

// writeAuditPolicy has the API server log the requests of the groups that the
// options name, and no others.
func (c *Cluster) writeAuditPolicy() error {
	groups := make([]string, len(c.world.options.Audit))
	for i, g := range c.world.options.Audit {
		groups[i] = fmt.Sprintf("%q", g)
	}
	return os.WriteFile(c.path("audit.yaml"), fmt.Appendf(nil, `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: Metadata
  userGroups: [%s]
- level: None
`, strings.Join(groups, ", ")), 0o644)
}

func (c *Cluster) controllerManagerArgs(kubeconfig string) []string {
	running := controllers[:]
	var networks []string
	if c.world.options.Nodes {
		// The one node has all of the pods' addresses.
		running = append(slices.Clone(running), "node-ipam-controller")
		networks = []string{"--allocate-node-cidrs", "--cluster-cidr=" + c.plan.pods.String(), fmt.Sprintf("--node-cidr-mask-size=%d", c.plan.pods.Bits())}
	}
	return append([]string{
		c.world.programs["kube-controller-manager"],
		"--kubeconfig=" + kubeconfig,
		"--controllers=" + strings.Join(running, ","),
		"--use-service-account-credentials",
		"--service-account-private-key-file=" + c.authority.path("sa.key"),
		"--root-ca-file=" + c.authority.path("ca.crt"),
		"--leader-elect=false",
		"--secure-port=0",
		// A dead kubelet is noticed in 20s instead of 50s.
		"--node-monitor-period=2s",
		"--node-monitor-grace-period=20s",
		// So that thousands of services are not its bound.
		"--kube-api-qps=500",
		"--kube-api-burst=1000",
	}, networks...)
}

func (c *Cluster) schedulerArgs(kubeconfig string) []string {
	return []string{
		c.world.programs["kube-scheduler"],
		"--kubeconfig=" + kubeconfig,
		"--leader-elect=false",
		"--secure-port=0",
		"--kube-api-qps=500",
		"--kube-api-burst=1000",
	}
}
