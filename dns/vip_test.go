package dns

import (
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	mdns "github.com/miekg/dns"

	"github.com/federator/federator/federation/catalog"
)

// vips are the clusterset IPs of a test's cluster.
type vips struct {
	mu      sync.Mutex
	ips     map[catalog.ServiceName][]netip.Addr
	changed chan struct{}
	pending []catalog.ServiceName
}

func newVIPs(all map[catalog.ServiceName]string) *vips {
	v := &vips{ips: map[catalog.ServiceName][]netip.Addr{}, changed: make(chan struct{}, 1)}
	for name, ips := range all {
		v.set(name, ips)
	}
	return v
}

func (v *vips) set(name catalog.ServiceName, ips string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	delete(v.ips, name)
	for _, ip := range strings.Fields(ips) {
		v.ips[name] = append(v.ips[name], netip.MustParseAddr(ip))
	}
	v.pending = append(v.pending, name)
	select {
	case v.changed <- struct{}{}:
	default:
	}
}

func (v *vips) Lookup(name catalog.ServiceName) []netip.Addr {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.ips[name]
}

func (v *vips) Changed() <-chan struct{} { return v.changed }

func (v *vips) Take() []catalog.ServiceName {
	v.mu.Lock()
	defer v.mu.Unlock()
	out := v.pending
	v.pending = nil
	return out
}

func inCluster(v *vips) func(*Config) {
	return func(c *Config) { c.Cluster, c.VIPs = "us-west-1", v }
}

func TestClientsInTheClusterGetItsClustersetIPs(t *testing.T) {
	f := newFixture(t)
	f.upsert("us-west", catalog.Record{Cluster: &catalog.Cluster{Name: "us-west-1", Prefixes: []catalog.ClientPrefix{
		{Prefix: netip.MustParsePrefix("10.1.0.0/16"), Zone: "a"}, {Prefix: netip.MustParsePrefix("10.2.0.0/16"), Zone: "b"}, {Prefix: netip.MustParsePrefix("172.18.0.5/32")}, {Prefix: netip.MustParsePrefix("10.0.0.0/8")},
	}}})
	f.upsert("asia-east", catalog.Record{Cluster: &catalog.Cluster{Name: "asia-east-1", Prefixes: []catalog.ClientPrefix{{Prefix: netip.MustParsePrefix("10.3.0.0/16")}, {Prefix: netip.MustParsePrefix("10.1.0.0/16")}}}})
	v := newVIPs(map[catalog.ServiceName]string{shop: "10.96.0.7", peers: "10.96.0.8"})
	s := f.server(inCluster(v))
	vip := []string{svc + " A 10.96.0.7"}
	const srv, pinned = "_http._tcp." + svc, "checkout.shop.svc.asia-east.region.clusterset.local."
	one := []string{srv + " SRV 0 10000 80 " + svc}
	for _, c := range []Case{
		{Name: "MCS 2.3.1 a pod gets the clusterset IP", Qname: svc, Qtype: mdns.TypeA, Answer: vip},
		{Name: "a node gets it", Qname: svc, Qtype: mdns.TypeA, Client: "172.18.0.5", Answer: vip},
		{Name: "so does a resolver in the cluster", Qname: svc, Qtype: mdns.TypeA, Client: "10.2.9.1", Answer: vip},
		{Name: "a network that another cluster announces, too, is the own one for those who ask here", Qname: svc, Qtype: mdns.TypeA, Client: "10.1.3.3", Answer: vip},
		{Name: "a narrower network of another cluster is not inside", Qname: svc, Qtype: mdns.TypeA, Client: "10.3.0.9", Answer: []string{svc + " A 10.3.0.1"}},
		{Name: "a client whose subnet a trusted resolver tells", Qname: svc, Qtype: mdns.TypeA, Client: "192.0.2.1", Change: edns(1232, subnetOf("10.1.4.0/24")), Answer: vip},
		{Name: "a client outside behind a trusted resolver", Qname: svc, Qtype: mdns.TypeA, Client: "192.0.2.1", Change: edns(1232, subnetOf("10.3.4.0/24")), Answer: []string{svc + " A 10.3.0.1"}},
		{Name: "whoever is not placed gets endpoints", Qname: svc, Qtype: mdns.TypeA, Client: "203.0.113.9", Answer: []string{svc + " A 10.1.0.1", svc + " A 10.1.0.2"}},
		{Name: "another cluster of the region gets endpoints", Qname: svc, Qtype: mdns.TypeAAAA, Client: "fd01::9", Answer: []string{svc + " AAAA fd01::2"}},
		{Name: "there is no AAAA record where the IP is of IPv4", Qname: svc, Qtype: mdns.TypeAAAA, Ns: []string{soa}},
		{Name: "MCS 2.3.2 SRV names the service", Qname: srv, Qtype: mdns.TypeSRV, Change: edns(1232), Answer: one, Extra: vip},
		{Name: "SRV of a port that is not exported", Qname: "_nope._tcp." + svc, Qtype: mdns.TypeSRV, Rcode: mdns.RcodeNameError, Ns: []string{soa}},
		{Name: "SRV without a port is empty", Qname: "_tcp." + svc, Qtype: mdns.TypeSRV, Ns: []string{soa}},
		{Name: "a region that is named is what is answered", Qname: pinned, Qtype: mdns.TypeA, Answer: []string{pinned + " A 10.3.0.1"}},
		{Name: "so is an endpoint", Qname: "10-3-0-1." + svc, Qtype: mdns.TypeA, Answer: []string{"10-3-0-1." + svc + " A 10.3.0.1"}},
		{Name: "a headless service has no IP, whatever an import says", Qname: "db.shop.svc.clusterset.local.", Qtype: mdns.TypeAAAA, Answer: []string{"db.shop.svc.clusterset.local. AAAA fd01::11"}},
		{Name: "a service that is not imported here", Qname: "catalog.shop.svc.clusterset.local.", Qtype: mdns.TypeA, Answer: []string{"catalog.shop.svc.clusterset.local. A 10.2.1.1"}},
		{Name: "ANY", Qname: svc, Qtype: mdns.TypeANY, Answer: []string{svc + ` HINFO "RFC8482" ""`}},
		{Name: "another type", Qname: svc, Qtype: mdns.TypeTXT, Ns: []string{soa}},
	} {
		t.Run(c.Name, func(t *testing.T) { c.run(t, s) })
	}
}

func TestAClustersetIPThatComesAndGoesIsAnsweredAtOnce(t *testing.T) {
	f := newFixture(t)
	v := newVIPs(nil)
	s := f.run(inCluster(v))
	until := func(client, want string) {
		t.Helper()
		deadline := time.Now().Add(10 * time.Second)
		for {
			got := strings.Join(addresses(t, s, svc, client), " ")
			if got == want || want == "" && strings.HasPrefix(got, "10.1.0.") {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("answered %q, expected %q", got, want)
			}
			time.Sleep(time.Millisecond)
		}
	}
	answers := func(want string) { t.Helper(); until("10.1.0.9", want) }
	answers("")
	serial := s.serial.Load()
	for _, ip := range []string{"10.96.0.7", "10.96.0.9", ""} {
		v.set(shop, ip)
		answers(ip)
	}
	if s.serial.Load() == serial {
		t.Error("the serial of the zone stayed as it was")
	}
	v.set(shop, "10.96.0.7")
	answers("10.96.0.7")
	// Neither a change of the service takes it away, nor one of the conditions.
	f.upsert("us-west", set("us-west-1", shop, false, ep("10.1.0.8", "a")))
	until("203.0.113.9", "10.1.0.8")
	answers("10.96.0.7")
	f.cat.SetReachability(catalog.Reachability{Regions: map[string]catalog.Reach{"asia-east": catalog.Out}}, epoch)
	until("10.3.0.9", "10.1.0.8")
	answers("10.96.0.7")
}

func TestAnswersWithAClustersetIPCountAsLookupsThatNameNothing(t *testing.T) {
	f := newFixture(t)
	s := f.server(inCluster(newVIPs(map[catalog.ServiceName]string{shop: "10.96.0.7"})))
	w := s.newWorker(s.newStats())
	for _, q := range []struct {
		name  string
		qtype uint16
	}{{svc, mdns.TypeA}, {svc, mdns.TypeAAAA}, {"_http._tcp." + svc, mdns.TypeSRV}, {svc, mdns.TypeTXT}, {"10-3-0-1." + svc, mdns.TypeA}} {
		packet, err := new(mdns.Msg).SetQuestion(q.name, q.qtype).Pack()
		if err != nil {
			t.Fatal(err)
		}
		w.answer(packet, peer{from: netip.MustParseAddr("10.1.0.9")}, nil)
	}
	if got := s.Tally(); got.Lookups != 3 || got.Failed != 0 || got.Explicit != 1 || len(got.Named) != 0 {
		t.Errorf("counted %+v", got)
	}
}

func TestAnAnswerWithAClustersetIPDoesNotAllocate(t *testing.T) {
	s := newFixture(t).server(inCluster(newVIPs(map[catalog.ServiceName]string{shop: "10.96.0.7"})))
	w, out := s.newWorker(&stats{}), make([]byte, 0, maxUDP)
	for name, qtype := range map[string]uint16{svc: mdns.TypeA, "_http._tcp." + svc: mdns.TypeSRV} {
		packet, err := new(mdns.Msg).SetQuestion(name, qtype).Pack()
		if err != nil {
			t.Fatal(err)
		}
		from := peer{from: netip.MustParseAddr("10.1.0.9")}
		if n := testing.AllocsPerRun(100, func() { out = w.answer(packet, from, out[:0]) }); n > 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}
