package identity

import (
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"time"
)

// TLS makes the configurations of every connection of a replica: TLS 1.3, a
// fresh certificate from Source in each handshake, the peer judged by Verifier,
// no resumption (it would outlive a revocation).
type TLS struct {
	Source   *Source
	Verifier *Verifier
	// Now is the clock that certificates are judged by.
	Now func() time.Time
}

// ErrALPN: the peers agree on no protocol of this port.
var ErrALPN = errors.New("no common ALPN protocol")

// Server serves several protocols on one port, told apart by ALPN. A client of
// a mutual protocol must prove who it is and satisfy that protocol's authoriser.
// A client of an anonymous one (enrolment) shows no certificate and is sent the
// whole chain with the root, so that it can compare its pin.
func (t TLS) Server(mutual map[string]Authoriser, anonymous ...string) *tls.Config {
	protected := t.mutualServer(mutual)
	open := t.anonymousServer(anonymous)
	outer := protected.Clone()
	outer.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		offers := func(alpn string) bool { return slices.Contains(hello.SupportedProtos, alpn) }
		switch {
		case slices.ContainsFunc(protected.NextProtos, offers):
			return protected, nil
		case slices.ContainsFunc(anonymous, offers):
			return open, nil
		}
		return nil, fmt.Errorf("%w: the client offers %.100q", ErrALPN, hello.SupportedProtos)
	}
	return outer
}

func (t TLS) mutualServer(authorise map[string]Authoriser) *tls.Config {
	c := baseConfig()
	for alpn := range authorise {
		c.NextProtos = append(c.NextProtos, alpn)
	}
	slices.Sort(c.NextProtos)
	c.ClientAuth = tls.RequireAnyClientCert
	c.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return t.Source.certificate(false) }
	c.VerifyConnection = func(cs tls.ConnectionState) error {
		check := authorise[cs.NegotiatedProtocol]
		if check == nil {
			return fmt.Errorf("%w: %.40q", ErrALPN, cs.NegotiatedProtocol)
		}
		return t.verify(cs, check)
	}
	return c
}

func (t TLS) anonymousServer(alpns []string) *tls.Config {
	c := baseConfig()
	c.NextProtos = alpns
	c.ClientAuth = tls.NoClientCert
	c.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return t.Source.certificate(true) }
	return c
}

// Client dials one protocol and accepts only servers that authorise admits.
func (t TLS) Client(alpn string, authorise Authoriser) *tls.Config {
	c := clientConfig(alpn, func(cs tls.ConnectionState) error { return t.verify(cs, authorise) })
	c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return t.Source.certificate(false) }
	return c
}

func (t TLS) verify(cs tls.ConnectionState, authorise Authoriser) error {
	id, err := t.Verifier.VerifyPeer(cs, t.Now())
	if err != nil {
		return err
	}
	return authorise(id)
}

// PeerID is the identity that a finished mutual handshake has proven. It must
// only be asked of connections made with a configuration of this package.
func PeerID(cs tls.ConnectionState) (ID, error) {
	if !cs.HandshakeComplete || len(cs.PeerCertificates) == 0 {
		return ID{}, errors.New("connection has no proven peer")
	}
	return checkLeaf(cs.PeerCertificates[0])
}

func baseConfig() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS13, SessionTicketsDisabled: true}
}

// clientConfig leaves out Go's own verification, which matches host names that a
// SPIFFE peer need not have; verify stands in for all of it.
func clientConfig(alpn string, verify func(tls.ConnectionState) error) *tls.Config {
	c := baseConfig()
	c.NextProtos = []string{alpn}
	c.InsecureSkipVerify = true
	c.VerifyConnection = func(cs tls.ConnectionState) error {
		if cs.NegotiatedProtocol != alpn {
			return fmt.Errorf("%w: the server does not speak %q; check the address and port", ErrALPN, alpn)
		}
		return verify(cs)
	}
	return c
}
