package federation

import (
	"bytes"
	"crypto/x509"
	"slices"
	"time"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/identity"
)

// desiredList is the trust list that the registry calls for: the intermediates
// of all regions that are members, and the removed regions revoked for good.
// What else was revoked before stays revoked, and a region that the registry has
// no entry of stays listed: it came after the backup that the registry is from.
// The sequence is one above the previous list's.
func desiredList(trustDomain string, previous identity.List, regions []*catalog.Region, now time.Time) identity.List {
	next := identity.List{
		TrustDomain: trustDomain,
		Sequence:    previous.Sequence + 1,
		Roots:       previous.Roots,
		Revoked:     slices.Clone(previous.Revoked),
		IssuedAt:    now.UTC(),
	}
	for _, old := range previous.Intermediates {
		if !slices.ContainsFunc(regions, func(r *catalog.Region) bool { return r.Name == old.Region }) {
			next.Intermediates = append(next.Intermediates, old)
		}
	}
	for _, r := range regions {
		cert, err := identity.ParseCertificate(r.Intermediate)
		if err != nil {
			continue // not certified yet
		}
		id := identity.CertKeyID(cert)
		if !r.Removed {
			next.Intermediates = append(next.Intermediates, listed(previous, r, id))
			continue
		}
		next.Revoked = withRevocations(next.Revoked, identity.Revocation{KeyID: id, Region: r.Name, Reason: "region " + r.Name + " was removed", At: now.UTC()})
	}
	return next
}

// withRevocations adds to revocations what they do not say yet.
func withRevocations(list []identity.Revocation, more ...identity.Revocation) []identity.Revocation {
	list = slices.Clone(list)
	what := func(r identity.Revocation) identity.Revocation {
		r.Reason, r.At = "", time.Time{}
		return r
	}
	for _, m := range more {
		if !slices.ContainsFunc(list, func(old identity.Revocation) bool { return what(old) == what(m) }) {
			list = append(list, m)
		}
	}
	return list
}

// newestList is what the next list is based on: the newer one of two, with the
// revocations of both. An authority region that was restored from a backup holds
// an older list than the one in force.
func newestList(a, b identity.List) identity.List {
	if b.Sequence > a.Sequence {
		a, b = b, a
	}
	a.Revoked = withRevocations(a.Revoked, b.Revoked...)
	return a
}

// listed is a region's entry. An intermediate keeps the epoch it was signed in,
// which a recovery of its region does not change.
func listed(previous identity.List, r *catalog.Region, id identity.KeyID) identity.ListedIntermediate {
	for _, old := range previous.Intermediates {
		if old.KeyID == id {
			return old
		}
	}
	return identity.ListedIntermediate{Region: r.Name, Epoch: r.Epoch, KeyID: id}
}

// sameTrust reports whether two lists say the same, whenever they were issued.
func sameTrust(a, b identity.List) bool {
	byRegion := func(x, y identity.ListedIntermediate) int { return bytes.Compare(x.KeyID[:], y.KeyID[:]) }
	sorted := func(l []identity.ListedIntermediate) []identity.ListedIntermediate {
		return slices.SortedFunc(slices.Values(l), byRegion)
	}
	return slices.Equal(sorted(a.Intermediates), sorted(b.Intermediates)) &&
		len(a.Revoked) == len(b.Revoked) && slices.EqualFunc(a.Roots, b.Roots, bytes.Equal)
}

func parseCertificates(ders [][]byte) ([]*x509.Certificate, error) {
	out := make([]*x509.Certificate, 0, len(ders))
	for _, der := range ders {
		c, err := identity.ParseCertificate(der)
		if err != nil {
			return nil, err
		}
		out = append(out, c)
	}
	return out, nil
}
