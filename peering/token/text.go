package token

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/federator/federator/identity"
)

// What can be wrong with the text of a token.
var (
	// ErrGarbage: the text is no join token at all.
	ErrGarbage = errors.New("this is not a join token: expected a text that begins with " + Prefix + "; copy the whole line that `federator token create` printed")
	// ErrVersion: the token is of a version that this build does not know.
	ErrVersion = errors.New("this join token is of another version than " + Prefix + ", the one this build knows; use the same release on both sides")
	// ErrTruncated: the end of the token is missing.
	ErrTruncated = errors.New("this join token is cut short; copy the whole line that `federator token create` printed")
	// ErrCorrupt: the token was changed on its way.
	ErrCorrupt = errors.New("this join token was changed on its way (its checksum is wrong); copy it again")
	// ErrContent: the token is whole, but what it says cannot be used.
	ErrContent = errors.New("this join token cannot be used; create another with `federator token create`")
)

const (
	// Prefix begins every token of this version.
	Prefix = "fedjoin1_"

	family       = "fedjoin"
	headerSize   = 3 // bytes: 4 characters of base64
	checksumSize = 6
)

var encoding = base64.RawURLEncoding.Strict()

// payload is the JSON of a token.
type payload struct {
	ID          string   `json:"id"`
	Secret      []byte   `json:"secret"`
	TrustDomain string   `json:"td"`
	Pins        [][]byte `json:"pins"`
	Region      string   `json:"region"`
	Addresses   []string `json:"addrs"`
	Expires     int64    `json:"exp"` // seconds since the Unix epoch
}

// Encode returns the text of the token, secret and all.
func (t *Token) Encode() (string, error) {
	if err := t.Validate(); err != nil {
		return "", fmt.Errorf("encode token: %w", err)
	}
	p := payload{
		ID: t.ID, Secret: t.Secret[:], TrustDomain: t.TrustDomain,
		Region: t.Region, Addresses: t.Addresses, Expires: t.Expires.Unix(),
	}
	for i := range t.Pins {
		p.Pins = append(p.Pins, t.Pins[i][:])
	}
	body, err := json.Marshal(p)
	if err != nil {
		return "", fmt.Errorf("encode token: %w", err)
	}
	text := Prefix + encoding.EncodeToString(frame(body))
	if len(text) > MaxLength {
		return "", fmt.Errorf("encode token: expected at most %d characters, found %d; use fewer addresses", MaxLength, len(text))
	}
	return text, nil
}

func frame(body []byte) []byte {
	n := len(body)
	framed := append([]byte{byte(n >> 16), byte(n >> 8), byte(n)}, body...)
	return append(framed, checksum(framed)...)
}

func checksum(framed []byte) []byte {
	h := sha256.New()
	h.Write([]byte(Prefix))
	h.Write(framed)
	return h.Sum(nil)[:checksumSize]
}

// Parse reads the text of a token. White space is ignored, also inside, where a
// terminal may have wrapped the line. Its errors wrap one of the sentinels of this package and never hold any of the text.
func Parse(text string) (Token, error) {
	if len(text) > 2*MaxLength {
		return Token{}, ErrGarbage
	}
	text = strings.Join(strings.Fields(text), "")
	if err := checkPrefix(text); err != nil {
		return Token{}, err
	}
	body, err := unframe(text[len(Prefix):])
	if err != nil {
		return Token{}, err
	}
	return decode(body)
}

// checkPrefix tells a token of this version from the beginning of one, from one
// of another version and from anything else.
func checkPrefix(text string) error {
	switch {
	case text == "" || len(text) > MaxLength:
		return ErrGarbage
	case strings.HasPrefix(text, Prefix):
		return nil
	case strings.HasPrefix(Prefix, text):
		return ErrTruncated
	case strings.HasPrefix(text, family) && isVersion(text[len(family):]):
		return ErrVersion
	}
	return ErrGarbage
}

// isVersion reports whether s begins with a number and an underscore.
func isVersion(s string) bool {
	number, _, ok := strings.Cut(s, "_")
	return ok && number != "" && len(number) <= 4 && strings.Trim(number, "0123456789") == ""
}

// unframe returns the payload of the base64 text. The header alone tells how
// long the text has to be, so that a cut is seen wherever it is.
func unframe(s string) ([]byte, error) {
	headerText := encoding.EncodedLen(headerSize)
	if len(s) < headerText {
		return nil, ErrTruncated
	}
	header, err := encoding.DecodeString(s[:headerText])
	if err != nil {
		return nil, ErrCorrupt
	}
	n := int(header[0])<<16 | int(header[1])<<8 | int(header[2])
	want := encoding.EncodedLen(headerSize + n + checksumSize)
	if want > MaxLength || len(s) > want {
		return nil, ErrCorrupt
	}
	if len(s) < want {
		return nil, ErrTruncated
	}
	framed, err := encoding.DecodeString(s)
	if err != nil {
		return nil, ErrCorrupt
	}
	end := headerSize + n
	if subtle.ConstantTimeCompare(checksum(framed[:end]), framed[end:]) != 1 {
		return nil, ErrCorrupt
	}
	return framed[headerSize:end], nil
}

func decode(body []byte) (Token, error) {
	var p payload
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(&p); err != nil || d.More() {
		return Token{}, fmt.Errorf("%w: its payload is not of this version", ErrContent)
	}
	t := Token{
		ID: p.ID, TrustDomain: p.TrustDomain, Region: p.Region, Addresses: p.Addresses,
		Expires: time.Unix(p.Expires, 0).UTC(),
	}
	if len(p.Secret) != secretSize || len(p.Pins) > MaxPins {
		return Token{}, fmt.Errorf("%w: its secret or its pins have the wrong size", ErrContent)
	}
	copy(t.Secret[:], p.Secret)
	for _, pin := range p.Pins {
		if len(pin) != len(identity.KeyID{}) {
			return Token{}, fmt.Errorf("%w: expected pins of %d bytes, found %d", ErrContent, len(identity.KeyID{}), len(pin))
		}
		t.Pins = append(t.Pins, identity.KeyID(pin))
	}
	if err := t.Validate(); err != nil {
		return Token{}, fmt.Errorf("%w: %w", ErrContent, err)
	}
	return t, nil
}
