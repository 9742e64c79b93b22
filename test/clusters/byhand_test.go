//go:build linux

package clusters

import (
	"context"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// openByHand exports a service whose endpoints are written by the test.
func (s *shop) openByHand(c *cluster, name string, addresses []string) *discoveryv1.EndpointSlice {
	s.Helper()
	_, err := c.Core.CoreV1().Services(s.namespace).Create(s.Context(), serviceByHand(name, ""), metav1.CreateOptions{})
	ok(s.T, err)
	made, err := c.Core.DiscoveryV1().EndpointSlices(s.namespace).Create(s.Context(), &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Name: name + "-1", Labels: map[string]string{discoveryv1.LabelServiceName: name}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports:       []discoveryv1.EndpointPort{{Name: new("http"), Port: new(int32(80))}},
		Endpoints:   endpointsByHand(addresses),
	}, metav1.CreateOptions{})
	ok(s.T, err)
	s.export(c, name)
	return made
}

func serviceByHand(name, address string) *corev1.Service {
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       corev1.ServiceSpec{ClusterIP: address, Ports: []corev1.ServicePort{{Name: "http", Port: 80}}},
	}
}

func endpointsByHand(addresses []string) (out []discoveryv1.Endpoint) {
	for _, a := range addresses {
		out = append(out, discoveryv1.Endpoint{Addresses: []string{a}, Conditions: discoveryv1.EndpointConditions{Ready: new(true)}})
	}
	return out
}

// has gives a service other endpoints.
func (s *shop) has(c *cluster, slice *discoveryv1.EndpointSlice, addresses []string) {
	s.Helper()
	slices := c.Core.DiscoveryV1().EndpointSlices(s.namespace)
	now, err := slices.Get(s.Context(), slice.Name, metav1.GetOptions{})
	ok(s.T, err)
	now.Endpoints = endpointsByHand(addresses)
	_, err = slices.Update(s.Context(), now, metav1.UpdateOptions{})
	ok(s.T, err)
}

// become changes the Service checkout.
func (s *shop) become(c *cluster, change func(*corev1.Service)) {
	s.Helper()
	now, err := c.Core.CoreV1().Services(s.namespace).Get(s.Context(), "checkout", metav1.GetOptions{})
	ok(s.T, err)
	change(now)
	_, err = c.Core.CoreV1().Services(s.namespace).Update(s.Context(), now, metav1.UpdateOptions{})
	ok(s.T, err)
}

// lists waits until the import of a service in a cluster lists so many endpoints, and
// returns the name of one of its slices.
func (s *shop) lists(c *cluster, service string, endpoints int) (name string) {
	s.Helper()
	s.until(c, fmt.Sprintf("its import of %s to list %d endpoints", service, endpoints), func(ctx context.Context) error {
		slices, err := c.Core.DiscoveryV1().EndpointSlices(s.namespace).List(ctx, metav1.ListOptions{LabelSelector: "federator.dev/import=" + service})
		if err != nil {
			return err
		}
		found := 0
		for _, slice := range slices.Items {
			found, name = found+len(slice.Endpoints), slice.Name
		}
		if found != endpoints {
			return fmt.Errorf("found %d in %d slices", found, len(slices.Items))
		}
		return nil
	})
	return name
}

// withdraw ends the export of a service, of which a cluster is the only exporter, and
// waits until it is imported no more.
func (s *shop) withdraw(c *cluster, service string) {
	s.Helper()
	s.says("is no longer exported from "+c.context, "export", service, "--remove", "-n", s.namespace, "--context", c.context)
	s.gone(c, service)
}

// says runs a command of an operator, which is to succeed and to say something.
func (s *shop) says(want string, args ...string) {
	s.Helper()
	out, err := s.federator(s.Context(), args...)
	ok(s.T, err)
	if !strings.Contains(out, want) {
		s.Errorf("federator %s: expected it to say %q, found %q", strings.Join(args, " "), want, out)
	}
}

// gone waits until nothing is left of an import in a cluster.
func (s *shop) gone(c *cluster, service string) {
	s.Helper()
	s.until(c, "the import to be gone with its slices", func(ctx context.Context) error {
		_, err := c.MCS.MulticlusterV1beta1().ServiceImports(s.namespace).Get(ctx, service, metav1.GetOptions{})
		if !apierrors.IsNotFound(err) {
			return fmt.Errorf("expected none, found %v", err)
		}
		slices, err := c.Core.DiscoveryV1().EndpointSlices(s.namespace).List(ctx, metav1.ListOptions{LabelSelector: "federator.dev/import=" + service})
		if err == nil && len(slices.Items) > 0 {
			err = fmt.Errorf("found %d slices", len(slices.Items))
		}
		return err
	})
}

// until waits for something in a cluster.
func (s *shop) until(c *cluster, what string, try func(context.Context) error) {
	s.Helper()
	eventually(s.T, time.Minute, "in "+c.name+", "+what, try)
}
