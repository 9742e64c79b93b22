//go:build linux

package kube_test

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/miekg/dns"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	mcs "sigs.k8s.io/mcs-api/pkg/apis/v1beta1"
)

// The regions of the stage, one cluster each.
const (
	west = "us-west"
	eu   = "eu-central"
	asia = "asia-east"
)

// everywhere are all of them.
func everywhere() []string { return []string{west, eu, asia} }

// web is a Service with one port, 80.
func web() corev1.ServiceSpec { return served(corev1.ServicePort{Name: "http", Port: 80}) }

func served(ports ...corev1.ServicePort) corev1.ServiceSpec { return corev1.ServiceSpec{Ports: ports} }

// The rules of KEP-1645 and of its DNS specification between clusters, each as a test
// named after it: three regions of one cluster each, with real API servers. Those
// about a single importing cluster are in kube/imports, too.
func TestKEP1645(t *testing.T) {
	s := enact(t, map[string]int{west: 1, eu: 1, asia: 1}, west, eu, asia)
	t.Run("rules", func(t *testing.T) {
		for i, rule := range []struct {
			name  string
			holds func(*scene)
			in    []string
		}{
			{"every cluster with the namespace imports the service, the exporting one included", importedByAll, []string{west, eu}},
			{"a Service without an export in its own cluster is not exported", onlyExported, everywhere()},
			{"an import lasts from the first export to the last", lifetime, everywhere()},
			{"an import ends with its namespace, and exports with theirs", namespaces, everywhere()},
			{"the clusterset IP is the import's alone, and stays as long as it", clustersetIP, everywhere()},
			{"a clusterset IP of each IP family in which the service is exported, and of no other", ipFamilies, everywhere()},
			{"the ports of an import are those of the Service", ports, everywhere()},
			{"the session affinity of an import is that of the Service", affinity, everywhere()},
			{"the labels and annotations of an import are those that the export exports", exportedMetadata, everywhere()},
			{"the traffic policies of an import are those of the Service", trafficPolicies, everywhere()},
			{"NodePort and LoadBalancer Services are imported as ClusterSetIP", serviceTypes, everywhere()},
			{"an export of an ExternalName Service, or of none, is not valid", invalid, everywhere()},
			{"of what conflicts the oldest export decides, and all exports say so", conflicts, everywhere()},
			{"traffic to a port goes to clusters that expose it", portUnion, everywhere()},
			{"EndpointSlices are of one source cluster, labelled, owned and managed by the controller", labelled, everywhere()},
			{"only ready endpoints are sent clients", readiness, everywhere()},
			{"scaled to none, a service stays imported and other clusters serve", toNone, everywhere()},
			{"a Service of the importing cluster with the same name is not touched", untouched, everywhere()},
			{"the name of a service leads to the clusterset IP of the asking cluster", dnsOfClustersetIP, everywhere()},
			{"a headless service is imported without an IP, with all endpoints and their hostnames", headless, everywhere()},
			{"the names of a headless service lead to its ready endpoints", dnsOfHeadless, everywhere()},
		} {
			t.Run(rule.name, func(t *testing.T) {
				t.Parallel()
				x := &scene{t, s, fmt.Sprintf("kep-%d", i+1)}
				x.inNamespaces(rule.in...)
				rule.holds(x)
			})
		}
	})
	t.Run("what a cluster exported goes when it leaves", func(t *testing.T) {
		x := &scene{t, s, "kep-leaving"}
		x.inNamespaces(everywhere()...)
		leaving(x)
	})
}

func importedByAll(x *scene) {
	x.put(west, "web", web(), "10.0.0.1")
	x.export(west, "web")
	x.imported(west, "web", west)
	x.imported(eu, "web", west)
	x.lists(eu, "web", "us-west 10.0.0.1")
	x.inNamespaces(asia) // only now
	x.imported(asia, "web", west)
}

func onlyExported(x *scene) {
	x.put(eu, "web", web(), "10.1.0.1")
	x.put(west, "web", web(), "10.0.0.1")
	x.export(west, "web")
	for _, region := range everywhere() {
		x.imported(region, "web", west)
		x.lists(region, "web", "us-west 10.0.0.1")
	}
	x.export(eu, "web")
	x.imported(asia, "web", west, eu)
	x.lists(eu, "web", "eu-central 10.1.0.1") // the nearest first; see docs/kubernetes.md
}

func lifetime(x *scene) {
	for i, region := range []string{west, eu} {
		x.put(region, "web", web(), fmt.Sprintf("10.%d.0.1", i))
		x.export(region, "web")
	}
	both := x.imported(asia, "web", west, eu)
	x.unexport(west, "web")
	one := x.imported(asia, "web", eu)
	if one.UID != both.UID || !slices.Equal(one.Spec.IPs, both.Spec.IPs) {
		x.Errorf("expected the same import while somebody exports it, found %v at %v, then %v at %v", both.UID, both.Spec.IPs, one.UID, one.Spec.IPs)
	}
	x.lists(asia, "web", "eu-central 10.1.0.1")
	x.unexport(eu, "web")
	x.absent("web", everywhere()...)
}

func namespaces(x *scene) {
	x.put(west, "web", web(), "10.0.0.1")
	x.export(west, "web")
	for _, region := range everywhere() {
		x.imported(region, "web", west)
	}
	remove := func(region string) {
		client := x.of(region).Clients.Core.CoreV1().Namespaces()
		must(x, client.Delete(context.Background(), x.ns, metav1.DeleteOptions{}))
		x.await("the namespace to be gone from "+region, func() error {
			if _, err := client.Get(context.Background(), x.ns, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
				return fmt.Errorf("it is there: %v", err)
			}
			return nil
		})
	}
	remove(asia)
	x.absent("web", asia)
	x.imported(eu, "web", west)
	x.inNamespaces(asia)
	x.imported(asia, "web", west)
	remove(west)
	x.absent("web", eu, asia)
}

func clustersetIP(x *scene) {
	seen := map[string]string{}
	before := map[string]*mcs.ServiceImport{}
	for _, name := range []string{"one", "two"} {
		x.put(west, name, web(), "10.0.0.1")
		x.export(west, name)
		i := x.imported(eu, name, west)
		if len(i.Spec.IPs) != len(i.Spec.IPFamilies) || seen[i.Spec.IPs[0]] != "" {
			x.Errorf("%s: expected an IP of its own of each family, found %v of %v, and %v", name, i.Spec.IPs, i.Spec.IPFamilies, seen)
		}
		for k, ip := range i.Spec.IPs {
			if addr, err := netip.ParseAddr(ip); err != nil || addr.Is4() != (i.Spec.IPFamilies[k] == corev1.IPv4Protocol) {
				x.Errorf("%s: %s is not of %s", name, ip, i.Spec.IPFamilies[k])
			}
		}
		seen[i.Spec.IPs[0]], before[name] = name, i
	}
	// Whatever happens to it: other endpoints, another exporter, one less, another port.
	x.back(west, "one", web().Ports, "10.0.0.2", "10.0.0.3")
	x.put(eu, "one", served(web().Ports[0], corev1.ServicePort{Name: "grpc", Port: 90}), "10.1.0.1")
	x.export(eu, "one")
	x.imported(eu, "one", west, eu)
	x.unexport(west, "one")
	after := x.importedAs(eu, "one", func(i *mcs.ServiceImport) error {
		if len(i.Spec.Ports) != 2 || len(i.Status.Clusters) != 1 {
			return fmt.Errorf("found %+v", i.Spec.Ports)
		}
		return nil
	})
	if !slices.Equal(after.Spec.IPs, before["one"].Spec.IPs) || after.UID != before["one"].UID {
		x.Errorf("expected %v to stay, found %v", before["one"].Spec.IPs, after.Spec.IPs)
	}
}

func labelled(x *scene) {
	for i, region := range []string{west, eu} {
		spec := web()
		spec.ClusterIP = corev1.ClusterIPNone // so that all are listed
		x.put(region, "db", spec, fmt.Sprintf("10.%d.0.1", i), fmt.Sprintf("fd00:%d::1", i+1))
		x.export(region, "db")
	}
	i := x.imported(asia, "db", west, eu)
	x.lists(asia, "db", "eu-central 10.1.0.1", "eu-central fd00:2::1", "us-west 10.0.0.1", "us-west fd00:1::1")
	all, err := x.slices(asia, "db")
	must(x, err)
	if len(all) != 4 {
		x.Errorf("expected a slice of each cluster and family, found %d", len(all))
	}
	for _, s := range all {
		if by := s.Labels[discoveryv1.LabelManagedBy]; by == "" || by == "endpointslice-controller.k8s.io" {
			x.Errorf("slice %s: expected it to be managed by us, found %q", s.Name, by)
		}
		if len(s.OwnerReferences) != 1 || s.OwnerReferences[0].Kind != "ServiceImport" || s.OwnerReferences[0].UID != i.UID {
			x.Errorf("slice %s: expected it to be the import's, found %+v", s.Name, s.OwnerReferences)
		}
		if len(s.Endpoints) != 1 {
			x.Errorf("slice %s: expected the endpoint of %s alone, found %+v", s.Name, s.Labels[mcs.LabelSourceCluster], s.Endpoints)
		}
	}
}

func readiness(x *scene) {
	x.put(west, "web", web(), "10.0.0.1", "10.0.0.2!")
	x.export(west, "web")
	x.lists(eu, "web", "us-west 10.0.0.1", "us-west 10.0.0.2!")
	x.back(west, "web", web().Ports, "10.0.0.1!", "10.0.0.2")
	x.lists(eu, "web", "us-west 10.0.0.1!", "us-west 10.0.0.2")
	x.back(west, "web", web().Ports, "10.0.0.2")
	x.lists(eu, "web", "us-west 10.0.0.2")
}

func toNone(x *scene) {
	for i, region := range []string{west, eu} {
		x.put(region, "web", web(), fmt.Sprintf("10.%d.0.1", i))
		x.export(region, "web")
	}
	before := x.imported(west, "web", west, eu)
	x.lists(west, "web", "us-west 10.0.0.1")
	x.back(west, "web", web().Ports)
	x.lists(west, "web", "eu-central 10.1.0.1")
	x.back(eu, "web", web().Ports)
	x.lists(west, "web")
	if after := x.imported(west, "web", west, eu); after.UID != before.UID || !slices.Equal(after.Spec.IPs, before.Spec.IPs) {
		x.Errorf("expected the import to stay at %v, found it at %v", before.Spec.IPs, after.Spec.IPs)
	}
	x.answers(west, x.domain("web"), dns.TypeA, dns.RcodeSuccess, "A "+before.Spec.IPs[0])
	x.back(west, "web", web().Ports, "10.0.0.9")
	x.lists(west, "web", "us-west 10.0.0.9")
}

func untouched(x *scene) {
	x.put(eu, "web", web(), "10.1.0.1")
	core := x.of(eu).Clients.Core
	look := func() (versions []string) {
		s, err := core.CoreV1().Services(x.ns).Get(context.Background(), "web", metav1.GetOptions{})
		must(x, err)
		list, err := core.DiscoveryV1().EndpointSlices(x.ns).List(context.Background(), metav1.ListOptions{LabelSelector: discoveryv1.LabelServiceName + "=web"})
		must(x, err)
		for _, one := range list.Items {
			versions = append(versions, one.Name+one.ResourceVersion)
		}
		return append(versions, s.ResourceVersion, s.Spec.ClusterIP)
	}
	before := look()
	x.put(west, "web", web(), "10.0.0.1")
	x.export(west, "web")
	i := x.imported(eu, "web", west)
	x.lists(eu, "web", "us-west 10.0.0.1")
	if after := look(); !slices.Equal(after, before) || slices.Contains(after, i.Spec.IPs[0]) {
		x.Errorf("expected the Service and its slices as they were, %v, found %v, and the import at %v", before, after, i.Spec.IPs)
	}
}

func leaving(x *scene) {
	for i, region := range []string{eu, asia} {
		x.put(region, "both", web(), fmt.Sprintf("10.%d.0.1", i+1))
		x.export(region, "both")
	}
	x.put(asia, "alone", web(), "10.2.0.2")
	x.export(asia, "alone")
	x.imported(west, "both", eu, asia)
	x.imported(west, "alone", asia)
	x.stage.Replicas(asia)[0].Stop()
	x.stage.Replicas(west)[0].CLI("region", "remove", asia, "--force").OK(x)
	x.imported(west, "both", eu)
	x.lists(west, "both", "eu-central 10.1.0.1")
	x.absent("alone", west, eu)
	x.answers(west, x.domain("alone"), dns.TypeA, dns.RcodeNameError)
}
