package identity

import (
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
)

// Other SPIFFE implementations must accept what this one issues.
func TestGoSPIFFEAcceptsOurCertificates(t *testing.T) {
	w := newWorld(t, time.Now())
	domain := spiffeid.RequireTrustDomainFromString(td)
	bundle := x509bundle.FromX509Authorities(domain, w.trust.Roots())
	operator := must(w.east.SignOperator(OperatorRequest{Name: "jo", PublicKey: must(NewKey())(t).Public()}, w.now))(t)
	for want, raw := range map[ID][][]byte{
		ReplicaID(td, "us-west", "a"): w.replica(w.west, "a", 0).Chain(),
		OperatorID(td, "jo"):          operator,
	} {
		got, _, err := x509svid.ParseAndVerify(raw[:2], bundle, x509svid.WithTime(w.now))
		check(t, err)
		if got.String() != want.String() {
			t.Errorf("expected %s, found %s", want, got)
		}
	}
}
