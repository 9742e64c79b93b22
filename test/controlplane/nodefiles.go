//go:build linux

package controlplane

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// writeNodeFiles writes the configuration of the node's programs.
func (c *Cluster) writeNodeFiles() error {
	network := c.path("cni")
	if err := os.MkdirAll(network, 0o755); err != nil {
		return err
	}
	for name, value := range tunableValues() {
		if err := os.WriteFile(c.path("tunable-"+name), []byte(value+"\n"), 0o644); err != nil {
			return err
		}
	}
	_, kubeletErr := c.authority.kubeconfig("kubelet", c.Name, c.server(), "system:node:"+c.NodeName, "system:nodes")
	_, proxyErr := c.authority.kubeconfig("kube-proxy", c.Name, c.server(), "system:kube-proxy")
	return errors.Join(kubeletErr, proxyErr,
		os.WriteFile(c.path("containerd.toml"), c.containerdConfig(network), 0o644),
		os.WriteFile(network+"/10-pods.conflist", c.networkConfig(), 0o644),
		os.WriteFile(c.path("kubelet.yaml"), c.kubeletConfig(), 0o644),
		// Pods that ask for the node's names get none.
		os.WriteFile(c.path("resolv.conf"), []byte("# none\n"), 0o644),
	)
}

// tunableValues are settings of the kernel, by the last part of their name, that a
// kubelet insists on and would else change for the whole machine.
func tunableValues() map[string]string {
	return map[string]string{
		"overcommit_memory": "1",
		"panic_on_oom":      "0",
		"panic":             "10",
		"panic_on_oops":     "1",
		"root_maxkeys":      "1000000",
		"root_maxbytes":     "25000000",
	}
}

// tunables has the node see files instead of those settings.
func (c *Cluster) tunables() map[string]string {
	binds := map[string]string{}
	for _, path := range []string{"vm/overcommit_memory", "vm/panic_on_oom", "kernel/panic", "kernel/panic_on_oops", "kernel/keys/root_maxkeys", "kernel/keys/root_maxbytes"} {
		if _, err := os.Stat("/proc/sys/" + path); err == nil {
			binds["/proc/sys/"+path] = c.path("tunable-" + filepath.Base(path))
		}
	}
	return binds
}

// containerdConfig: adjusting the score of the out-of-memory killer downwards takes
// a capability that root in a virtual machine or container may lack.
func (c *Cluster) containerdConfig(network string) []byte {
	return fmt.Appendf(nil, `version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
disabled_plugins = [
  "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs",
]
[grpc]
  address = "/run/containerd/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = %q
  restrict_oom_score_adj = true
  disable_apparmor = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = %q
    conf_dir = %q
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
`, pauseImage, cniDirectory, network)
}

// networkConfig gives each pod a link of its own to the node, which routes: so also
// the answers of services whose endpoint is on the same node pass through it.
func (c *Cluster) networkConfig() []byte {
	return fmt.Appendf(nil, `{
  "cniVersion": "0.4.0",
  "name": "pods",
  "plugins": [{
    "type": "ptp",
    "ipMasq": false,
    "ipam": {
      "type": "host-local",
      "dataDir": "/run/cni-addresses",
      "ranges": [[{"subnet": %q}]],
      "routes": [{"dst": "0.0.0.0/0"}]
    }
  }]
}
`, c.plan.pods)
}

func (c *Cluster) kubeletConfig() []byte {
	return fmt.Appendf(nil, `apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: %s
authentication:
  anonymous: {enabled: false}
  webhook: {enabled: true}
  x509: {clientCAFile: %s}
authorization: {mode: Webhook}
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
cgroupDriver: cgroupfs
failCgroupV1: false
failSwapOn: false
clusterDNS: [%s]
clusterDomain: cluster.local
resolvConf: %s
maxPods: 250
oomScoreAdj: 0
registryPullQPS: 0
# The machine is not the node's alone, so that how full it is says nothing.
imageGCHighThresholdPercent: 100
evictionHard: {nodefs.available: "0%%", nodefs.inodesFree: "0%%", imagefs.available: "0%%", imagefs.inodesFree: "0%%"}
nodeLeaseDurationSeconds: 8
nodeStatusUpdateFrequency: 5s
# So that changed ConfigMaps and Secrets reach pods in seconds.
syncFrequency: 10s
`, c.plan.node, c.authority.path("ca.crt"), c.DNS(), c.path("resolv.conf"))
}

func (c *Cluster) kubeletArgs() []string {
	return []string{
		c.world.programs[kubelet],
		"--config=" + c.path("kubelet.yaml"),
		"--kubeconfig=" + c.authority.path("kubelet.kubeconfig"),
		"--hostname-override=" + c.NodeName,
		"--node-ip=" + c.plan.node.String(),
		"--node-labels=topology.kubernetes.io/region=" + c.Region + ",topology.kubernetes.io/zone=" + c.Zone,
	}
}

func (c *Cluster) kubeProxyArgs() []string {
	return []string{
		c.world.programs[kubeProxy],
		"--kubeconfig=" + c.authority.path("kube-proxy.kubeconfig"),
		"--proxy-mode=nftables",
		"--hostname-override=" + c.NodeName,
		// Whoever asks gets the answer by the way that the question came: nothing is
		// masqueraded but what would go back to itself.
		"--detect-local-mode=ClusterCIDR",
		"--cluster-cidr=" + c.plan.pods.String(),
		// Settings of the whole machine stay as they are.
		"--conntrack-max-per-core=0",
		"--conntrack-tcp-timeout-established=0s",
		"--conntrack-tcp-timeout-close-wait=0s",
		"--oom-score-adj=0",
		"--metrics-bind-address=127.0.0.1:10249",
	}
}
