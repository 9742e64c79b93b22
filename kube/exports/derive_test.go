package exports

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	mcs "sigs.k8s.io/mcs-api/pkg/apis/v1beta1"

	"github.com/federator/federator/federation/catalog"
)

var t0 = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func to[T any](v T) *T { return &v }

func anExport(name string) *mcs.ServiceExport {
	return &mcs.ServiceExport{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, UID: types.UID("export-" + name), Generation: 3, CreationTimestamp: metav1.NewTime(t0)}}
}

func aService(name string, ports ...corev1.ServicePort) *corev1.Service {
	if len(ports) == 0 {
		ports = []corev1.ServicePort{{Name: "http", Port: 80, Protocol: corev1.ProtocolTCP}}
	}
	return &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name}, Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeClusterIP, ClusterIP: "10.96.0.1", Ports: ports}}
}

func aSlice(name, service string, endpoints ...discoveryv1.Endpoint) *discoveryv1.EndpointSlice {
	return &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Namespace: "shop", Name: name, Labels: map[string]string{discoveryv1.LabelServiceName: service}, CreationTimestamp: metav1.NewTime(t0)},
		AddressType: discoveryv1.AddressTypeIPv4, Ports: []discoveryv1.EndpointPort{{Name: to("http"), Port: to(int32(8080)), Protocol: to(corev1.ProtocolTCP)}},
		Endpoints: endpoints,
	}
}

// aPod is a ready endpoint.
func aPod(uid, address string, edits ...func(*discoveryv1.Endpoint)) discoveryv1.Endpoint {
	e := discoveryv1.Endpoint{Addresses: []string{address}, Conditions: conditions(true, true, false), TargetRef: &corev1.ObjectReference{Kind: "Pod", UID: types.UID(uid)}}
	for _, edit := range edits {
		edit(&e)
	}
	return e
}

func conditions(ready, serving, terminating bool) discoveryv1.EndpointConditions {
	return discoveryv1.EndpointConditions{Ready: &ready, Serving: &serving, Terminating: &terminating}
}

func being(ready, serving, terminating bool) func(*discoveryv1.Endpoint) {
	return func(e *discoveryv1.Endpoint) { e.Conditions = conditions(ready, serving, terminating) }
}

func unsaid(e *discoveryv1.Endpoint) { e.Conditions = discoveryv1.EndpointConditions{} }

func in(slice *discoveryv1.EndpointSlice, edits ...func(*discoveryv1.EndpointSlice)) *discoveryv1.EndpointSlice {
	for _, edit := range edits {
		edit(slice)
	}
	return slice
}

func v6(s *discoveryv1.EndpointSlice) { s.AddressType = discoveryv1.AddressTypeIPv6 }

func newer(s *discoveryv1.EndpointSlice) { s.CreationTimestamp = metav1.NewTime(t0.Add(time.Minute)) }

func listens(ports ...any) func(*discoveryv1.EndpointSlice) {
	return func(s *discoveryv1.EndpointSlice) {
		s.Ports = nil
		for i := 0; i < len(ports); i += 2 {
			s.Ports = append(s.Ports, discoveryv1.EndpointPort{Name: to(ports[i].(string)), Port: to(int32(ports[i+1].(int)))})
		}
	}
}

// short writes endpoints in one line each.
func short(endpoints []catalog.Endpoint) []string {
	var out []string
	for _, e := range endpoints {
		line := fmt.Sprint(e.ID, " ", e.Address, " ", e.Health)
		if e.Zone != "" {
			line += " " + e.Zone
		}
		if e.Hostname != "" {
			line += " " + e.Hostname
		}
		if len(e.Ports) > 0 {
			line += fmt.Sprint(" ", e.Ports)
		}
		out = append(out, line)
	}
	return out
}

func zones(node string) string { return map[string]string{"n1": "a", "n2": "b"}[node] }

func TestEndpointsAreDerivedFromSlices(t *testing.T) {
	http := []corev1.ServicePort{{Name: "http", Port: 80}}
	for name, c := range map[string]struct {
		ports  []corev1.ServicePort
		slices []*discoveryv1.EndpointSlice
		want   []string
	}{
		"the number of a port is the endpoint's": {http, []*discoveryv1.EndpointSlice{aSlice("s", "web", aPod("p1", "10.0.0.1"))},
			[]string{"p1 10.0.0.1 healthy map[http:8080]"}},
		"and nothing where it is the service's": {http, []*discoveryv1.EndpointSlice{in(aSlice("s", "web", aPod("p1", "10.0.0.1")), listens("http", 80))},
			[]string{"p1 10.0.0.1 healthy"}},
		"a named target port differs from slice to slice": {http, []*discoveryv1.EndpointSlice{
			aSlice("s", "web", aPod("p1", "10.0.0.1")), in(aSlice("t", "web", aPod("p2", "10.0.0.2")), listens("http", 9090))},
			[]string{"p1 10.0.0.1 healthy map[http:8080]", "p2 10.0.0.2 healthy map[http:9090]"}},
		"a port without a name": {[]corev1.ServicePort{{Port: 80}}, []*discoveryv1.EndpointSlice{in(aSlice("s", "web", aPod("p1", "10.0.0.1")), listens("", 8080))},
			[]string{"p1 10.0.0.1 healthy map[:8080]"}},
		"both families": {http, []*discoveryv1.EndpointSlice{
			in(aSlice("s6", "web", aPod("p1", "fd00::1")), v6), aSlice("s4", "web", aPod("p1", "10.0.0.1"))},
			[]string{"p1 10.0.0.1 healthy map[http:8080]", "p1.6 fd00::1 healthy map[http:8080]"}},
		"what is no pod is its address": {http, []*discoveryv1.EndpointSlice{aSlice("s", "web", discoveryv1.Endpoint{Addresses: []string{"10.0.0.9"}})},
			[]string{"10.0.0.9 10.0.0.9 healthy map[http:8080]"}},
		"health": {http, []*discoveryv1.EndpointSlice{aSlice("s", "web",
			aPod("ready", "10.0.0.1"), aPod("unsaid", "10.0.0.2", unsaid), aPod("unready", "10.0.0.3", being(false, false, false)),
			aPod("leaving", "10.0.0.4", being(false, true, true)), aPod("gone", "10.0.0.5", being(false, false, true)), aPod("published", "10.0.0.6", being(true, false, true)))},
			[]string{"ready 10.0.0.1 healthy map[http:8080]", "unsaid 10.0.0.2 healthy map[http:8080]", "unready 10.0.0.3 unhealthy map[http:8080]",
				"leaving 10.0.0.4 draining map[http:8080]", "gone 10.0.0.5 unhealthy map[http:8080]", "published 10.0.0.6 healthy map[http:8080]"}},
		"zones are the slice's, else the node's": {http, []*discoveryv1.EndpointSlice{aSlice("s", "web",
			aPod("p1", "10.0.0.1", func(e *discoveryv1.Endpoint) { e.Zone, e.NodeName = to("west-a"), to("n1") }),
			aPod("p2", "10.0.0.2", func(e *discoveryv1.Endpoint) { e.NodeName = to("n2") }),
			aPod("p3", "10.0.0.3", func(e *discoveryv1.Endpoint) { e.NodeName = to("unknown") }))},
			[]string{"p1 10.0.0.1 healthy west-a map[http:8080]", "p2 10.0.0.2 healthy b map[http:8080]", "p3 10.0.0.3 healthy map[http:8080]"}},
		"an endpoint in two slices for a moment": {http, []*discoveryv1.EndpointSlice{
			aSlice("s", "web", aPod("p1", "10.0.0.1", being(false, false, false))), aSlice("t", "web", aPod("p1", "10.0.0.1"))},
			[]string{"p1 10.0.0.1 healthy map[http:8080]"}},
		"an address that another pod has now": {http, []*discoveryv1.EndpointSlice{
			aSlice("s", "web", aPod("z-old", "10.0.0.1", being(false, false, true))), aSlice("t", "web", aPod("a-new", "10.0.0.1"))},
			[]string{"a-new 10.0.0.1 healthy map[http:8080]"}},
		"a port that changes its number": {http, []*discoveryv1.EndpointSlice{
			in(aSlice("a-new", "web", aPod("p1", "10.0.0.1")), newer, listens("http", 9090)), aSlice("z-old", "web", aPod("p1", "10.0.0.1"))},
			[]string{"p1 10.0.0.1 healthy map[http:9090]"}},
		"a pod whose ports are in two slices": {[]corev1.ServicePort{{Name: "http", Port: 80}, {Name: "metrics", Port: 81}}, []*discoveryv1.EndpointSlice{
			aSlice("s", "web", aPod("p1", "10.0.0.1")), in(aSlice("t", "web", aPod("p1", "10.0.0.1")), listens("metrics", 9090))},
			[]string{"p1 10.0.0.1 healthy map[http:8080 metrics:9090]"}},
		"one pod listed with two addresses": {http, []*discoveryv1.EndpointSlice{aSlice("s", "web", aPod("p1", "10.0.0.2"), aPod("p1", "10.0.0.1"))},
			[]string{"p1 10.0.0.1 healthy map[http:8080]", "10.0.0.2 10.0.0.2 healthy map[http:8080]"}},
		"only the first address has a meaning": {http, []*discoveryv1.EndpointSlice{aSlice("s", "web", aPod("p1", "10.0.0.1", func(e *discoveryv1.Endpoint) { e.Addresses = append(e.Addresses, "10.0.0.2") }))},
			[]string{"p1 10.0.0.1 healthy map[http:8080]"}},
		"what federator wrote is not exported again": {http, []*discoveryv1.EndpointSlice{
			in(aSlice("s", "web", aPod("p1", "10.0.0.1")), func(s *discoveryv1.EndpointSlice) { s.Labels[discoveryv1.LabelManagedBy] = "federator.dev" }),
			in(aSlice("t", "web", aPod("p2", "10.0.0.2")), func(s *discoveryv1.EndpointSlice) { s.Labels[mcs.LabelSourceCluster] = "other" })}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			for range 2 {
				set, v := derive(facts{cluster: "west", export: anExport("web"), service: aService("web", c.ports...), slices: c.slices, zone: zones})
				if diff := cmp.Diff(c.want, short(set.Endpoints)); diff != "" || !v.Valid || v.Reason != "Valid" {
					t.Errorf("%s%+v", diff, v)
				}
				c.slices = reversed(c.slices) // the order of slices says nothing
			}
		})
	}
}

func reversed[T any](s []T) (out []T) {
	for i := len(s) - 1; i >= 0; i-- {
		out = append(out, s[i])
	}
	return out
}

func TestPropertiesAreDerivedFromTheService(t *testing.T) {
	ports := []corev1.ServicePort{{Name: "http", Port: 80, Protocol: corev1.ProtocolTCP, AppProtocol: to("kubernetes.io/h2c")}, {Name: "dns", Port: 53, Protocol: corev1.ProtocolUDP}, {Name: "old", Port: 90}}
	base := catalog.EndpointSet{
		SetKey: catalog.SetKey{Cluster: "west", Service: catalog.ServiceName{Namespace: "shop", Name: "web"}}, Source: "kube", CreatedAt: t0,
		Ports: []catalog.Port{{Name: "http", Number: 80, Protocol: catalog.TCP, AppProtocol: "kubernetes.io/h2c"}, {Name: "dns", Number: 53, Protocol: catalog.UDP}, {Name: "old", Number: 90, Protocol: catalog.TCP}},
	}
	affine := func(seconds *int32) func(*corev1.Service) {
		return func(s *corev1.Service) {
			s.Spec.SessionAffinity = corev1.ServiceAffinityClientIP
			s.Spec.SessionAffinityConfig = &corev1.SessionAffinityConfig{ClientIP: &corev1.ClientIPConfig{TimeoutSeconds: seconds}}
		}
	}
	for name, c := range map[string]struct {
		edit func(*corev1.Service)
		want func(*catalog.EndpointSet)
	}{
		"ports":                     {func(*corev1.Service) {}, func(*catalog.EndpointSet) {}},
		"node ports":                {func(s *corev1.Service) { s.Spec.Type = corev1.ServiceTypeNodePort }, func(*catalog.EndpointSet) {}},
		"load balancers":            {func(s *corev1.Service) { s.Spec.Type = corev1.ServiceTypeLoadBalancer }, func(*catalog.EndpointSet) {}},
		"headless":                  {func(s *corev1.Service) { s.Spec.ClusterIP = corev1.ClusterIPNone }, func(e *catalog.EndpointSet) { e.Headless = true }},
		"headless without any port": {func(s *corev1.Service) { s.Spec.ClusterIP, s.Spec.Ports = corev1.ClusterIPNone, nil }, func(e *catalog.EndpointSet) { e.Headless, e.Ports = true, nil }},
		"affinity":                  {affine(to(int32(60))), func(e *catalog.EndpointSet) { e.AffinitySeconds = 60 }},
		"affinity without a time":   {affine(nil), func(e *catalog.EndpointSet) { e.AffinitySeconds = 10800 }},
		"affinity without bounds":   {affine(to(int32(1 << 30))), func(e *catalog.EndpointSet) { e.AffinitySeconds = 86400 }},
	} {
		t.Run(name, func(t *testing.T) {
			service, want := aService("web", ports...), base
			c.edit(service)
			c.want(&want)
			got, _ := derive(facts{cluster: "west", export: anExport("web"), service: service, zone: zones})
			if diff := cmp.Diff(&want, got, cmpopts.EquateEmpty()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestHeadlessEndpointsKeepTheirHostnames(t *testing.T) {
	named := aPod("p1", "10.0.0.1", func(e *discoveryv1.Endpoint) { e.Hostname = to("web-0") })
	in := facts{cluster: "west", export: anExport("web"), service: aService("web"), slices: []*discoveryv1.EndpointSlice{aSlice("s", "web", named, aPod("p2", "10.0.0.2"))}, zone: zones}
	if set, _ := derive(in); set.Endpoints[0].Hostname != "" {
		t.Error("an endpoint behind a virtual address has a hostname")
	}
	in.service.Spec.ClusterIP = corev1.ClusterIPNone
	set, _ := derive(in)
	if set.Endpoints[0].Hostname != "web-0" || set.Endpoints[1].Hostname != "" {
		t.Errorf("found %+v", set.Endpoints)
	}
}

func TestAVerdictSaysWhatIsWrongOrLeftOut(t *testing.T) {
	many := make([]*discoveryv1.EndpointSlice, 12)
	for i := range many {
		many[i] = aSlice(fmt.Sprint("s", i), "web")
		for j := range 1000 {
			many[i].Endpoints = append(many[i].Endpoints, aPod(fmt.Sprint(i, "-", j), netip.AddrFrom4([4]byte{10, byte(i), byte(j >> 8), byte(j)}).String()))
		}
	}
	for name, c := range map[string]struct {
		service *corev1.Service
		slices  []*discoveryv1.EndpointSlice
		valid   bool
		reason  string
		says    string
		count   int
	}{
		"no service":    {nil, nil, false, "NoService", "there is no Service shop/web", 0},
		"external name": {&corev1.Service{Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName}}, nil, false, "InvalidServiceType", "ExternalName", 0},
		"many ports":    {aService("web", make([]corev1.ServicePort, 129)...), nil, false, "TooManyPorts", "129 ports, expected at most 128", 0},
		"names": {aService("web"), []*discoveryv1.EndpointSlice{
			in(aSlice("s", "web", aPod("p1", "db.example")), func(s *discoveryv1.EndpointSlice) { s.AddressType = discoveryv1.AddressTypeFQDN }), aSlice("t", "web", aPod("p2", "10.0.0.1"))}, true, "Valid", "FQDN", 1},
		"addresses":      {aService("web"), []*discoveryv1.EndpointSlice{aSlice("s", "web", aPod("a", "0.0.0.0"), aPod("b", "224.0.0.1"), aPod("c", "fd00::1"), aPod("d", "nonsense"), discoveryv1.Endpoint{})}, true, "Valid", "5 endpoint(s) are left out", 0},
		"an absent port": {aService("web"), []*discoveryv1.EndpointSlice{in(aSlice("s", "web", aPod("a", "10.0.0.1")), listens("other", 1))}, true, "Valid", "do not listen on every port", 1},
		"too many":       {aService("web"), many, true, "Valid", "12000 endpoints, expected at most 10000", 10_000},
		"nothing wrong":  {aService("web"), []*discoveryv1.EndpointSlice{aSlice("s", "web", aPod("a", "10.0.0.1"))}, true, "Valid", "is exported", 1},
	} {
		t.Run(name, func(t *testing.T) {
			set, v := derive(facts{cluster: "west", export: anExport("web"), service: c.service, slices: c.slices, zone: zones})
			if v.Valid != c.valid || v.Reason != c.reason || !strings.Contains(v.Message, c.says) || (set != nil) != c.valid {
				t.Fatalf("got %+v, want valid=%v %s %q", v, c.valid, c.reason, c.says)
			}
			if v.UID != "export-web" || v.Generation != 3 || v.Service.String() != "shop/web" {
				t.Errorf("it is about %+v", v)
			}
			if set != nil && len(set.Endpoints) != c.count {
				t.Errorf("%d endpoints, want %d", len(set.Endpoints), c.count)
			}
		})
	}
}

func TestNodesSayWhereClientsAre(t *testing.T) {
	node := func(name, zone string, cidrs ...string) *corev1.Node {
		return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{corev1.LabelTopologyZone: zone}}, Spec: corev1.NodeSpec{PodCIDRs: cidrs}}
	}
	old := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "old", Labels: map[string]string{corev1.LabelFailureDomainBetaZone: "Zone_A.1"}}, Spec: corev1.NodeSpec{PodCIDR: "10.9.0.0/24"}}
	host := node("host", "b")
	host.Status.Addresses = []corev1.NodeAddress{
		{Type: corev1.NodeHostName, Address: "host"}, {Type: corev1.NodeInternalIP, Address: "192.168.1.7"}, {Type: corev1.NodeInternalIP, Address: "fd00:2::7"},
		{Type: corev1.NodeExternalIP, Address: "203.0.113.7"}, {Type: corev1.NodeInternalIP, Address: "fe80::1%eth0"},
	}
	p := placesOf([]*corev1.Node{host, node("n1", "a", "10.1.0.0/24", "fd00:1::/64"), node("n2", "b", "10.2.0.7/24", "nonsense"), node("n3", "a", "10.3.0.0/24"), node("n4", "b", "10.3.0.0/24"), node("n5", ""), old})
	var got []string
	for _, c := range p.prefixes {
		got = append(got, fmt.Sprint(c.Prefix, " ", c.Zone))
	}
	want := []string{"10.1.0.0/24 a", "10.2.0.0/24 b", "10.3.0.0/24 ", "10.9.0.0/24 zone-a-1", "192.168.1.7/32 b", "fd00:1::/64 a", "fd00:2::7/128 b"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if p.zone("n1") != "a" || p.zone("old") != "zone-a-1" || p.zone("n5") != "" || p.zone("none") != "" {
		t.Errorf("zones %v", p.zones)
	}
}

func TestWhatOtherRegionsWouldRefuseIsNotExported(t *testing.T) {
	long := strings.Repeat("a", 254)
	service := aService("web", corev1.ServicePort{Name: "http", Port: 80, Protocol: corev1.ProtocolTCP, AppProtocol: &long})
	slice := aSlice("web-1", "web", aPod("10.0.0.2", "10.0.0.1"), discoveryv1.Endpoint{Addresses: []string{"10.0.0.2"}},
		aPod(strings.Repeat("x", 600), "10.0.0.3"), aPod("a\nb", "10.0.0.4"), aPod("0fdb3ec1-7a", "10.0.0.5"))
	set, v := derive(facts{cluster: "west", export: anExport("web"), service: service, slices: []*discoveryv1.EndpointSlice{slice}, zone: func(string) string { return "" }})
	var ids []string
	for _, e := range set.Endpoints {
		ids = append(ids, e.ID)
	}
	if diff := cmp.Diff([]string{"10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4", "0fdb3ec1-7a"}, ids); diff != "" {
		t.Errorf("ids: %s", diff)
	}
	if set.Ports[0].AppProtocol != "" || !strings.Contains(v.Message, "1 appProtocol(s) of more than 253 bytes are left out") {
		t.Errorf("got the appProtocol %q and %q", set.Ports[0].AppProtocol, v.Message)
	}
}
