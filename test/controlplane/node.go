//go:build linux

package controlplane

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/federator/federator/test/controlplane/node/order"
)

// The programs of a node.
const (
	containerd = "containerd"
	kubelet    = "kubelet"
	kubeProxy  = "kube-proxy"
)

// containerPrograms are those of Debian's packages that a node needs.
var containerPrograms = map[string]string{
	"containerd":               "containerd",
	"ctr":                      "containerd",
	"containerd-shim-runc-v2":  "containerd",
	"runc":                     "runc",
	"nft":                      "nftables",
	"nsenter":                  "util-linux",
	cniDirectory + "/ptp":      "containernetworking-plugins",
	cniDirectory + "/loopback": "containernetworking-plugins",
}

// cniDirectory is where Debian puts the plugins of container networks.
const cniDirectory = "/usr/lib/cni"

// node is a machine of a cluster: its first process, and through it all others.
type node struct {
	cmd  *exec.Cmd
	exit chan struct{} // closed when the process is gone

	mu  sync.Mutex // held from an order to its answer
	in  io.WriteCloser
	out *bufio.Scanner
}

// prepareNodes checks that there can be nodes, and makes what they share.
func (w *World) prepareNodes(ctx context.Context) error {
	for program, of := range containerPrograms {
		if _, err := exec.LookPath(program); err != nil {
			return fmt.Errorf("expected the program %s, found none: apt-get install %s", program, of)
		}
	}
	if _, err := hierarchies(); err != nil {
		return err
	}
	root, err := sourceRoot()
	if err != nil {
		return err
	}
	w.node = filepath.Join(w.dir, "node")
	if err := BuildStatic(ctx, filepath.Join(root, "node"), w.node); err != nil {
		return err
	}
	program := filepath.Join(w.dir, "workload")
	if err := BuildStatic(ctx, filepath.Join(root, "workload"), program); err != nil {
		return err
	}
	w.workload = program + ".tar"
	if err := WriteImage(w.workload, Image{Names: []string{WorkloadImage, pauseImage}, Program: program}); err != nil {
		return err
	}
	w.network, err = newNetwork(w.record.number)
	return err
}

// startNode makes the cluster's node, and returns when it is ready for pods.
func (c *Cluster) startNode(ctx context.Context) error {
	lib, logs := c.path("lib"), c.path("pods")
	for _, dir := range []string{lib, logs} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	if err := c.writeNodeFiles(); err != nil {
		return err
	}
	groups, err := nodeCgroups(c.world.record, c.Name)
	if err != nil {
		return err
	}
	if c.node, err = c.world.bootNode(groups, c.path("node.log")); err != nil {
		return err
	}
	binds := c.tunables()
	binds["/var/lib"], binds["/var/log"] = lib, logs
	machine := order.Machine{Hostname: c.NodeName, Binds: binds, Hierarchies: slices.Sorted(maps.Keys(groups))}
	namespace, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", c.node.cmd.Process.Pid))
	if err != nil {
		return err
	}
	defer namespace.Close()
	if err := errors.Join(c.node.order(order.Order{Machine: &machine}), c.world.network.addNode(c, namespace)); err != nil {
		return err
	}
	if err := c.startContainerd(ctx); err != nil {
		return err
	}
	if err := c.Load(ctx, c.world.workload); err != nil {
		return err
	}
	if err := c.startNodePrograms(ctx); err != nil {
		return err
	}
	if err := c.nodeReady(ctx); err != nil || !c.world.options.DNS {
		return err
	}
	return c.startDNS(ctx)
}

// startNodePrograms starts what speaks to the API server.
func (c *Cluster) startNodePrograms(ctx context.Context) error {
	if err := errors.Join(c.run(kubelet, c.kubeletArgs()), c.addVolumes(ctx)); err != nil {
		return err
	}
	// A kube-proxy that does not find its node goes on without its address.
	err := c.nodeUntil(ctx, "the kubelet to register the node", func(ctx context.Context) error {
		_, err := c.Clients.Core.CoreV1().Nodes().Get(ctx, c.NodeName, metav1.GetOptions{})
		return err
	}, kubelet)
	return errors.Join(err, c.run(kubeProxy, c.kubeProxyArgs()))
}

// bootNode starts the first process of a node in namespaces and cgroups of its own.
func (w *World) bootNode(groups map[string]string, log string) (*node, error) {
	f, err := os.Create(log)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	n := &node{cmd: exec.Command(w.node), exit: make(chan struct{})}
	n.cmd.Stderr = f
	n.cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWNET | syscall.CLONE_NEWUTS | syscall.CLONE_NEWIPC,
	}
	if n.in, err = n.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := n.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	n.out = bufio.NewScanner(out)
	if err := w.spawner.start(n.cmd); err != nil {
		return nil, fmt.Errorf("start the first process of a node: %w", err)
	}
	go func() {
		_, _ = n.cmd.Process.Wait() // it is killed; how it ends says nothing
		close(n.exit)
	}()
	err = errors.Join(w.record.add(n.cmd.Process.Pid), enterCgroups(groups, n.cmd.Process.Pid))
	if err == nil {
		_, err = n.in.Write([]byte("\n")) // it is in its cgroups
	}
	if err != nil {
		return nil, errors.Join(err, n.end())
	}
	return n, nil
}

// order has the node do something, and waits until it is done.
func (n *node) order(o order.Order) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if err := json.NewEncoder(n.in).Encode(o); err != nil {
		return fmt.Errorf("tell the node: %w", err)
	}
	if !n.out.Scan() {
		return fmt.Errorf("the node's first process is gone: %v", n.out.Err())
	}
	var answer order.Answer
	if err := json.Unmarshal(n.out.Bytes(), &answer); err != nil {
		return fmt.Errorf("the node's answer %q: %w", n.out.Bytes(), err)
	}
	if answer.Error != "" {
		return fmt.Errorf("the node: %s", answer.Error)
	}
	return nil
}

// end ends the node and all that runs on it, at once.
func (n *node) end() error {
	if err := n.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-n.exit:
		return n.in.Close()
	case <-time.After(goneWithin):
		return fmt.Errorf("a node is not gone %s after it was killed", goneWithin)
	}
}

// run starts a program on the node.
func (c *Cluster) run(name string, argv []string) error {
	return c.node.order(order.Order{Start: &order.Start{Name: name, Argv: argv, Log: c.Log(name)}})
}

// OnNode is a command that will run on the cluster's node, among its mounts and in
// its network.
func (c *Cluster) OnNode(ctx context.Context, argv ...string) *exec.Cmd {
	pid := strconv.Itoa(c.node.cmd.Process.Pid)
	return exec.CommandContext(ctx, "nsenter", append([]string{"--target=" + pid, "--mount", "--net", "--pid", "--uts", "--"}, argv...)...)
}

func (c *Cluster) startContainerd(ctx context.Context) error {
	path, err := exec.LookPath(containerd)
	if err != nil {
		return err
	}
	if err := c.run(containerd, []string{path, "--config=" + c.path("containerd.toml")}); err != nil {
		return err
	}
	return c.nodeUntil(ctx, "containerd to answer", func(ctx context.Context) error {
		out, err := c.OnNode(ctx, "ctr", "version").CombinedOutput()
		if err != nil {
			err = fmt.Errorf("%w: %s", err, out)
		}
		return err
	})
}

// nodeUntil is until, which gives up early if a program of the node ended.
func (c *Cluster) nodeUntil(ctx context.Context, what string, try func(context.Context) error, programs ...string) error {
	return c.until(ctx, what, func(ctx context.Context) error {
		for _, p := range append(programs, containerd) {
			if err := c.node.order(order.Order{Alive: p}); err != nil {
				return final{fmt.Errorf("%w\n%s", err, tail(c.Log(p), 15))}
			}
		}
		return try(ctx)
	})
}

// nodeReady waits until the API server says that the node is ready.
func (c *Cluster) nodeReady(ctx context.Context) error {
	return c.nodeUntil(ctx, "the node to be ready", func(ctx context.Context) error {
		n, err := c.Clients.Core.CoreV1().Nodes().Get(ctx, c.NodeName, metav1.GetOptions{})
		if err != nil {
			return err
		}
		for _, condition := range n.Status.Conditions {
			if condition.Type == corev1.NodeReady {
				if condition.Status == corev1.ConditionTrue {
					return nil
				}
				return fmt.Errorf("it is not: %s", condition.Message)
			}
		}
		return errors.New("it has no condition yet")
	}, kubelet, kubeProxy)
}

// Load gives the node the images of a tar, as docker save or an OCI builder write
// it. Pods use them with imagePullPolicy Never or IfNotPresent.
func (c *Cluster) Load(ctx context.Context, tar string) error {
	out, err := c.OnNode(ctx, "ctr", "--namespace=k8s.io", "images", "import", tar).CombinedOutput()
	if err != nil {
		return fmt.Errorf("load the image %s into %s: %w: %s", tar, c.Name, err, out)
	}
	return nil
}
