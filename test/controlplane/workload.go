//go:build linux

package controlplane

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// WorkloadPort is where pods of WorkloadImage serve HTTP.
const WorkloadPort = 8080

// WorkloadSpec is a pod that serves HTTP: see the command workload for what.
// Its readiness is looked at every second, which is as often as a kubelet does.
func WorkloadSpec() corev1.PodSpec {
	grace := int64(1)
	return corev1.PodSpec{
		TerminationGracePeriodSeconds: &grace,
		Containers: []corev1.Container{{
			Name:            "workload",
			Image:           WorkloadImage,
			ImagePullPolicy: corev1.PullNever,
			Args:            []string{"serve"},
			Ports:           []corev1.ContainerPort{{Name: "http", ContainerPort: WorkloadPort}},
			ReadinessProbe: &corev1.Probe{
				ProbeHandler:     corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/ready", Port: intstr.FromInt32(WorkloadPort)}},
				PeriodSeconds:    1,
				FailureThreshold: 1,
				TimeoutSeconds:   5,
			},
		}},
	}
}

// SteadyWorkloadSpec is WorkloadSpec for pods that are called all the time: one answer that
// comes too late, on a machine that stands still, does not make them unready.
func SteadyWorkloadSpec() corev1.PodSpec {
	spec := WorkloadSpec()
	spec.Containers[0].ReadinessProbe.FailureThreshold = 3
	return spec
}

// RunWorkload makes a pod in a namespace and waits until it is ready.
func (c *Cluster) RunWorkload(ctx context.Context, namespace, name string, labels map[string]string) (*corev1.Pod, error) {
	pods := c.Clients.Core.CoreV1().Pods(namespace)
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}, Spec: WorkloadSpec()}
	if _, err := pods.Create(ctx, pod, metav1.CreateOptions{}); err != nil {
		return nil, fmt.Errorf("make the pod %s/%s in %s: %w", namespace, name, c.Name, err)
	}
	var found *corev1.Pod
	err := c.nodeUntil(ctx, fmt.Sprintf("the pod %s/%s in %s to be ready", namespace, name, c.Name), func(ctx context.Context) error {
		var err error
		if found, err = pods.Get(ctx, name, metav1.GetOptions{}); err != nil {
			return err
		}
		for _, condition := range found.Status.Conditions {
			if condition.Type == corev1.PodReady && condition.Status == corev1.ConditionTrue {
				return nil
			}
		}
		return fmt.Errorf("it is %s: %v", found.Status.Phase, found.Status.ContainerStatuses)
	}, kubelet)
	return found, err
}

// Fetch has a workload pod, given by its address, fetch a URL, and returns what it
// got.
func Fetch(ctx context.Context, pod, target string) (string, error) {
	return ask(ctx, http.MethodGet, pod, "/fetch", url.Values{"url": {target}})
}

// Lookup has a workload pod resolve a name, and returns the addresses, one a line.
func Lookup(ctx context.Context, pod, name string) (string, error) {
	return ask(ctx, http.MethodGet, pod, "/lookup", url.Values{"name": {name}})
}

// SetReady has a workload pod tell the kubelet that it is ready, or not.
func SetReady(ctx context.Context, pod string, ready bool) error {
	_, err := ask(ctx, http.MethodPost, pod, "/ready", url.Values{"ok": {fmt.Sprint(ready)}})
	return err
}

func ask(ctx context.Context, method, pod, path string, query url.Values) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	u := url.URL{Scheme: "http", Host: net.JoinHostPort(pod, fmt.Sprint(WorkloadPort)), Path: path, RawQuery: query.Encode()}
	request, err := http.NewRequestWithContext(ctx, method, u.String(), nil)
	if err != nil {
		return "", err
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	if err != nil {
		return "", err
	}
	if response.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%s %s says %s: %s", method, u.String(), response.Status, text)
	}
	return string(text), nil
}
