package identity

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
)

func TestAWorkloadsCertificateNamesItsServiceAccountAndNothingElse(t *testing.T) {
	w := newWorld(t, start)
	key := must(NewKey())(t)
	raw := must(w.west.SignWorkload(WorkloadRequest{Namespace: "shop", ServiceAccount: "web.front", PublicKey: key.Public()}, start))(t)
	leaf := must(ParseCertificate(raw[0]))(t)
	if got := must(checkLeaf(leaf))(t); got != WorkloadID(td, "shop", "web.front") {
		t.Errorf("found %s", got)
	}
	if len(leaf.DNSNames)+len(leaf.IPAddresses)+len(leaf.EmailAddresses) > 0 || len(leaf.URIs) != 1 || leaf.IsCA {
		t.Errorf("expected one URI and nothing else, found %v %v %v", leaf.DNSNames, leaf.IPAddresses, leaf.URIs)
	}
	if leaf.KeyUsage != x509.KeyUsageDigitalSignature || len(leaf.ExtKeyUsage) != 2 || !key.PublicKey.Equal(leaf.PublicKey) {
		t.Errorf("usage %v %v", leaf.KeyUsage, leaf.ExtKeyUsage)
	}
	if life := leaf.NotAfter.Sub(start); life != time.Hour {
		t.Errorf("it lives %s", life)
	}
}

func TestGoSPIFFEAcceptsAWorkloadOfAnyRegion(t *testing.T) {
	w := newWorld(t, time.Now())
	bundle := x509bundle.FromX509Authorities(spiffeid.RequireTrustDomainFromString(td), w.trust.Roots())
	for _, ca := range []*Intermediate{w.west, w.east} {
		raw := must(ca.SignWorkload(WorkloadRequest{Namespace: "shop", ServiceAccount: "web", PublicKey: must(NewKey())(t).Public()}, w.now))(t)
		got, _, err := x509svid.ParseAndVerify(raw[:2], bundle, x509svid.WithTime(w.now))
		check(t, err)
		if got.String() != "spiffe://acme.example/ns/shop/sa/web" {
			t.Errorf("found %s", got)
		}
		if id := must(w.trust.VerifyChain(raw, w.now))(t); id != WorkloadID(td, "shop", "web") {
			t.Errorf("found %s", id)
		}
	}
}

func TestAWorkloadIsNobodyOnOurPorts(t *testing.T) {
	web := WorkloadID(td, "federator-system", "federator")
	for _, admits := range map[string]Authoriser{
		"replicas": AllowReplica(td), "a region": AllowRegion(td, "us-west"), "operators": AllowOperator(td),
		"either": AllowAny(AllowReplica(td), AllowOperator(td)),
	} {
		wantIs(t, admits(web), ErrNotAuthorised)
	}
}

func TestAnIssuerRefusesBadWorkloads(t *testing.T) {
	w := newWorld(t, start)
	p256 := must(NewKey())(t).Public()
	for name, tt := range map[string]struct {
		namespace, account string
		key                crypto.PublicKey
		ttl                time.Duration
	}{
		"no namespace":       {"", "web", p256, 0},
		"no account":         {"shop", "", p256, 0},
		"a path":             {"shop", "web/../../operator", p256, 0},
		"another namespace":  {"shop/sa/web/ns/x", "web", p256, 0},
		"dots in the place":  {"shop.x", "web", p256, 0},
		"upper case":         {"shop", "Web", p256, 0},
		"an empty part":      {"shop", "web..x", p256, 0},
		"a hyphen in front":  {"shop", "-web", p256, 0},
		"a colon":            {"shop", "web:x", p256, 0},
		"a long account":     {"shop", strings.Repeat("a", 254), p256, 0},
		"a long namespace":   {strings.Repeat("a", 64), "web", p256, 0},
		"no key":             {"shop", "web", nil, 0},
		"another curve":      {"shop", "web", must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader))(t).Public(), 0},
		"a life too short":   {"shop", "web", p256, time.Minute},
		"a life of too long": {"shop", "web", p256, 25 * time.Hour},
	} {
		if _, err := w.west.SignWorkload(WorkloadRequest{tt.namespace, tt.account, tt.key, tt.ttl}, start); err == nil {
			t.Errorf("%s: signed", name)
		}
	}
	must(w.west.SignWorkload(WorkloadRequest{"shop", strings.Repeat("a", 253), p256, MinWorkloadTTL}, start))(t)
}

func TestARequestMayNameNoOtherIdentityThanItsWorkloads(t *testing.T) {
	web := WorkloadID(td, "shop", "web")
	for name, tt := range map[string]struct {
		of    ID
		names []string
		ips   []net.IP
		good  bool
	}{
		"nothing":           {good: true},
		"itself":            {of: web, good: true},
		"another account":   {of: WorkloadID(td, "shop", "api")},
		"another namespace": {of: WorkloadID(td, "bank", "web")},
		"another domain":    {of: WorkloadID("b.example", "shop", "web")},
		"a replica":         {of: ReplicaID(td, "us-west", "a")},
		"an operator":       {of: OperatorID(td, "jo")},
		"a DNS name":        {names: []string{"web.shop"}},
		"an address":        {ips: []net.IP{net.IPv4(10, 0, 0, 1).To4()}},
	} {
		der := must(NewRequest(must(NewKey())(t), tt.of, tt.names, tt.ips))(t)
		if err := must(ParseRequest(der))(t).CheckWorkload(web); (err == nil) != tt.good {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, id := range []ID{{}, ReplicaID(td, "us-west", "a"), OperatorID(td, "jo"), WorkloadID(td, "shop", "")} {
		if err := (&Request{}).CheckWorkload(id); err == nil {
			t.Errorf("%s: accepted", id)
		}
	}
}
