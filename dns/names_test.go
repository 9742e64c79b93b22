package dns

import (
	"maps"
	"testing"
	"time"

	mdns "github.com/miekg/dns"

	"github.com/federator/federator/federation/catalog"
)

const svc = "checkout.shop.svc.clusterset.local."

func TestNamesOfServices(t *testing.T) {
	s := newFixture(t).server()
	dbAll := []string{"db.shop.svc.clusterset.local. A 10.1.1.1", "db.shop.svc.clusterset.local. A 10.1.1.2", "db.shop.svc.clusterset.local. A 10.1.2.1"}
	for _, c := range []Case{
		{Name: "a client gets the endpoints of its own zone", Qname: svc, Qtype: mdns.TypeA,
			Answer: []string{svc + " A 10.1.0.1", svc + " A 10.1.0.2"}},
		{Name: "AAAA comes from the same zone as A", Qname: svc, Qtype: mdns.TypeAAAA, Answer: []string{svc + " AAAA fd01::1"}},
		{Name: "a client of another region gets that region's", Qname: svc, Qtype: mdns.TypeA, Client: "10.3.0.9",
			Answer: []string{svc + " A 10.3.0.1"}},
		{Name: "a client in a region without the service gets another region's", Qname: "catalog.shop.svc.clusterset.local.", Qtype: mdns.TypeA,
			Client: "10.3.0.9", Answer: []string{"catalog.shop.svc.clusterset.local. A 10.2.1.1"}},
		{Name: "an unplaced client counts as being where the replica is", Qname: svc, Qtype: mdns.TypeA, Client: "203.0.113.9",
			Answer: []string{svc + " A 10.1.0.1", svc + " A 10.1.0.2"}},
		{Name: "a pinned name asks for one region", Qname: "checkout.shop.svc.asia-east.region.clusterset.local.", Qtype: mdns.TypeA,
			Answer: []string{"checkout.shop.svc.asia-east.region.clusterset.local. A 10.3.0.1"}},
		{Name: "a pinned name has no data where the region lacks the service", Qname: "catalog.shop.svc.asia-east.region.clusterset.local.", Qtype: mdns.TypeA,
			Ns: []string{soa}},
		{Name: "a pinned name of an unknown region does not exist", Qname: "checkout.shop.svc.mars.region.clusterset.local.", Qtype: mdns.TypeA,
			Rcode: mdns.RcodeNameError, Ns: []string{soa}},
		{Name: "a headless service answers with every endpoint", Qname: "db.shop.svc.clusterset.local.", Qtype: mdns.TypeA, Answer: dbAll},
		{Name: "a headless endpoint has a name", Qname: "db-0.us-west-1.db.shop.svc.clusterset.local.", Qtype: mdns.TypeA,
			Answer: []string{"db-0.us-west-1.db.shop.svc.clusterset.local. A 10.1.1.1"}},
		{Name: "a headless endpoint has a name in both families", Qname: "db-0.us-west-1.db.shop.svc.clusterset.local.", Qtype: mdns.TypeAAAA,
			Answer: []string{"db-0.us-west-1.db.shop.svc.clusterset.local. AAAA fd01::11"}},
		{Name: "a cluster id may be two labels", Qname: "db-0.us-west.two.db.shop.svc.clusterset.local.", Qtype: mdns.TypeA,
			Answer: []string{"db-0.us-west.two.db.shop.svc.clusterset.local. A 10.1.2.1"}},
		{Name: "a headless endpoint without a hostname is named by its address", Qname: "10-1-1-2.us-west-1.db.shop.svc.clusterset.local.", Qtype: mdns.TypeA,
			Answer: []string{"10-1-1-2.us-west-1.db.shop.svc.clusterset.local. A 10.1.1.2"}},
		{Name: "an endpoint that is not headless is named by its address", Qname: "10-3-0-1." + svc, Qtype: mdns.TypeA,
			Answer: []string{"10-3-0-1." + svc + " A 10.3.0.1"}},
		{Name: "an address that is no endpoint does not exist", Qname: "10-9-9-9." + svc, Qtype: mdns.TypeA, Rcode: mdns.RcodeNameError, Ns: []string{soa}},
		{Name: "names are matched without case and echoed with it", Qname: "ChEckout.sHop.SVC.clusterset.LOCAL.", Qtype: mdns.TypeA,
			Answer: []string{"ChEckout.sHop.SVC.clusterset.LOCAL. A 10.1.0.1", "ChEckout.sHop.SVC.clusterset.LOCAL. A 10.1.0.2"}},
		{Name: "MCS 2.2 the schema version is a TXT record", Qname: "dns-version.clusterset.local.", Qtype: mdns.TypeTXT,
			Answer: []string{`dns-version.clusterset.local. TXT "1.0.0"`}},
		{Name: "the apex has NS", Qname: "clusterset.local.", Qtype: mdns.TypeNS,
			Answer: []string{"clusterset.local. NS ns.dns.clusterset.local."}, Extra: []string{"ns.dns.clusterset.local. A 127.0.0.1"}},
		{Name: "the apex has SOA", Qname: "clusterset.local.", Qtype: mdns.TypeSOA, Answer: []string{soa}},
		{Name: "the name server is where the question came to", Qname: "ns.dns.clusterset.local.", Qtype: mdns.TypeA,
			Answer: []string{"ns.dns.clusterset.local. A 127.0.0.1"}},
	} {
		t.Run(c.Name, func(t *testing.T) { c.run(t, s) })
	}
}

func TestRFC8020EmptyNonTerminalsExist(t *testing.T) {
	s := newFixture(t).server()
	for name, rcode := range map[string]int{
		"svc.clusterset.local.":                                       mdns.RcodeSuccess,
		"shop.svc.clusterset.local.":                                  mdns.RcodeSuccess,
		"_tcp." + svc:                                                 mdns.RcodeSuccess,
		"us-west-1.db.shop.svc.clusterset.local.":                     mdns.RcodeSuccess,
		"us-west.two.db.shop.svc.clusterset.local.":                   mdns.RcodeSuccess,
		"two.db.shop.svc.clusterset.local.":                           mdns.RcodeSuccess,
		"region.clusterset.local.":                                    mdns.RcodeSuccess,
		"eu-central.region.clusterset.local.":                         mdns.RcodeSuccess,
		"svc.eu-central.region.clusterset.local.":                     mdns.RcodeSuccess,
		"shop.svc.eu-central.region.clusterset.local.":                mdns.RcodeSuccess,
		"_tcp.checkout.shop.svc.eu-central.region.clusterset.local.":  mdns.RcodeSuccess,
		"dns.clusterset.local.":                                       mdns.RcodeSuccess,
		"clusterset.local.":                                           mdns.RcodeSuccess,
		"nope.clusterset.local.":                                      mdns.RcodeNameError,
		"nope.svc.clusterset.local.":                                  mdns.RcodeNameError,
		"nope.shop.svc.clusterset.local.":                             mdns.RcodeNameError,
		"_sctp." + svc:                                                mdns.RcodeNameError,
		"_nope._tcp." + svc:                                           mdns.RcodeNameError,
		"x._http._tcp." + svc:                                         mdns.RcodeNameError,
		"us-west-1." + svc:                                            mdns.RcodeNameError, // MCS 2.3.4
		"nope.us-west-1.db.shop.svc.clusterset.local.":                mdns.RcodeNameError,
		"x.db-0.us-west-1.db.shop.svc.clusterset.local.":              mdns.RcodeNameError,
		"wo.db.shop.svc.clusterset.local.":                            mdns.RcodeNameError,
		"x.dns-version.clusterset.local.":                             mdns.RcodeNameError,
		"10-1-0-1.checkout.shop.svc.us-west.region.clusterset.local.": mdns.RcodeNameError,
		"svc.nope.region.clusterset.local.":                           mdns.RcodeNameError,
		"x.eu-central.region.clusterset.local.":                       mdns.RcodeNameError,
	} {
		Case{Qname: name, Qtype: mdns.TypeA, Rcode: rcode, Ns: []string{soa}}.run(t, s)
		if t.Failed() {
			t.Fatalf("at %s", name)
		}
	}
}

func TestRFC2782SRVListsServingEndpointsFirst(t *testing.T) {
	s := newFixture(t).server()
	const q = "_http._tcp." + svc
	target := func(name, addr string) string { return name + "." + svc + " " + addr }
	Case{Qname: q, Qtype: mdns.TypeSRV, Change: edns(1232),
		Answer: []string{
			q + " SRV 0 3333 80 10-1-0-1." + svc, q + " SRV 0 3333 80 10-1-0-2." + svc, q + " SRV 0 3333 80 fd01--1." + svc,
			q + " SRV 1 5000 80 10-1-0-3." + svc, q + " SRV 1 5000 80 fd01--2." + svc,
			q + " SRV 2 10000 80 10-3-0-1." + svc,
			q + " SRV 3 3333 80 10-2-0-1." + svc, q + " SRV 3 3333 80 fd02--1." + svc, q + " SRV 3 3333 80 10-2-0-2." + svc,
		},
		Extra: []string{
			target("10-1-0-1", "A 10.1.0.1"), target("10-1-0-2", "A 10.1.0.2"), target("fd01--1", "AAAA fd01::1"),
			target("10-1-0-3", "A 10.1.0.3"), target("fd01--2", "AAAA fd01::2"), target("10-3-0-1", "A 10.3.0.1"),
			target("10-2-0-1", "A 10.2.0.1"), target("10-2-0-2", "A 10.2.0.2"), target("fd02--1", "AAAA fd02::1"),
		}}.run(t, s)
}

func TestMCSHeadlessSRVNamesEveryEndpoint(t *testing.T) {
	s := newFixture(t).server()
	m := new(mdns.Msg).SetQuestion("_dns._udp.db.shop.svc.clusterset.local.", mdns.TypeSRV)
	m.SetEdns0(1232, false)
	r := ask(t, s, m, "10.1.0.9")
	want := map[string]bool{"db-0.us-west-1.db.shop.svc.clusterset.local.": true, "10-1-1-2.us-west-1.db.shop.svc.clusterset.local.": true, "db-0.us-west.two.db.shop.svc.clusterset.local.": true}
	for _, rr := range r.Answer {
		srv := rr.(*mdns.SRV)
		if !want[srv.Target] || srv.Port != 53 {
			t.Errorf("unexpected %v", srv)
		}
		a := ask(t, s, new(mdns.Msg).SetQuestion(srv.Target, mdns.TypeA), "10.1.0.9")
		if len(a.Answer) == 0 {
			t.Errorf("target %s does not resolve", srv.Target)
		}
		delete(want, srv.Target)
	}
	if len(want) > 0 {
		t.Errorf("missing %v in %v", want, r)
	}
}

func TestKEP1645SRVNamesEndpointsOfExportersThatExposeThePort(t *testing.T) {
	f := newFixture(t)
	odd := catalog.ServiceName{Namespace: "shop", Name: "odd"}
	export := func(cluster, addr string, age time.Duration, ports ...catalog.Port) catalog.Record {
		e := ep(addr, "a")
		e.Ports = map[string]uint16{"web": 8080}
		r := set(cluster, odd, false, e)
		r.Set.Ports, r.Set.CreatedAt = ports, epoch.Add(-age)
		return r
	}
	http := catalog.Port{Name: "http", Protocol: catalog.TCP, Number: 80}
	f.upsert("us-west", export("us-west-1", "10.1.4.1", 3*time.Hour, http))
	f.upsert("eu-central", export("eu-central-1", "10.2.4.1", 2*time.Hour, catalog.Port{Name: "web", Protocol: catalog.TCP, Number: 80}))
	f.upsert("asia-east", export("asia-east-1", "10.3.4.1", time.Hour, catalog.Port{Name: "http", Protocol: catalog.TCP, Number: 81}))
	const q = "_http._tcp.odd.shop.svc.clusterset.local."
	r := ask(t, f.server(), new(mdns.Msg).SetQuestion(q, mdns.TypeSRV), "10.1.0.9")
	found := map[string]uint16{}
	for _, rr := range r.Answer {
		found[rr.(*mdns.SRV).Target] = rr.(*mdns.SRV).Port
	}
	want := map[string]uint16{"10-1-4-1.odd.shop.svc.clusterset.local.": 80, "10-2-4-1.odd.shop.svc.clusterset.local.": 8080}
	if !maps.Equal(found, want) {
		t.Errorf("expected %v, found %v", want, found)
	}
}

func TestUnnamedPortsHaveNoSRV(t *testing.T) {
	s := newFixture(t).server()
	Case{Qname: "_._tcp." + svc, Qtype: mdns.TypeSRV, Rcode: mdns.RcodeNameError, Ns: []string{soa}}.run(t, s)
}
