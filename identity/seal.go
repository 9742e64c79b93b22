package identity

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"filippo.io/age"
)

// Bounds of sealing.
const (
	maxSecret     = 64 << 10  // bytes of plaintext
	maxSealed     = 256 << 10 // bytes of a sealed blob
	maxRecipients = 256
)

// ErrNotRecipient is wrapped when a blob was not sealed to the key at hand.
var ErrNotRecipient = errors.New("not sealed to this key")

// SealKey opens what was sealed to it (an age X25519 identity). Every replica
// has one in its data directory; the recovery key of the root is another, which
// is printed once and kept by people.
type SealKey struct{ identity *age.X25519Identity }

// NewSealKey makes a key.
func NewSealKey() (*SealKey, error) {
	id, err := age.GenerateX25519Identity()
	if err != nil {
		return nil, fmt.Errorf("make sealing key: %w", err)
	}
	return &SealKey{identity: id}, nil
}

// ParseSealKey reads what Secret returned. Case and white space, as people
// type and editors wrap, do not matter.
func ParseSealKey(s string) (*SealKey, error) {
	if len(s) > 1024 {
		return nil, errors.New("sealing key: too long")
	}
	id, err := age.ParseX25519Identity(strings.ToUpper(strings.Join(strings.Fields(s), "")))
	if err != nil {
		// The cause may quote the key, so it is not wrapped.
		return nil, errors.New("sealing key: expected AGE-SECRET-KEY-1 and 58 letters and digits; check for a mistyped or missing character")
	}
	return &SealKey{identity: id}, nil
}

// Secret is the private text form, AGE-SECRET-KEY-1..., also understood by the
// age command.
func (k *SealKey) Secret() string { return k.identity.String() }

// Recipient is the public text form, age1...
func (k *SealKey) Recipient() string { return k.identity.Recipient().String() }

// String returns the recipient, so that logging a key gives nothing away.
func (k *SealKey) String() string { return k.Recipient() }

// ValidateRecipient checks the text form of a recipient.
func ValidateRecipient(s string) error {
	_, err := parseRecipient(s)
	return err
}

func parseRecipient(s string) (age.Recipient, error) {
	r, err := age.ParseX25519Recipient(s)
	if err != nil {
		return nil, fmt.Errorf("recipient %.100q: %w", s, err)
	}
	return r, nil
}

// Seal encrypts a secret of up to 64 KiB so that each of the recipients, and
// nobody else, can read it. It does not say who sealed it: what comes out of
// [Unseal] must still be checked (OpenRoot and OpenIntermediate do).
func Seal(secret []byte, recipients ...string) ([]byte, error) {
	if len(secret) > maxSecret {
		return nil, fmt.Errorf("seal: secret of %d bytes: expected at most %d", len(secret), maxSecret)
	}
	unique := slices.Compact(slices.Sorted(slices.Values(recipients)))
	if len(unique) == 0 || len(unique) > maxRecipients {
		return nil, fmt.Errorf("seal: %d recipients: expected 1 to %d", len(unique), maxRecipients)
	}
	parsed := make([]age.Recipient, 0, len(unique))
	for _, s := range unique {
		r, err := parseRecipient(s)
		if err != nil {
			return nil, fmt.Errorf("seal: %w", err)
		}
		parsed = append(parsed, r)
	}
	return encrypt(secret, parsed)
}

func encrypt(secret []byte, to []age.Recipient) ([]byte, error) {
	var out bytes.Buffer
	w, err := age.Encrypt(&out, to...)
	if err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	if _, err := w.Write(secret); err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	return out.Bytes(), nil
}

// Unseal opens a blob of up to 256 KiB; the error wraps [ErrNotRecipient] when
// it was sealed to others.
func Unseal(blob []byte, key *SealKey) ([]byte, error) {
	if len(blob) > maxSealed {
		return nil, fmt.Errorf("unseal: %d bytes: expected at most %d", len(blob), maxSealed)
	}
	r, err := age.Decrypt(bytes.NewReader(blob), key.identity)
	var none *age.NoIdentityMatchError
	if errors.As(err, &none) {
		return nil, fmt.Errorf("unseal: %w %s: ask a voter to seal it again", ErrNotRecipient, key.Recipient())
	}
	if err != nil {
		return nil, fmt.Errorf("unseal: damaged: %w", err)
	}
	secret, err := io.ReadAll(io.LimitReader(r, maxSecret+1))
	if err != nil {
		return nil, fmt.Errorf("unseal: damaged: %w", err)
	}
	if len(secret) > maxSecret {
		return nil, fmt.Errorf("unseal: secret is larger than %d bytes", maxSecret)
	}
	return secret, nil
}
