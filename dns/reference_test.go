package dns

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	mdns "github.com/miekg/dns"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/locality"
)

// reference answers questions the dumb way: from strings, one resolution for
// every question, nothing prepared. It says which records an answer must have,
// or may have where it is drawn.
type reference struct {
	cat  *catalog.Catalog
	cond *catalog.Conditions
	// The own cluster and its clusterset IPs; "" for none.
	cluster string
	vips    map[catalog.ServiceName][]netip.Addr
}

type expected struct {
	rcode int
	may   []string // of the answer
	must  bool     // have all of may
}

func (r *reference) answer(name string, qtype uint16, client netip.Addr) expected {
	name = strings.ToLower(name)
	if name != "clusterset.local." && !strings.HasSuffix(name, ".clusterset.local.") {
		return expected{rcode: mdns.RcodeRefused}
	}
	l := strings.Split(strings.TrimSuffix(strings.TrimSuffix(name, "clusterset.local."), "."), ".")
	k := len(l)
	switch {
	case l[0] == "" && k == 1, name == "dns-version.clusterset.local.", name == "dns.clusterset.local.", name == "ns.dns.clusterset.local.":
		return expected{}
	case l[k-1] == "svc":
		return r.below(l[:k-1], "", name, qtype, client)
	case l[k-1] == "region" && (k == 1 || r.known(l[k-2]) && k == 2):
		return expected{}
	case l[k-1] == "region" && k > 2 && r.known(l[k-2]) && l[k-3] == "svc":
		return r.below(l[:k-3], l[k-2], name, qtype, client)
	}
	return expected{rcode: mdns.RcodeNameError}
}

func (r *reference) known(region string) bool { return slices.Contains(r.cond.Regions(), region) }

func (r *reference) below(l []string, pin, name string, qtype uint16, client netip.Addr) expected {
	none, empty := expected{rcode: mdns.RcodeNameError}, expected{}
	m := len(l)
	if m == 0 {
		return empty
	}
	if m == 1 {
		for _, s := range r.cat.Services() {
			if s.Name.Namespace == l[0] {
				return empty
			}
		}
		return none
	}
	s := r.cat.Service(catalog.ServiceName{Namespace: l[m-1], Name: l[m-2]})
	if s == nil {
		return none
	}
	res := r.resolve(s, pin, client)
	rest := strings.Join(l[:m-2], ".")
	vip := r.vips[s.Name]
	if pin != "" || s.Headless || !r.inside(client) {
		vip = nil
	}
	switch {
	case rest == "" && len(vip) > 0:
		e := expected{must: true}
		for _, ip := range vip {
			e.add(name, ip, qtype)
		}
		return e
	case strings.HasPrefix(rest, "_") && qtype == mdns.TypeSRV && len(vip) > 0:
		e := r.port(s, res, rest, name, qtype)
		if len(e.may) > 0 {
			e.may = []string{name + " " + s.Name.Name + "." + s.Name.Namespace + ".svc.clusterset.local."}
		}
		return e
	case rest == "":
		return r.addresses(s, res, name, qtype)
	case strings.HasPrefix(l[m-3], "_"):
		return r.port(s, res, rest, name, qtype)
	case pin != "":
		return none
	}
	return r.endpoint(s, rest, name, qtype)
}

// inside reports whether a client is in the own cluster: no other network that
// somebody announces is as narrow around it as one of the own cluster's.
func (r *reference) inside(client netip.Addr) bool {
	own, other := -1, -1
	for p := range r.cond.Prefixes {
		if p.Contains(client) {
			other = max(other, p.Bits())
		}
	}
	for _, p := range r.cond.Networks[r.cluster] {
		if p.Prefix.Contains(client) {
			own = max(own, p.Prefix.Bits())
		}
	}
	return own >= 0 && own >= other
}

func (r *reference) resolve(s *catalog.Service, pin string, client netip.Addr) locality.Resolution {
	at, best := ownPlace, -1
	for p, l := range r.cond.Prefixes {
		if p.Contains(client) && p.Bits() > best {
			at, best = l, p.Bits()
		}
	}
	if pin != "" && at.Region != pin {
		at = catalog.Locality{Region: pin}
	}
	return locality.Resolve(locality.Input{Service: s, Conditions: r.cond, Client: at, Pin: pin})
}

func (r *reference) addresses(s *catalog.Service, res locality.Resolution, name string, qtype uint16) expected {
	var e expected
	serving := 0
	for _, p := range res.Priorities {
		for _, l := range p.Localities {
			if l.Weight == 0 && !s.Headless {
				continue
			}
			serving++
			for _, x := range l.Endpoints {
				if x.Weight > 0 {
					e.add(name, x.Address, qtype)
				}
			}
		}
	}
	e.must = s.Headless || serving <= 1 && len(e.may) <= maxAddresses
	return e
}

func (e *expected) add(name string, a netip.Addr, qtype uint16) {
	if a.Is4() && qtype == mdns.TypeA {
		e.may = append(e.may, name+" A "+a.String())
	}
	if a.Is6() && qtype == mdns.TypeAAAA {
		e.may = append(e.may, name+" AAAA "+a.String())
	}
}

func (r *reference) port(s *catalog.Service, res locality.Resolution, rest, name string, qtype uint16) expected {
	for _, p := range s.Ports {
		proto := "_" + strings.ToLower(string(p.Protocol))
		if p.Name == "" || rest != proto && rest != "_"+p.Name+"."+proto {
			continue
		}
		if rest == proto || qtype != mdns.TypeSRV {
			return expected{}
		}
		e := expected{must: true}
		for _, t := range res.Priorities {
			for _, l := range t.Localities {
				for _, x := range l.Endpoints {
					if x.Weight > 0 {
						e.may = append(e.may, name+" "+r.target(s, x))
						slices.Sort(e.may)
						e.may = slices.Compact(e.may)
					}
				}
			}
		}
		return e
	}
	return expected{rcode: mdns.RcodeNameError}
}

func (r *reference) target(s *catalog.Service, x locality.Endpoint) string {
	base := s.Name.Name + "." + s.Name.Namespace + ".svc.clusterset.local."
	label := strings.NewReplacer(".", "-", ":", "-").Replace(x.Address.String())
	if !s.Headless {
		return label + "." + base
	}
	if x.Hostname != "" {
		label = x.Hostname
	}
	return label + "." + x.Cluster + "." + base
}

func (r *reference) endpoint(s *catalog.Service, rest, name string, qtype uint16) expected {
	e := expected{rcode: mdns.RcodeNameError, must: true}
	for _, b := range s.Backends {
		for _, x := range b.Set.Endpoints {
			full := strings.TrimSuffix(r.target(s, locality.Endpoint{Endpoint: &x, Cluster: b.Set.Cluster}), "."+s.Name.Name+"."+s.Name.Namespace+".svc.clusterset.local.")
			switch {
			case full == rest:
				e.rcode = mdns.RcodeSuccess
				e.add(name, x.Address, qtype)
			case s.Headless && strings.HasSuffix(full, "."+rest):
				e.rcode = mdns.RcodeSuccess
			}
		}
	}
	return e
}

// check compares an answer with what the reference expects.
func (e expected) check(t *testing.T, r *mdns.Msg) {
	t.Helper()
	if r.Rcode != e.rcode {
		t.Fatalf("rcode %d, the reference says %d\n%v", r.Rcode, e.rcode, r)
	}
	if r.Rcode != mdns.RcodeRefused && len(r.Answer) == 0 && !r.Truncated && len(r.Ns) != 1 {
		t.Fatalf("a negative answer without SOA\n%v", r)
	}
	got := map[string]bool{}
	for _, rr := range r.Answer {
		x := strings.ToLower(rr.Header().Name) + " " + mdns.TypeToString[rr.Header().Rrtype] + " "
		switch v := rr.(type) {
		case *mdns.A:
			x += v.A.String()
		case *mdns.AAAA:
			x += v.AAAA.String()
		case *mdns.SRV:
			x = strings.ToLower(v.Hdr.Name) + " " + v.Target
		default:
			continue
		}
		if got[x] {
			t.Fatalf("%s comes twice\n%v", x, r)
		}
		got[x] = true
		if !slices.Contains(e.may, x) {
			t.Fatalf("%s is not among %v", x, e.may)
		}
	}
	if e.must && !r.Truncated && len(got) != len(e.may) {
		t.Fatalf("answer %v, the reference says %v", got, e.may)
	}
}

func FuzzAnswersAreThoseOfTheReference(f *testing.F) {
	for _, n := range []string{svc, "_http._tcp." + svc, "db.shop.svc.clusterset.local.", "db-0.us-west-1.db.shop.svc.clusterset.local.",
		"two.db.shop.svc.clusterset.local.", "checkout.shop.svc.asia-east.region.clusterset.local.", "10-1-0-1." + svc, "region.clusterset.local.",
		"_dns._udp.db.shop.svc.us-west.region.clusterset.local.", "clusterset.local.", "fd01--1." + svc} {
		for _, qtype := range []uint16{1, 28, 33, 255, 6} {
			f.Add(n, qtype, byte(len(n)), qtype%2 == 0)
		}
	}
	fx := newFixture(f)
	s := fx.server(func(c *Config) { c.Rate = -1 })
	ref := &reference{cat: fx.cat, cond: fx.cat.Conditions()}
	virtual := newVIPs(map[catalog.ServiceName]string{shop: "10.96.0.7 fd96::7", peers: "10.96.0.8"})
	inside := fx.server(func(c *Config) { c.Rate, c.Cluster, c.VIPs = -1, "us-west-1", virtual })
	refInside := &reference{cat: fx.cat, cond: fx.cat.Conditions(), cluster: "us-west-1", vips: virtual.ips}
	clients := []string{"10.1.0.9", "10.2.0.9", "10.3.0.9", "fd01::9", "203.0.113.7"}
	f.Fuzz(func(t *testing.T, name string, qtype uint16, client byte, big bool) {
		if _, ok := mdns.IsDomainName(name); !ok || !mdns.IsFqdn(name) || strings.ContainsAny(name, "\\") || qtype == typeOPT || qtype == typeAXFR || qtype == typeIXFR {
			return
		}
		m := new(mdns.Msg).SetQuestion(name, qtype)
		if big {
			m.SetEdns0(1232, false)
		}
		if _, err := m.Pack(); err != nil {
			return
		}
		from := clients[int(client)%len(clients)]
		ref.answer(name, qtype, netip.MustParseAddr(from)).check(t, ask(t, s, m, from))
		refInside.answer(name, qtype, netip.MustParseAddr(from)).check(t, ask(t, inside, m, from))
	})
}

func FuzzPacket(f *testing.F) {
	for _, n := range []string{svc, "_http._tcp." + svc, ".", "clusterset.local."} {
		for _, o := range []mdns.EDNS0{subnetOf("10.3.0.0/24"), &mdns.EDNS0_COOKIE{Code: 10, Cookie: "0011223344556677"}} {
			m := new(mdns.Msg).SetQuestion(n, mdns.TypeSRV)
			edns(1232, o)(m)
			p, _ := m.Pack()
			f.Add(p, false)
			m.Compress, m.Ns = true, []mdns.RR{&mdns.NS{Hdr: mdns.RR_Header{Name: n, Rrtype: 2, Class: 1}, Ns: n}}
			p, _ = m.Pack()
			f.Add(p, true)
		}
	}
	f.Add([]byte("\x00\x01\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\xc0\x0c\x00\x01\x00\x01"), false)
	s := newFixture(f).server()
	f.Fuzz(func(t *testing.T, p []byte, tcp bool) {
		out := askRaw(s, p, "192.0.2.1", tcp)
		if len(p) < headerLen || p[2]&0x80 != 0 {
			if len(out) != 0 {
				t.Fatalf("answered %x to what is no question", out)
			}
			return
		}
		if len(out) > maxUDP && !tcp || len(out) > maxMessage {
			t.Fatalf("%d bytes", len(out))
		}
		r := unpack(t, out)
		if !r.Response || out[0] != p[0] || out[1] != p[1] {
			t.Fatalf("%x is no answer to %x", out, p)
		}
		if len(r.Question) > 0 {
			n := len(s.newWorker(&stats{}).parsed(p))
			if string(out[headerLen:headerLen+n]) != string(p[headerLen:headerLen+n]) {
				t.Fatalf("%x does not echo the question of %x", out, p)
			}
		}
	})
}

func (w *worker) parsed(p []byte) []byte {
	w.q.parse(p)
	return w.q.question
}

func TestFuzzSeedsStayBelowTheClientsBuffer(t *testing.T) {
	s := newFixture(t).server()
	for size := uint16(0); size < 1400; size += 13 {
		m := new(mdns.Msg).SetQuestion("_http._tcp."+svc, mdns.TypeSRV)
		edns(size, subnetOf("10.3.0.0/24"), &mdns.EDNS0_COOKIE{Code: 10, Cookie: "0011223344556677"})(m)
		p, _ := m.Pack()
		if got := len(askRaw(s, p, "192.0.2.1", false)); got > max(minUDP, min(maxUDP, int(size))) {
			t.Errorf("%d bytes for a buffer of %d", got, size)
		}
	}
}
