package identity

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestAVerifierAcceptsWhatTheListAllows(t *testing.T) {
	w := newWorld(t, start)
	key := must(NewKey())(t)
	operator := must(w.east.SignOperator(OperatorRequest{Name: "jo.doe", PublicKey: key.Public()}, start))(t)
	cases := map[string]struct {
		raw  [][]byte
		want ID
	}{
		"a replica":              {w.replica(w.west, "a", 0).Chain(), ReplicaID(td, "us-west", "a")},
		"a chain without root":   {w.replica(w.west, "b", 0).Chain()[:2], ReplicaID(td, "us-west", "b")},
		"an operator":            {operator, OperatorID(td, "jo.doe")},
		"a workload":             {w.forge(w.west, withID("/ns/shop/sa/web")), WorkloadID(td, "shop", "web")},
		"a leaf without any EKU": {w.forge(w.west, func(c *x509.Certificate) { c.ExtKeyUsage = nil }), ReplicaID(td, "us-west", "a")},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			got := must(w.trust.VerifyChain(c.raw, start))(t)
			if got != c.want {
				t.Fatalf("expected %s, found %s", c.want, got)
			}
		})
	}
}

func withID(path string) func(*x509.Certificate) {
	return func(c *x509.Certificate) { c.URIs = []*url.URL{{Scheme: "spiffe", Host: td, Path: path}} }
}

func TestAVerifierRefusesEachBadLeaf(t *testing.T) {
	cases := map[string]struct {
		change func(*x509.Certificate)
		want   string
	}{
		"no URI SAN": {func(c *x509.Certificate) { c.URIs = nil }, "exactly one URI SAN, found 0"},
		"two URI SANs": {func(c *x509.Certificate) { c.URIs = append(c.URIs, OperatorID(td, "jo").URL()) },
			"exactly one URI SAN, found 2"},
		"not SPIFFE":     {func(c *x509.Certificate) { c.URIs[0] = &url.URL{Scheme: "https", Host: td, Path: "/operator/jo"} }, "SPIFFE ID"},
		"root path":      {withID(""), "needs a path"},
		"unknown path":   {withID("/elsewhere"), "expected the path"},
		"foreign domain": {func(c *x509.Certificate) { c.URIs[0].Host = "evil.example" }, "signed by trust domain"},
		"other region":   {withID("/federator/asia-east/a"), "which may sign its own replicas only"},
		"a CA":           {func(c *x509.Certificate) { c.IsCA = true }, "must not be a CA"},
		"no KeyUsage":    {func(c *x509.Certificate) { c.KeyUsage = 0 }, "no critical KeyUsage"},
		"KeyUsage not critical": {func(c *x509.Certificate) {
			c.KeyUsage = 0
			c.ExtraExtensions = []pkix.Extension{{Id: oidKeyUsage, Value: []byte{3, 2, 7, 0x80}}}
		}, "no critical KeyUsage"},
		"KeyUsage signs certificates": {func(c *x509.Certificate) { c.KeyUsage |= x509.KeyUsageCertSign }, "without keyCertSign"},
		"KeyUsage signs CRLs":         {func(c *x509.Certificate) { c.KeyUsage |= x509.KeyUsageCRLSign }, "without keyCertSign"},
		"KeyUsage without signature":  {func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageKeyAgreement }, "expected digitalSignature"},
		"EKU without client":          {func(c *x509.Certificate) { c.ExtKeyUsage = c.ExtKeyUsage[:1] }, "serverAuth and clientAuth"},
		"EKU for e-mail only": {func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageEmailProtection} },
			"serverAuth and clientAuth"},
		"unknown critical extension": {func(c *x509.Certificate) {
			c.ExtraExtensions = []pkix.Extension{{Id: []int{1, 2, 3, 4}, Critical: true, Value: []byte{5, 0}}}
		}, "unhandled critical extension"},
	}
	w := newWorld(t, start)
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			_, err := w.trust.VerifyChain(w.forge(w.west, c.change), start)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("expected %q, found %v", c.want, err)
			}
		})
	}
}

func TestAVerifierRefusesEachBadChain(t *testing.T) {
	w := newWorld(t, start)
	good := w.replica(w.west, "a", 0).Chain()
	foreign := newWorld(t, start)
	unlisted := w.intermediate(w.root, "us-west", 7)
	liar := w.intermediate(w.root, "us-west", 9)
	w.revise(func(l *List) {
		l.Intermediates = append(l.Intermediates, ListedIntermediate{Region: "asia-east", Epoch: 9, KeyID: liar.KeyID()})
	})
	// Signed by the root itself, to slip past the list of intermediates.
	direct := must(sign(leafTemplate(ReplicaID(td, "us-west", "a"), nil, nil, start, time.Hour), w.root.Certificate,
		must(NewKey())(t).Public(), w.root.key))(t)
	cases := map[string]struct {
		raw  [][]byte
		want string
	}{
		"nothing":                         {nil, "chain of 0"},
		"the leaf alone":                  {good[:1], "chain of 1"},
		"too long":                        {append(good[:3:3], good[2]), "chain of 4"},
		"garbage":                         {[][]byte{{1}, {2}}, "parse certificate"},
		"an oversized certificate":        {[][]byte{make([]byte, maxCertificate+1), good[1]}, "expected at most"},
		"the wrong intermediate":          {[][]byte{good[0], w.east.Certificate.Raw}, "which may sign its own replicas only"},
		"a leaf as intermediate":          {[][]byte{good[0], good[0]}, "may not sign"},
		"the root as intermediate":        {[][]byte{direct.Raw, good[2]}, "names no region"},
		"a leaf signed by the root":       {[][]byte{direct.Raw, good[1]}, "not signed by the intermediate"},
		"another federation, same names":  {foreign.replica(foreign.west, "a", 0).Chain(), "not in the trust list"},
		"an intermediate not in the list": {w.replica(unlisted, "a", 0).Chain(), "not in the trust list"},
		"a region other than the list's":  {w.replica(liar, "a", 0).Chain(), "the trust list says asia-east"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			_, err := w.trust.VerifyChain(c.raw, start)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("expected %q, found %v", c.want, err)
			}
		})
	}
}

func TestAListedKeyUnderAnUnknownRootIsRefused(t *testing.T) {
	w := newWorld(t, start)
	// The same intermediate key, certified by another root of the same name.
	other := must(NewRoot(td, start))(t)
	cert := must(other.SignIntermediate("us-west", 1, w.west.key.Public(), start))(t)
	twin := must(OpenIntermediate(cert.Raw, other.Certificate.Raw, must(w.west.MarshalKey())(t)))(t)
	_, err := w.trust.VerifyChain(w.replica(twin, "a", 0).Chain(), start)
	if err == nil || !strings.Contains(err.Error(), "none of the trusted roots") {
		t.Fatal(err)
	}
}

func TestEachFormOfRevocationCoversWhatItNames(t *testing.T) {
	base := newWorld(t, start)
	a, b, c := base.replica(base.west, "a", 0), base.replica(base.west, "b", 0), base.replica(base.east, "a", 0)
	aID := ReplicaID(td, "us-west", "a").String()
	cases := map[string]struct {
		r       Revocation
		a, b, c bool // refused
	}{
		"a leaf's key":            {Revocation{KeyID: CertKeyID(a.Leaf())}, true, false, false},
		"an intermediate's key":   {Revocation{KeyID: base.west.KeyID()}, true, true, false},
		"a leaf's serial":         {Revocation{Serial: Serial(b.Leaf())}, false, true, false},
		"an intermediate serial":  {Revocation{Serial: Serial(base.east.Certificate)}, false, false, true},
		"an ID":                   {Revocation{ID: aID}, true, false, false},
		"an ID and its serial":    {Revocation{ID: aID, Serial: Serial(a.Leaf())}, true, false, false},
		"an ID and other serial":  {Revocation{ID: aID, Serial: Serial(b.Leaf())}, false, false, false},
		"a region and its epoch":  {Revocation{Region: "us-west", Epoch: 1}, true, true, false},
		"a region, another epoch": {Revocation{Region: "us-west", Epoch: 5}, false, false, false},
		"a region for good":       {Revocation{Region: "asia-east"}, false, false, true},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			v := NewVerifier(td, base.root.Certificate)
			l := base.list
			tc.r.Reason, tc.r.At = "stolen laptop", start
			l.Revoked = []Revocation{tc.r}
			must(v.Update(must(base.root.SignList(l))(t)))(t)
			for i, s := range []*Source{a, b, c} {
				_, err := v.VerifyChain(s.Chain(), start)
				if want := []bool{tc.a, tc.b, tc.c}[i]; want != errors.Is(err, ErrRevoked) || !want && err != nil {
					t.Errorf("replica %d: expected refused=%v, found %v", i, want, err)
				}
			}
		})
	}
}

func TestATimeErrorNamesBothClocks(t *testing.T) {
	w := newWorld(t, start)
	raw := w.replica(w.west, "a", time.Hour).Chain()
	cases := map[string]struct {
		now   time.Time
		apart time.Duration
		want  string
	}{
		"our clock is behind": {start.Add(-time.Hour), 55 * time.Minute,
			"certificate of spiffe://acme.example/federator/us-west/a is valid from 2030-01-02T02:59:05Z to 2030-01-02T04:04:05Z, " +
				"but this clock reads 2030-01-02T02:04:05Z: the two clocks are at least 55m0s apart; check NTP on both machines"},
		"it has expired": {start.Add(110 * time.Minute), 50 * time.Minute, "it expired 50m0s ago: either it was not renewed, or the two clocks are at least 50m0s apart"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			_, err := w.trust.VerifyChain(raw, c.now)
			var te *TimeError
			if !errors.As(err, &te) || te.Apart() != c.apart || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("expected %q, found %v", c.want, err)
			}
			must(w.trust.VerifyTrust(raw))(t)
		})
	}
}

func TestNobodyIsJudgedBeforeAListIsKnown(t *testing.T) {
	w := newWorld(t, start)
	_, err := NewVerifier(td, w.root.Certificate).VerifyChain(w.replica(w.west, "a", 0).Chain(), start)
	wantIs(t, err, ErrNoList)
}

func TestAListIsReplacedOnlyByANewerOneFromAKnownRoot(t *testing.T) {
	w := newWorld(t, start)
	first := w.trust.Signed()
	changes := 0
	cancel := w.trust.OnChange(func() { changes++ })
	second := w.revise(func(l *List) { l.Revoked = []Revocation{{ID: OperatorID(td, "jo").String(), At: start}} })
	if changed, err := w.trust.Update(second); changed || err != nil {
		t.Fatalf("the same list again: changed=%v, %v", changed, err)
	}
	if changed, err := w.trust.Update(must(w.root.SignList(w.list))(t)); changed || err != nil {
		t.Fatalf("the same list signed again: changed=%v, %v", changed, err)
	}
	_, err := w.trust.Update(first)
	wantIs(t, err, ErrStaleList)

	rival := w.list
	rival.Revoked = nil
	_, err = w.trust.Update(must(w.root.SignList(rival))(t))
	wantIs(t, err, ErrListConflict)

	foreign := newWorld(t, start)
	_, err = w.trust.Update(foreign.revise(func(l *List) { l.Sequence = 99 }))
	wantIs(t, err, ErrUntrustedList)
	cancel()
	w.revise(func(*List) {})
	if changes != 1 {
		t.Fatalf("expected one change to be told, found %d", changes)
	}
}

func TestARootIsReplacedWithoutRefusingAnyone(t *testing.T) {
	w := newWorld(t, start)
	old := w.replica(w.west, "a", 0).Chain()
	next := must(NewRoot(td, start))(t)
	nextWest := w.intermediate(next, "us-west", 1)
	w.revise(func(l *List) {
		l.Roots = append(l.Roots, next.Certificate.Raw)
		l.Intermediates = append(l.Intermediates, listed(nextWest))
	})
	renewed := w.replica(nextWest, "a", 0).Chain()
	for _, raw := range [][][]byte{old, renewed} {
		must(w.trust.VerifyChain(raw, start))(t)
	}
	w.root = next
	w.revise(func(l *List) {
		l.Roots = [][]byte{next.Certificate.Raw}
		l.Intermediates = []ListedIntermediate{listed(nextWest)}
	})
	must(w.trust.VerifyChain(renewed, start))(t)
	if _, err := w.trust.VerifyChain(old, start); err == nil {
		t.Fatal("a chain to the dropped root was accepted")
	}
}

func TestAListSurvivesARestart(t *testing.T) {
	w := newWorld(t, start)
	path := filepath.Join(t.TempDir(), "trust.json")
	check(t, w.trust.SaveList(path))
	v := must(LoadVerifier(td, path))(t)
	must(v.VerifyChain(w.replica(w.west, "a", 0).Chain(), start))(t)
	if _, err := LoadVerifier("other.example", path); err == nil {
		t.Fatal("the list of another trust domain was loaded")
	}
	check(t, WriteFile(path, w.trust.Signed()[:100], 0o600))
	if _, err := LoadVerifier(td, path); err == nil || !strings.Contains(err.Error(), "join again") {
		t.Fatalf("a damaged list: %v", err)
	}
}

func TestPinsProveAServerWhateverTheClock(t *testing.T) {
	w := newWorld(t, start)
	raw := w.replica(w.west, "a", time.Hour).Chain()
	pins := Pins{TrustDomain: td, Roots: []KeyID{w.root.KeyID()}}
	p := must(pins.VerifyChain(raw))(t)
	if p.ID != ReplicaID(td, "us-west", "a") || !p.Root.Equal(w.root.Certificate) || !p.NotAfter.Equal(start.Add(time.Hour)) {
		t.Fatalf("found %+v", p)
	}
	check(t, p.CheckTime(start))
	var te *TimeError
	if err := p.CheckTime(start.Add(3 * time.Hour)); !errors.As(err, &te) || te.Apart() != 2*time.Hour {
		t.Fatal(err)
	}
	impostor := newWorld(t, start)
	fake := impostor.replica(impostor.west, "a", 0).Chain()
	operator := must(w.west.SignOperator(OperatorRequest{Name: "jo", PublicKey: must(NewKey())(t).Public()}, start))(t)
	refused := map[string]struct {
		pins Pins
		raw  [][]byte
		want string
	}{
		"no pin":              {Pins{TrustDomain: td}, raw, "without a pin"},
		"no root sent":        {pins, raw[:2], "did not send its root"},
		"another root":        {pins, fake, "not of the federation that is pinned"},
		"a borrowed root":     {pins, [][]byte{fake[0], fake[1], raw[2]}, "none of the trusted roots"},
		"another domain":      {Pins{TrustDomain: "b.example", Roots: pins.Roots}, raw, "expected trust domain b.example"},
		"not a replica":       {pins, operator, "expected a replica"},
		"another region leaf": {pins, w.forge(w.west, withID("/federator/asia-east/a")), "its own replicas only"},
	}
	for name, c := range refused {
		t.Run(name, func(t *testing.T) {
			if _, err := c.pins.VerifyChain(c.raw); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("expected %q, found %v", c.want, err)
			}
		})
	}
}
