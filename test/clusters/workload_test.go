//go:build linux

package clusters

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	mcs "sigs.k8s.io/mcs-api/pkg/apis/v1beta1"

	"github.com/federator/federator/test/controlplane"
)

const callers = "callers"

// startCaller runs the pod that asks on behalf of the tests.
func (c *cluster) startCaller(ctx context.Context) error {
	if err := c.makeNamespace(ctx, callers); err != nil {
		return err
	}
	pods := c.Core.CoreV1().Pods(callers)
	made := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "caller"}, Spec: controlplane.WorkloadSpec()}
	// It is refused until the namespace has its default account.
	err := controlplane.Until(ctx, 2*time.Minute, "the caller of "+c.name+" to be let in", func(ctx context.Context) error {
		if _, err := pods.Create(ctx, made, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
			return err
		}
		return nil
	})
	if err != nil {
		return err
	}
	return controlplane.Until(ctx, 2*time.Minute, "the caller of "+c.name+" to be ready", func(ctx context.Context) (err error) {
		if c.caller, err = pods.Get(ctx, "caller", metav1.GetOptions{}); err != nil {
			return err
		}
		if len(c.caller.Status.ContainerStatuses) == 0 || !c.caller.Status.ContainerStatuses[0].Ready {
			return fmt.Errorf("it is %s: %v", c.caller.Status.Phase, c.caller.Status.ContainerStatuses)
		}
		return nil
	})
}

func (c *cluster) makeNamespace(ctx context.Context, name string) error {
	_, err := c.Core.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	return err
}

// fetch has the caller fetch a URL: directly where pods can be reached from here, as
// then it needs no API server.
func (c *cluster) fetch(ctx context.Context, url string) (string, error) {
	if c.real != nil {
		return controlplane.Fetch(ctx, c.caller.Status.PodIP, url)
	}
	return c.proxied(ctx, "/fetch", map[string]string{"url": url})
}

// lookup has the caller resolve a name.
func (c *cluster) lookup(ctx context.Context, name string) ([]string, error) {
	text, err := "", error(nil)
	if c.real != nil {
		text, err = controlplane.Lookup(ctx, c.caller.Status.PodIP, name)
	} else {
		text, err = c.proxied(ctx, "/lookup", map[string]string{"name": name})
	}
	return strings.Fields(text), err
}

func (c *cluster) proxied(ctx context.Context, path string, query map[string]string) (string, error) {
	text, err := c.Core.CoreV1().Pods(callers).ProxyGet("http", "caller", fmt.Sprint(controlplane.WorkloadPort), path, query).DoRaw(ctx)
	return string(text), err
}

// shop is a namespace of a test in all clusters.
type shop struct {
	*testing.T
	*federation
	namespace string
}

// newShop makes the namespace; after the test, what is exported from it is withdrawn,
// and the namespace goes.
func newShop(t *testing.T, f *federation, namespace string) *shop {
	t.Helper()
	s := &shop{t, f, namespace}
	ok(t, f.each(t.Context(), func(ctx context.Context, c *cluster) error { return c.makeNamespace(ctx, namespace) }))
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
		defer cancel()
		if err := f.each(ctx, s.clear); err != nil {
			t.Errorf("tidy up: %v", err)
		}
	})
	return s
}

// clear withdraws a cluster's exports, waits until nothing is imported any more, and
// deletes the namespace.
func (s *shop) clear(ctx context.Context, c *cluster) error {
	err := c.MCS.MulticlusterV1beta1().ServiceExports(s.namespace).DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{})
	if err != nil {
		return err
	}
	err = controlplane.Until(ctx, time.Minute, "the imports to go", func(ctx context.Context) error {
		left, err := c.MCS.MulticlusterV1beta1().ServiceImports(s.namespace).List(ctx, metav1.ListOptions{})
		if err == nil && len(left.Items) > 0 {
			err = fmt.Errorf("%d are left", len(left.Items))
		}
		return err
	})
	if err != nil {
		return err
	}
	err = c.Core.CoreV1().Namespaces().Delete(ctx, s.namespace, metav1.DeleteOptions{})
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil // it is going already
	}
	return err
}

// open runs pods of a service in a cluster and exports it.
func (s *shop) open(c *cluster, name string, pods int32) {
	s.Helper()
	s.run(c, name, pods)
	s.export(c, name)
}

// run runs pods of a service in a cluster. They say that they are SERVICE-CLUSTER-…
func (s *shop) run(c *cluster, name string, pods int32) {
	s.Helper()
	ctx, labels := s.Context(), map[string]string{"app": name}
	_, err := c.Core.AppsV1().Deployments(s.namespace).Create(ctx, &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: name + "-" + c.name},
		Spec: appsv1.DeploymentSpec{
			Replicas: &pods, Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: controlplane.SteadyWorkloadSpec()},
		},
	}, metav1.CreateOptions{})
	ok(s.T, err)
	_, err = c.Core.CoreV1().Services(s.namespace).Create(ctx, &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       corev1.ServiceSpec{Selector: labels, Ports: []corev1.ServicePort{{Name: "http", Port: 80, TargetPort: intstr.FromInt32(controlplane.WorkloadPort)}}},
	}, metav1.CreateOptions{})
	ok(s.T, err)
}

func (s *shop) export(c *cluster, name string) {
	s.Helper()
	_, err := c.MCS.MulticlusterV1beta1().ServiceExports(s.namespace).Create(s.Context(), &mcs.ServiceExport{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
	ok(s.T, err)
}

// scale says how many pods a service is to have in a cluster.
func (s *shop) scale(c *cluster, name string, pods int) {
	s.Helper()
	patch := fmt.Sprintf(`{"spec":{"replicas":%d}}`, pods)
	_, err := c.Core.AppsV1().Deployments(s.namespace).Patch(s.Context(), name+"-"+c.name, "application/merge-patch+json", []byte(patch), metav1.PatchOptions{})
	ok(s.T, err)
}

// name is what clients in any cluster call a service.
func (s *shop) name(service string) string {
	return service + "." + s.namespace + ".svc." + zone
}

// address is the clusterset IP of a service in a cluster, once it has one.
func (s *shop) address(c *cluster, service string) (address string) {
	s.Helper()
	eventually(s.T, time.Minute, fmt.Sprintf("a clusterset IP of %s in %s", service, c.name), func(ctx context.Context) error {
		i, err := c.MCS.MulticlusterV1beta1().ServiceImports(s.namespace).Get(ctx, service, metav1.GetOptions{})
		if err == nil && len(i.Spec.IPs) == 0 {
			err = fmt.Errorf("found %+v", i.Status.Conditions)
		}
		if err == nil {
			address = i.Spec.IPs[0]
		}
		return err
	})
	return address
}

// calls is how many calls in a row have to be answered as expected.
const calls = 20

// answered waits until the callers of each cluster (key) are answered by the pods of a
// cluster (value), and by no others in many calls, by the clusterset IP.
func (s *shop) answered(service string, want map[string]string) {
	s.Helper()
	for _, from := range slices.Sorted(maps.Keys(want)) {
		c := s.cluster(from)
		url := "http://" + s.address(c, service)
		eventually(s.T, 2*time.Minute, fmt.Sprintf("callers in %s to be answered by %s", from, want[from]), func(ctx context.Context) error {
			for range calls {
				if err := c.expect(ctx, url, service+"-"+want[from]+"-"); err != nil {
					return err
				}
			}
			return nil
		})
	}
}

// expect has the caller call, and returns an error unless a pod whose name begins so
// answers.
func (c *cluster) expect(ctx context.Context, url, prefix string) error {
	// A packet to a pod that has just gone is lost; the next one goes elsewhere.
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	found, err := c.fetch(ctx, url)
	if err == nil && !strings.HasPrefix(found, prefix) {
		err = fmt.Errorf("expected an answer of %s..., found %s", prefix, found)
	}
	return err
}
