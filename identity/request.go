package identity

import (
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
)

// Bounds of a certificate request.
const (
	maxRequest  = 8 << 10 // bytes
	maxSubjects = 16      // DNS names, and again IP addresses
)

// Request is a parsed certificate request. What it asks for is a wish: the
// issuer decides the identity. That the sender holds the key is proven.
type Request struct {
	// ID is the zero value if the request names none.
	ID        ID
	PublicKey crypto.PublicKey
	// SPKI is the DER of PublicKey, as catalog records hold it.
	SPKI     []byte
	DNSNames []string
	IPs      []net.IP
}

// KeyID identifies the key that the request is for.
func (r *Request) KeyID() KeyID { return SPKIKeyID(r.SPKI) }

// NewRequest makes a PKCS #10 request, signed with the key. The zero ID asks for
// a key to be certified without naming an identity (an intermediate's).
func NewRequest(key crypto.Signer, id ID, dnsNames []string, ips []net.IP) ([]byte, error) {
	if err := checkNames(dnsNames, ips); err != nil {
		return nil, err
	}
	template := &x509.CertificateRequest{DNSNames: dnsNames, IPAddresses: ips}
	if id != (ID{}) {
		if err := id.Validate(); err != nil {
			return nil, err
		}
		template.URIs = []*url.URL{id.URL()}
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, template, key)
	if err != nil {
		return nil, fmt.Errorf("make certificate request: %w", err)
	}
	return der, nil
}

// ParseRequest parses a PKCS #10 request from outside: at most 8 KiB, ECDSA
// P-256, its signature valid, at most one SPIFFE ID, no e-mail addresses.
func ParseRequest(der []byte) (*Request, error) {
	if len(der) > maxRequest {
		return nil, fmt.Errorf("certificate request of %d bytes: expected at most %d", len(der), maxRequest)
	}
	csr, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return nil, fmt.Errorf("certificate request: %w", err)
	}
	if err := checkP256(csr.PublicKey); err != nil {
		return nil, fmt.Errorf("certificate request: %w", err)
	}
	if err := csr.CheckSignature(); err != nil {
		return nil, fmt.Errorf("certificate request: the sender does not hold its key: %w", err)
	}
	if len(csr.URIs) > 1 || len(csr.EmailAddresses) > 0 {
		return nil, errors.New("certificate request: expected at most one URI and no e-mail address")
	}
	if err := checkNames(csr.DNSNames, csr.IPAddresses); err != nil {
		return nil, fmt.Errorf("certificate request: %w", err)
	}
	r := &Request{PublicKey: csr.PublicKey, SPKI: csr.RawSubjectPublicKeyInfo, DNSNames: csr.DNSNames, IPs: csr.IPAddresses}
	if len(csr.URIs) == 1 {
		r.ID, err = ParseID(csr.URIs[0])
	}
	return r, err
}

func checkNames(dnsNames []string, ips []net.IP) error {
	if len(dnsNames) > maxSubjects || len(ips) > maxSubjects {
		return fmt.Errorf("%d DNS names and %d IP addresses: expected at most %d of each", len(dnsNames), len(ips), maxSubjects)
	}
	for _, name := range dnsNames {
		if !isHostname(name) {
			return fmt.Errorf("DNS name %.80q: expected a host name in lower case", name)
		}
	}
	for _, ip := range ips {
		if len(ip) != net.IPv4len && len(ip) != net.IPv6len {
			return fmt.Errorf("IP address of %d bytes: expected 4 or 16", len(ip))
		}
	}
	return nil
}

func isHostname(s string) bool {
	if len(s) > 253 {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if !isLabel(label) {
			return false
		}
	}
	return true
}
