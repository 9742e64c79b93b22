//go:build linux

package clusters

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/federator/federator/test/controlplane"
)

func TestThePodsOfAStatefulSetHaveNamesInOtherClustersWhileTheyAreReady(t *testing.T) {
	f := needWorld(t)
	s := newShop(t, f, "stateful")
	home, other := f.cluster("us-west"), f.cluster("asia-east")
	s.openStateful(home, "web", 2)
	pods := s.podsOf(home, "web-0", "web-1")
	zero, one, all := "web-0."+home.name+"."+s.name("web"), "web-1."+home.name+"."+s.name("web"), s.name("web")
	s.resolves(other, zero, pods[0])
	s.resolves(other, one, pods[1])
	s.resolves(other, all, pods...)

	t.Log("the readiness probe of web-0 fails")
	ok(t, controlplane.SetReady(t.Context(), pods[0], false))
	s.resolves(other, zero)
	s.resolves(other, all, pods[1])
	s.resolves(other, one, pods[1])

	t.Log("pods that are not ready are to be known, too")
	patch := []byte(`{"spec":{"publishNotReadyAddresses":true}}`)
	_, err := home.Core.CoreV1().Services(s.namespace).Patch(t.Context(), "web", "application/merge-patch+json", patch, metav1.PatchOptions{})
	ok(t, err)
	s.resolves(other, zero, pods[0])
	s.resolves(other, all, pods...)
}

// openStateful runs the pods of a StatefulSet behind a headless Service, and exports it.
func (s *shop) openStateful(c *cluster, name string, pods int32) {
	s.Helper()
	ctx, labels := s.Context(), map[string]string{"app": name}
	_, err := c.Core.CoreV1().Services(s.namespace).Create(ctx, &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: corev1.ServiceSpec{
			Selector: labels, ClusterIP: corev1.ClusterIPNone,
			Ports: []corev1.ServicePort{{Name: "http", Port: controlplane.WorkloadPort, TargetPort: intstr.FromInt32(controlplane.WorkloadPort)}},
		},
	}, metav1.CreateOptions{})
	ok(s.T, err)
	_, err = c.Core.AppsV1().StatefulSets(s.namespace).Create(ctx, &appsv1.StatefulSet{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: appsv1.StatefulSetSpec{
			Replicas: &pods, ServiceName: name, PodManagementPolicy: appsv1.ParallelPodManagement, Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: controlplane.WorkloadSpec()},
		},
	}, metav1.CreateOptions{})
	ok(s.T, err)
	s.export(c, name)
}

// podsOf are the addresses of pods, once all have one.
func (s *shop) podsOf(c *cluster, names ...string) (addresses []string) {
	s.Helper()
	for _, name := range names {
		s.until(c, "pod "+name+" to have an address", func(ctx context.Context) error {
			p, err := c.Core.CoreV1().Pods(s.namespace).Get(ctx, name, metav1.GetOptions{})
			if err == nil && p.Status.PodIP == "" {
				err = fmt.Errorf("it is %s", p.Status.Phase)
			}
			if err == nil {
				addresses = append(addresses, p.Status.PodIP)
			}
			return err
		})
	}
	return addresses
}

// resolves waits until the caller of a cluster resolves a name to some addresses and no
// others; to none if that there is no such name.
func (s *shop) resolves(c *cluster, name string, want ...string) {
	s.Helper()
	s.until(c, fmt.Sprintf("%s to stand for %q", name, want), func(ctx context.Context) error {
		found, err := c.lookup(ctx, name)
		switch {
		case len(want) == 0 && err != nil && strings.Contains(err.Error(), "no such host"):
			return nil
		case len(want) == 0 && err == nil:
			return fmt.Errorf("expected that there is no such name, found %q", found)
		case err != nil:
			return err
		}
		if slices.Sort(found); !slices.Equal(found, slices.Sorted(slices.Values(want))) {
			return fmt.Errorf("found %q", found)
		}
		return nil
	})
}
