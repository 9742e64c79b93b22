package identity

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"net"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"filippo.io/age"
)

func TestNothingOutlivesItsSigner(t *testing.T) {
	w := newWorld(t, start)
	late := w.west.Certificate.NotAfter.Add(-time.Hour)
	key := must(NewKey())(t)
	raw := must(w.west.SignReplica(ReplicaRequest{Name: "a", PublicKey: key.Public()}, late))(t)
	if got := must(ParseCertificate(raw[0]))(t).NotAfter; !got.Equal(w.west.Certificate.NotAfter) {
		t.Fatalf("the leaf is valid to %s, its signer to %s", got, w.west.Certificate.NotAfter)
	}
	cert := must(w.root.SignIntermediate("us-west", 2, key.Public(), w.root.Certificate.NotAfter.Add(-time.Hour)))(t)
	if !cert.NotAfter.Equal(w.root.Certificate.NotAfter) {
		t.Fatalf("the intermediate is valid to %s", cert.NotAfter)
	}
	for _, now := range []time.Time{w.west.Certificate.NotAfter.Add(time.Minute), w.west.Certificate.NotBefore.Add(-time.Minute)} {
		if _, err := w.west.SignReplica(ReplicaRequest{Name: "a", PublicKey: key.Public()}, now); err == nil {
			t.Fatalf("an intermediate that is not valid at %s signed", now)
		}
	}
	if _, err := w.root.SignIntermediate("us-west", 2, key.Public(), w.root.Certificate.NotAfter.Add(time.Minute)); err == nil {
		t.Fatal("an expired root signed")
	}
}

func TestLeavesHaveTheFormThatSPIFFEAsksFor(t *testing.T) {
	w := newWorld(t, start)
	raw := must(w.west.SignReplica(ReplicaRequest{Name: "a", PublicKey: must(NewKey())(t).Public(),
		DNSNames: []string{"a.example"}, IPs: []net.IP{net.IPv4(127, 0, 0, 1).To4()}, TTL: 7 * time.Second}, start))(t)
	leaf := must(ParseCertificate(raw[0]))(t)
	must(checkLeaf(leaf))(t)
	if leaf.KeyUsage != x509.KeyUsageDigitalSignature || len(leaf.ExtKeyUsage) != 2 || len(leaf.DNSNames) != 1 || len(leaf.IPAddresses) != 1 {
		t.Fatalf("found %+v", leaf)
	}
	if !leaf.NotBefore.Equal(start.Add(-Backdate)) || !leaf.NotAfter.Equal(start.Add(7*time.Second)) {
		t.Fatalf("valid from %s to %s", leaf.NotBefore, leaf.NotAfter)
	}
	if got := must(authorityOf(w.west.Certificate))(t); got != td || !w.west.Certificate.MaxPathLenZero {
		t.Fatalf("intermediate of %q", got)
	}
}

func TestAnIssuerRefusesBadRequests(t *testing.T) {
	w := newWorld(t, start)
	p256 := must(NewKey())(t).Public()
	p384 := must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader))(t).Public()
	for name, r := range map[string]ReplicaRequest{
		"no name":         {PublicKey: p256},
		"a path":          {Name: "a/b", PublicKey: p256},
		"upper case":      {Name: "A", PublicKey: p256},
		"no key":          {Name: "a"},
		"another curve":   {Name: "a", PublicKey: p384},
		"a bad DNS name":  {Name: "a", PublicKey: p256, DNSNames: []string{"*.example"}},
		"a bad address":   {Name: "a", PublicKey: p256, IPs: []net.IP{{1}}},
		"too many names":  {Name: "a", PublicKey: p256, DNSNames: slices.Repeat([]string{"a"}, 17)},
		"a very long one": {Name: "a", PublicKey: p256, DNSNames: []string{strings.Repeat("a.", 127) + "a"}},
	} {
		if _, err := w.west.SignReplica(r, start); err == nil {
			t.Errorf("%s: signed", name)
		}
	}
	for _, id := range []ID{{}, OperatorID(td, "jo"), ReplicaID(td, "asia-east", "a"), ReplicaID("b.example", "us-west", "a")} {
		if _, err := w.west.SignRequest(&Request{ID: id, PublicKey: p256}, 0, start); err == nil {
			t.Errorf("request for %s: signed", id)
		}
	}
	if _, err := w.west.SignOperator(OperatorRequest{Name: "a b", PublicKey: p256}, start); err == nil {
		t.Error("an operator with a space: signed")
	}
	for _, region := range []string{"", "US", "a.b"} {
		if _, err := w.root.SignIntermediate(region, 1, p256, start); err == nil {
			t.Errorf("region %q: signed", region)
		}
	}
	if _, err := NewRoot("Acme Example", start); err == nil {
		t.Error("a bad trust domain: accepted")
	}
}

func TestARequestIsReadBackAndABadOneIsRefused(t *testing.T) {
	s := must(NewSource())(t)
	id := ReplicaID(td, "us-west", "a")
	der := must(s.Request(id, []string{"a.example"}, []net.IP{net.IPv4(10, 0, 0, 1)}))(t)
	r := must(ParseRequest(der))(t)
	spki := must(s.SPKI())(t)
	if r.ID != id || !bytes.Equal(r.SPKI, spki) || r.KeyID() != SPKIKeyID(spki) || len(r.DNSNames) != 1 || len(r.IPs) != 1 {
		t.Fatalf("found %+v", r)
	}
	altered := bytes.Clone(der)
	altered[len(altered)-1] ^= 1
	uri := &url.URL{Scheme: "https", Host: "x"}
	foreign := must(rsa.GenerateKey(rand.Reader, 2048))(t)
	for name, bad := range map[string][]byte{
		"nothing":     nil,
		"too large":   make([]byte, maxRequest+1),
		"altered":     altered,
		"trailing":    append(bytes.Clone(der), 0),
		"RSA":         must(x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, foreign))(t),
		"no SPIFFE":   must(x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{URIs: []*url.URL{uri}}, s.key))(t),
		"two URIs":    must(x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{URIs: []*url.URL{id.URL(), uri}}, s.key))(t),
		"an e-mail":   must(x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{EmailAddresses: []string{"a@b"}}, s.key))(t),
		"a wild card": must(x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{DNSNames: []string{"*.b"}}, s.key))(t),
	} {
		if _, err := ParseRequest(bad); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestAuthoritiesOpenOnlyWithTheirOwnKey(t *testing.T) {
	w := newWorld(t, start)
	rootKey, westKey := must(w.root.MarshalKey())(t), must(w.west.MarshalKey())(t)
	root := must(OpenRoot(w.root.Certificate.Raw, rootKey))(t)
	if root.TrustDomain() != td || root.KeyID() != w.root.KeyID() {
		t.Fatal("another root came back")
	}
	if w.west.TrustDomain() != td || w.west.Region != "us-west" || w.west.Epoch != 1 {
		t.Fatalf("found %+v", w.west)
	}
	other := newWorld(t, start)
	for name, open := range map[string]func() error{
		"a root with an intermediate's key": func() error { _, err := OpenRoot(w.root.Certificate.Raw, westKey); return err },
		"a root with garbage":               func() error { _, err := OpenRoot(w.root.Certificate.Raw, []byte("x")); return err },
		"an intermediate as root":           func() error { _, err := OpenRoot(w.west.Certificate.Raw, westKey); return err },
		"an intermediate, root's key": func() error {
			_, err := OpenIntermediate(w.west.Certificate.Raw, w.root.Certificate.Raw, rootKey)
			return err
		},
		"an intermediate of another root": func() error {
			_, err := OpenIntermediate(w.west.Certificate.Raw, other.root.Certificate.Raw, westKey)
			return err
		},
	} {
		if open() == nil {
			t.Errorf("%s: opened", name)
		}
	}
}

func TestASecretIsReadByItsRecipientsOnly(t *testing.T) {
	a, b, c := must(NewSealKey())(t), must(NewSealKey())(t), must(NewSealKey())(t)
	secret := []byte("the root key")
	blob := must(Seal(secret, a.Recipient(), b.Recipient(), a.Recipient()))(t)
	if bytes.Contains(blob, secret) {
		t.Fatal("the secret is in the clear")
	}
	for _, k := range []*SealKey{a, must(ParseSealKey(" " + strings.ToLower(b.Secret())[:20] + "\n" + b.Secret()[20:] + "\n"))(t)} {
		if got := must(Unseal(blob, k))(t); !bytes.Equal(got, secret) {
			t.Fatalf("found %q", got)
		}
	}
	_, err := Unseal(blob, c)
	wantIs(t, err, ErrNotRecipient)
	blob[len(blob)-1] ^= 1
	if _, err := Unseal(blob, a); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Fatalf("an altered blob: %v", err)
	}
	if strings.Contains(a.String(), "SECRET") || ValidateRecipient(a.String()) != nil {
		t.Fatal("printing a key gives it away")
	}
}

func TestSealingIsBounded(t *testing.T) {
	k := must(NewSealKey())(t)
	large := must(encrypt(make([]byte, maxSecret+1), []age.Recipient{must(parseRecipient(k.Recipient()))(t)}))(t)
	for name, err := range map[string]error{
		"a large secret":      second(Seal(make([]byte, maxSecret+1), k.Recipient())),
		"nobody":              second(Seal(nil)),
		"a bad recipient":     second(Seal(nil, "age1x")),
		"a large blob":        second(Unseal(make([]byte, maxSealed+1), k)),
		"a large secret out":  second(Unseal(large, k)),
		"a mistyped key":      second(ParseSealKey(k.Secret()[:40])),
		"an endless key":      second(ParseSealKey(strings.Repeat("A", 2000))),
		"a recipient for key": second(ParseSealKey(k.Recipient())),
	} {
		if err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	must(Unseal(must(Seal(make([]byte, maxSecret), k.Recipient()))(t), k))(t)
}

func second[T any](_ T, err error) error { return err }

func TestOnlyTheUnsealedKeyProvesUnsealing(t *testing.T) {
	w := newWorld(t, start)
	nonce := bytes.Repeat([]byte{7}, 32)
	proof := must(ProveUnseal(nonce, w.west.Signer()))(t)
	check(t, CheckProof(nonce, proof, w.west.Certificate))
	undomained := must(signDomain(domainList, nonce, w.west.Signer()))(t)
	for name, err := range map[string]error{
		"another nonce":        CheckProof(bytes.Repeat([]byte{8}, 32), proof, w.west.Certificate),
		"another intermediate": CheckProof(nonce, proof, w.east.Certificate),
		"another purpose":      CheckProof(nonce, undomained, w.west.Certificate),
		"no proof":             CheckProof(nonce, nil, w.west.Certificate),
		"a short nonce":        CheckProof(nonce[:4], proof, w.west.Certificate),
		"a long nonce":         second(ProveUnseal(make([]byte, 300), w.west.Signer())),
	} {
		if err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
