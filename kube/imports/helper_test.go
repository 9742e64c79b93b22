package imports

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	mcsv1beta1 "sigs.k8s.io/mcs-api/pkg/apis/v1beta1"

	"github.com/federator/federator/federation/catalog"
)

var (
	checkout = catalog.ServiceName{Namespace: "shop", Name: "checkout"}
	start    = time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	http     = catalog.Port{Name: "http", Protocol: catalog.TCP, Number: 80}
	metrics  = catalog.Port{Name: "metrics", Protocol: catalog.TCP, Number: 9090}
)

// backend makes one cluster's part of shop/checkout from "cluster@region/zone
// states", one letter for each endpoint: h healthy, d degraded, u unhealthy, x
// draining, ? unknown. More "/zone states" pairs may follow.
func backend(spec string) catalog.Backend {
	f := strings.Fields(spec)
	cluster, place, _ := strings.Cut(f[0], "@")
	region, _, _ := strings.Cut(place, "/")
	set := &catalog.EndpointSet{
		SetKey: catalog.SetKey{Cluster: cluster, Service: checkout}, Source: "kube", Ports: []catalog.Port{http}, CreatedAt: start,
	}
	b := catalog.Backend{Region: region, Set: set}
	for i := 0; i+1 < len(f); i += 2 {
		_, zone, _ := strings.Cut(f[i], "/")
		for _, letter := range f[i+1] {
			n := len(set.Endpoints)
			set.Endpoints = append(set.Endpoints, catalog.Endpoint{
				ID: fmt.Sprintf("pod-%d", n), Zone: zone, Weight: 1, Hostname: fmt.Sprintf("checkout-%d", n),
				Address: netip.AddrFrom4([4]byte{10, cluster[1] - 'a' + 30*(cluster[len(cluster)-1]-'0'), byte(n >> 8), byte(n)}),
				Ports:   map[string]uint16{"http": 8080},
			})
			b.Health = append(b.Health, map[rune]catalog.Health{
				'h': catalog.Healthy, 'd': catalog.Degraded, 'u': catalog.Unhealthy, 'x': catalog.Draining, '?': catalog.Unknown,
			}[letter])
		}
	}
	return b
}

// older makes the export older than the others by an hour.
func older(b catalog.Backend) catalog.Backend {
	b.Set.CreatedAt = b.Set.CreatedAt.Add(-time.Hour)
	return b
}

func withPorts(b catalog.Backend, ports ...catalog.Port) catalog.Backend {
	b.Set.Ports = ports
	return b
}

func saying(b catalog.Backend, p catalog.Properties) catalog.Backend {
	b.Set.Properties = &p
	return b
}

func headless(b catalog.Backend) catalog.Backend {
	b.Set.Headless = true
	return b
}

// merged lets the catalog merge the parts, each exported by its own region.
func merged(t testing.TB, backends ...catalog.Backend) *catalog.Service {
	t.Helper()
	c := catalog.New("us-west", "")
	regions := map[string][]catalog.Record{}
	for _, b := range backends {
		set := *b.Set
		set.Endpoints = slices.Clone(set.Endpoints)
		for i := range set.Endpoints {
			set.Endpoints[i].Health = b.Health[i]
		}
		regions[b.Region] = append(regions[b.Region], catalog.Record{Set: &set})
	}
	for region, records := range regions {
		if err := c.Reset(catalog.Snapshot{Region: region, Version: catalog.Version{Epoch: 1, Seq: 1}, Records: records}, start); err != nil {
			t.Fatal(err)
		}
	}
	return c.Service(checkout)
}

// store is an API server for the objects of one service: what Make wants is done
// at once, with UIDs, resource versions and cluster IPs as a real one gives them.
type store struct {
	in      Input
	version int
	ip      int
	writes  int
	// prunes: the definitions of the API are older than the fields for traffic and
	// status.endpointSliceObjects.
	prunes bool
	// dual: the cluster has IPv6, too.
	dual bool
}

// newStore is cluster west-1 in us-west, where the namespace exists.
func newStore(t testing.TB, backends ...catalog.Backend) *store {
	t.Helper()
	s := &store{}
	s.in = Input{
		Name: checkout, Cluster: "west-1", Region: "us-west", Now: metav1.NewTime(start),
		Conditions: &catalog.Conditions{Region: "us-west", Reach: map[string]catalog.Reach{}, RTT: map[string]time.Duration{
			"us-east": 60 * time.Millisecond, "eu-central": 140 * time.Millisecond,
		}},
		Knowledge: knows(1),
		Facts:     Facts{Namespace: true},
	}
	s.exported(t, backends...)
	return s
}

// knows is what is known when every region is at 1.seq.
func knows(seq uint64) *Knowledge {
	k := &Knowledge{Federation: "acme", Regions: map[string]catalog.Version{}, Health: map[string]catalog.HealthVersion{}}
	for _, region := range []string{"us-west", "us-east", "eu-central"} {
		k.Regions[region] = catalog.Version{Epoch: 1, Seq: seq}
	}
	return k
}

func (s *store) exported(t testing.TB, backends ...catalog.Backend) {
	t.Helper()
	s.in.Service = nil
	if len(backends) > 0 {
		s.in.Service = merged(t, backends...)
	}
}

// settle plans and writes until nothing is left, and returns the last plan.
func (s *store) settle(t testing.TB) Plan {
	t.Helper()
	for range 10 {
		p := Make(s.in)
		if len(p.Writes) == 0 {
			return p
		}
		for _, w := range p.Writes {
			s.apply(t, w)
		}
	}
	t.Fatalf("expected nothing left to write after ten plans, found %s", words(Make(s.in).Writes))
	return Plan{}
}

func words(writes []Write) string {
	var out []string
	for _, w := range writes {
		out = append(out, fmt.Sprintf("%s %T %s", w.Verb, w.Object, w.Object.GetName()))
	}
	return strings.Join(out, ", ")
}

func (s *store) apply(t testing.TB, w Write) {
	t.Helper()
	s.version++
	s.writes++
	version := strconv.Itoa(s.version)
	f := &s.in.Facts
	switch o := w.Object.(type) {
	case *mcsv1beta1.ServiceImport:
		if w.Verb == Delete {
			*f = Facts{Namespace: f.Namespace, Export: f.Export} // and what it owns
			return
		}
		put(t, w, f.Import, o, version)
		if s.prunes {
			o.Spec.InternalTrafficPolicy, o.Spec.TrafficDistribution, o.Status.EndpointSliceObjects = nil, nil, ""
		}
		if w.Verb != UpdateStatus {
			o.Generation++
		}
		f.Import = o
	case *corev1.Service:
		if w.Verb == Delete {
			f.Service = nil
			return
		}
		if !s.dual && w.Verb == Create && len(o.Spec.ClusterIPs) == 0 && slices.Contains(o.Spec.IPFamilies, corev1.IPv6Protocol) {
			f.NoFamily = true // as the writer finds out when it is refused
			return
		}
		put(t, w, f.Service, o, version)
		s.allocate(o)
		f.Service = o
	case *discoveryv1.EndpointSlice:
		at := slices.IndexFunc(f.Slices, func(x *discoveryv1.EndpointSlice) bool { return x.Name == o.Name })
		f.Slices = slices.Clone(f.Slices)
		switch {
		case w.Verb == Delete && at >= 0:
			f.Slices = slices.Delete(f.Slices, at, at+1)
		case w.Verb == Create && at < 0:
			put(t, w, nil, o, version)
			f.Slices = append(f.Slices, o)
		case w.Verb == Update && at >= 0:
			put(t, w, f.Slices[at], o, version)
			f.Slices[at] = o
		default:
			t.Fatalf("%s of slice %s cannot be done: it is number %d", w.Verb, o.Name, at)
		}
		slices.SortFunc(f.Slices, func(a, b *discoveryv1.EndpointSlice) int { return strings.Compare(a.Name, b.Name) })
	case *mcsv1beta1.ServiceExport:
		next := f.Export.DeepCopy()
		next.Status, next.ResourceVersion = o.Status, version
		f.Export = next
	}
}

// allocate gives a Service an IP of each family that it asks for, IPv4 first, and of
// those that it has not yet.
func (s *store) allocate(o *corev1.Service) {
	if len(o.Spec.IPFamilies) == 0 {
		o.Spec.IPFamilies = []corev1.IPFamily{corev1.IPv4Protocol}
	}
	if s.dual && len(o.Spec.IPFamilies) == 1 && *o.Spec.IPFamilyPolicy == corev1.IPFamilyPolicyPreferDualStack {
		other := corev1.IPv6Protocol
		if o.Spec.IPFamilies[0] == other {
			other = corev1.IPv4Protocol
		}
		o.Spec.IPFamilies = append(slices.Clone(o.Spec.IPFamilies), other)
	}
	if isHeadless(o) {
		o.Spec.ClusterIPs = []string{corev1.ClusterIPNone}
		return
	}
	for _, family := range o.Spec.IPFamilies[len(o.Spec.ClusterIPs):] {
		s.ip++
		o.Spec.ClusterIPs = append(o.Spec.ClusterIPs, fmt.Sprintf(map[corev1.IPFamily]string{corev1.IPv4Protocol: "172.20.0.%d", corev1.IPv6Protocol: "fd20::%d"}[family], s.ip))
	}
	o.Spec.ClusterIP = o.Spec.ClusterIPs[0]
}

// put checks a write of an object as an API server does.
func put[T interface {
	comparable
	metav1.Object
}](t testing.TB, w Write, have, next T, version string) {
	t.Helper()
	var none T
	switch {
	case w.Verb == Create && have != none:
		t.Fatalf("%T %s exists already", next, next.GetName())
	case w.Verb == Create:
		next.SetUID(types.UID("uid-" + version))
	case have == none:
		t.Fatalf("%T %s does not exist", next, next.GetName())
	case have.GetResourceVersion() != next.GetResourceVersion():
		t.Fatalf("%T %s: expected a write at resourceVersion %s, found %s", next, next.GetName(), have.GetResourceVersion(), next.GetResourceVersion())
	}
	next.SetResourceVersion(version)
}

// listed returns "cluster/address" of the endpoints that are listed as ready, or of
// those that are not, in order.
func (s *store) listed(ready bool) (out []string) {
	for _, slice := range s.in.Facts.Slices {
		for _, e := range slice.Endpoints {
			if *e.Conditions.Ready == ready {
				out = append(out, slice.Labels[mcsv1beta1.LabelSourceCluster]+"/"+e.Addresses[0])
			}
		}
	}
	slices.Sort(out)
	return out
}

// perCluster counts the ready endpoints by source cluster.
func (s *store) perCluster() map[string]int {
	out := map[string]int{}
	for _, e := range s.listed(true) {
		cluster, _, _ := strings.Cut(e, "/")
		out[cluster]++
	}
	return out
}

// find returns a condition, which must be there.
func find(t testing.TB, conditions []metav1.Condition, kind string) metav1.Condition {
	t.Helper()
	at := slices.IndexFunc(conditions, func(c metav1.Condition) bool { return c.Type == kind })
	if at < 0 {
		t.Fatalf("expected a condition %s, found %v", kind, conditions)
	}
	return conditions[at]
}

func mustSix(n int) netip.Addr { return netip.MustParseAddr(fmt.Sprintf("fd00::%x", n+1)) }
