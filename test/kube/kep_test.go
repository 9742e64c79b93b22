//go:build linux

package kube_test

import (
	"context"
	"errors"
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
			{"the ports of an import are those of the Service", ports, everywhere()},
			{"the session affinity of an import is that of the Service", affinity, everywhere()},
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

// having waits for an import with exactly these ports.
func having(x *scene, region, name string, want ...mcs.ServicePort) {
	x.Helper()
	x.importedAs(region, name, func(i *mcs.ServiceImport) error {
		same := func(a, b mcs.ServicePort) bool {
			return a.Name == b.Name && a.Protocol == b.Protocol && a.Port == b.Port && deref(a.AppProtocol) == deref(b.AppProtocol)
		}
		if !slices.EqualFunc(i.Spec.Ports, want, same) {
			return fmt.Errorf("expected the ports %+v, found %+v", want, i.Spec.Ports)
		}
		return nil
	})
}

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

func port(name string, number int32) mcs.ServicePort {
	return mcs.ServicePort{Name: name, Port: number, Protocol: corev1.ProtocolTCP}
}

func ports(x *scene) {
	h2c := "kubernetes.io/h2c"
	x.put(west, "named", served(corev1.ServicePort{Name: "dns", Port: 53, Protocol: corev1.ProtocolUDP}, corev1.ServicePort{Name: "http", Port: 80, AppProtocol: &h2c}), "10.0.0.1")
	x.put(west, "unnamed", served(corev1.ServicePort{Port: 8080}), "10.0.0.1")
	for _, name := range []string{"named", "unnamed"} {
		x.export(west, name)
	}
	http := port("http", 80)
	http.AppProtocol = &h2c
	for _, region := range everywhere() {
		having(x, region, "named", mcs.ServicePort{Name: "dns", Port: 53, Protocol: corev1.ProtocolUDP}, http)
		having(x, region, "unnamed", port("", 8080))
	}
}

func sticky(seconds int32) corev1.ServiceSpec {
	spec := web()
	spec.SessionAffinity = corev1.ServiceAffinityClientIP
	spec.SessionAffinityConfig = &corev1.SessionAffinityConfig{ClientIP: &corev1.ClientIPConfig{TimeoutSeconds: &seconds}}
	return spec
}

// sticking waits for an import with that session affinity, 0 for none.
func sticking(x *scene, region, name string, seconds int32) {
	x.Helper()
	x.importedAs(region, name, func(i *mcs.ServiceImport) error {
		c := i.Spec.SessionAffinityConfig
		none := i.Spec.SessionAffinity == corev1.ServiceAffinityNone && c == nil
		if seconds == 0 && !none || seconds > 0 && (i.Spec.SessionAffinity != corev1.ServiceAffinityClientIP || c == nil || *c.ClientIP.TimeoutSeconds != seconds) {
			return fmt.Errorf("expected a session affinity of %d s, found %s %+v", seconds, i.Spec.SessionAffinity, c)
		}
		return nil
	})
}

func affinity(x *scene) {
	x.put(west, "sticky", sticky(600), "10.0.0.1")
	x.put(west, "loose", web(), "10.0.0.1")
	x.export(west, "sticky")
	x.export(west, "loose")
	sticking(x, eu, "sticky", 600)
	sticking(x, eu, "loose", 0)
}

func serviceTypes(x *scene) {
	for name, kind := range map[string]corev1.ServiceType{"node": corev1.ServiceTypeNodePort, "balancer": corev1.ServiceTypeLoadBalancer} {
		spec := web()
		spec.Type = kind
		x.put(west, name, spec, "10.0.0.1")
		x.export(west, name)
		if i := x.imported(eu, name, west); i.Spec.Type != mcs.ClusterSetIP {
			x.Errorf("%s: expected ClusterSetIP, found %s", kind, i.Spec.Type)
		}
	}
}

func invalid(x *scene) {
	x.put(west, "elsewhere", corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: "example.com"})
	for name, reason := range map[string]string{"elsewhere": "InvalidServiceType", "missing": "NoService"} {
		x.export(west, name)
		x.says(west, name, "Valid=False "+reason)
		x.absent(name, everywhere()...)
	}
	x.put(west, "missing", web(), "10.0.0.1")
	x.says(west, "missing", "Valid=True Valid")
	x.says(west, "missing", "Ready=True Exported")
	x.imported(eu, "missing", west)
}

// conflicts has us-west export first, eu-central export something else, and us-west
// export no more; asia-east sees what holds.
func conflicts(x *scene) {
	h2c := "kubernetes.io/h2c"
	none := web()
	none.ClusterIP = corev1.ClusterIPNone
	http := port("http", 80)
	spoken := http
	spoken.AppProtocol = &h2c
	typed := func(want mcs.ServiceImportType) func(string) {
		return func(name string) {
			x.importedAs(asia, name, func(i *mcs.ServiceImport) error {
				if i.Spec.Type != want {
					return fmt.Errorf("expected %s, found %s", want, i.Spec.Type)
				}
				return nil
			})
		}
	}
	with := func(ports ...mcs.ServicePort) func(string) {
		return func(name string) { having(x, asia, name, ports...) }
	}
	stuck := func(seconds int32) func(string) { return func(name string) { sticking(x, asia, name, seconds) } }
	cases := []struct {
		name, reason   string
		older, younger corev1.ServiceSpec
		holds, then    func(string)
	}{
		{"number", "PortConflict", web(), served(corev1.ServicePort{Name: "http", Port: 8080}), with(http), with(port("http", 8080))},
		{"called", "PortConflict", web(), served(corev1.ServicePort{Name: "web", Port: 80}), with(http), with(port("web", 80))},
		{"spoken", "PortConflict", web(), served(corev1.ServicePort{Name: "http", Port: 80, AppProtocol: &h2c}), with(http), with(spoken)},
		{"union", "PortConflict", web(), served(corev1.ServicePort{Name: "http", Port: 80}, corev1.ServicePort{Name: "more", Port: 81}), with(http, port("more", 81)), with(http, port("more", 81))},
		{"type", "TypeConflict", web(), none, typed(mcs.ClusterSetIP), typed(mcs.Headless)},
		{"headless", "TypeConflict", none, web(), typed(mcs.Headless), typed(mcs.ClusterSetIP)},
		{"affinity", "SessionAffinityConflict", sticky(600), web(), stuck(600), stuck(0)},
		{"timeout", "SessionAffinityConfigConflict", sticky(600), sticky(60), stuck(600), stuck(60)},
		{"same", "", web(), web(), with(http), with(http)},
	}
	last := x.export(west, "none") // to have a time
	for _, c := range cases {
		x.put(west, c.name, c.older, "10.0.0.1")
		last = x.export(west, c.name)
	}
	x.older(last)
	for _, c := range cases {
		x.put(eu, c.name, c.younger, "10.1.0.1")
		x.export(eu, c.name)
	}
	for _, c := range cases {
		for _, region := range []string{west, eu} {
			if c.reason == "" {
				x.says(region, c.name, "Conflict=False NoConflicts")
			} else {
				x.says(region, c.name, "Conflict=True "+c.reason)
			}
		}
		x.imported(asia, c.name, west, eu)
		c.holds(c.name)
	}
	for _, c := range cases {
		x.unexport(west, c.name)
	}
	for _, c := range cases {
		x.says(eu, c.name, "Conflict=False NoConflicts")
		c.then(c.name)
	}
}

func portUnion(x *scene) {
	specs := map[string]corev1.ServiceSpec{west: web(), eu: served(corev1.ServicePort{Name: "grpc", Port: 90})}
	for i, region := range []string{west, eu} {
		x.put(region, "web", specs[region], fmt.Sprintf("10.%d.0.1", i))
		x.export(region, "web")
	}
	having(x, asia, "web", port("grpc", 90), port("http", 80))
	for _, region := range []string{west, eu} {
		x.await("the slices of the import in "+region+" to have the ports of their cluster", func() error {
			all, err := x.slices(region, "web")
			if err == nil && len(all) == 0 {
				err = errors.New("found none")
			}
			for _, s := range all {
				source := specs[s.Labels[mcs.LabelSourceCluster][:len(s.Labels[mcs.LabelSourceCluster])-2]]
				if len(s.Ports) != 1 || *s.Ports[0].Name != source.Ports[0].Name || *s.Ports[0].Port != source.Ports[0].Port {
					err = errors.Join(err, fmt.Errorf("found %+v of %s", s.Ports, s.Labels[mcs.LabelSourceCluster]))
				}
			}
			return err
		})
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

func dnsOfClustersetIP(x *scene) {
	x.put(west, "web", served(corev1.ServicePort{Name: "http", Port: 80}, corev1.ServicePort{Name: "dns", Port: 53, Protocol: corev1.ProtocolUDP}), "10.0.0.1")
	x.put(west, "unnamed", served(corev1.ServicePort{Port: 80}), "10.0.0.1")
	x.export(west, "web")
	x.export(west, "unnamed")
	for _, region := range everywhere() {
		name, ips := x.domain("web"), map[uint16][]string{}
		for _, ip := range x.imported(region, "web", west).Spec.IPs {
			family := dns.TypeA
			if netip.MustParseAddr(ip).Is6() {
				family = dns.TypeAAAA
			}
			ips[family] = append(ips[family], dns.TypeToString[family]+" "+ip)
		}
		x.imported(region, "unnamed", west)
		x.answers(region, name, dns.TypeA, dns.RcodeSuccess, ips[dns.TypeA]...)
		x.answers(region, name, dns.TypeAAAA, dns.RcodeSuccess, ips[dns.TypeAAAA]...) // none where the cluster has no IPv6
		x.answers(region, x.domain("_http._tcp.web"), dns.TypeSRV, dns.RcodeSuccess, "SRV 80 "+name)
		x.answers(region, x.domain("_dns._udp.web"), dns.TypeSRV, dns.RcodeSuccess, "SRV 53 "+name)
		x.answers(region, x.domain("_http._udp.web"), dns.TypeSRV, dns.RcodeNameError)
		x.answers(region, x.domain("_80._tcp.unnamed"), dns.TypeSRV, dns.RcodeNameError)
		x.answers(region, x.domain("us-west-1.web"), dns.TypeA, dns.RcodeNameError) // no cluster is asked for alone
		x.answers(region, x.domain("nobody"), dns.TypeA, dns.RcodeNameError)
		x.answers(region, "dns-version.clusterset.local.", dns.TypeTXT, dns.RcodeSuccess, `TXT "1.0.0"`)
	}
}

// database is a headless Service with two ports.
func database() corev1.ServiceSpec {
	spec := served(corev1.ServicePort{Name: "sql", Port: 5432}, corev1.ServicePort{Name: "admin", Port: 81})
	spec.ClusterIP = corev1.ClusterIPNone
	return spec
}

func headless(x *scene) {
	x.put(west, "db", database(), "db-0=10.0.0.1", "db-1=10.0.0.2", "db-2=10.0.0.3!")
	x.put(eu, "db", database(), "db-0=10.1.0.1")
	x.export(west, "db")
	x.export(eu, "db")
	for _, region := range everywhere() {
		if i := x.imported(region, "db", west, eu); i.Spec.Type != mcs.Headless || len(i.Spec.IPs) != 0 {
			x.Errorf("%s: expected a headless import without an IP, found %+v", region, i.Spec)
		}
		x.lists(region, "db", "eu-central db-0=10.1.0.1", "us-west db-0=10.0.0.1", "us-west db-1=10.0.0.2", "us-west db-2=10.0.0.3!")
	}
}

func dnsOfHeadless(x *scene) {
	x.put(west, "db", database(), "db-0=10.0.0.1", "db-1=10.0.0.2", "db-2=10.0.0.3!", "db-0=fd00:1::1")
	x.put(eu, "db", database(), "db-0=10.1.0.1")
	x.export(west, "db")
	x.export(eu, "db")
	for _, region := range everywhere() {
		x.imported(region, "db", west, eu)
		x.answers(region, x.domain("db"), dns.TypeA, dns.RcodeSuccess, "A 10.0.0.1", "A 10.0.0.2", "A 10.1.0.1")
		x.answers(region, x.domain("db"), dns.TypeAAAA, dns.RcodeSuccess, "AAAA fd00:1::1")
		x.answers(region, x.domain("db-0.us-west-1.db"), dns.TypeA, dns.RcodeSuccess, "A 10.0.0.1")
		x.answers(region, x.domain("db-0.us-west-1.db"), dns.TypeAAAA, dns.RcodeSuccess, "AAAA fd00:1::1")
		x.answers(region, x.domain("db-0.eu-central-1.db"), dns.TypeA, dns.RcodeSuccess, "A 10.1.0.1")
		for p, number := range map[string]string{"_sql": "5432", "_admin": "81"} {
			x.answers(region, x.domain(p+"._tcp.db"), dns.TypeSRV, dns.RcodeSuccess,
				"SRV "+number+" "+x.domain("db-0.us-west-1.db"), "SRV "+number+" "+x.domain("db-1.us-west-1.db"), "SRV "+number+" "+x.domain("db-0.eu-central-1.db"))
		}
		x.answers(region, x.domain("us-west-1.db"), dns.TypeA, dns.RcodeSuccess) // only leads to others
		x.answers(region, x.domain("db-9.us-west-1.db"), dns.TypeA, dns.RcodeNameError)
		x.answers(region, x.domain("db-0.mars-1.db"), dns.TypeA, dns.RcodeNameError)
	}
	x.back(west, "db", database().Ports)
	x.back(eu, "db", database().Ports)
	for _, region := range everywhere() {
		x.answers(region, x.domain("db"), dns.TypeA, dns.RcodeNameError) // as it has no ready endpoint
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
