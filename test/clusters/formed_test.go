//go:build linux

package clusters

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/federator/federator/kube/pod"
)

func TestEveryClusterKnowsTheReplicasOfAll(t *testing.T) {
	f := need(t)
	for _, of := range f.clusters {
		f.allKnow(t, of, replicas)
	}
}

// knows returns an error unless a cluster knows so many replicas of another, all alive,
// at the addresses that their pods have.
func (c *cluster) knows(ctx context.Context, of *cluster, want int) error {
	members, err := c.members(ctx, of.name)
	if err != nil {
		return err
	}
	if len(members) != want {
		err = fmt.Errorf("found %d", len(members))
	}
	for _, m := range members {
		r := m.GetReplica()
		p, getErr := of.Core.CoreV1().Pods(namespace).Get(ctx, r.GetName(), metav1.GetOptions{})
		if getErr != nil {
			return getErr
		}
		if m.GetState() != "alive" || r.GetPeerAddress() != p.Status.PodIP+":7443" || r.GetCluster() != of.name {
			err = errors.Join(err, fmt.Errorf("found %s of %s %s at %s, its pod at %s", r.GetName(), r.GetCluster(), m.GetState(), r.GetPeerAddress(), p.Status.PodIP))
		}
	}
	return err
}

func TestAnOperatorSeesAllClustersFromALaptop(t *testing.T) {
	f := need(t)
	args := []string{"check"}
	for _, c := range f.clusters {
		args = append(args, "--context", c.context)
	}
	eventually(t, time.Minute, "check to be content with all clusters", func(ctx context.Context) error {
		out, err := f.federator(ctx, args...)
		if err == nil {
			t.Log(out)
		}
		return err
	})
	for _, c := range f.clusters[1:] { // again, which changes nothing
		eventually(t, 2*time.Minute, "a second join of "+c.name+" to do nothing", func(ctx context.Context) error {
			_, err := f.federator(ctx, "join", "--context", c.context, "--to", f.clusters[0].context)
			return err
		})
	}
}

func TestNoTokenStaysInACluster(t *testing.T) {
	f := need(t)
	for _, c := range f.clusters {
		eventually(t, time.Minute, "what pods needed to join to be gone from "+c.name, func(ctx context.Context) error {
			for i := range replicas {
				name := fmt.Sprintf("%s-%d", statefulSet, i)
				if _, err := c.Core.CoreV1().Secrets(namespace).Get(ctx, pod.JoinSecret(name), metav1.GetOptions{}); !apierrors.IsNotFound(err) {
					return fmt.Errorf("the Secret of %s: %v", name, err)
				}
				if _, err := c.Core.CoreV1().ConfigMaps(namespace).Get(ctx, pod.WaitingName(name), metav1.GetOptions{}); !apierrors.IsNotFound(err) {
					return fmt.Errorf("the ConfigMap of %s: %v", name, err)
				}
			}
			return nil
		})
	}
	init, err := f.clusters[0].Core.CoreV1().ConfigMaps(namespace).Get(t.Context(), pod.InitName, metav1.GetOptions{})
	ok(t, err)
	if init.Annotations[pod.FoundedAnnotation] == "" {
		t.Error("expected a mark on the ConfigMap that founded the trust domain, so that it founds no second one")
	}
}

func TestPodsRunWithoutPrivileges(t *testing.T) {
	f := need(t)
	for _, c := range f.clusters {
		ns, err := c.Core.CoreV1().Namespaces().Get(t.Context(), namespace, metav1.GetOptions{})
		ok(t, err)
		if ns.Labels["pod-security.kubernetes.io/enforce"] != "restricted" {
			t.Errorf("%s: found the labels %v", c.name, ns.Labels)
		}
		pods, err := c.Core.CoreV1().Pods(namespace).List(t.Context(), metav1.ListOptions{})
		ok(t, err)
		for _, p := range pods.Items {
			for _, s := range p.Status.ContainerStatuses {
				if s.RestartCount != 0 {
					t.Errorf("%s %s was restarted %d times: %+v", c.name, p.Name, s.RestartCount, s.LastTerminationState)
				}
			}
			if p.Status.Phase != corev1.PodRunning {
				t.Errorf("%s %s is %s", c.name, p.Name, p.Status.Phase)
			}
		}
	}
}

// requested is what the manifests request for a replica.
const requested = 128 << 20

func TestAReplicaTakesNoMoreMemoryThanItRequests(t *testing.T) {
	f := needWorld(t)
	for _, c := range f.clusters {
		pods, err := c.Core.CoreV1().Pods(namespace).List(t.Context(), metav1.ListOptions{})
		ok(t, err)
		for _, p := range pods.Items {
			if asks := p.Spec.Containers[0].Resources.Requests.Memory().Value(); asks != requested {
				t.Errorf("%s %s: expected a request of %d bytes, found %d", c.name, p.Name, requested, asks)
			}
			memory, err := gauge(t.Context(), p.Status.PodIP, "process_resident_memory_bytes")
			ok(t, err)
			cpu, err := gauge(t.Context(), p.Status.PodIP, "process_cpu_seconds_total")
			ok(t, err)
			t.Logf("%s %s: %.0f MiB resident, %.1f s of CPU in %s", c.name, p.Name, memory/(1<<20), cpu, time.Since(p.Status.StartTime.Time).Round(time.Second))
			if memory > requested {
				t.Errorf("%s %s has %.0f bytes, it requests %d", c.name, p.Name, memory, requested)
			}
		}
	}
}
