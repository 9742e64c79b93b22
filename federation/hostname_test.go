package federation

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	mdns "github.com/miekg/dns"

	"github.com/federator/federator/federation/catalog"
)

// Replicas behind load balancers are reached by names, which a region that is cut off
// or just booted cannot look up. No name below invalid is ever found (RFC 6761).
func TestAReplicaWhoseNameCannotBeLookedUpStartsAndAnswers(t *testing.T) {
	t.Parallel()
	for name, listen := range map[string]func(p Place) Listen{
		"in a pod, which says where to listen": func(p Place) Listen {
			return Listen{Peer: everywhere(t, p.PeerAddress), Gossip: everywhere(t, p.GossipAddress), DNS: []string{p.DNSAddress}}
		},
		"on a machine, where only the names are known": func(Place) Listen { return Listen{} },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := place(t, "us-west", "a")
			question := freeAddress(t)
			p.DNSAddress = question
			cfg := Config{Services: writeServices(t, "127.0.0.11"), Listen: listen(p)}
			if cfg.Listen.DNS == nil {
				p.DNSAddress = nowhere(t, question)
			}
			p.PeerAddress, p.GossipAddress = nowhere(t, p.PeerAddress), nowhere(t, p.GossipAddress)
			if _, err := Init(InitOptions{Place: p, TrustDomain: "test.example"}); err != nil {
				t.Fatal(err)
			}
			a := startWith(t, p, cfg)
			eventually(t, patience, "the replica is ready", func() bool { return len(a.waitingFor()) == 0 })
			eventually(t, patience, "the service is known", func() bool {
				return a.catalog.Service(catalog.ServiceName{Namespace: "shop", Name: "checkout"}) != nil
			})
			eventually(t, patience, "DNS answers", func() bool { return answers(t, question, "127.0.0.11") })
		})
	}
}

// everywhere is the port of an address on every address of the machine, as a pod
// listens.
func everywhere(t *testing.T, address string) string {
	t.Helper()
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	return net.JoinHostPort("", port)
}

// nowhere is the port of an address behind a name that is never found.
func nowhere(t *testing.T, address string) string {
	t.Helper()
	return "nowhere.invalid" + everywhere(t, address)
}

// answers asks the DNS server at an address for the service of [writeServices].
func answers(t *testing.T, server, want string) bool {
	t.Helper()
	q := new(mdns.Msg).SetQuestion("checkout.shop.svc.clusterset.local.", mdns.TypeA)
	reply, err := mdns.Exchange(q, server)
	if err != nil || len(reply.Answer) != 1 {
		return false
	}
	a, ok := reply.Answer[0].(*mdns.A)
	return ok && fmt.Sprint(a.A) == want
}

func TestTheOwnGossipAddressIsLookedUpOnceAndNotForLong(t *testing.T) {
	ip := netip.MustParseAddr
	known := map[string][]netip.Addr{
		"both.test":    {ip("2001:db8::7"), ip("192.0.2.7")},
		"six.test":     {ip("2001:db8::7")},
		"mapped.test":  {ip("::ffff:192.0.2.8")},
		"refused.test": {ip("0.0.0.0"), ip("::")}, // as resolvers that filter answer
		"empty.test":   {},
	}
	lookup := func(_ context.Context, network, host string) ([]netip.Addr, error) {
		if ips, ok := known[host]; ok && network == "ip" {
			return append([]netip.Addr(nil), ips...), nil
		}
		return nil, errors.New("no such host")
	}
	for address, want := range map[string]string{
		"192.0.2.1:7946": "192.0.2.1:7946", "[2001:db8::1]:7946": "[2001:db8::1]:7946", "[::ffff:192.0.2.1]:7946": "192.0.2.1:7946",
		"both.test:7946": "192.0.2.7:7946", "six.test:7946": "[2001:db8::7]:7946", "mapped.test:7946": "192.0.2.8:7946",
		"refused.test:7946": "", "empty.test:7946": "", "unknown.test:7946": "", "both.test:nothing": "", "both.test": "",
	} {
		got, err := lookUp(t.Context(), lookup, address)
		if want == "" && err == nil || want != "" && (err != nil || got.String() != want) {
			t.Errorf("%s: expected %q, found %v, %v", address, want, got, err)
		}
	}
	if got, err := lookUp(t.Context(), lookup, ":7946"); err != nil || got.IsValid() {
		t.Errorf("an address without a host: expected none, found %v, %v", got, err)
	}
	synctest.Test(t, func(t *testing.T) {
		stuck := func(ctx context.Context, _, _ string) ([]netip.Addr, error) { <-ctx.Done(); return nil, ctx.Err() }
		begin := time.Now()
		if _, err := lookUp(t.Context(), stuck, "slow.test:7946"); err == nil || time.Since(begin) != lookupPatience {
			t.Errorf("DNS that does not answer: expected an error after %s, found %v after %s", lookupPatience, err, time.Since(begin))
		}
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		begin = time.Now()
		if _, err := lookUp(ended, stuck, "slow.test:7946"); err == nil || time.Since(begin) != 0 {
			t.Errorf("a start that is called off: expected an error at once, found %v after %s", err, time.Since(begin))
		}
	})
}

func TestInsteadOfANameAReplicaTellsAnAddressOfItsSocketOrMachine(t *testing.T) {
	udp := func(address string) net.Addr { return net.UDPAddrFromAddrPort(netip.MustParseAddrPort(address)) }
	for local, want := range map[string]string{"127.0.0.1:7946": "127.0.0.1:7946", "[::ffff:192.0.2.1]:7946": "192.0.2.1:7946"} {
		if got := ownEndpoint(udp(local)); got.String() != want {
			t.Errorf("listening at %s: expected %s, found %s", local, want, got)
		}
	}
	if got := ownEndpoint(udp("[::]:7946")); got.Addr().IsUnspecified() || got.Port() != 7946 {
		t.Errorf("listening everywhere: expected an address of the machine, found %s", got)
	}
	for has, want := range map[string]string{
		"127.0.0.1/8 ::1/128 fe80::1/64": "127.0.0.1", "127.0.0.1/8 2001:db8::1/64 2001:db8::2/64": "2001:db8::1", "2001:db8::1/64 192.0.2.1/24": "192.0.2.1",
	} {
		var addrs []net.Addr
		for text := range strings.FieldsSeq(has) {
			ip, network, err := net.ParseCIDR(text)
			if err != nil {
				t.Fatal(err)
			}
			addrs = append(addrs, &net.IPNet{IP: ip, Mask: network.Mask})
		}
		if got := firstOutside(addrs); got != want {
			t.Errorf("a machine with %s: expected %s, found %s", has, want, got)
		}
	}
}

func TestWhereToListenHoldsNoNameThatWouldBeLookedUpAgain(t *testing.T) {
	r := &Replica{log: slog.New(slog.DiscardHandler)}
	for _, tt := range []struct{ configured, advertised, want string }{
		{"", "127.0.0.1:7443", "127.0.0.1:7443"},
		{"", ":7443", ":7443"},
		{"", "240.0.0.1:7443", ":7443"}, // of no machine
		{"", "nowhere.invalid:7443", ":7443"},
		{":7443", "240.0.0.1:443", ":7443"},
	} {
		if got, err := r.listenAddress(t.Context(), tt.configured, tt.advertised); err != nil || got != tt.want {
			t.Errorf("%+v: found %q, %v", tt, got, err)
		}
	}
	got, err := r.listenAddress(t.Context(), "", "localhost:7443")
	if at, parsed := netip.ParseAddrPort(got); err != nil || parsed != nil || !at.Addr().IsLoopback() {
		t.Errorf("localhost: expected a loopback address, found %q, %v", got, err)
	}
}
