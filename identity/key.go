package identity

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
)

// KeyID is the SHA-256 of a public key's SubjectPublicKeyInfo. Pins, lists and
// revocations name keys by it. Its text form is 64 hex digits.
type KeyID [sha256.Size]byte

// CertKeyID is the KeyID of a certificate's key.
func CertKeyID(c *x509.Certificate) KeyID { return sha256.Sum256(c.RawSubjectPublicKeyInfo) }

// SPKIKeyID is the KeyID of a DER SubjectPublicKeyInfo, as recorded for replicas.
func SPKIKeyID(spki []byte) KeyID { return sha256.Sum256(spki) }

// ParseKeyID parses 64 hex digits.
func ParseKeyID(s string) (KeyID, error) {
	var id KeyID
	if len(s) != hex.EncodedLen(len(id)) {
		return id, fmt.Errorf("key id %.80q: expected %d hex digits", s, hex.EncodedLen(len(id)))
	}
	if _, err := hex.Decode(id[:], []byte(s)); err != nil {
		return KeyID{}, fmt.Errorf("key id %q: %w", s, err)
	}
	return id, nil
}

func (id KeyID) String() string { return hex.EncodeToString(id[:]) }

// IsZero reports whether the id names no key.
func (id KeyID) IsZero() bool { return id == KeyID{} }

// MarshalText writes the text form.
func (id KeyID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText reads the text form.
func (id *KeyID) UnmarshalText(b []byte) error {
	got, err := ParseKeyID(string(b))
	*id = got
	return err
}

// NewKey makes a P-256 key: for a replica, an intermediate or a root.
func NewKey() (*ecdsa.PrivateKey, error) {
	return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
}

// MarshalKey encodes a private key (PKCS #8) for sealing; never store the result
// in the clear.
func MarshalKey(key crypto.Signer) ([]byte, error) {
	b, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encode private key: %w", err)
	}
	return b, nil
}

// ParseKey decodes what [MarshalKey] made; it accepts P-256 keys only.
func ParseKey(b []byte) (*ecdsa.PrivateKey, error) {
	key, err := x509.ParsePKCS8PrivateKey(b)
	if err != nil {
		// The cause may quote key material, so it is not wrapped.
		return nil, errors.New("decode private key: not a PKCS #8 key")
	}
	ec, ok := key.(*ecdsa.PrivateKey)
	if !ok || ec.Curve != elliptic.P256() {
		return nil, errors.New("decode private key: expected ECDSA P-256")
	}
	return ec, nil
}

// MarshalPublic encodes a public key as DER SubjectPublicKeyInfo.
func MarshalPublic(pub crypto.PublicKey) ([]byte, error) {
	b, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		return nil, fmt.Errorf("encode public key: %w", err)
	}
	return b, nil
}

func checkP256(pub crypto.PublicKey) error {
	if ec, ok := pub.(*ecdsa.PublicKey); !ok || ec.Curve != elliptic.P256() {
		return fmt.Errorf("public key: expected ECDSA P-256, found %T", pub)
	}
	return nil
}

// checkPair reports whether the key is the certificate's.
func checkPair(c *x509.Certificate, key crypto.Signer) error {
	spki, err := MarshalPublic(key.Public())
	if err != nil {
		return err
	}
	if subtle.ConstantTimeCompare(spki, c.RawSubjectPublicKeyInfo) != 1 {
		return fmt.Errorf("private key does not belong to certificate %q", c.Subject.CommonName)
	}
	return nil
}
