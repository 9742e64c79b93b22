package identity

import (
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"time"
)

// Lifetimes. A leaf may be asked for down to seconds; nothing outlives its signer.
const (
	RootTTL         = 10 * 365 * 24 * time.Hour
	IntermediateTTL = 365 * 24 * time.Hour
	ReplicaTTL      = 24 * time.Hour
	OperatorTTL     = 8 * time.Hour

	// Backdate is how long before its issue a certificate becomes valid, so that
	// clocks a little apart do not matter.
	Backdate = 5 * time.Minute
)

// maxCertificate bounds one certificate in bytes.
const maxCertificate = 16 << 10

// authorityTemplate describes a signing certificate. Its subject carries the
// region and epoch of an intermediate, because its SPIFFE ID has no path.
func authorityTemplate(td string, subject pkix.Name, pathLen int, now time.Time, ttl time.Duration) *x509.Certificate {
	return &x509.Certificate{
		Subject:               subject,
		URIs:                  []*url.URL{AuthorityID(td).URL()},
		NotBefore:             now.Add(-Backdate),
		NotAfter:              now.Add(ttl),
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLen:            pathLen,
		MaxPathLenZero:        pathLen == 0,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
}

func leafTemplate(id ID, dnsNames []string, ips []net.IP, now time.Time, ttl time.Duration) *x509.Certificate {
	return &x509.Certificate{
		Subject:               pkix.Name{CommonName: "federator " + string(id.Kind)},
		URIs:                  []*url.URL{id.URL()},
		DNSNames:              dnsNames,
		IPAddresses:           ips,
		NotBefore:             now.Add(-Backdate),
		NotAfter:              now.Add(ttl),
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
}

// sign makes the certificate; a nil parent signs itself. The serial number is
// random (RFC 5280 4.1.2.2), chosen by crypto/x509.
func sign(template, parent *x509.Certificate, pub crypto.PublicKey, signer crypto.Signer) (*x509.Certificate, error) {
	if parent == nil {
		parent = template
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, pub, signer)
	if err != nil {
		return nil, fmt.Errorf("sign certificate %q: %w", template.Subject.CommonName, err)
	}
	return ParseCertificate(der)
}

// ParseCertificate parses one DER certificate of bounded size.
func ParseCertificate(der []byte) (*x509.Certificate, error) {
	if len(der) > maxCertificate {
		return nil, fmt.Errorf("certificate of %d bytes: expected at most %d", len(der), maxCertificate)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("parse certificate: %w", err)
	}
	return c, nil
}

func regionSubject(region string, epoch uint64) pkix.Name {
	e := strconv.FormatUint(epoch, 10)
	return pkix.Name{
		CommonName:         truncate(fmt.Sprintf("federator %s epoch %s", region, e)),
		OrganizationalUnit: []string{region},
		SerialNumber:       e,
	}
}

// regionOf reads the region and epoch that a root wrote into an intermediate.
func regionOf(c *x509.Certificate) (string, uint64, error) {
	ou := c.Subject.OrganizationalUnit
	epoch, err := strconv.ParseUint(c.Subject.SerialNumber, 10, 64)
	if len(ou) != 1 || !isLabel(ou[0]) || err != nil {
		return "", 0, fmt.Errorf("intermediate %q names no region and epoch in its subject", c.Subject)
	}
	return ou[0], epoch, nil
}

// authorityOf checks a signing certificate and returns its trust domain.
func authorityOf(c *x509.Certificate) (string, error) {
	if !c.IsCA || !c.BasicConstraintsValid || c.KeyUsage&x509.KeyUsageCertSign == 0 {
		return "", fmt.Errorf("certificate %q may not sign: expected CA=true and keyCertSign", c.Subject)
	}
	if len(c.URIs) != 1 {
		return "", fmt.Errorf("signing certificate %q: expected one URI SAN, found %d", c.Subject, len(c.URIs))
	}
	id, err := ParseID(c.URIs[0])
	if err != nil {
		return "", fmt.Errorf("signing certificate %q: %w", c.Subject, err)
	}
	if id.Kind != Authority {
		return "", fmt.Errorf("signing certificate %q: SPIFFE ID %s must have no path", c.Subject, id)
	}
	return id.TrustDomain, checkP256(c.PublicKey)
}
