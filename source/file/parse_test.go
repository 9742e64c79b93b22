package file

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/federator/federator/federation/catalog"
)

const complete = `
clients:
  - prefix: 10.1.0.0/16
    zone: a
services:
  - name: shop/checkout
    ports: [{name: http, port: 8080, protocol: TCP, appProtocol: http}, {name: dns, port: 53, protocol: UDP}]
    check: {http: {path: /healthz, port: http}, interval: 500ms, timeout: 1s, healthyThreshold: 1, unhealthyThreshold: 3}
    endpoints:
      - {address: 10.1.0.11, zone: a, weight: 5, hostname: web-0, ports: {http: 8081}, id: one}
      - {address: "2001:db8::1"}
  - name: shop/books
    headless: true
    endpoints: [{address: 10.1.0.12}]
`

func TestAFileSaysWhatItSays(t *testing.T) {
	got, err := Parse([]byte(complete), "west-1")
	if err != nil {
		t.Fatal(err)
	}
	key := func(name string) catalog.SetKey {
		return catalog.SetKey{Cluster: "west-1", Service: catalog.ServiceName{Namespace: "shop", Name: name}}
	}
	want := Services{
		Prefixes: []catalog.ClientPrefix{{Prefix: netip.MustParsePrefix("10.1.0.0/16"), Zone: "a"}},
		Sets: []catalog.EndpointSet{{
			SetKey: key("books"), Source: "file", Headless: true,
			Endpoints: []catalog.Endpoint{{ID: "10.1.0.12", Address: netip.MustParseAddr("10.1.0.12"), Weight: 1, Health: catalog.Healthy}},
		}, {
			SetKey: key("checkout"), Source: "file",
			Ports: []catalog.Port{
				{Name: "http", Protocol: catalog.TCP, Number: 8080, AppProtocol: "http"},
				{Name: "dns", Protocol: catalog.UDP, Number: 53},
			},
			Check: &catalog.Check{
				Kind: catalog.CheckHTTP, Port: "http", Path: "/healthz",
				Interval: 500 * time.Millisecond, Timeout: time.Second, HealthyThreshold: 1, UnhealthyThreshold: 3,
			},
			Endpoints: []catalog.Endpoint{
				{ID: "one", Address: netip.MustParseAddr("10.1.0.11"), Zone: "a", Hostname: "web-0", Weight: 5, Ports: map[string]uint16{"http": 8081}},
				{ID: "2001:db8::1", Address: netip.MustParseAddr("2001:db8::1"), Weight: 1},
			},
		}},
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})); diff != "" {
		t.Error(diff)
	}
}

func TestAFileThatSaysNothingHasNoServices(t *testing.T) {
	for _, data := range []string{"# nothing\n", "---\n", "services:\n  []\n", "{}"} {
		if s, err := Parse([]byte(data), "c"); err != nil || len(s.Sets) != 0 {
			t.Errorf("%q: got %+v, %v", data, s, err)
		}
	}
}

func TestAFileOfNoBytesWithdrawsNothing(t *testing.T) {
	if _, err := Parse(nil, "c"); !errors.Is(err, errNoBytes) {
		t.Errorf("expected a file that was cut to nothing to be a mistake, found %v", err)
	}
}

func TestEveryMistakeIsNamedWithItsLine(t *testing.T) {
	service := func(rest string) string {
		return "services:\n- name: shop/a\n  ports: [{name: http, port: 80}, {name: dns, port: 53, protocol: UDP}]\n  " + rest
	}
	tests := []struct{ name, file, want string }{
		{"not YAML", "a: [", "line 1: not valid YAML"},
		{"two documents", "{}\n---\n{}", "second YAML document"},
		{"no mapping", "- a", "document: expected fields, found a list"},
		{"unknown key", "services: []\nservice: []", `line 2: service: unknown field; expected one of clients, services`},
		{"key twice", "services: []\nservices: []", `line 2: services: expected each key once`},
		{"alias", "services: &x []\nclients: *x", "line 2: clients: expected a list, found an alias (write the value out)"},
		{"no list", "services: 7", `services: expected a list, found "7"`},
		{"nothing", "services:", "services: expected a list, found nothing"},
		{"bad prefix", "clients: [{prefix: 10.1.0.0}]", "expected a network"},
		{"host bits", "clients: [{prefix: 10.1.2.3/16}]", "did you mean 10.1.0.0/16"},
		{"mapped prefix", `clients: [{prefix: "::ffff:10.0.0.0/104"}]`, "write it as IPv4"},
		{"prefix twice", "clients: [{prefix: 10.0.0.0/8}, {prefix: 10.0.0.0/8}]", "given twice"},
		{"no prefix", "clients: [{zone: a}]", `clients[0].prefix: expected a value, found none`},
		{"bad zone", "clients: [{prefix: 10.0.0.0/8, zone: A}]", `zone "A"`},
		{"no name", "services: [{ports: [{port: 1}]}]", `services[0].name: expected a value, found none`},
		{"bad name", "services: [{name: a, ports: [{port: 1}]}]", "expected NAMESPACE/NAME"},
		{"no ports", "services: [{name: a/b}]", `"ports" is missing`},
		{"service twice", "services:\n- {name: a/b, headless: true}\n- {name: a/b, headless: true}", "line 3: service a/b is given twice, first on line 2"},
		{"no boolean", "services: [{name: a/b, headless: yes}]", `services[0].headless: expected true or false, found "yes"`},
		{"null name", "services: [{name: , headless: true}]", "services[0].name: expected text, found nothing"},
		{"bad port name", "services: [{name: a/b, ports: [{name: HTTP, port: 80}]}]", "port name"},
		{"number as port name", `services: [{name: a/b, ports: [{name: "80", port: 80}]}]`, "port name"},
		{"port zero", "services: [{name: a/b, ports: [{port: 0}]}]", `services[0].ports[0].port: expected a whole number from 1 to 65535, found "0"`},
		{"bad protocol", "services: [{name: a/b, ports: [{port: 1, protocol: tcp}]}]", "expected TCP, UDP or SCTP"},
		{"appProtocol too long", "services: [{name: a/b, ports: [{port: 80, appProtocol: " + strings.Repeat("a", 254) + "}]}]", "at most 253 bytes"},
		{"appProtocol of blanks", `services: [{name: a/b, ports: [{port: 80, appProtocol: "a\tb"}]}]`, "printable"},
		{"port name twice", "services: [{name: a/b, ports: [{name: a, port: 1}, {name: a, port: 2}]}]", "given twice"},
		{"port number twice", "services: [{name: a/b, ports: [{name: a, port: 1}, {name: b, port: 1}]}]", "both TCP 1"},
		{"unnamed port of two", "services: [{name: a/b, ports: [{port: 1}, {name: b, port: 2}]}]", "port without a name"},
		{"check without kind", service("check: {interval: 1s}"), "expected one of http, tcp or grpc"},
		{"check is no mapping", service("check: http"), `services[0].check: expected fields, found "http"`},
		{"two kinds", service("check: {http: {}, tcp: {}}"), "both http and tcp"},
		{"short interval", service("check: {tcp: {}, interval: 1ms}"), `services[0].check.interval: expected a duration from 100ms to 5m0s, for example 2s, found "1ms"`},
		{"long timeout", service("check: {tcp: {}, interval: 100ms, timeout: 2s}"), "more than ten intervals"},
		{"threshold", service("check: {tcp: {}, healthyThreshold: 0}"), "from 1 to 10"},
		{"check port", service("check: {tcp: {port: htp}}"), `no port "htp"`},
		{"check of UDP", service("check: {tcp: {port: dns}}"), "expected a TCP port"},
		{"check path", service("check: {http: {path: x}}"), "begins with /"},
		{"check host", service("check: {http: {host: a/b}}"), "check host"},
		{"tcp with a path", service("check: {tcp: {path: /}}"), `services[0].check.tcp.path: unknown field; expected one of port`},
		{"check without port", "services: [{name: a/b, headless: true, check: {tcp: {}}}]", "no port to check"},
		{"address", service("endpoints: [{address: localhost}]"), "line 4: address \"localhost\": expected an IPv4"},
		{"unspecified", service("endpoints: [{address: 0.0.0.0}]"), "unicast"},
		{"multicast", service("endpoints: [{address: 224.0.0.1}]"), "unicast"},
		{"scoped", service("endpoints: [{address: fe80::1%eth0}]"), "unicast"},
		{"no address", service("endpoints: [{id: x}]"), `services[0].endpoints[0].address: expected a value, found none`},
		{"weight", service("endpoints: [{address: 10.0.0.1, weight: 0}]"), "from 1 to 65535"},
		{"same endpoint", service("endpoints:\n  - {address: 10.0.0.1}\n  - {address: 10.0.0.1}"), "line 6: endpoint \"10.0.0.1\" is given twice, first on line 5"},
		{"same id", service("endpoints:\n  - {address: 10.0.0.1, id: x}\n  - {address: 10.0.0.2, id: x}"), "given twice"},
		{"bad id", service("endpoints: [{address: 10.0.0.1, id: a b}]"), "printable"},
		{"unknown port", service("endpoints: [{address: 10.0.0.1, ports: {web: 1}}]"), `services[0].endpoints[0].ports.web: unknown field; expected one of dns, http`},
		{"no named port", "services: [{name: a/b, ports: [{port: 1}], endpoints: [{address: 10.0.0.1, ports: {a: 1}}]}]", "no named port"},
		{"long text", "services: [{name: " + strings.Repeat("a", 2000) + "}]", "expected at most 1024"},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			s, err := Parse([]byte(tc.file), "c")
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
			if len(s.Sets)+len(s.Prefixes) > 0 {
				t.Errorf("a file with a mistake yields %+v", s)
			}
		})
	}
}

func TestAllMistakesAreReportedAtOnceInOrder(t *testing.T) {
	_, err := Parse([]byte("services:\n- name: X/y\n  ports: [{port: 0}]\n- name: a/b\n  bogus: 1\n  headless: true\n"), "c")
	var mistakes Mistakes
	if !errors.As(err, &mistakes) || len(mistakes) != 3 {
		t.Fatalf("got %v, want three mistakes", err)
	}
	for i, line := range []int{2, 3, 5} {
		if mistakes[i].Line != line {
			t.Errorf("mistake %d is on line %d, want %d", i, mistakes[i].Line, line)
		}
	}
}

func TestAFileIsBounded(t *testing.T) {
	if _, err := Parse(make([]byte, MaxBytes+1), "c"); !errors.Is(err, errTooBig) {
		t.Errorf("too many bytes: got %v", err)
	}
	var b strings.Builder
	b.WriteString("clients:\n")
	for range MaxClients + 1 {
		b.WriteString("- {prefix: 10.0.0.0/8}\n")
	}
	if _, err := Parse([]byte(b.String()), "c"); err == nil || !strings.Contains(err.Error(), "at most 4096") {
		t.Errorf("too many clients: got %v", err)
	}
	if _, err := Parse([]byte("clients:\n"+strings.Repeat("- 1\n", 4000)), "c"); err == nil || strings.Count(err.Error(), "\n") > shown+1 {
		t.Errorf("the error is not bounded: %v", err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(complete))
	f.Add([]byte("services: &a [*a]"))
	f.Add([]byte("---\n---\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		services, err := Parse(data, "c")
		if err != nil {
			if err.Error() == "" || len(services.Sets) > 0 {
				t.Errorf("services %+v with error %v", services, err)
			}
			return
		}
		for _, set := range services.Sets {
			if err := set.Service.Validate(); err != nil {
				t.Error(err)
			}
			for _, e := range set.Endpoints {
				if e.ID == "" || !e.Address.IsValid() || e.Weight == 0 {
					t.Errorf("endpoint %+v", e)
				}
			}
		}
	})
}

func Example() {
	services, err := Parse([]byte(`
services:
  - name: shop/checkout
    ports: [{name: http, port: 8080}]
    endpoints:
      - {address: 10.1.0.11, zone: a}
`), "west-1")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return
	}
	set := services.Sets[0]
	fmt.Println(set.SetKey, set.Ports[0].Number, set.Endpoints[0].Address)
	// Output: west-1/shop/checkout 8080 10.1.0.11
}
