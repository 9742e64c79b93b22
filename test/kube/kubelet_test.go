//go:build linux

package kube_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/federator/federator/kube/laptop"
	"github.com/federator/federator/test/controlplane"
	"github.com/federator/federator/test/e2e/fleet"
)

// kubelet is what takes the place of one in a cluster without nodes: it runs the pods
// of federator as processes of this machine, each on a loopback address of its own,
// and says in their status how they are. Everything else of the cluster is real.
type kubelet struct {
	cluster *controlplane.Cluster
	fleet   *fleet.Fleet // has addresses, a directory and a starter of processes
	mu      sync.Mutex
	pods    map[string]*process // by UID
}

type process struct {
	name, address, socket string
	cmd                   *exec.Cmd
	out                   *bytes.Buffer
	ended                 chan struct{}
	failures              int // of its probe, in a row
}

// runPods runs the pods of federator of a cluster until the test ends.
func runPods(t *testing.T, c *controlplane.Cluster) *kubelet {
	t.Helper()
	k := &kubelet{cluster: c, fleet: fleet.New(t, program()), pods: map[string]*process{}}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		for ctx.Err() == nil {
			if err := k.look(ctx); err != nil && ctx.Err() == nil {
				t.Logf("pods of %s: %v", c.Name, err)
			}
			select {
			case <-ctx.Done():
			case <-time.After(300 * time.Millisecond):
			}
		}
	})
	t.Cleanup(func() {
		cancel()
		wg.Wait()
		for _, p := range k.pods {
			k.end(p)
			if t.Failed() {
				t.Logf("%s of %s said:\n%s", p.name, c.Name, tail(p.out.String(), 3000))
			}
		}
	})
	return k
}

func tail(s string, n int) string { return s[max(0, len(s)-n):] }

// look starts what is to run, ends what is not, and writes how the rest is.
func (k *kubelet) look(ctx context.Context) error {
	pods := k.cluster.Clients.Core.CoreV1().Pods(laptop.DefaultNamespace)
	list, err := pods.List(ctx, metav1.ListOptions{LabelSelector: laptop.Selector})
	if err != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	there := map[string]bool{}
	for i := range list.Items {
		p := &list.Items[i]
		there[string(p.UID)] = p.DeletionTimestamp == nil
		running := k.pods[string(p.UID)]
		switch {
		case p.DeletionTimestamp != nil:
			if running != nil {
				k.end(running)
			}
			now := int64(0)
			err = errors.Join(err, pods.Delete(ctx, p.Name, metav1.DeleteOptions{GracePeriodSeconds: &now}))
			continue
		case p.Spec.Containers[0].Image == noSuchImage:
			continue
		case running == nil:
			if running, err = k.start(p); err != nil {
				return err
			}
			k.pods[string(p.UID)] = running
		}
		if running.status(p) {
			_, uerr := pods.UpdateStatus(ctx, p, metav1.UpdateOptions{})
			err = errors.Join(err, uerr)
		}
	}
	for uid, p := range k.pods {
		if !there[uid] {
			k.end(p)
		}
	}
	return err
}

// noSuchImage is one that no registry has: pods of it do not run.
const noSuchImage = "nowhere.example/federator:dev"

// start runs the command of a pod.
func (k *kubelet) start(p *corev1.Pod) (*process, error) {
	address := k.fleet.Address()
	dir := filepath.Join(k.fleet.Dir, string(p.UID)[:8])
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	r := &process{name: p.Name, address: address, socket: filepath.Join(dir, "s"), out: &bytes.Buffer{}, ended: make(chan struct{})}
	config := fmt.Sprintf("dataDir: %s\nlisten: {peer: '%s:7443', gossip: '%[2]s:7946', dns: ['%[2]s:8053'], http: '%[2]s:7480', socket: %s}\nlog: {format: json}\n", filepath.Join(dir, "data"), address, r.socket)
	if err := os.WriteFile(filepath.Join(dir, "agent.yaml"), []byte(config), 0o600); err != nil {
		return nil, err
	}
	own, err := k.cluster.Clients.Core.CoreV1().ConfigMaps(p.Namespace).Get(context.Background(), "federator", metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	r.cmd = exec.Command(program(), "pod", "--config", filepath.Join(dir, "agent.yaml"), "--kubeconfig", k.cluster.Kubeconfig)
	r.cmd.Env = append(os.Environ(), "POD_NAME="+p.Name, "POD_NAMESPACE="+p.Namespace, "POD_UID="+string(p.UID), "POD_IP="+address, "HOST_IP="+address, "NODE_NAME=node-1",
		"FEDERATOR_REGION="+own.Data["region"], "FEDERATOR_CLUSTER="+own.Data["cluster"], "FEDERATOR_EXPOSE="+own.Data["expose"])
	r.cmd.Stdout, r.cmd.Stderr = r.out, r.out
	if err := k.fleet.Start(r.cmd); err != nil {
		return nil, err
	}
	go func() {
		defer close(r.ended)
		_ = r.cmd.Wait() // how it ended shows in what it said
	}()
	return r, nil
}

// end ends a pod, as Kubernetes does.
func (k *kubelet) end(p *process) {
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may have ended
	select {
	case <-p.ended:
	case <-time.After(40 * time.Second):
		_ = p.cmd.Process.Kill()
		<-p.ended
	}
}

// probeTimeout and maxFailures are those of the probe in the manifests: a pod that is
// slow for once stays ready.
const (
	probeTimeout = 3 * time.Second
	maxFailures  = 2
)

// status brings the status of a pod up to date, and reports whether it was not.
func (r *process) status(p *corev1.Pod) bool {
	ready := corev1.ConditionFalse
	client := http.Client{Timeout: probeTimeout}
	if answer, err := client.Get("http://" + net.JoinHostPort(r.address, "7480") + "/readyz"); err == nil {
		_ = answer.Body.Close()
		if answer.StatusCode == http.StatusOK {
			ready = corev1.ConditionTrue
		}
	}
	was := corev1.ConditionUnknown
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady {
			was = c.Status
		}
	}
	if ready == corev1.ConditionTrue {
		r.failures = 0
	} else if r.failures++; was == corev1.ConditionTrue && r.failures < maxFailures {
		return false
	}
	if was == ready && p.Status.Phase == corev1.PodRunning {
		return false
	}
	// A pod cannot have a loopback address; where it is nobody here asks.
	p.Status = corev1.PodStatus{Phase: corev1.PodRunning, Conditions: []corev1.PodCondition{
		{Type: corev1.PodScheduled, Status: corev1.ConditionTrue}, {Type: corev1.PodReady, Status: ready, LastTransitionTime: metav1.Now()},
	}}
	return true
}

// exec runs a program as if in a pod.
func (k *kubelet) exec(ctx context.Context, pod string, argv []string, stdio laptop.Stdio) error {
	k.mu.Lock()
	var in *process
	for _, p := range k.pods {
		select {
		case <-p.ended:
		default:
			if p.name == pod {
				in = p
			}
		}
	}
	k.mu.Unlock()
	if in == nil {
		return fmt.Errorf("pod %s does not run", pod)
	}
	cmd := exec.CommandContext(ctx, program(), argv[1:]...)
	cmd.Env = append(os.Environ(), "FEDERATOR_SOCKET="+in.socket)
	cmd.Stdout, cmd.Stderr = stdio.Out, stdio.Err
	input, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	go func() { // it ends with the near end of the tunnel
		defer input.Close()
		if stdio.In != nil {
			_, _ = copyAll(input, stdio.In)
		}
	}()
	return cmd.Wait()
}
