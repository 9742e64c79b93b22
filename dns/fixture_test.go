package dns

import (
	"context"
	"fmt"
	mathrand "math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	mdns "github.com/miekg/dns"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/test/leaks"
)

func TestMain(m *testing.M) { leaks.Main(m) }

var (
	epoch    = time.Unix(1_700_000_000, 0)
	shop     = catalog.ServiceName{Namespace: "shop", Name: "checkout"}
	peers    = catalog.ServiceName{Namespace: "shop", Name: "db"}
	far      = catalog.ServiceName{Namespace: "shop", Name: "catalog"}
	ownPlace = catalog.Locality{Region: "us-west", Zone: "a"}
	ports    = []catalog.Port{{Name: "http", Protocol: catalog.TCP, Number: 80}, {Name: "dns", Protocol: catalog.UDP, Number: 53}, {Protocol: catalog.TCP, Number: 9}}
)

// fixture is a federation of three regions, as one replica of us-west knows it.
type fixture struct {
	t   testing.TB
	cat *catalog.Catalog
	seq map[string]uint64
}

func newFixture(t testing.TB) *fixture {
	f := &fixture{t: t, cat: catalog.New("us-west", "elsewhere"), seq: map[string]uint64{}}
	f.region("us-west", f.cluster("us-west-1", "10.1.0.0/16", "a"), f.cluster("us-west.two", "fd01::/32", "b"),
		set("us-west-1", shop, false, ep("10.1.0.1", "a"), ep("10.1.0.2", "a"), ep("10.1.0.3", "b"), ep("fd01::1", "a"), ep("fd01::2", "b")),
		set("us-west-1", peers, true, host("db-0", "10.1.1.1", "a"), host("db-0", "fd01::11", "a"), host("", "10.1.1.2", "b")),
		set("us-west.two", peers, true, host("db-0", "10.1.2.1", "b")),
	)
	f.region("eu-central", f.cluster("eu-central-1", "10.2.0.0/16", ""),
		set("eu-central-1", shop, false, ep("10.2.0.1", "a"), ep("10.2.0.2", "b"), ep("fd02::1", "a")),
		set("eu-central-1", far, false, ep("10.2.1.1", "a")),
	)
	f.region("asia-east", f.cluster("asia-east-1", "10.3.0.0/16", ""), set("asia-east-1", shop, false, ep("10.3.0.1", "a")))
	return f
}

func ep(addr, zone string) catalog.Endpoint {
	return catalog.Endpoint{ID: addr, Address: netip.MustParseAddr(addr), Zone: zone, Weight: 1, Health: catalog.Healthy}
}

func host(name, addr, zone string) catalog.Endpoint {
	e := ep(addr, zone)
	e.Hostname = name
	return e
}

func set(cluster string, name catalog.ServiceName, headless bool, eps ...catalog.Endpoint) catalog.Record {
	return catalog.Record{Set: &catalog.EndpointSet{
		SetKey: catalog.SetKey{Cluster: cluster, Service: name}, Source: "file", Headless: headless,
		Ports: ports, CreatedAt: epoch, Endpoints: eps,
	}}
}

func (f *fixture) cluster(name, prefix, zone string) catalog.Record {
	return catalog.Record{Cluster: &catalog.Cluster{Name: name, Prefixes: []catalog.ClientPrefix{{Prefix: netip.MustParsePrefix(prefix), Zone: zone}}}}
}

func (f *fixture) region(name string, records ...catalog.Record) {
	f.seq[name] = 1
	if err := f.cat.Reset(catalog.Snapshot{Region: name, Version: catalog.Version{Epoch: 1, Seq: 1}, Records: records}, epoch); err != nil {
		f.t.Fatal(err)
	}
}

func (f *fixture) upsert(region string, records ...catalog.Record) {
	f.apply(catalog.Delta{Region: region, Upserts: records})
}

func (f *fixture) apply(d catalog.Delta) {
	f.seq[d.Region]++
	d.Version = catalog.Version{Epoch: 1, Seq: f.seq[d.Region]}
	if err := f.cat.Apply(d, epoch); err != nil {
		f.t.Fatal(err)
	}
}

func object(kind catalog.ObjectKind, name, spec string) catalog.Record {
	return catalog.Record{Object: &catalog.Object{
		ObjectKey: catalog.ObjectKey{Kind: kind, Name: name},
		Version:   catalog.ObjectVersion{Generation: 1, HLC: epoch.UnixNano(), Region: "us-west"}, Spec: []byte(spec), Actor: "test",
	}}
}

func config() Config {
	return Config{
		Own: ownPlace, Rand: mathrand.NewPCG(1, 2), Clock: func() time.Time { return epoch },
		TrustedECS:   []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")},
		Resolvers:    []netip.Prefix{netip.MustParsePrefix("10.2.9.0/24")},
		CookieSecret: []byte("0123456789abcdef"),
	}
}

// server returns a server that has taken over the fixture, without sockets.
func (f *fixture) server(change ...func(*Config)) *Server {
	cfg := config()
	for _, c := range change {
		c(&cfg)
	}
	s, err := New(cfg, f.cat)
	if err != nil {
		f.t.Fatal(err)
	}
	s.apply(catalog.Changes{All: true}, epoch)
	return s
}

// run serves the fixture on real sockets until the test ends.
func (f *fixture) run(change ...func(*Config)) *Server {
	cfg := config()
	cfg.Listen = []string{"127.0.0.1:0"}
	for _, c := range change {
		c(&cfg)
	}
	s, err := New(cfg, f.cat)
	if err != nil {
		f.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	f.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			f.t.Error(err)
		}
	})
	select {
	case <-s.Ready():
	case err := <-done:
		f.t.Fatal(err)
	}
	return s
}

// Case is one question and the answer it must get. Answers are written
// "NAME TYPE DATA" and compared without order.
type Case struct {
	Name              string
	Qname             string
	Qtype             uint16
	Client            string // 10.1.0.99 (us-west/a) if empty
	Rcode             int
	Answer, Ns, Extra []string
	Change            func(*mdns.Msg)
	NotAuthoritative  bool
	EDE               int // 0 if none
	Truncated         bool
}

const soa = "clusterset.local. SOA"

func (c Case) run(t *testing.T, s *Server) {
	t.Helper()
	m := new(mdns.Msg).SetQuestion(c.Qname, c.Qtype)
	if c.Change != nil {
		c.Change(m)
	}
	client := c.Client
	if client == "" {
		client = "10.1.0.99"
	}
	r := ask(t, s, m, client)
	if r.Rcode != c.Rcode || r.Authoritative == c.NotAuthoritative || r.Truncated != c.Truncated {
		t.Fatalf("rcode %d aa %v tc %v, want %d %v %v\n%v", r.Rcode, r.Authoritative, r.Truncated, c.Rcode, !c.NotAuthoritative, c.Truncated, r)
	}
	if got := edeOf(r); got != c.EDE {
		t.Errorf("extended error %d, want %d", got, c.EDE)
	}
	if asked, told := m.IsEdns0() != nil, r.IsEdns0() != nil; asked != told {
		t.Errorf("OPT in the question %v, in the answer %v (RFC 6891 6.1.1)", asked, told)
	}
	same(t, "answer", r.Answer, c.Answer)
	same(t, "authority", r.Ns, c.Ns)
	same(t, "additional", r.Extra, c.Extra)
}

func same(t *testing.T, what string, got []mdns.RR, want []string) {
	t.Helper()
	have := brief(got)
	want = slices.Clone(want)
	slices.Sort(have)
	slices.Sort(want)
	if !slices.Equal(have, want) {
		t.Errorf("%s section\n got %s\nwant %s", what, strings.Join(have, "\n     "), strings.Join(want, "\n     "))
	}
}

// brief writes records as "NAME TYPE DATA", SOA without data, and leaves OPT out.
func brief(rrs []mdns.RR) []string {
	out := []string{}
	for _, rr := range rrs {
		h := rr.Header()
		if h.Rrtype == mdns.TypeOPT {
			continue
		}
		data := " " + strings.TrimPrefix(rr.String(), h.String())
		if h.Rrtype == mdns.TypeSOA {
			data = ""
		}
		out = append(out, h.Name+" "+mdns.TypeToString[h.Rrtype]+data)
	}
	return out
}

func edeOf(m *mdns.Msg) int {
	if o := m.IsEdns0(); o != nil {
		for _, x := range o.Option {
			if e, ok := x.(*mdns.EDNS0_EDE); ok {
				return int(e.InfoCode)
			}
		}
	}
	return 0
}

// ask puts a question to the handler as if it had come over UDP.
func ask(t testing.TB, s *Server, m *mdns.Msg, client string) *mdns.Msg {
	t.Helper()
	packet, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return unpack(t, askRaw(s, packet, client, false))
}

func askRaw(s *Server, packet []byte, client string, tcp bool) []byte {
	w := s.newWorker(&stats{})
	return w.answer(packet, peer{from: netip.MustParseAddr(client), local: netip.MustParseAddr("127.0.0.1"), tcp: tcp}, nil)
}

func unpack(t testing.TB, b []byte) *mdns.Msg {
	t.Helper()
	r := new(mdns.Msg)
	if err := r.Unpack(b); err != nil {
		t.Fatalf("unpacking the answer %x: %v", b, err)
	}
	return r
}

func edns(size uint16, options ...mdns.EDNS0) func(*mdns.Msg) {
	return func(m *mdns.Msg) {
		m.SetEdns0(size, false)
		m.IsEdns0().Option = options
	}
}

func subnetOf(prefix string) *mdns.EDNS0_SUBNET {
	p := netip.MustParsePrefix(prefix)
	e := &mdns.EDNS0_SUBNET{Code: mdns.EDNS0SUBNET, Family: 1, SourceNetmask: uint8(p.Bits()), Address: p.Addr().AsSlice()}
	if p.Addr().Is6() {
		e.Family = 2
	}
	return e
}

// services adds n services with three endpoints each.
func (f *fixture) services(n int) {
	var records []catalog.Record
	for i := range n {
		name := catalog.ServiceName{Namespace: fmt.Sprintf("ns%d", i%100), Name: fmt.Sprintf("svc%d", i)}
		b := byte(i >> 8)
		var eps []catalog.Endpoint
		for k := range 3 {
			eps = append(eps, ep(netip.AddrFrom4([4]byte{10, 64 + byte(k), b, byte(i)}).String(), []string{"a", "b"}[k%2]))
		}
		records = append(records, set("us-west-1", name, false, eps...))
	}
	f.upsert("us-west", records...)
}
