package token

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strconv"
	"time"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/identity"
)

// Bounds of what a token holds.
const (
	MaxPins      = 8
	MaxAddresses = 16
	// MaxLength is of the text, in bytes.
	MaxLength = 4096

	maxString  = 255
	idLength   = 16 // hex digits
	secretSize = 32
)

// Secret is the part of a token that gives the right to join. It prints as
// "redacted" however it is printed.
type Secret [secretSize]byte

// Pin is the SHA-256 of the SubjectPublicKeyInfo (DER) of a root certificate.
type Pin = identity.KeyID

// Token is a join token.
type Token struct {
	// ID names the token in lists and in the audit trail: 16 hex digits.
	ID     string
	Secret Secret
	// TrustDomain, Region and Pins say what the server must prove to be.
	TrustDomain string
	Pins        []Pin
	// Region issued the token, and alone redeems it.
	Region string
	// Addresses of replicas of the issuing region, host:port, tried in order.
	Addresses []string
	// Expires is by the issuing region's clock, to the second.
	Expires time.Time
}

// New makes an ID and a secret from random and returns t with them.
func New(random io.Reader, t Token) (Token, error) {
	var id [idLength / 2]byte
	if _, err := io.ReadFull(random, id[:]); err != nil {
		return Token{}, fmt.Errorf("make a token id: %w", err)
	}
	if _, err := io.ReadFull(random, t.Secret[:]); err != nil {
		return Token{}, fmt.Errorf("make a token secret: %w", err)
	}
	t.ID = hex.EncodeToString(id[:])
	t.Expires = t.Expires.UTC().Truncate(time.Second)
	return t, t.Validate()
}

// Validate reports everything that is wrong with the token's content.
func (t *Token) Validate() error {
	var errs []error
	if !validID(t.ID) {
		errs = append(errs, fmt.Errorf("id: expected %d hex digits", idLength))
	}
	if t.Secret == (Secret{}) {
		errs = append(errs, errors.New("secret: missing"))
	}
	if err := identity.ValidateTrustDomain(t.TrustDomain); err != nil {
		errs = append(errs, err)
	}
	if err := catalog.ValidateLabel("region", t.Region); err != nil {
		errs = append(errs, err)
	}
	if t.Expires.IsZero() {
		errs = append(errs, errors.New("expiry: missing"))
	}
	errs = append(errs, t.validatePins(), validateAddresses(t.Addresses))
	return errors.Join(errs...)
}

func (t *Token) validatePins() error {
	if len(t.Pins) == 0 {
		return errors.New("pins: none; without one the server cannot be proven, so the token is unsafe to use")
	}
	if len(t.Pins) > MaxPins {
		return fmt.Errorf("pins: expected at most %d, found %d", MaxPins, len(t.Pins))
	}
	return nil
}

func validateAddresses(addresses []string) error {
	if len(addresses) == 0 || len(addresses) > MaxAddresses {
		return fmt.Errorf("addresses: expected 1 to %d, found %d", MaxAddresses, len(addresses))
	}
	for _, a := range addresses {
		if err := validateAddress(a); err != nil {
			return err
		}
	}
	return nil
}

func validateAddress(a string) error {
	host, port, err := net.SplitHostPort(a)
	if err != nil || host == "" || len(host) > maxString {
		return fmt.Errorf("address %.64q: expected HOST:PORT", a)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return fmt.Errorf("address %.64q: expected a port of 1 to 65535", a)
	}
	return nil
}

func validID(id string) bool {
	b, err := hex.DecodeString(id)
	return err == nil && len(b) == idLength/2 && hex.EncodeToString(b) == id
}

// Expired reports whether the token has expired at now.
func (t *Token) Expired(now time.Time) bool { return !now.Before(t.Expires) }

// String describes the token without its secret.
func (t Token) String() string {
	return fmt.Sprintf("token %s of %s in region %s (secret redacted)", t.ID, t.TrustDomain, t.Region)
}

// GoString is the same as String, so that %#v prints no secret.
func (t Token) GoString() string { return t.String() }

// LogValue logs the token's id only.
func (t Token) LogValue() slog.Value { return slog.StringValue(t.ID) }

const redacted = "redacted"

// String returns "redacted".
func (Secret) String() string { return redacted }

// GoString returns "redacted".
func (Secret) GoString() string { return redacted }

// Format writes "redacted" whatever the verb.
func (Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// MarshalText returns "redacted", so that no encoder writes a secret.
func (Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// Hash is what the issuing region keeps of a secret.
func (s Secret) Hash() [sha256.Size]byte {
	return sha256.Sum256(append([]byte("federator token secret v1\n"), s[:]...))
}

// Matches reports in constant time whether the hash is of this secret.
func (s Secret) Matches(hash []byte) bool {
	h := s.Hash()
	return subtle.ConstantTimeCompare(h[:], hash) == 1
}
