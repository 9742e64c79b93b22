package identity

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Pins are the root keys that a join token, or the manifest of a pod, vouches for.
// They are all that somebody without a certificate can trust before it has a list.
type Pins struct {
	TrustDomain string
	Roots       []KeyID
}

// Presented is a chain that ends in a pinned root. Its times have not been
// judged, because the joiner's clock may be the wrong one: see CheckTime.
type Presented struct {
	ID ID
	// Root is the pinned root, to start a [Verifier] with.
	Root *x509.Certificate
	// NotBefore and NotAfter bound the validity of the chain as a whole.
	NotBefore, NotAfter time.Time
}

// CheckTime returns a [*TimeError] if the chain is not valid now.
func (p *Presented) CheckTime(now time.Time) error {
	return window{p.NotBefore, p.NotAfter}.check("certificate of "+p.ID.String(), now)
}

// VerifyChain proves a server by a chain of leaf, intermediate and root in DER.
func (p Pins) VerifyChain(raw [][]byte) (*Presented, error) {
	c, err := parseChain(raw)
	if err != nil {
		return nil, err
	}
	return p.judge(c)
}

// VerifyPeer proves the peer of a TLS connection as VerifyChain does.
func (p Pins) VerifyPeer(cs tls.ConnectionState) (*Presented, error) {
	c, err := newChain(cs.PeerCertificates)
	if err != nil {
		return nil, err
	}
	return p.judge(c)
}

func (p Pins) judge(c *chain) (*Presented, error) {
	if len(p.Roots) == 0 {
		return nil, errors.New("no root key is pinned: without a pin nobody is believed")
	}
	if c.sentRoot == nil {
		return nil, fmt.Errorf("%s did not send its root certificate", c.id)
	}
	if found := CertKeyID(c.sentRoot); !slices.Contains(p.Roots, found) {
		return nil, fmt.Errorf("%s is not of the federation that is pinned: expected a root key %s, found %s; check the address, or ask for a new token or pin", c.id, p.Roots[0], found)
	}
	td, err := authorityOf(c.sentRoot)
	if err != nil {
		return nil, err
	}
	if td != p.TrustDomain || c.id.TrustDomain != td {
		return nil, fmt.Errorf("%s with a root of %q: expected trust domain %s", c.id, td, p.TrustDomain)
	}
	if c.id.Kind != Replica {
		return nil, fmt.Errorf("%s: expected a replica", c.id)
	}
	root, w, err := c.verify([]*x509.Certificate{c.sentRoot})
	if err != nil {
		return nil, err
	}
	return &Presented{ID: c.id, Root: root, NotBefore: w.from, NotAfter: w.to}, nil
}

// ClientTLS is for enrolment: it presents no certificate and accepts only a
// server that the pins prove, whatever the clocks say. After the handshake
// VerifyPeer tells the server's validity.
func (p Pins) ClientTLS(alpn string) *tls.Config {
	return clientConfig(alpn, func(cs tls.ConnectionState) error {
		_, err := p.VerifyPeer(cs)
		return err
	})
}
