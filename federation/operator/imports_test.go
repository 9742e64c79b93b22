package operator

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/peering/pb"
)

func importTroubles() []trouble {
	with := func(i Imports) func(*view) { return func(v *view) { v.imports = &i } }
	since := func(d time.Duration) time.Time { return noon.Add(-d) }
	return []trouble{
		{"this replica writes", with(Imports{Writer: true, Holder: "us-west-0", Imports: 3}), "", ""},
		{"another replica writes", with(Imports{Holder: "us-west-1"}), "", ""},
		{"the API server restarts", with(Imports{Holder: "us-west-1", Unanswered: since(5 * time.Second)}), "", ""},
		{"the API server is away", with(Imports{Holder: "us-west-1", Unanswered: since(time.Minute), Refused: "before"}), "warning imports-unanswered imports of cluster us-west-0", "kube-proxy goes on"},
		{"a role is missing", with(Imports{Refused: "leases is forbidden"}), "error imports-refused imports of cluster us-west-0", "leases is forbidden"},
		{"nobody writes", with(Imports{}), "warning imports-unwritten imports of cluster us-west-0", "federator-imports"},
		{"nobody writes yet", func(v *view) { v.imports, v.started = &Imports{}, since(10*time.Second) }, "", ""},
		{"the writer has just begun and catches up", with(Imports{Writer: true, Holder: "us-west-0", Behind: 3, BehindSince: since(50 * time.Second)}), "", ""},
		{"the writer knows less than its objects say", with(Imports{Writer: true, Holder: "us-west-0", Behind: 3, BehindSince: since(2 * time.Minute)}), "warning imports-behind imports of cluster us-west-0", "3 services are left alone"},
		{"something is in the way", with(Imports{Writer: true, Holder: "us-west-0", Foreign: []string{"Service shop/derived-x"}}), "warning imports-foreign Service shop/derived-x", "delete or rename"},
		{"something changes one back", with(Imports{Writer: true, Holder: "us-west-0", Contested: []string{"Service shop/derived-x"}}), "warning imports-contested Service shop/derived-x", "federator.dev/import"},
		{"something reports on an export", with(Imports{Writer: true, Holder: "us-west-0", Contested: []string{"ServiceExport shop/checkout"}}), "warning imports-contested ServiceExport shop/checkout", "one controller"},
	}
}

func TestStatusTellsHowTheImportsAre(t *testing.T) {
	v := well()
	if got := v.status().GetImports(); got != nil {
		t.Errorf("outside of Kubernetes it tells %v", got)
	}
	v.imports = &Imports{Writer: true, Holder: "us-west-0", Imports: 3, Behind: 1, Foreign: []string{"a"}, Contested: []string{"b"}}
	want := &pb.ImportsStatus{Writer: true, Holder: "us-west-0", Imports: 3, Behind: 1, Foreign: []string{"a"}, Contested: []string{"b"}}
	if got := v.status().GetImports(); !proto.Equal(got, want) {
		t.Errorf("it tells %v, expected %v", got, want)
	}
}

func TestResolveTellsAClientInTheClusterItsClustersetIP(t *testing.T) {
	w := newWorld(t)
	w.apply(document)
	w.server.Self.Region, w.server.Self.Cluster = "eu-central", "eu-1" // whose network is 10.2.0.0/16
	w.server.VIPs = func(name catalog.ServiceName) []netip.Addr {
		if name.Name != "checkout" {
			return nil
		}
		return []netip.Addr{netip.MustParseAddr("10.96.0.7")}
	}
	for address, want := range map[string]string{"10.2.9.9": "10.96.0.7", "192.0.2.1": "10.2.0.1", "": "10.2.0.1"} {
		r, err := w.server.Resolve(w.as(), &pb.ResolveRequest{Service: "shop/checkout", ClientAddress: address})
		w.must(err)
		inside := strings.Contains(strings.Join(r.GetExplanation(), "\n"), "clients in cluster eu-1 with its clusterset IP 10.96.0.7")
		if got := r.GetDnsAnswers(); len(got) == 0 || got[0] != want || inside != (want == "10.96.0.7") || inside != strings.Contains(r.GetFromReason(), "of this cluster") {
			t.Errorf("a client at %q is told %v, expected %s", address, r, want)
		}
	}
}
