package identity

import (
	"crypto"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"time"
)

// Root is the anchor of the trust domain. Its key signs intermediates and
// lists; it exists in memory only where and while that is done.
type Root struct {
	// Certificate is self-signed and public.
	Certificate *x509.Certificate
	trustDomain string
	key         crypto.Signer
}

// NewRoot makes the root of a new trust domain.
func NewRoot(trustDomain string, now time.Time) (*Root, error) {
	if err := ValidateTrustDomain(trustDomain); err != nil {
		return nil, err
	}
	key, err := NewKey()
	if err != nil {
		return nil, fmt.Errorf("make root key: %w", err)
	}
	subject := pkix.Name{CommonName: truncate("federator root " + trustDomain)}
	template := authorityTemplate(trustDomain, subject, 1, now, RootTTL)
	cert, err := sign(template, nil, key.Public(), key)
	if err != nil {
		return nil, err
	}
	return &Root{Certificate: cert, trustDomain: trustDomain, key: key}, nil
}

// OpenRoot joins a root certificate with its unsealed key, which must match.
func OpenRoot(certDER, key []byte) (*Root, error) {
	cert, err := parseRoot(certDER)
	if err != nil {
		return nil, err
	}
	td, err := authorityOf(cert)
	if err != nil {
		return nil, err
	}
	signer, err := ParseKey(key)
	if err != nil {
		return nil, fmt.Errorf("root key: %w", err)
	}
	if err := checkPair(cert, signer); err != nil {
		return nil, fmt.Errorf("root: %w", err)
	}
	return &Root{Certificate: cert, trustDomain: td, key: signer}, nil
}

// TrustDomain is the name of the domain that the root anchors.
func (r *Root) TrustDomain() string { return r.trustDomain }

// KeyID is what tokens pin.
func (r *Root) KeyID() KeyID { return CertKeyID(r.Certificate) }

// MarshalKey encodes the private key, to be given to [Seal] and nothing else.
func (r *Root) MarshalKey() ([]byte, error) { return MarshalKey(r.key) }

// SignIntermediate certifies the key of a region's intermediate for one epoch.
// The caller must have checked that the region holds the key ([ParseRequest]).
func (r *Root) SignIntermediate(region string, epoch uint64, pub crypto.PublicKey, now time.Time) (*x509.Certificate, error) {
	if !isLabel(region) {
		return nil, fmt.Errorf("region %q: expected a DNS label", region)
	}
	if err := checkP256(pub); err != nil {
		return nil, err
	}
	if err := checkTime("root certificate", r.Certificate, now); err != nil {
		return nil, err
	}
	template := authorityTemplate(r.trustDomain, regionSubject(region, epoch), 0, now, IntermediateTTL)
	template.NotAfter = earlier(template.NotAfter, r.Certificate.NotAfter)
	return sign(template, r.Certificate, pub, r.key)
}

// parseRoot parses a certificate and checks that it is a self-signed authority.
func parseRoot(der []byte) (*x509.Certificate, error) {
	cert, err := ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("root: %w", err)
	}
	if _, err := authorityOf(cert); err != nil {
		return nil, fmt.Errorf("root: %w", err)
	}
	if err := cert.CheckSignatureFrom(cert); err != nil {
		return nil, fmt.Errorf("root %q is not self-signed: %w", cert.Subject, err)
	}
	return cert, nil
}

// truncate keeps a common name within the 64 characters of RFC 5280.
func truncate(cn string) string { return cn[:min(len(cn), 64)] }

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
