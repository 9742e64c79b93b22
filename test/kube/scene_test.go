//go:build linux

package kube_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	mcs "sigs.k8s.io/mcs-api/pkg/apis/v1beta1"
	mcsclient "sigs.k8s.io/mcs-api/pkg/client/clientset/versioned/typed/apis/v1beta1"

	"github.com/federator/federator/test/controlplane"
	"github.com/federator/federator/test/e2e/fleet"
)

// scene is one rule on a stage, in a namespace of its own.
type scene struct {
	*testing.T
	stage *stage
	ns    string
}

const (
	// soon bounds how long anything may take on a busy machine.
	soon = 60 * time.Second
	// late bounds what first waits for something else: for a Lease to run out (15 s), for
	// a write that failed to be tried again (up to 37 s), or for a ramp (10 s).
	late = 2 * time.Minute
)

// inNamespaces makes the namespace of the scene in some clusters.
func (x *scene) inNamespaces(regions ...string) {
	x.Helper()
	for _, region := range regions {
		_, err := x.of(region).Clients.Core.CoreV1().Namespaces().Create(context.Background(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: x.ns}}, metav1.CreateOptions{})
		must(x, err)
	}
}

func (x *scene) of(region string) *controlplane.Cluster { return x.stage.world.Cluster(region) }

// await waits until try succeeds.
func (x *scene) await(what string, try func() error) {
	x.Helper()
	if err := fleet.Await(soon, try); err != nil {
		x.Fatalf("expected within %v %s: %v", soon, what, err)
	}
}

// put makes a Service without a selector and its endpoints: "ADDRESS", with a "!"
// behind it if it is not ready, and "HOSTNAME=" before it if it has one.
func (x *scene) put(region, name string, spec corev1.ServiceSpec, endpoints ...string) {
	x.Helper()
	_, err := x.of(region).Clients.Core.CoreV1().Services(x.ns).Create(context.Background(), &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: spec}, metav1.CreateOptions{})
	must(x, err)
	if spec.Type != corev1.ServiceTypeExternalName {
		x.back(region, name, spec.Ports, endpoints...)
	}
}

// back says which endpoints a Service has now. They listen on the numbers of the
// Service's ports.
func (x *scene) back(region, name string, ports []corev1.ServicePort, endpoints ...string) {
	x.Helper()
	ctx, client := context.Background(), x.of(region).Clients.Core.DiscoveryV1().EndpointSlices(x.ns)
	for _, family := range []discoveryv1.AddressType{discoveryv1.AddressTypeIPv4, discoveryv1.AddressTypeIPv6} {
		s := &discoveryv1.EndpointSlice{
			ObjectMeta:  metav1.ObjectMeta{Name: name + "-" + strings.ToLower(string(family)), Labels: map[string]string{discoveryv1.LabelServiceName: name, discoveryv1.LabelManagedBy: "test"}},
			AddressType: family,
		}
		for _, p := range ports {
			protocol := p.Protocol
			if protocol == "" {
				protocol = corev1.ProtocolTCP
			}
			s.Ports = append(s.Ports, discoveryv1.EndpointPort{Name: &p.Name, Port: &p.Port, Protocol: &protocol})
		}
		for _, text := range endpoints {
			e := endpoint(text)
			if strings.Contains(e.Addresses[0], ":") == (family == discoveryv1.AddressTypeIPv6) {
				s.Endpoints = append(s.Endpoints, e)
			}
		}
		_, err := client.Update(ctx, s, metav1.UpdateOptions{})
		if apierrors.IsNotFound(err) {
			_, err = client.Create(ctx, s, metav1.CreateOptions{})
		}
		must(x, err)
	}
}

func endpoint(text string) discoveryv1.Endpoint {
	var e discoveryv1.Endpoint
	if hostname, address, ok := strings.Cut(text, "="); ok {
		e.Hostname, text = &hostname, address
	}
	address, unready := strings.CutSuffix(text, "!")
	e.Addresses, e.Conditions.Ready = []string{address}, new(!unready)
	return e
}

func (x *scene) exports(region string) mcsclient.ServiceExportInterface {
	return x.of(region).Clients.MCS.MulticlusterV1beta1().ServiceExports(x.ns)
}

// export exports what was put, and returns when that was.
func (x *scene) export(region, name string) time.Time {
	x.Helper()
	return x.exportAs(region, name, mcs.ServiceExportSpec{})
}

// exportAs is export with labels and annotations.
func (x *scene) exportAs(region, name string, spec mcs.ServiceExportSpec) time.Time {
	x.Helper()
	made, err := x.exports(region).Create(context.Background(), &mcs.ServiceExport{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: spec}, metav1.CreateOptions{})
	must(x, err)
	return made.CreationTimestamp.Time
}

func (x *scene) unexport(region, name string) {
	x.Helper()
	must(x, x.exports(region).Delete(context.Background(), name, metav1.DeleteOptions{}))
}

// older waits until an export made from now on is younger, by the whole seconds of
// Kubernetes.
func (x *scene) older(than time.Time) {
	x.Helper()
	x.await("the second to be over", func() error {
		if time.Since(than) < 1100*time.Millisecond {
			return errors.New("it is not")
		}
		return nil
	})
}

// imported waits for an import that is ready and says that exactly these clusters
// export it.
func (x *scene) imported(region, name string, regions ...string) *mcs.ServiceImport {
	x.Helper()
	return x.importedAs(region, name, func(i *mcs.ServiceImport) error {
		var got, want []string
		for _, c := range i.Status.Clusters {
			got = append(got, c.Cluster)
		}
		for _, r := range regions {
			want = append(want, r+"-1")
		}
		slices.Sort(want)
		if !slices.Equal(got, want) {
			return fmt.Errorf("expected it of %v, found %v", want, got)
		}
		return nil
	})
}

// importedAs waits for an import that is ready and as it should be.
func (x *scene) importedAs(region, name string, is func(*mcs.ServiceImport) error) (i *mcs.ServiceImport) {
	x.Helper()
	x.await(name+" to be imported in "+region, func() (err error) {
		if i, err = x.of(region).Clients.MCS.MulticlusterV1beta1().ServiceImports(x.ns).Get(context.Background(), name, metav1.GetOptions{}); err != nil {
			return err
		}
		ready := slices.ContainsFunc(i.Status.Conditions, func(c metav1.Condition) bool { return c.Type == "Ready" && c.Status == metav1.ConditionTrue })
		if !ready || (i.Spec.Type == mcs.ClusterSetIP) != (len(i.Spec.IPs) > 0) {
			return fmt.Errorf("found %+v %+v", i.Spec, i.Status)
		}
		return is(i)
	})
	return i
}

// absent waits until a cluster has nothing of an import.
func (x *scene) absent(name string, regions ...string) {
	x.Helper()
	ctx, ours := context.Background(), metav1.ListOptions{LabelSelector: "federator.dev/import=" + name}
	for _, region := range regions {
		c := x.of(region).Clients
		x.await("nothing of "+name+" in "+region, func() error {
			if _, err := c.MCS.MulticlusterV1beta1().ServiceImports(x.ns).Get(ctx, name, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
				return fmt.Errorf("found the import, %v", err)
			}
			services, err := c.Core.CoreV1().Services(x.ns).List(ctx, ours)
			listed, err2 := c.Core.DiscoveryV1().EndpointSlices(x.ns).List(ctx, ours)
			if err := errors.Join(err, err2); err != nil || len(services.Items)+len(listed.Items) > 0 {
				return fmt.Errorf("found %d services, %d slices, %v", len(services.Items), len(listed.Items), err)
			}
			return nil
		})
	}
}

// slices are those of an import.
func (x *scene) slices(region, name string) ([]discoveryv1.EndpointSlice, error) {
	list, err := x.of(region).Clients.Core.DiscoveryV1().EndpointSlices(x.ns).List(context.Background(), metav1.ListOptions{LabelSelector: mcs.LabelServiceName + "=" + name})
	if err != nil {
		return nil, err
	}
	return list.Items, nil
}

// lists waits for exactly these endpoints of an import, "REGION ADDRESS" in order,
// with a "!" if they are not ready and the hostname before the address.
func (x *scene) lists(region, name string, want ...string) {
	x.Helper()
	x.await(fmt.Sprintf("the slices of %s in %s to list %v", name, region, want), func() error {
		all, err := x.slices(region, name)
		got := []string{}
		for _, s := range all {
			for _, e := range s.Endpoints {
				text := strings.TrimSuffix(s.Labels[mcs.LabelSourceCluster], "-1") + " "
				if e.Hostname != nil {
					text += *e.Hostname + "="
				}
				text += e.Addresses[0]
				if !*e.Conditions.Ready {
					text += "!"
				}
				got = append(got, text)
			}
		}
		slices.Sort(got)
		if err == nil && !slices.Equal(got, want) {
			err = fmt.Errorf("found %v", got)
		}
		return err
	})
}

// says waits for a condition of an export, "TYPE=STATUS REASON".
func (x *scene) says(region, name, want string) {
	x.Helper()
	x.await(fmt.Sprintf("the export of %s in %s to say %s", name, region, want), func() error {
		is, err := x.exports(region).Get(context.Background(), name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		for _, c := range is.Status.Conditions {
			if fmt.Sprintf("%s=%s %s", c.Type, c.Status, c.Reason) == want {
				return nil
			}
		}
		return fmt.Errorf("found %+v", is.Status.Conditions)
	})
}

// domain is the name of a service of the scene, with what is before it.
func (x *scene) domain(labels string) string { return labels + "." + x.ns + ".svc.clusterset.local." }

// answers waits for what a pod of a cluster is answered by its DNS: a code, and the
// records as "TYPE DATA" in order.
func (x *scene) answers(region, name string, qtype uint16, code int, want ...string) {
	x.Helper()
	x.await(fmt.Sprintf("a pod of %s to be answered %s %s with %s %v", region, name, dns.TypeToString[qtype], dns.RcodeToString[code], want), func() error {
		reply, err := x.ask(region, name, qtype)
		if err != nil {
			return err
		}
		got := []string{}
		for _, rr := range reply.Answer {
			data := strings.TrimPrefix(rr.String(), rr.Header().String())
			if srv, ok := rr.(*dns.SRV); ok { // priority and weight are not for the rules to say
				data = fmt.Sprintf("%d %s", srv.Port, srv.Target)
			}
			got = append(got, dns.TypeToString[rr.Header().Rrtype]+" "+data)
		}
		slices.Sort(got)
		slices.Sort(want)
		if reply.Rcode != code || !slices.Equal(got, want) {
			return fmt.Errorf("found %s %v", dns.RcodeToString[reply.Rcode], got)
		}
		return nil
	})
}

func (x *scene) ask(region, name string, qtype uint16) (*dns.Msg, error) {
	pod := inside(slices.IndexFunc(x.stage.world.Clusters, func(c *controlplane.Cluster) bool { return c.Name == region })).Addr().As4()
	pod[3] = 9
	client := dns.Client{Timeout: time.Second, Dialer: &net.Dialer{LocalAddr: &net.UDPAddr{IP: netip.AddrFrom4(pod).AsSlice()}}}
	reply, _, err := client.Exchange(new(dns.Msg).SetQuestion(name, qtype), x.stage.Replicas(region)[0].DNS)
	return reply, err
}
