package dns

import (
	"encoding/hex"
	"net/netip"
	"strings"
	"testing"
	"time"

	mdns "github.com/miekg/dns"

	"github.com/federator/federator/federation/catalog"
)

func TestProtocolRules(t *testing.T) {
	s := newFixture(t).server()
	zoneA := []string{svc + " A 10.1.0.1", svc + " A 10.1.0.2"}
	for _, c := range []Case{
		{Name: "RFC 2308 no data carries the SOA", Qname: svc, Qtype: mdns.TypeMX, Ns: []string{soa}},
		{Name: "RFC 2308 a missing name carries the SOA", Qname: "x." + svc, Qtype: mdns.TypeA, Rcode: mdns.RcodeNameError, Ns: []string{soa}},
		{Name: "names outside the zone are refused", Qname: "example.com.", Qtype: mdns.TypeA, Rcode: mdns.RcodeRefused, NotAuthoritative: true},
		{Name: "RFC 8914 a refusal says why", Qname: "local.", Qtype: mdns.TypeA, Rcode: mdns.RcodeRefused, NotAuthoritative: true,
			Change: edns(1232), EDE: int(mdns.ExtendedErrorCodeNotAuthoritative)},
		{Name: "the root is refused", Qname: ".", Qtype: mdns.TypeNS, Rcode: mdns.RcodeRefused, NotAuthoritative: true},
		{Name: "a zone that only ends alike is refused", Qname: "xclusterset.local.", Qtype: mdns.TypeA, Rcode: mdns.RcodeRefused, NotAuthoritative: true},
		{Name: "AXFR is refused", Qname: "clusterset.local.", Qtype: mdns.TypeAXFR, Rcode: mdns.RcodeRefused, NotAuthoritative: true},
		{Name: "IXFR is refused", Qname: "clusterset.local.", Qtype: mdns.TypeIXFR, Rcode: mdns.RcodeRefused, NotAuthoritative: true,
			Change: func(m *mdns.Msg) {
				m.Ns = []mdns.RR{&mdns.SOA{Hdr: mdns.RR_Header{Name: "clusterset.local.", Rrtype: mdns.TypeSOA, Class: 1}, Ns: "a.", Mbox: "b."}}
			}},
		{Name: "class CH is refused", Qname: "clusterset.local.", Qtype: mdns.TypeTXT, Rcode: mdns.RcodeRefused, NotAuthoritative: true,
			Change: func(m *mdns.Msg) { m.Question[0].Qclass = mdns.ClassCHAOS }},
		{Name: "NOTIFY is not implemented", Qname: "clusterset.local.", Qtype: mdns.TypeSOA, Rcode: mdns.RcodeNotImplemented, NotAuthoritative: true,
			Change: func(m *mdns.Msg) { m.Opcode = mdns.OpcodeNotify }},
		{Name: "UPDATE is not implemented", Qname: "clusterset.local.", Qtype: mdns.TypeSOA, Rcode: mdns.RcodeNotImplemented, NotAuthoritative: true,
			Change: func(m *mdns.Msg) { m.Opcode = mdns.OpcodeUpdate }},
		{Name: "RFC 9619 two questions are malformed", Qname: svc, Qtype: mdns.TypeA, Rcode: mdns.RcodeFormatError, NotAuthoritative: true,
			Change: func(m *mdns.Msg) { m.Question = append(m.Question, m.Question[0]) }},
		{Name: "no question is malformed", Qname: svc, Qtype: mdns.TypeA, Rcode: mdns.RcodeFormatError, NotAuthoritative: true,
			Change: func(m *mdns.Msg) { m.Question = nil }},
		{Name: "RFC 8482 ANY is minimal", Qname: svc, Qtype: mdns.TypeANY, Answer: []string{svc + ` HINFO "RFC8482" ""`}},
		{Name: "RFC 8482 ANY of an empty name has no data", Qname: "svc.clusterset.local.", Qtype: mdns.TypeANY, Ns: []string{soa}},
		{Name: "RFC 6891 two OPT records are malformed", Qname: svc, Qtype: mdns.TypeA, Rcode: mdns.RcodeFormatError, NotAuthoritative: true,
			Change: func(m *mdns.Msg) { m.SetEdns0(1232, false); m.Extra = append(m.Extra, m.Extra[0]) }},
		{Name: "RFC 6891 another version is BADVERS", Qname: svc, Qtype: mdns.TypeA, Rcode: mdns.RcodeBadVers, NotAuthoritative: true,
			Change: func(m *mdns.Msg) { m.SetEdns0(1232, false); m.IsEdns0().SetVersion(1) }},
		{Name: "RFC 3225 DO changes nothing but its echo", Qname: svc, Qtype: mdns.TypeA, Answer: zoneA,
			Change: func(m *mdns.Msg) { m.SetEdns0(4096, true) }},
		{Name: "other additional records are ignored", Qname: svc, Qtype: mdns.TypeA, Answer: zoneA,
			Change: func(m *mdns.Msg) {
				m.Extra = []mdns.RR{&mdns.TXT{Hdr: mdns.RR_Header{Name: "x.", Rrtype: mdns.TypeTXT, Class: 1}, Txt: []string{"y"}}}
			}},
		{Name: "RFC 7871 an address with bits past the prefix is malformed", Qname: svc, Qtype: mdns.TypeA, Rcode: mdns.RcodeFormatError, NotAuthoritative: true,
			Change: edns(1232, &mdns.EDNS0_LOCAL{Code: 8, Data: []byte{0, 1, 20, 0, 10, 1, 0xff}})},
		{Name: "RFC 7871 a scope in a question is malformed", Qname: svc, Qtype: mdns.TypeA, Rcode: mdns.RcodeFormatError, NotAuthoritative: true,
			Change: edns(1232, &mdns.EDNS0_LOCAL{Code: 8, Data: []byte{0, 1, 8, 8, 10}})},
		{Name: "RFC 7871 an unknown family is malformed", Qname: svc, Qtype: mdns.TypeA, Rcode: mdns.RcodeFormatError, NotAuthoritative: true,
			Change: edns(1232, &mdns.EDNS0_LOCAL{Code: 8, Data: []byte{0, 9, 8, 0, 10}})},
		{Name: "RFC 7873 a cookie of a wrong length is malformed", Qname: svc, Qtype: mdns.TypeA, Rcode: mdns.RcodeFormatError, NotAuthoritative: true,
			Change: edns(1232, &mdns.EDNS0_COOKIE{Code: 10, Cookie: "0011223344556677aa"})},
	} {
		t.Run(c.Name, func(t *testing.T) { c.run(t, s) })
	}
}

func TestRFC6891ErrorsCarryAnOPTIfTheQuestionDid(t *testing.T) {
	s := newFixture(t).server()
	for _, c := range []Case{
		{Name: "NOTIFY", Rcode: mdns.RcodeNotImplemented, Change: func(m *mdns.Msg) { m.Opcode = mdns.OpcodeNotify }},
		{Name: "UPDATE", Rcode: mdns.RcodeNotImplemented, Change: func(m *mdns.Msg) { m.Opcode = mdns.OpcodeUpdate }},
		{Name: "another opcode without a question", Rcode: mdns.RcodeNotImplemented, Change: func(m *mdns.Msg) { m.Opcode, m.Question = 6, nil }},
		{Name: "another opcode with a bad option", Rcode: mdns.RcodeNotImplemented, Change: func(m *mdns.Msg) {
			m.Opcode = mdns.OpcodeStatus
			edns(1232, &mdns.EDNS0_LOCAL{Code: 8, Data: []byte{0, 9, 8, 0, 10}})(m)
		}},
		{Name: "another class", Rcode: mdns.RcodeRefused, EDE: 20, Change: func(m *mdns.Msg) { m.Question[0].Qclass = mdns.ClassCHAOS }},
		{Name: "a zone transfer", Rcode: mdns.RcodeRefused, EDE: 21, Change: func(m *mdns.Msg) { m.Question[0].Qtype = mdns.TypeAXFR }},
		{Name: "two questions", Rcode: mdns.RcodeFormatError, Change: func(m *mdns.Msg) { m.Question = append(m.Question, m.Question[0]) }},
		{Name: "no question", Rcode: mdns.RcodeFormatError, Change: func(m *mdns.Msg) { m.Question = nil }},
		{Name: "a question for OPT", Rcode: mdns.RcodeFormatError, Change: func(m *mdns.Msg) { m.Question[0].Qtype = mdns.TypeOPT }},
		{Name: "another version", Rcode: mdns.RcodeBadVers, Change: func(m *mdns.Msg) { m.IsEdns0().SetVersion(1) }},
	} {
		change := c.Change
		c.Qname, c.Qtype, c.NotAuthoritative = "clusterset.local.", mdns.TypeSOA, true
		t.Run(c.Name, func(t *testing.T) {
			c.Change = func(m *mdns.Msg) { edns(1232)(m); change(m) }
			c.run(t, s) // checks that the answer has an OPT
		})
	}
}

func TestPacketsThatDeserveNoAnswerGetNone(t *testing.T) {
	s := newFixture(t).server()
	m := new(mdns.Msg).SetQuestion(svc, mdns.TypeA)
	m.Response = true
	response, _ := m.Pack()
	for _, p := range [][]byte{nil, {1}, make([]byte, 11), response} {
		if got := askRaw(s, p, "10.1.0.9", false); len(got) != 0 {
			t.Errorf("%x was answered with %x", p, got)
		}
	}
}

func TestRFC7871SubnetCountsFromTrustedSendersOnly(t *testing.T) {
	s := newFixture(t).server()
	const asia, west = svc + " A 10.3.0.1", svc + " A 10.1.0.1"
	for _, c := range []struct {
		name, client, subnet, answer string
		scope                        uint8
	}{
		{"a trusted sender's subnet places the client", "192.0.2.1", "10.3.7.0/24", asia, 16},
		{"another sender's does not", "198.51.100.1", "10.3.7.0/24", west, 0},
		{"a placed sender that is not trusted stays where it is", "10.3.0.1", "10.1.0.0/24", asia, 0},
		{"an unplaced subnet counts as here, as far as no prefix begins", "192.0.2.1", "10.200.0.0/24", west, 9},
		{"a subnet of no bits asks not to be placed by it", "192.0.2.1", "0.0.0.0/0", west, 0},
		{"a subnet may be of IPv6", "192.0.2.1", "fd01:0:1::/48", svc + " A 10.1.0.3", 32},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := new(mdns.Msg).SetQuestion(svc, mdns.TypeA)
			edns(1232, subnetOf(c.subnet))(m)
			r := ask(t, s, m, c.client)
			if len(r.Answer) == 0 || !strings.Contains(strings.Join(brief(r.Answer), "\n"), c.answer) {
				t.Errorf("answer %v lacks %s", brief(r.Answer), c.answer)
			}
			e, ok := r.IsEdns0().Option[0].(*mdns.EDNS0_SUBNET)
			want := subnetOf(c.subnet)
			if !ok || e.Family != want.Family || e.SourceNetmask != want.SourceNetmask || !e.Address.Equal(want.Address) || e.SourceScope != c.scope {
				t.Errorf("echo %+v, want %+v with scope %d", e, want, c.scope)
			}
		})
	}
	if o := ask(t, s, new(mdns.Msg).SetQuestion(svc, mdns.TypeA).SetEdns0(1232, false), "192.0.2.1").IsEdns0(); len(o.Option) != 0 {
		t.Errorf("options %v without having been asked", o.Option)
	}
}

func TestRFC9018ServerCookieOfTheSpecification(t *testing.T) {
	secret, _ := hex.DecodeString("e5e973e5a6b2a43f48e7dc849e37bfcf")
	client, _ := hex.DecodeString("2464c4abcf10c957")
	c, from := cookies{secret}, netip.MustParseAddr("198.51.100.100")
	at := time.Unix(1559731985, 0)
	got := hex.EncodeToString(c.append(nil, client, from, at))
	if want := "2464c4abcf10c957010000005cf79f111f8130c3eee29480"; got != want {
		t.Errorf("cookie %s, want %s", got, want)
	}
	cookie := c.append(nil, client, from, at)
	for _, x := range []struct {
		from string
		at   time.Duration
		want bool
	}{
		{"198.51.100.100", 0, true}, {"198.51.100.101", 0, false},
		{"198.51.100.100", 61 * time.Minute, false}, {"198.51.100.100", -4 * time.Minute, true}, {"198.51.100.100", -6 * time.Minute, false},
	} {
		if got := c.valid(cookie, netip.MustParseAddr(x.from), at.Add(x.at)); got != x.want {
			t.Errorf("valid from %s after %v: %v", x.from, x.at, got)
		}
	}
}

func TestRFC7873CookiesAreAnswered(t *testing.T) {
	s := newFixture(t).server()
	m := new(mdns.Msg).SetQuestion(svc, mdns.TypeA)
	edns(1232, &mdns.EDNS0_COOKIE{Code: 10, Cookie: "0011223344556677"})(m)
	r := ask(t, s, m, "10.1.0.9")
	c, ok := r.IsEdns0().Option[0].(*mdns.EDNS0_COOKIE)
	if !ok || len(c.Cookie) != 2*cookieLen || !strings.HasPrefix(c.Cookie, "0011223344556677") {
		t.Fatalf("cookie %v", r.IsEdns0())
	}
	m.Question = nil // RFC 7873 5.4
	if r := ask(t, s, m, "10.1.0.9"); r.Rcode != mdns.RcodeSuccess || len(r.IsEdns0().Option) != 1 {
		t.Errorf("a question for a cookie alone: %v", r)
	}
}

func TestUnprovenClientsPastTheirRateGetNoData(t *testing.T) {
	s := newFixture(t).server(func(c *Config) { c.Rate = 1 })
	ask(t, s, new(mdns.Msg).SetQuestion(svc, mdns.TypeA), "203.0.113.1")
	Case{Qname: svc, Qtype: mdns.TypeA, Client: "203.0.113.2", NotAuthoritative: true, Truncated: true}.run(t, s)
	m := new(mdns.Msg).SetQuestion(svc, mdns.TypeA)
	edns(1232, &mdns.EDNS0_COOKIE{Code: 10, Cookie: "0011223344556677"})(m)
	r := ask(t, s, m, "203.0.113.1")
	if r.Rcode != mdns.RcodeBadCookie || len(r.Answer) != 0 {
		t.Fatalf("got %v", r)
	}
	m.IsEdns0().Option = r.IsEdns0().Option
	if r := ask(t, s, m, "203.0.113.1"); len(r.Answer) == 0 {
		t.Errorf("a client with our cookie got %v", r)
	}
	s.turn()
	if r := ask(t, s, new(mdns.Msg).SetQuestion(svc, mdns.TypeA), "203.0.113.1"); len(r.Answer) == 0 {
		t.Errorf("the next second: %v", r)
	}
	for range 10 {
		if r := ask(t, s, new(mdns.Msg).SetQuestion(svc, mdns.TypeA), "10.1.0.9"); len(r.Answer) == 0 {
			t.Fatalf("a placed client got %v", r)
		}
	}
}

func TestRFC7766AnswersThatDoNotFitAreTruncated(t *testing.T) {
	s := newFixture(t).server()
	const q = "_http._tcp." + svc
	Case{Qname: q, Qtype: mdns.TypeSRV, Truncated: true}.run(t, s)
	m := new(mdns.Msg).SetQuestion(q, mdns.TypeSRV)
	packet, _ := m.Pack()
	if r := unpack(t, askRaw(s, packet, "10.1.0.9", true)); r.Truncated || len(r.Answer) != 9 {
		t.Errorf("over TCP: %v", r)
	}
	edns(700)(m)
	packet, _ = m.Pack()
	got := askRaw(s, packet, "10.1.0.9", false)
	if r := unpack(t, got); r.Truncated && len(r.Answer) > 0 || len(got) > 700 {
		t.Errorf("%d bytes: %v", len(got), r)
	}
}

func TestRFC8914StaleAnswersSaySo(t *testing.T) {
	f := newFixture(t)
	f.cat.SetReachability(catalog.Reachability{Regions: map[string]catalog.Reach{"asia-east": catalog.ControlPlaneLost}}, epoch)
	s := f.server()
	Case{Qname: svc, Qtype: mdns.TypeA, Client: "10.3.0.9", Change: edns(1232), Answer: []string{svc + " A 10.3.0.1"}, EDE: 3}.run(t, s)
	f.cat.SetReachability(catalog.Reachability{Isolated: true, Regions: map[string]catalog.Reach{"asia-east": catalog.Silent, "eu-central": catalog.Silent}}, epoch)
	s = f.server()
	Case{Qname: "catalog.shop.svc.clusterset.local.", Qtype: mdns.TypeA, Change: edns(1232), Answer: []string{"catalog.shop.svc.clusterset.local. A 10.2.1.1"}, EDE: 3}.run(t, s)
	Case{Qname: "new.shop.svc.clusterset.local.", Qtype: mdns.TypeA, Change: edns(1232), Rcode: mdns.RcodeNameError, Ns: []string{soa}, EDE: 19}.run(t, s)
}

func TestRFC8914StaleAnswersWithoutDataSaySo(t *testing.T) {
	const pinned = "checkout.shop.svc.asia-east.region.clusterset.local."
	lost := func(reach catalog.Reach) catalog.Reachability {
		return catalog.Reachability{Regions: map[string]catalog.Reach{"asia-east": reach}}
	}
	isolated := catalog.Reachability{Isolated: true, Regions: map[string]catalog.Reach{"asia-east": catalog.Silent, "eu-central": catalog.Silent}}
	for _, c := range []struct {
		name  string
		reach catalog.Reachability
		asked string
		qtype uint16
		ede   int
	}{
		{"nothing is confirmed while isolated", isolated, "catalog.shop.svc.clusterset.local.", mdns.TypeAAAA, 3},
		{"nor for headless services", isolated, "db.shop.svc.eu-central.region.clusterset.local.", mdns.TypeA, 3},
		{"nor for pinned names", isolated, "catalog.shop.svc.us-west.region.clusterset.local.", mdns.TypeA, 3},
		{"nor for pinned ports", isolated, "_http._tcp.catalog.shop.svc.us-west.region.clusterset.local.", mdns.TypeSRV, 3},
		{"nor for SRV of a service", isolated, svc, mdns.TypeSRV, 3},
		{"a pinned region that is out", lost(catalog.Out), pinned, mdns.TypeAAAA, 3},
		{"its ports", lost(catalog.Out), "_http._tcp.catalog.shop.svc.asia-east.region.clusterset.local.", mdns.TypeSRV, 3},
		{"a pinned region without its control plane", lost(catalog.ControlPlaneLost), pinned, mdns.TypeAAAA, 3},
		{"and without the service", lost(catalog.ControlPlaneLost), "catalog.shop.svc.asia-east.region.clusterset.local.", mdns.TypeA, 3},
		{"another pinned region", lost(catalog.Out), "catalog.shop.svc.us-west.region.clusterset.local.", mdns.TypeA, 0},
		{"a service that is elsewhere", lost(catalog.Out), "catalog.shop.svc.clusterset.local.", mdns.TypeAAAA, 0},
		{"what all confirm", lost(catalog.Reachable), pinned, mdns.TypeAAAA, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFixture(t)
			f.cat.SetReachability(c.reach, epoch)
			Case{Qname: c.asked, Qtype: c.qtype, Change: edns(1232), Ns: []string{soa}, EDE: c.ede}.run(t, f.server())
		})
	}
	f := newFixture(t)
	f.cat.SetReachability(lost(catalog.Out), epoch)
	Case{Qname: svc, Qtype: mdns.TypeA, Change: edns(1232), Answer: []string{svc + " A 10.1.0.1", svc + " A 10.1.0.2"}}.run(t, f.server())
}

func TestBadConfigurationIsReportedAllAtOnce(t *testing.T) {
	_, err := New(Config{Zone: "Bad_Zone", TTL: time.Millisecond, Listen: []string{"nowhere"}, CookieSecret: []byte("x")}, nil)
	for _, want := range []string{"bad_zone", "TTL", "nowhere", "cookie", "region"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not mention %s", err, want)
		}
	}
}
