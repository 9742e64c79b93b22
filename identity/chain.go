package identity

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"slices"
)

// chain is a presented certificate chain whose form has been checked.
type chain struct {
	leaf, intermediate *x509.Certificate
	// sentRoot is nil if the peer did not send one.
	sentRoot *x509.Certificate

	id                       ID
	region                   string
	epoch                    uint64
	leafKey, intermediateKey KeyID
}

// parseChain parses DER certificates, leaf first, and checks their form.
func parseChain(raw [][]byte) (*chain, error) {
	if err := checkChainLength(len(raw)); err != nil {
		return nil, err
	}
	certs := make([]*x509.Certificate, 0, len(raw))
	for _, der := range raw {
		c, err := ParseCertificate(der)
		if err != nil {
			return nil, err
		}
		certs = append(certs, c)
	}
	return newChain(certs)
}

func checkChainLength(n int) error {
	if n < 2 || n > 3 {
		return fmt.Errorf("certificate chain of %d: expected leaf and intermediate, and perhaps the root", n)
	}
	return nil
}

// newChain applies every rule that needs no trust: who the leaf claims to be,
// that its form allows it, and that the intermediate may speak for its region.
func newChain(certs []*x509.Certificate) (*chain, error) {
	if err := checkChainLength(len(certs)); err != nil {
		return nil, err
	}
	c := &chain{leaf: certs[0], intermediate: certs[1], leafKey: CertKeyID(certs[0]), intermediateKey: CertKeyID(certs[1])}
	if len(certs) == 3 {
		c.sentRoot = certs[2]
	}
	var err error
	if c.id, err = checkLeaf(c.leaf); err != nil {
		return nil, err
	}
	td, err := authorityOf(c.intermediate)
	if err != nil {
		return nil, err
	}
	if c.region, c.epoch, err = regionOf(c.intermediate); err != nil {
		return nil, err
	}
	if td != c.id.TrustDomain {
		return nil, fmt.Errorf("certificate of %s is signed by trust domain %s", c.id, td)
	}
	if c.id.Kind == Replica && c.id.Region != c.region {
		return nil, fmt.Errorf("certificate of %s is signed by the intermediate of region %s, which may sign its own replicas only", c.id, c.region)
	}
	if err := c.leaf.CheckSignatureFrom(c.intermediate); err != nil {
		return nil, fmt.Errorf("certificate of %s is not signed by the intermediate sent with it: %w", c.id, err)
	}
	return c, nil
}

// oidKeyUsage is id-ce-keyUsage (RFC 5280 4.2.1.3).
var oidKeyUsage = asn1.ObjectIdentifier{2, 5, 29, 15}

// checkLeaf applies the leaf rules of SPIFFE X509-SVID sections 2, 4 and 5.
func checkLeaf(c *x509.Certificate) (ID, error) {
	if len(c.URIs) != 1 {
		return ID{}, fmt.Errorf("leaf certificate: expected exactly one URI SAN, found %d", len(c.URIs))
	}
	id, err := ParseID(c.URIs[0])
	if err != nil {
		return ID{}, fmt.Errorf("leaf certificate: %w", err)
	}
	if id.Kind == Authority {
		return ID{}, fmt.Errorf("leaf certificate of %s: its SPIFFE ID needs a path", id)
	}
	if c.IsCA {
		return ID{}, fmt.Errorf("leaf certificate of %s: must not be a CA", id)
	}
	if err := checkLeafUsage(c); err != nil {
		return ID{}, fmt.Errorf("leaf certificate of %s: %w", id, err)
	}
	return id, nil
}

func checkLeafUsage(c *x509.Certificate) error {
	critical := slices.ContainsFunc(c.Extensions, func(e pkix.Extension) bool {
		return e.Id.Equal(oidKeyUsage) && e.Critical
	})
	if !critical {
		return errors.New("has no critical KeyUsage")
	}
	if c.KeyUsage&x509.KeyUsageDigitalSignature == 0 || c.KeyUsage&(x509.KeyUsageCertSign|x509.KeyUsageCRLSign) != 0 {
		return errors.New("KeyUsage: expected digitalSignature without keyCertSign and cRLSign")
	}
	server := slices.Contains(c.ExtKeyUsage, x509.ExtKeyUsageServerAuth)
	client := slices.Contains(c.ExtKeyUsage, x509.ExtKeyUsageClientAuth)
	if len(c.ExtKeyUsage)+len(c.UnknownExtKeyUsage) > 0 && (!server || !client) {
		return errors.New("ExtKeyUsage: expected serverAuth and clientAuth")
	}
	return nil
}

// verify finds the trusted root of the chain, whatever the clock says, and
// returns it with the span in which the whole chain is valid.
func (c *chain) verify(roots []*x509.Certificate) (*x509.Certificate, window, error) {
	var errs []error
	for _, root := range roots {
		w, err := c.verifyRoot(root)
		if err == nil {
			return root, w, nil
		}
		errs = append(errs, err)
	}
	return nil, window{}, fmt.Errorf("certificate of %s leads to none of the trusted roots: %w", c.id, errors.Join(errs...))
}

func (c *chain) verifyRoot(root *x509.Certificate) (window, error) {
	w, err := windowOf(c.leaf, c.intermediate, root)
	if err != nil {
		return w, err
	}
	anchors, middle := x509.NewCertPool(), x509.NewCertPool()
	anchors.AddCert(root)
	middle.AddCert(c.intermediate)
	chains, err := c.leaf.Verify(x509.VerifyOptions{
		Roots: anchors, Intermediates: middle, CurrentTime: w.middle(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	})
	if err != nil {
		return w, err
	}
	// A leaf that a root signed directly would slip past the list of intermediates.
	for _, found := range chains {
		if len(found) == 3 && found[1].Equal(c.intermediate) {
			return w, nil
		}
	}
	return w, errors.New("not through the intermediate sent with it")
}
