package enroll

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"github.com/federator/federator/identity"
	"github.com/federator/federator/peering/port"
)

// prover holds the server to what the token says.
type prover struct {
	pins   identity.Pins
	region string
	now    func() time.Time
	// wrong says that the server is not the one meant; nil means [ErrWrongPin].
	wrong error
	// server is set once the server is proven.
	server *identity.Presented
}

// config makes a TLS configuration that proves the server by the pins. It does
// not ask for validity in time yet, so that a wrong clock can be told from a
// wrong server: checkClock comes next, before anything secret is sent.
func (p *prover) config() *tls.Config {
	config := p.pins.ClientTLS(port.Enroll)
	config.VerifyConnection = func(s tls.ConnectionState) error {
		if s.NegotiatedProtocol != port.Enroll {
			return fmt.Errorf("%w: the server does not speak %s", identity.ErrALPN, port.Enroll)
		}
		return p.prove(s)
	}
	return config
}

func (p *prover) prove(s tls.ConnectionState) error {
	server, err := p.pins.VerifyPeer(s)
	if err == nil {
		err = identity.AllowRegion(p.pins.TrustDomain, p.region)(server.ID)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", cmp.Or(p.wrong, ErrWrongPin), err)
	}
	p.server = server
	return nil
}

// checkClock refuses a skew that certificates cannot bear, and a server whose
// certificate is not valid now.
func (p *prover) checkClock(now time.Time, skew time.Duration) error {
	if skew.Abs() > MaxSkew {
		return fmt.Errorf("%w: expected at most %s, found the server's clock %s (%s there, %s here)",
			ErrClockSkew, MaxSkew, apart(skew), stamp(now.Add(skew)), stamp(now))
	}
	if err := p.server.CheckTime(now); err != nil {
		return fmt.Errorf("%w: %w; the server's clock is %s", ErrClockSkew, err, apart(skew))
	}
	return nil
}

func apart(skew time.Duration) string {
	if skew < 0 {
		return skew.Abs().Round(time.Second).String() + " behind ours"
	}
	return skew.Round(time.Second).String() + " ahead of ours"
}

// verifier judges by the trust list of an answer, which a root that the server
// has proven, or one that such a root vouched for, must have signed.
func (p *prover) verifier(list []byte) (*identity.Verifier, error) {
	v := identity.NewVerifier(p.pins.TrustDomain, p.server.Root)
	_, err := v.Update(list)
	return v, err
}

// checkCA checks the certificate of the region's CA that a founder is given.
func checkCA(v *identity.Verifier, der []byte, region string, epoch uint64) (*x509.Certificate, error) {
	ca, err := identity.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("certificate of the region's CA: %w", err)
	}
	key := identity.CertKeyID(ca)
	for _, in := range v.List().Intermediates {
		if in.KeyID == key && in.Region == region && in.Epoch == epoch {
			return ca, signedByOneOf(v.Roots(), ca)
		}
	}
	return nil, fmt.Errorf("certificate of the region's CA: it is not in the trust list as %s of epoch %d", region, epoch)
}

func signedByOneOf(roots []*x509.Certificate, ca *x509.Certificate) error {
	for _, r := range roots {
		if ca.CheckSignatureFrom(r) == nil {
			return nil
		}
	}
	return errors.New("certificate of the region's CA: no trusted root signed it")
}
