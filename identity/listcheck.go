package identity

import (
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
)

// check validates everything in a list but its signature, and returns its roots.
func (l *List) check() ([]*x509.Certificate, error) {
	if err := ValidateTrustDomain(l.TrustDomain); err != nil {
		return nil, err
	}
	if l.Sequence == 0 {
		return nil, errors.New("sequence 0: expected 1 or more")
	}
	if len(l.Intermediates) > maxIntermediates || len(l.Revoked) > maxRevoked {
		return nil, fmt.Errorf("%d intermediates and %d revocations: expected at most %d and %d",
			len(l.Intermediates), len(l.Revoked), maxIntermediates, maxRevoked)
	}
	keys := map[KeyID]bool{}
	for i, in := range l.Intermediates {
		if !isLabel(in.Region) || in.KeyID.IsZero() || keys[in.KeyID] {
			return nil, fmt.Errorf("intermediate %d (region %.80q): expected a region and a key of its own", i, in.Region)
		}
		keys[in.KeyID] = true
	}
	for i := range l.Revoked {
		if err := l.Revoked[i].check(); err != nil {
			return nil, fmt.Errorf("revocation %d: %w", i, err)
		}
	}
	return l.checkRoots()
}

func (l *List) checkRoots() ([]*x509.Certificate, error) {
	if len(l.Roots) == 0 || len(l.Roots) > maxRoots {
		return nil, fmt.Errorf("%d roots: expected 1 to %d", len(l.Roots), maxRoots)
	}
	roots := make([]*x509.Certificate, 0, len(l.Roots))
	for _, der := range l.Roots {
		root, err := parseRoot(der)
		if err != nil {
			return nil, err
		}
		if td, err := authorityOf(root); err != nil || td != l.TrustDomain {
			return nil, fmt.Errorf("root %q: expected one of trust domain %s, found %q", root.Subject, l.TrustDomain, td)
		}
		if findRoot(roots, CertKeyID(root)) != nil {
			return nil, fmt.Errorf("root %q is listed twice", root.Subject)
		}
		roots = append(roots, root)
	}
	return roots, nil
}

func (r *Revocation) check() error {
	if len(r.Reason) > maxText || len(r.Serial) > maxText || len(r.ID) > maxID {
		return errors.New("a field is too long")
	}
	if r.KeyID.IsZero() && r.Serial == "" && r.ID == "" && r.Region == "" {
		return errors.New("names nothing: expected a key, a serial number, an ID or a region")
	}
	if strings.Trim(r.Serial, "0123456789abcdef") != "" {
		return fmt.Errorf("serial number %.80q: expected lower-case hex digits", r.Serial)
	}
	if r.Region != "" && !isLabel(r.Region) || r.Epoch != 0 && r.Region == "" {
		return fmt.Errorf("region %.80q epoch %d: expected a region's name with its epoch", r.Region, r.Epoch)
	}
	if r.ID != "" {
		if _, err := ParseIDString(r.ID); err != nil {
			return err
		}
	}
	return nil
}

// matches reports whether the revocation covers a chain.
func (r *Revocation) matches(c *chain) bool {
	if !r.KeyID.IsZero() && r.KeyID != c.leafKey && r.KeyID != c.intermediateKey {
		return false
	}
	if r.Serial != "" && r.Serial != Serial(c.leaf) && r.Serial != Serial(c.intermediate) {
		return false
	}
	if r.ID != "" && r.ID != c.id.String() {
		return false
	}
	return r.Region == "" || r.Region == c.region && (r.Epoch == 0 || r.Epoch == c.epoch)
}
