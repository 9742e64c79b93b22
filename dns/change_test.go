package dns

import (
	"fmt"
	"math"
	"net/netip"
	"strings"
	"testing"
	"time"

	mdns "github.com/miekg/dns"

	"github.com/federator/federator/federation/catalog"
)

// addresses asks for A and returns the addresses in the order of the answer.
func addresses(t testing.TB, s *Server, name, client string) []string {
	t.Helper()
	var out []string
	for _, rr := range ask(t, s, new(mdns.Msg).SetQuestion(name, mdns.TypeA), client).Answer {
		out = append(out, rr.(*mdns.A).A.String())
	}
	return out
}

// follow applies what changed in the fixture since the last call.
func (f *fixture) follow(s *Server) func(at time.Duration) {
	w := f.cat.Watch()
	f.t.Cleanup(w.Close)
	w.Take()
	return func(at time.Duration) { s.apply(w.Take(), epoch.Add(at)) }
}

func TestAnUnhealthyEndpointLeavesTheAnswersAtOnce(t *testing.T) {
	f := newFixture(t)
	s := f.server()
	apply := f.follow(s)
	addresses(t, s, svc, "10.1.0.9")
	f.cat.ApplyHealth(catalog.HealthDelta{Cluster: "us-west-1", Changes: []catalog.HealthChange{
		{Service: shop, Endpoint: "10.1.0.1", Health: catalog.Unhealthy, Version: catalog.HealthVersion{Epoch: 1, Term: 1, Seq: 1}}}}, epoch)
	apply(0)
	if got := fmt.Sprint(addresses(t, s, svc, "10.1.0.9")); strings.Contains(got, "10.1.0.1 ") || got == "[]" {
		t.Errorf("answer %s", got)
	}
}

func TestAnEvacuatedRegionLeavesTheAnswersOfEveryService(t *testing.T) {
	f := newFixture(t)
	s := f.server()
	apply := f.follow(s)
	f.upsert("us-west", object(catalog.KindEvacuation, "us-west", fmt.Sprintf(`{"region":"us-west","started":%q,"duration":"10m"}`, epoch.Format(time.RFC3339))))
	apply(0)
	if got := addresses(t, s, svc, "10.1.0.9"); len(got) == 0 || strings.HasPrefix(got[0], "10.1.") {
		t.Errorf("answer %v", got)
	}
	if got := addresses(t, s, "db-0.us-west-1.db.shop.svc.clusterset.local.", "10.1.0.9"); len(got) != 1 {
		t.Errorf("an endpoint's own name still leads to it: %v", got)
	}
}

func TestReturningCapacityRamps(t *testing.T) {
	f := newFixture(t)
	s := f.server()
	apply := f.follow(s)
	out := catalog.Reachability{Regions: map[string]catalog.Reach{"asia-east": catalog.Out}}
	f.cat.SetReachability(out, epoch)
	apply(0)
	home := func() (n int) {
		for range 400 {
			s.turn()
			if got := addresses(t, s, svc, "10.3.0.9"); len(got) > 0 && got[0] == "10.3.0.1" {
				n++
			}
		}
		return n
	}
	if n := home(); n != 0 {
		t.Fatalf("%d of 400 answers lead to a region that is out", n)
	}
	f.cat.SetReachability(catalog.Reachability{}, epoch)
	apply(time.Second)
	if n := home(); n == 0 || n > 200 {
		t.Errorf("at once %d of 400 answers lead home", n)
	}
	s.stepRamps(epoch.Add(time.Minute))
	if n := home(); n != 400 || len(s.climb) != 0 {
		t.Errorf("after the ramp %d of 400 answers lead home, %d ramps left", n, len(s.climb))
	}
}

func TestServicesComeAndGo(t *testing.T) {
	f := newFixture(t)
	s := f.server()
	apply := f.follow(s)
	name := catalog.ServiceName{Namespace: "new", Name: "one"}
	f.upsert("us-west", set("us-west-1", name, false, ep("10.1.5.1", "a")))
	apply(0)
	if got := addresses(t, s, "one.new.svc.clusterset.local.", "10.1.0.9"); len(got) != 1 {
		t.Errorf("a new service: %v", got)
	}
	f.apply(catalog.Delta{Region: "us-west", Deletes: []catalog.RecordKey{catalog.RecordKey("set/us-west-1/new/one")}})
	apply(0)
	Case{Qname: "one.new.svc.clusterset.local.", Qtype: mdns.TypeA, Rcode: mdns.RcodeNameError, Ns: []string{soa}}.run(t, s)
	Case{Qname: "new.svc.clusterset.local.", Qtype: mdns.TypeA, Rcode: mdns.RcodeNameError, Ns: []string{soa}}.run(t, s)
	for p := range s.index.all {
		p.retire(s.tables)
	}
	if left := s.tables.left.Load(); left != maxTables {
		t.Errorf("%d tables are not accounted for", maxTables-left)
	}
}

func TestRoundTripTimesMatterByTheirOrderOnly(t *testing.T) {
	f := newFixture(t)
	rtt := func(asia, europe time.Duration) catalog.Reachability {
		return catalog.Reachability{RTT: map[string]time.Duration{"asia-east": asia, "eu-central": europe}}
	}
	f.cat.SetReachability(rtt(2, 1), epoch)
	s := f.server()
	apply := f.follow(s)
	before := s.world.Load()
	f.cat.SetReachability(rtt(9, 3), epoch)
	apply(0)
	if s.world.Load() != before {
		t.Error("a change of times without a change of order outdated every table")
	}
	f.cat.SetReachability(rtt(3, 9), epoch)
	apply(0)
	if s.world.Load() == before {
		t.Error("a change of order went unnoticed")
	}
}

func weights(f *fixture, spec string) {
	f.upsert("us-west", object(catalog.KindPolicy, "shop/checkout", spec))
}

func TestAKnownClientIsDrawnOneLocalityByWeight(t *testing.T) {
	f := newFixture(t)
	weights(f, `{"weights":{"us-west":1,"eu-central":3}}`)
	s := f.server()
	west := 0
	const n = 4000
	for i := range n {
		got := addresses(t, s, svc, netip.AddrFrom4([4]byte{10, 2, 100 + byte(i>>8), byte(i)}).String())
		for _, a := range got {
			if a[:5] != got[0][:5] {
				t.Fatalf("one answer from two regions: %v", got)
			}
		}
		if strings.HasPrefix(got[0], "10.1.") {
			west++
		}
	}
	if p := float64(west) / n; math.Abs(p-0.25) > 0.03 {
		t.Errorf("%.3f of the clients were sent to a region of weight 1 in 4", p)
	}
}

func TestASharedResolverGetsAddressesApportionedByWeight(t *testing.T) {
	f := newFixture(t)
	weights(f, `{"weights":{"us-west":1,"eu-central":2}}`)
	s := f.server()
	share, total := 0.0, 0
	for range 3000 {
		s.turn()
		got := addresses(t, s, svc, "10.2.9.1")
		west := 0
		for _, a := range got {
			if strings.HasPrefix(a, "10.1.") {
				west++
			}
		}
		share += float64(west) / float64(len(got))
		total++
	}
	if p := share / float64(total); math.Abs(p-1.0/3) > 0.05 {
		t.Errorf("%.3f of the addresses are of a region of weight 1 in 3", p)
	}
}

func TestAAndAAAAComeFromOneSubset(t *testing.T) {
	f := newFixture(t)
	weights(f, `{"weights":{"us-west/a":1,"eu-central/a":1}}`)
	s := f.server()
	for range 200 {
		s.turn()
		for _, client := range []string{"10.2.0.9", "10.2.9.1"} {
			a := addresses(t, s, svc, client)
			six := ask(t, s, new(mdns.Msg).SetQuestion(svc, mdns.TypeAAAA), client)
			if len(a) == 0 || len(six.Answer) == 0 {
				continue
			}
			v6 := six.Answer[0].(*mdns.AAAA).AAAA.String()
			if client == "10.2.0.9" && a[0][3:4] != v6[3:4] {
				t.Fatalf("%s got %v and %v", client, a, v6)
			}
		}
	}
}

func TestEndpointsComeFirstByWeight(t *testing.T) {
	f := newFixture(t)
	name := catalog.ServiceName{Namespace: "new", Name: "one"}
	var eps []catalog.Endpoint
	for i := range 20 {
		e := ep(fmt.Sprintf("10.1.5.%d", i), "a")
		e.Weight = uint32(1 + i%2*3)
		eps = append(eps, e)
	}
	f.upsert("us-west", set("us-west-1", name, false, eps...))
	s := f.server()
	w := s.newWorker(&stats{})
	first := map[string]int{}
	const n = 20000
	m := new(mdns.Msg).SetQuestion("one.new.svc.clusterset.local.", mdns.TypeA)
	packet, _ := m.Pack()
	for range n {
		s.turn()
		r := unpack(t, w.answer(packet, peer{from: netip.MustParseAddr("10.1.0.9")}, nil))
		if len(r.Answer) > maxAddresses || len(r.Answer) < 6 {
			t.Fatalf("%d addresses", len(r.Answer))
		}
		first[r.Answer[0].(*mdns.A).A.String()]++
	}
	for _, e := range eps {
		want := float64(e.Weight) / 50
		if got := float64(first[e.Address.String()]) / n; math.Abs(got-want) > 0.25*want+0.003 {
			t.Errorf("%s came first in %.4f of the answers, want %.4f", e.Address, got, want)
		}
	}
}

func TestUnusedTablesGo(t *testing.T) {
	f := newFixture(t)
	s := f.server()
	ask(t, s, new(mdns.Msg).SetQuestion(svc, mdns.TypeA), "10.3.0.9")
	before := s.tables.left.Load()
	s.sweep()
	s.sweep()
	if got := s.tables.left.Load(); got <= before {
		t.Errorf("budget %d after the sweep, %d before", got, before)
	}
	if got := addresses(t, s, svc, "10.3.0.9"); len(got) != 1 {
		t.Errorf("after the sweep: %v", got)
	}
}

func TestTheScopeOfASubnetCoversOnlyClientsPlacedAlike(t *testing.T) {
	ids := &localities{}
	prefixes := map[netip.Prefix]catalog.Locality{}
	for i, p := range []string{"10.0.0.0/8", "10.1.0.0/16", "10.1.128.0/20", "192.168.0.0/24", "0.0.0.0/1", "255.255.255.255/32", "2001:db8::/32", "2001:db8:1::/48"} {
		prefixes[netip.MustParsePrefix(p)] = catalog.Locality{Region: fmt.Sprint("r", i)}
	}
	inside := catalog.ClientPrefix{Prefix: netip.MustParsePrefix("10.1.128.0/20")}
	cond := &catalog.Conditions{Prefixes: prefixes, Networks: map[string][]catalog.ClientPrefix{"here": {inside}}}
	c := newClients(ids.id(ownPlace), cond, &Config{Own: ownPlace, Cluster: "here"}, ids)
	if at, _ := c.table.Lookup(netip.MustParseAddr("10.1.128.1")); !at.inside {
		t.Error("a client in the own cluster's network is not inside")
	}
	for _, a := range []string{"10.1.2.3", "10.1.128.1", "10.200.0.1", "192.168.0.7", "192.168.1.7", "172.16.0.1", "255.255.255.255", "255.255.255.254", "0.0.0.0", "128.0.0.0", "2001:db8:1::1", "2001:db8:2::", "::1", "ffff::"} {
		addr := netip.MustParseAddr(a)
		bits := c.scope(addr)
		covered, _ := addr.Prefix(bits)
		at, _ := c.table.Lookup(addr)
		for p := range prefixes {
			for _, probe := range []netip.Addr{p.Addr(), lastOf(p), p.Addr().Prev(), lastOf(p).Next()} {
				if other, _ := c.table.Lookup(probe); probe.IsValid() && covered.Contains(probe) && other != at {
					t.Errorf("scope %v of %s covers %v, which is placed elsewhere", covered, a, probe)
				}
			}
		}
	}
}

func TestASecondServerWithTheSameFactsAnswersAlike(t *testing.T) {
	f := newFixture(t)
	s := f.server()
	apply := f.follow(s)
	for i := range 50 {
		health := catalog.Healthy
		if i%3 > 0 {
			health = catalog.Unhealthy
		}
		f.cat.ApplyHealth(catalog.HealthDelta{Cluster: "us-west-1", Changes: []catalog.HealthChange{{Service: shop,
			Endpoint: fmt.Sprintf("10.1.0.%d", 1+i%3), Health: health, Version: catalog.HealthVersion{Epoch: 1, Term: 1, Seq: uint64(i + 1)}}}}, epoch)
		apply(time.Duration(i) * time.Hour)
		s.stepRamps(epoch.Add(time.Duration(i)*time.Hour + 30*time.Minute))
		m := new(mdns.Msg).SetQuestion("_http._tcp."+svc, mdns.TypeSRV)
		m.SetEdns0(1232, false)
		same(t, fmt.Sprint("after change ", i, ", answer"), ask(t, s, m, "10.1.0.9").Answer, brief(ask(t, f.server(), m, "10.1.0.9").Answer))
	}
}
