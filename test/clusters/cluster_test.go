//go:build linux

package clusters

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/remotecommand"

	"github.com/federator/federator/kube"
	"github.com/federator/federator/test/controlplane"
)

// cluster is one of the clusters that federator runs in.
type cluster struct {
	name    string // and that of its region
	context string // of the kubeconfig
	config  *rest.Config
	*kube.Cluster
	dynamic dynamic.Interface
	// real is what makes faults; nil if the cluster is somebody else's.
	real *controlplane.Cluster
	// caller is a pod that asks on behalf of a test.
	caller *corev1.Pod
}

// existing connects to clusters that are there.
func existing(path string, names []string) (*federation, error) {
	all, err := clientcmd.LoadFromFile(path)
	if err != nil {
		return nil, err
	}
	f := &federation{kubeconfig: path}
	for _, name := range names {
		c := &cluster{name: name, context: name}
		if all.Contexts[name] == nil {
			c.context = "kind-" + name
		}
		if c.config, err = kube.Connect(kube.Access{Kubeconfig: path, Context: c.context}, "clusters"); err != nil {
			return nil, err
		}
		if c.Cluster, err = kube.New(c.config); err != nil {
			return nil, err
		}
		if c.dynamic, err = dynamic.NewForConfig(c.config); err != nil {
			return nil, err
		}
		f.clusters = append(f.clusters, c)
	}
	return f, nil
}

// exec runs a command in a pod of federator, and returns what it wrote to its standard
// output.
func (c *cluster) exec(ctx context.Context, name string, argv ...string) (string, error) {
	request := c.Core.CoreV1().RESTClient().Get().Namespace(namespace).Resource("pods").Name(name).SubResource("exec").
		VersionedParams(&corev1.PodExecOptions{Command: argv, Stdout: true, Stderr: true}, scheme.ParameterCodec)
	executor, err := remotecommand.NewWebSocketExecutor(c.config, "GET", request.URL().String())
	if err != nil {
		return "", err
	}
	var out, errOut bytes.Buffer
	if err := executor.StreamWithContext(ctx, remotecommand.StreamOptions{Stdout: &out, Stderr: &errOut}); err != nil {
		return out.String(), fmt.Errorf("%s in pod %s of %s: %w: %s", strings.Join(argv, " "), name, c.name, err, errOut.String())
	}
	return out.String(), nil
}

// isReady returns an error unless a pod of federator is ready.
func (c *cluster) isReady(ctx context.Context, name string) error {
	p, err := c.Core.CoreV1().Pods(namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	for _, condition := range p.Status.Conditions {
		if condition.Type == corev1.PodReady && condition.Status == corev1.ConditionTrue && p.DeletionTimestamp == nil {
			return nil
		}
	}
	return fmt.Errorf("pod %s is %s and not ready: %v", name, p.Status.Phase, p.Status.ContainerStatuses)
}

func (c *cluster) podReady(ctx context.Context, name string) error {
	return controlplane.Until(ctx, 3*time.Minute, fmt.Sprintf("pod %s of %s to be ready", name, c.name), func(ctx context.Context) error {
		return c.isReady(ctx, name)
	})
}

// areReady returns an error unless the StatefulSet has as many pods as it is to have,
// all ready.
func (c *cluster) areReady(ctx context.Context, want int32) error {
	set, err := c.Core.AppsV1().StatefulSets(namespace).Get(ctx, statefulSet, metav1.GetOptions{})
	if err == nil && (set.Status.ReadyReplicas != want || set.Status.Replicas != want || set.Status.ObservedGeneration != set.Generation) {
		err = fmt.Errorf("found %+v", set.Status)
	}
	return err
}

// logs are what the pods of federator said last.
func (c *cluster) logs(ctx context.Context, lines int64) string {
	pods, err := c.Core.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return fmt.Sprintf("--- %s: %v\n", c.name, err)
	}
	var out strings.Builder
	for _, p := range pods.Items {
		fmt.Fprintf(&out, "--- %s %s (%s)\n", c.name, p.Name, p.Status.Phase)
		text, err := c.said(ctx, namespace, p.Name, "", lines)
		out.WriteString(text)
		if err != nil {
			fmt.Fprintln(&out, err)
		}
	}
	return out.String()
}

// said is what a container of a pod said last; the name of the only one may be empty.
func (c *cluster) said(ctx context.Context, namespace, name, container string, lines int64) (string, error) {
	stream, err := c.Core.CoreV1().Pods(namespace).GetLogs(name, &corev1.PodLogOptions{Container: container, TailLines: &lines}).Stream(ctx)
	if err != nil {
		return "", err
	}
	text, err := io.ReadAll(stream)
	return string(text), errors.Join(err, stream.Close())
}
