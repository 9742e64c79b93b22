package identity

import (
	"bytes"
	"cmp"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// Bounds of a signed list.
const (
	maxList          = 1 << 20 // bytes
	maxRoots         = 8
	maxIntermediates = 1024
	maxRevoked       = 4096
	maxText          = 512 // bytes of a free-text or identifier field
)

// listFormat is raised when the meaning of a list changes. Fields that this
// build does not know are refused: to skip a revocation is worse than to wait.
const listFormat = 1

// List is the trust list: all that a verifier needs to judge any certificate of
// the trust domain. The authority region publishes it, signed by a root.
type List struct {
	TrustDomain string `json:"trustDomain"`
	// Sequence rises with every change, from 1.
	Sequence uint64 `json:"sequence"`
	// Roots are the DER certificates of the valid roots; the signer is among them.
	Roots [][]byte `json:"roots"`
	// Intermediates may name several per region while one is being rotated.
	Intermediates []ListedIntermediate `json:"intermediates,omitempty"`
	Revoked       []Revocation         `json:"revoked,omitempty"`
	IssuedAt      time.Time            `json:"issuedAt"`
}

// ListedIntermediate is an intermediate that may sign for its region.
type ListedIntermediate struct {
	Region string `json:"region"`
	Epoch  uint64 `json:"epoch"`
	KeyID  KeyID  `json:"keyID"`
}

// Revocation withdraws trust from every chain that matches all the fields that
// it sets. Useful ones: KeyID alone (a stolen key), Region and Epoch (a removed
// region), ID and Serial (one certificate of a replica), ID alone (a name that
// must never come back).
type Revocation struct {
	// KeyID is of the leaf's or of the intermediate's key.
	KeyID KeyID `json:"keyID,omitzero"`
	// Serial of the leaf or of the intermediate, in lower-case hex.
	Serial string `json:"serial,omitempty"`
	// ID is the leaf's SPIFFE ID.
	ID string `json:"id,omitempty"`
	// Region and Epoch are the signing intermediate's; Epoch zero means every epoch.
	Region string `json:"region,omitempty"`
	Epoch  uint64 `json:"epoch,omitempty"`
	// Reason is for people.
	Reason string    `json:"reason,omitempty"`
	At     time.Time `json:"at"`
}

// Serial is the text form of a certificate's serial number in a [Revocation].
func Serial(c *x509.Certificate) string { return c.SerialNumber.Text(16) }

// envelope is a list on the wire and on disk.
type envelope struct {
	Format int    `json:"format"`
	List   []byte `json:"list"` // the exact bytes that are signed
	Signer KeyID  `json:"signer"`
	// Signature is ECDSA over SHA-256 of the domain and List, in ASN.1.
	Signature []byte `json:"signature"`
}

// SignList checks a list, puts it into canonical order and signs it.
func (r *Root) SignList(l List) ([]byte, error) {
	l = l.canonical()
	if l.TrustDomain != r.trustDomain {
		return nil, fmt.Errorf("trust list for %q cannot be signed by a root of %q", l.TrustDomain, r.trustDomain)
	}
	roots, err := l.check()
	if err != nil {
		return nil, fmt.Errorf("trust list: %w", err)
	}
	if findRoot(roots, r.KeyID()) == nil {
		return nil, errors.New("trust list: the signing root is not in it; sign with a root that stays")
	}
	payload, err := json.Marshal(l)
	if err != nil {
		return nil, fmt.Errorf("encode trust list: %w", err)
	}
	sig, err := signDomain(domainList, payload, r.key)
	if err != nil {
		return nil, fmt.Errorf("trust list: %w", err)
	}
	signed, err := json.Marshal(envelope{Format: listFormat, List: payload, Signer: r.KeyID(), Signature: sig})
	if err == nil && len(signed) > maxList {
		err = fmt.Errorf("trust list of %d bytes: expected at most %d; drop revocations of expired certificates", len(signed), maxList)
	}
	return signed, err
}

// canonical returns a sorted copy in UTC, so that equal lists have equal bytes.
func (l List) canonical() List {
	l.Roots = slices.SortedFunc(slices.Values(l.Roots), bytes.Compare)
	l.Intermediates = slices.SortedFunc(slices.Values(l.Intermediates), compareListed)
	l.Revoked = slices.SortedStableFunc(slices.Values(l.Revoked), compareRevoked)
	for i := range l.Revoked {
		l.Revoked[i].At = l.Revoked[i].At.UTC()
	}
	l.IssuedAt = l.IssuedAt.UTC()
	return l
}

func compareListed(a, b ListedIntermediate) int {
	return cmp.Or(strings.Compare(a.Region, b.Region), cmp.Compare(a.Epoch, b.Epoch), bytes.Compare(a.KeyID[:], b.KeyID[:]))
}

func compareRevoked(a, b Revocation) int {
	return cmp.Or(strings.Compare(a.Region, b.Region), cmp.Compare(a.Epoch, b.Epoch), strings.Compare(a.ID, b.ID),
		strings.Compare(a.Serial, b.Serial), bytes.Compare(a.KeyID[:], b.KeyID[:]), a.At.Compare(b.At), strings.Compare(a.Reason, b.Reason))
}

// opened is a list whose signature by one of its own roots has been verified.
// Whether that root is trusted is for the caller to say.
type opened struct {
	list    List
	roots   []*x509.Certificate
	signer  KeyID
	payload []byte
	signed  []byte
}

// openList parses and checks a signed list from outside.
func openList(signed []byte) (*opened, error) {
	if len(signed) > maxList {
		return nil, fmt.Errorf("trust list of %d bytes: expected at most %d", len(signed), maxList)
	}
	var e envelope
	if err := strictJSON(signed, &e); err != nil {
		return nil, fmt.Errorf("trust list: %w", err)
	}
	if e.Format != listFormat {
		return nil, fmt.Errorf("trust list of format %d: this build understands %d; upgrade it", e.Format, listFormat)
	}
	o := &opened{signer: e.Signer, payload: e.List, signed: bytes.Clone(signed)}
	if err := strictJSON(e.List, &o.list); err != nil {
		return nil, fmt.Errorf("trust list: %w", err)
	}
	var err error
	if o.roots, err = o.list.check(); err != nil {
		return nil, fmt.Errorf("trust list: %w", err)
	}
	root := findRoot(o.roots, e.Signer)
	if root == nil {
		return nil, errors.New("trust list: signed by a root that it does not contain")
	}
	if !verifyDomain(domainList, e.List, e.Signature, root.PublicKey) {
		return nil, errors.New("trust list: the signature does not match: it was altered or damaged on the way")
	}
	return o, nil
}

// ReadList parses a signed list and verifies it against its own roots only; it
// is for showing a list and for making its successor, never for trusting one.
func ReadList(signed []byte) (List, error) {
	o, err := openList(signed)
	if err != nil {
		return List{}, err
	}
	return o.list, nil
}

func strictJSON(b []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return fmt.Errorf("decode: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("decode: bytes after the end")
	}
	return nil
}

func findRoot(roots []*x509.Certificate, id KeyID) *x509.Certificate {
	for _, r := range roots {
		if CertKeyID(r) == id {
			return r
		}
	}
	return nil
}
