//go:build linux

package controlplane

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

func TestThreeNodesRunPodsThatReachEachOther(t *testing.T) {
	began := time.Now()
	w := Need(t, Options{Clusters: three, Nodes: true, DNS: true})
	t.Logf("three clusters with nodes were ready after %s", time.Since(began).Round(100*time.Millisecond))
	pods := map[string]*corev1.Pod{}
	for _, c := range w.Clusters {
		pod, err := c.RunWorkload(within(t, 2*time.Minute), "default", "echo", map[string]string{"app": "echo"})
		ok(t, err)
		if address := netip.MustParseAddr(pod.Status.PodIP); !c.Pods().Contains(address) {
			t.Errorf("%s: expected a pod in %s, found it at %s", c.Name, c.Pods(), address)
		}
		pods[c.Name] = pod
	}
	west := w.Cluster("us-west")

	t.Run("nodes say where they are", func(t *testing.T) { nodesSayWhereTheyAre(t, w) })
	t.Run("a pod answers the pods of all clusters", func(t *testing.T) { podsAnswer(t, w, pods) })
	t.Run("service addresses answer within pods, also of remote and own endpoints", func(t *testing.T) { servicesAnswer(t, w, pods) })
	t.Run("pods resolve the names of services", func(t *testing.T) { namesResolve(t, w, pods) })
	t.Run("the API server answers within pods", func(t *testing.T) {
		url := fmt.Sprintf("http://%s", net.JoinHostPort(nth(west.Services(), 1).String(), "443"))
		// It speaks TLS only, and says so.
		ok(t, Until(t.Context(), time.Minute, "the answer of an HTTPS server", func(ctx context.Context) error {
			if _, err := Fetch(ctx, pods["us-west"].Status.PodIP, url); err == nil || !strings.Contains(err.Error(), "HTTP request to an HTTPS server") {
				return fmt.Errorf("found %v", err)
			}
			return nil
		}))
	})
	t.Run("a readiness flip reaches the EndpointSlice", func(t *testing.T) { flipsArrive(t, west, pods["us-west"]) })
	t.Run("kubectl runs commands in pods and reads logs", func(t *testing.T) { kubectl(t, w) })
	t.Run("cut clusters lose each other's packets until they are healed", func(t *testing.T) { cut(t, w, pods) })
	t.Run("a stateful set gets volumes that an ordinary user writes", func(t *testing.T) { statefulSet(t, west) })
	t.Run("a killed kubelet makes the node not ready until it is back", func(t *testing.T) { kubeletDies(t, west, pods) })
	t.Run("a rebuilt cluster runs pods that the others reach", func(t *testing.T) {
		ok(t, west.Rebuild(within(t, 4*time.Minute)))
		pod, err := west.RunWorkload(within(t, 2*time.Minute), "default", "echo-again", nil)
		ok(t, err)
		answers(t, pods["asia-east"].Status.PodIP, "http://"+net.JoinHostPort(pod.Status.PodIP, "8080"), "echo-again")
	})
}

// patience is for how long nodes are waited for: a kube-proxy whose rules are refused once
// tries again after 30 s.
const patience = 90 * time.Second

// answers waits until a pod gets an answer from a URL.
func answers(t *testing.T, pod, url, want string) {
	t.Helper()
	ok(t, Until(t.Context(), patience, fmt.Sprintf("%s to answer the pod %s with %q", url, pod, want), func(ctx context.Context) error {
		found, err := Fetch(ctx, pod, url)
		if err == nil && found != want {
			err = fmt.Errorf("found %q", found)
		}
		return err
	}))
}

func nodesSayWhereTheyAre(t *testing.T, w *World) {
	for _, c := range w.Clusters {
		n, err := c.Clients.Core.CoreV1().Nodes().Get(within(t, time.Minute), c.NodeName, metav1.GetOptions{})
		ok(t, err)
		if n.Labels[corev1.LabelTopologyRegion] != c.Name || n.Labels[corev1.LabelTopologyZone] != c.Name+"-a" {
			t.Errorf("%s: expected the region %s and a zone of it, found %v", c.Name, c.Name, n.Labels)
		}
		if n.Spec.PodCIDR != c.Pods().String() {
			t.Errorf("%s: expected the pods' network %s, found %q", c.Name, c.Pods(), n.Spec.PodCIDR)
		}
	}
}

func podsAnswer(t *testing.T, w *World, pods map[string]*corev1.Pod) {
	for _, from := range w.Clusters {
		for _, to := range w.Clusters {
			answers(t, pods[from.Name].Status.PodIP, "http://"+net.JoinHostPort(pods[to.Name].Status.PodIP, "8080"), "echo")
		}
	}
}

// servicesAnswer makes one service by selector, whose endpoint is on the node and
// for one caller the caller itself, and one with an endpoint of another cluster.
func servicesAnswer(t *testing.T, w *World, pods map[string]*corev1.Pod) {
	near, far := w.Cluster("us-west"), pods["asia-east"]
	ctx := within(t, 2*time.Minute)
	own := service(t, near, "echo", map[string]string{"app": "echo"})
	remote := service(t, near, "remote", nil)
	_, err := near.Clients.Core.DiscoveryV1().EndpointSlices("default").Create(ctx, &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Name: "remote-1", Labels: map[string]string{discoveryv1.LabelServiceName: "remote"}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports:       []discoveryv1.EndpointPort{{Port: ptr(int32(WorkloadPort))}},
		Endpoints:   []discoveryv1.Endpoint{{Addresses: []string{far.Status.PodIP}, Conditions: discoveryv1.EndpointConditions{Ready: ptr(true)}}},
	}, metav1.CreateOptions{})
	ok(t, err)
	client, err := near.RunWorkload(ctx, "default", "client", nil)
	ok(t, err)
	for _, caller := range []*corev1.Pod{client, pods["us-west"]} {
		answers(t, caller.Status.PodIP, "http://"+own.Spec.ClusterIP, "echo")
		answers(t, caller.Status.PodIP, "http://"+remote.Spec.ClusterIP, "echo")
	}
}

func namesResolve(t *testing.T, w *World, pods map[string]*corev1.Pod) {
	for _, c := range w.Clusters {
		s := service(t, c, "named", map[string]string{"app": "echo"})
		for _, name := range []string{"named", "named.default.svc.cluster.local"} {
			ok(t, Until(t.Context(), time.Minute, name+" to resolve in "+c.Name, func(ctx context.Context) error {
				found, err := Lookup(ctx, pods[c.Name].Status.PodIP, name)
				if err == nil && found != s.Spec.ClusterIP {
					err = fmt.Errorf("expected %s, found %s", s.Spec.ClusterIP, found)
				}
				return err
			}))
		}
		answers(t, pods[c.Name].Status.PodIP, "http://named", "echo")
	}
}

// service makes a service from port 80 to that of workload pods.
func service(t *testing.T, c *Cluster, name string, selector map[string]string) *corev1.Service {
	t.Helper()
	s, err := c.Clients.Core.CoreV1().Services("default").Create(within(t, time.Minute), &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       corev1.ServiceSpec{Selector: selector, Ports: []corev1.ServicePort{{Port: 80, TargetPort: intstr.FromInt32(WorkloadPort)}}},
	}, metav1.CreateOptions{})
	ok(t, err)
	if address := netip.MustParseAddr(s.Spec.ClusterIP); !c.Services().Contains(address) {
		t.Errorf("expected the service in %s, found %s", c.Services(), address)
	}
	return s
}

func flipsArrive(t *testing.T, c *Cluster, pod *corev1.Pod) {
	for _, ready := range []bool{false, true} {
		began := time.Now()
		ok(t, SetReady(t.Context(), pod.Status.PodIP, ready))
		ok(t, Until(t.Context(), patience, fmt.Sprintf("the endpoint to be ready: %v", ready), func(ctx context.Context) error {
			slices, err := c.Clients.Core.DiscoveryV1().EndpointSlices("default").List(ctx, metav1.ListOptions{LabelSelector: discoveryv1.LabelServiceName + "=echo"})
			if err != nil {
				return err
			}
			for _, s := range slices.Items {
				for _, e := range s.Endpoints {
					if e.Addresses[0] == pod.Status.PodIP && *e.Conditions.Ready == ready {
						return nil
					}
				}
			}
			return fmt.Errorf("found %v", slices.Items)
		}))
		t.Logf("ready %v reached the EndpointSlice in %s, of which the probe takes up to 1s", ready, time.Since(began).Round(time.Millisecond))
	}
}

func kubectl(t *testing.T, w *World) {
	run := func(args ...string) string {
		t.Helper()
		text, err := w.Kubectl(within(t, time.Minute), "eu-central", args...)
		ok(t, err)
		return text
	}
	if found := run("get", "pod", "echo", "-o", "jsonpath={.status.phase}"); found != "Running" {
		t.Errorf("expected a running pod, found %q", found)
	}
	// The image has no shell; its program says what it does not know.
	_, err := w.Kubectl(within(t, time.Minute), "eu-central", "exec", "echo", "--", "/program", "nonsense")
	if err == nil || !strings.Contains(err.Error(), "expected no argument or serve [DIRECTORY]") {
		t.Errorf("expected the program's own error, found %v", err)
	}
	if found := run("logs", "echo"); !strings.Contains(found, "serves on :8080") {
		t.Errorf("expected the log of the pod, found %q", found)
	}
}

func cut(t *testing.T, w *World, pods map[string]*corev1.Pod) {
	west, east := w.Cluster("us-west"), w.Cluster("asia-east")
	ok(t, w.Cut(west, east))
	for _, pair := range [][2]string{{"us-west", "asia-east"}, {"asia-east", "us-west"}} {
		silent(t, pods[pair[0]], pods[pair[1]], pods["eu-central"])
	}
	answers(t, pods["us-west"].Status.PodIP, "http://"+net.JoinHostPort(pods["eu-central"].Status.PodIP, "8080"), "echo")
	ok(t, w.Heal())
	answers(t, pods["us-west"].Status.PodIP, "http://"+net.JoinHostPort(pods["asia-east"].Status.PodIP, "8080"), "echo")
}

// silent checks that a pod hears nothing from another, while it hears a third one.
func silent(t *testing.T, from, to, control *corev1.Pod) {
	t.Helper()
	ok(t, Until(t.Context(), time.Minute, "a pod to hear one of two others", func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
		defer cancel()
		heard := make(chan error, 1)
		go func() {
			_, err := Fetch(ctx, from.Status.PodIP, "http://"+net.JoinHostPort(control.Status.PodIP, "8080"))
			heard <- err
		}()
		found, err := Fetch(ctx, from.Status.PodIP, "http://"+net.JoinHostPort(to.Status.PodIP, "8080"))
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s to %s: expected silence, found %q, %v", from.Status.PodIP, to.Status.PodIP, found, err)
		}
		return <-heard // else the caller was slow, and its silence says nothing
	}))
}

func statefulSet(t *testing.T, c *Cluster) {
	spec := WorkloadSpec()
	spec.SecurityContext = &corev1.PodSecurityContext{RunAsUser: ptr(int64(65532)), RunAsGroup: ptr(int64(65532)), FSGroup: ptr(int64(65532)), RunAsNonRoot: ptr(true)}
	spec.Containers[0].SecurityContext = &corev1.SecurityContext{
		ReadOnlyRootFilesystem: ptr(true), AllowPrivilegeEscalation: ptr(false),
		SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
	}
	spec.Containers[0].Args = []string{"serve", "/data"}
	spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "data", MountPath: "/data"}}
	labels := map[string]string{"app": "stateful"}
	set := &appsv1.StatefulSet{
		ObjectMeta: metav1.ObjectMeta{Name: "stateful"},
		Spec: appsv1.StatefulSetSpec{
			Replicas: ptr(int32(2)),
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: spec},
			VolumeClaimTemplates: []corev1.PersistentVolumeClaim{{
				ObjectMeta: metav1.ObjectMeta{Name: "data"},
				Spec: corev1.PersistentVolumeClaimSpec{
					AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
					Resources:   corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}},
				},
			}},
		},
	}
	sets := c.Clients.Core.AppsV1().StatefulSets("default")
	_, err := sets.Create(within(t, time.Minute), set, metav1.CreateOptions{})
	ok(t, err)
	ok(t, Until(t.Context(), 2*time.Minute, "two ready replicas", func(ctx context.Context) error {
		s, err := sets.Get(ctx, "stateful", metav1.GetOptions{})
		if err == nil && s.Status.ReadyReplicas != 2 {
			err = fmt.Errorf("found %+v", s.Status)
		}
		return err
	}))
}

func kubeletDies(t *testing.T, c *Cluster, pods map[string]*corev1.Pod) {
	ok(t, c.KillKubelet())
	ok(t, Until(t.Context(), 2*time.Minute, "the node not to be ready", func(ctx context.Context) error {
		n, err := c.Clients.Core.CoreV1().Nodes().Get(ctx, c.NodeName, metav1.GetOptions{})
		if err != nil {
			return err
		}
		for _, condition := range n.Status.Conditions {
			if condition.Type == corev1.NodeReady && condition.Status == corev1.ConditionUnknown {
				return nil
			}
		}
		return fmt.Errorf("found %v", n.Status.Conditions)
	}))
	answers(t, pods["asia-east"].Status.PodIP, "http://"+net.JoinHostPort(pods[c.Name].Status.PodIP, "8080"), "echo")
	ok(t, c.StartKubelet(within(t, 2*time.Minute)))
}
