package dns

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	mdns "github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/federator/federator/federation/catalog"
)

func exchange(t *testing.T, network, name string, qtype uint16, to netip.AddrPort) *mdns.Msg {
	t.Helper()
	m := new(mdns.Msg).SetQuestion(name, qtype)
	m.SetEdns0(1232, false)
	c := mdns.Client{Net: network, Timeout: 30 * time.Second}
	r, _, err := c.Exchange(m, to.String())
	if err != nil {
		t.Fatalf("%s over %s: %v", name, network, err)
	}
	return r
}

func TestAnswersOverRealSockets(t *testing.T) {
	f := newFixture(t)
	s := f.run(func(c *Config) { c.Listen = []string{"127.0.0.1:0", "[::]:0", "0.0.0.0:0"} })
	addrs := s.Addr()
	for _, to := range []netip.AddrPort{addrs[0], netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), addrs[1].Port()),
		netip.AddrPortFrom(netip.MustParseAddr("127.0.0.7"), addrs[1].Port()), netip.AddrPortFrom(netip.MustParseAddr("127.0.0.9"), addrs[2].Port())} {
		for _, network := range []string{"udp", "tcp"} {
			r := exchange(t, network, svc, mdns.TypeA, to)
			if len(r.Answer) != 2 {
				t.Errorf("%s %v: %v", network, to, r)
			}
			// The client's socket is connected: it got this from the address it asked.
			ns := exchange(t, network, "ns.dns.clusterset.local.", mdns.TypeA, to)
			if got := brief(ns.Answer); len(got) != 1 || !strings.HasSuffix(got[0], " "+to.Addr().String()) {
				t.Errorf("%s %v: name server at %v", network, to, got)
			}
		}
	}
}

func TestAListenAddressMayBeAMappedOne(t *testing.T) {
	s := newFixture(t).run(func(c *Config) { c.Listen = []string{"[::ffff:127.0.0.1]:0", "[::ffff:0.0.0.0]:0"} })
	const ns = "ns.dns.clusterset.local."
	for _, a := range s.Addr() {
		if !a.Addr().Is4() {
			t.Errorf("serves %v, want IPv4", a)
		}
		to := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), a.Port())
		for _, network := range []string{"udp", "tcp"} {
			same(t, network+" A", exchange(t, network, ns, mdns.TypeA, to).Answer, []string{ns + " A 127.0.0.1"})
			same(t, network+" AAAA", exchange(t, network, ns, mdns.TypeAAAA, to).Answer, nil)
			same(t, network+" glue", exchange(t, network, "clusterset.local.", mdns.TypeNS, to).Extra, []string{ns + " A 127.0.0.1"})
		}
	}
}

func TestAnswersFollowTheCatalog(t *testing.T) {
	f := newFixture(t)
	s := f.run()
	f.upsert("us-west", set("us-west-1", catalog.ServiceName{Namespace: "new", Name: "one"}, false, ep("10.1.5.1", "a")))
	deadline := time.Now().Add(30 * time.Second)
	for len(exchange(t, "udp", "one.new.svc.clusterset.local.", mdns.TypeA, s.Addr()[0]).Answer) == 0 {
		if time.Now().After(deadline) {
			t.Fatal("a new service is not answered")
		}
	}
}

func TestTCPAnswersPipelinedQuestionsInOrder(t *testing.T) {
	s := newFixture(t).run()
	c, err := net.Dial("tcp", s.Addr()[0].String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	const n = 300
	var all []byte
	for i := range n {
		m := new(mdns.Msg).SetQuestion(svc, mdns.TypeA)
		m.Id = uint16(i)
		p, _ := m.Pack()
		all = append(binary.BigEndian.AppendUint16(all, uint16(len(p))), p...)
	}
	go c.Write(all)
	c.SetReadDeadline(time.Now().Add(30 * time.Second))
	for i := range n {
		var size [2]byte
		if _, err := io.ReadFull(c, size[:]); err != nil {
			t.Fatalf("answer %d: %v", i, err)
		}
		b := make([]byte, binary.BigEndian.Uint16(size[:]))
		if _, err := io.ReadFull(c, b); err != nil {
			t.Fatal(err)
		}
		if r := unpack(t, b); int(r.Id) != i || len(r.Answer) != 2 {
			t.Fatalf("answer %d: %v", i, r)
		}
	}
}

func TestTCPConnectionsOfOneClientAreBounded(t *testing.T) {
	s := newFixture(t).run()
	for range maxPerClient {
		c, err := net.Dial("tcp", s.Addr()[0].String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	c, err := net.Dial("tcp", s.Addr()[0].String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetReadDeadline(time.Now().Add(tcpIdle - time.Second)) // so that it is not closed for being idle
	if _, err := c.Read(make([]byte, 1)); err != io.EOF && !strings.Contains(fmt.Sprint(err), "reset") {
		t.Errorf("one connection too many was not closed: %v", err)
	}
}

func TestAnAddressInUseIsAnErrorThatSaysSo(t *testing.T) {
	f := newFixture(t)
	s := f.run()
	cfg := config()
	cfg.Listen = []string{s.Addr()[0].String()}
	other, err := New(cfg, f.cat)
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Run(context.Background()); err == nil || !strings.Contains(err.Error(), "is another server there?") {
		t.Errorf("got %v", err)
	}
}

func TestNothingListensBeforeTheAnswersArePrepared(t *testing.T) {
	s := newFixture(t).server(func(c *Config) { c.Listen = []string{"127.0.0.1:0"} })
	if got := s.Addr(); got != nil {
		t.Errorf("a server that does not run listens on %v", got)
	}
}

func TestMetricsCountQuestions(t *testing.T) {
	reg := prometheus.NewPedanticRegistry()
	f := newFixture(t)
	s := f.run(func(c *Config) { c.Registerer = reg })
	for range 3 {
		exchange(t, "udp", svc, mdns.TypeA, s.Addr()[0])
	}
	exchange(t, "tcp", "example.com.", mdns.TypeMX, s.Addr()[0])
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, fam := range families {
		for _, m := range fam.Metric {
			key := fam.GetName()
			for _, l := range m.Label {
				key += " " + l.GetValue()
			}
			got[key] = m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	for key, want := range map[string]float64{
		"federator_dns_queries_total NOERROR A": 3, "federator_dns_queries_total REFUSED other": 1, "federator_dns_prepared_services": 3,
	} {
		if got[key] != want {
			t.Errorf("%s is %v, want %v", key, got[key], want)
		}
	}
}

func TestNoAnswerIsLostOrEmptyWhileEverythingChanges(t *testing.T) {
	f := newFixture(t)
	s := f.run(func(c *Config) { c.Clock = time.Now })
	done, enough := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		asked := false
		for i := 0; i < 150 || !asked; i++ {
			select {
			case <-enough:
				asked = true
			default:
			}
			state := []catalog.Reach{catalog.Reachable, catalog.Out}[i%2]
			f.cat.SetReachability(catalog.Reachability{Regions: map[string]catalog.Reach{"asia-east": state}}, epoch)
			f.cat.ApplyHealth(catalog.HealthDelta{Cluster: "us-west-1", Changes: []catalog.HealthChange{{Service: shop, Endpoint: "10.1.0.1",
				Health: []catalog.Health{catalog.Healthy, catalog.Unhealthy}[i%2], Version: catalog.HealthVersion{Epoch: 1, Term: 1, Seq: uint64(i + 1)}}}}, epoch)
			f.upsert("us-west", set("us-west-1", catalog.ServiceName{Namespace: "new", Name: fmt.Sprint("s", i%150)}, false, ep("10.1.5.1", "a")))
			time.Sleep(time.Millisecond)
		}
	}()
	stop := sync.OnceFunc(func() { close(enough) })
	defer func() { stop(); <-done }()
	for asked := 0; ; asked++ {
		if asked == 10 { // so often it is asked at least while things change
			stop()
		}
		select {
		case <-done:
			return
		default:
		}
		for _, name := range []string{svc, "db.shop.svc.clusterset.local.", "10-1-0-2." + svc} {
			if r := exchange(t, "udp", name, mdns.TypeA, s.Addr()[0]); len(r.Answer) == 0 {
				t.Fatalf("empty answer %v", r)
			}
		}
		if r := exchange(t, "tcp", "_http._tcp."+svc, mdns.TypeSRV, s.Addr()[0]); len(r.Answer) < 5 {
			t.Fatalf("short answer %v", r)
		}
	}
}
