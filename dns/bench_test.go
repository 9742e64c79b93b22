package dns

import (
	"net"
	"net/netip"
	"testing"

	mdns "github.com/miekg/dns"

	"github.com/federator/federator/federation/catalog"
)

// The two benchmarks of an answer differ in who makes it: this package, or
// miekg's parser and packer with a map of records. Compare them in one run.

func benchServer(b *testing.B) (*Server, []byte) {
	f := newFixture(b)
	f.services(10_000)
	m := new(mdns.Msg).SetQuestion("svc4242.ns42.svc.clusterset.local.", mdns.TypeA)
	m.SetEdns0(1232, false)
	p, err := m.Pack()
	if err != nil {
		b.Fatal(err)
	}
	return f.server(), p
}

func BenchmarkAnswer(b *testing.B) {
	s, p := benchServer(b)
	w, out := s.newWorker(&stats{}), make([]byte, 0, maxUDP)
	from := peer{from: netip.MustParseAddr("10.1.0.9")}
	if r := unpack(b, w.answer(p, from, nil)); len(r.Answer) == 0 {
		b.Fatal(r)
	}
	b.ReportAllocs()
	for b.Loop() {
		out = w.answer(p, from, out[:0])
	}
}

func BenchmarkAnswerMiekg(b *testing.B) {
	s, p := benchServer(b)
	records := map[string][]mdns.RR{}
	r := unpack(b, askRaw(s, p, "10.1.0.9", false))
	records[r.Question[0].Name] = r.Answer
	b.ReportAllocs()
	for b.Loop() {
		var q, a mdns.Msg
		if q.Unpack(p) != nil {
			b.Fatal()
		}
		a.SetReply(&q)
		a.Compress = true
		a.Answer = records[mdns.CanonicalName(q.Question[0].Name)]
		a.SetEdns0(1232, false)
		if _, err := a.Pack(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAnswerSRV(b *testing.B) {
	s := newFixture(b).server()
	m := new(mdns.Msg).SetQuestion("_http._tcp."+svc, mdns.TypeSRV)
	m.SetEdns0(1232, false)
	p, _ := m.Pack()
	w, out := s.newWorker(&stats{}), make([]byte, 0, maxUDP)
	b.ReportAllocs()
	for b.Loop() {
		out = w.answer(p, peer{from: netip.MustParseAddr("10.1.0.9")}, out[:0])
	}
}

func BenchmarkUDP(b *testing.B) {
	f := newFixture(b)
	s := f.run()
	m := new(mdns.Msg).SetQuestion(svc, mdns.TypeA)
	p, _ := m.Pack()
	c, err := net.Dial("udp", s.Addr()[0].String())
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	in := make([]byte, maxUDP)
	for b.Loop() {
		c.Write(p)
		if _, err := c.Read(in); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkPrepare(b *testing.B) {
	f := newFixture(b)
	f.services(10_000)
	b.ReportAllocs()
	for b.Loop() {
		s, err := New(config(), f.cat)
		if err != nil {
			b.Fatal(err)
		}
		s.apply(catalog.Changes{All: true}, epoch)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/10_000, "ns/service")
}

func TestTheHotPathDoesNotAllocate(t *testing.T) {
	s := newFixture(t).server()
	w, out := s.newWorker(&stats{}), make([]byte, 0, maxUDP)
	for _, name := range []string{svc, "db.shop.svc.clusterset.local.", "x." + svc, "example.com.", "checkout.shop.svc.us-west.region.clusterset.local."} {
		m := new(mdns.Msg).SetQuestion(name, mdns.TypeA)
		edns(1232, subnetOf("10.3.0.0/24"), &mdns.EDNS0_COOKIE{Code: 10, Cookie: "0011223344556677"})(m)
		p, _ := m.Pack()
		from := peer{from: netip.MustParseAddr("192.0.2.1")}
		if n := testing.AllocsPerRun(100, func() { out = w.answer(p, from, out[:0]) }); n > 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}
