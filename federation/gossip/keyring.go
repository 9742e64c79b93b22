package gossip

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
)

// maxKeys bounds the ring: each key is tried on every packet that the primary
// does not open.
const maxKeys = 8

const sealVersion = 1

// sealOverhead is what sealing adds to a message: version, nonce and tag.
const sealOverhead = 1 + 12 + 16

// Errors that callers of a Keyring branch on.
var (
	ErrUnknownKey  = errors.New("no such key in the gossip keyring")
	ErrPrimaryKey  = errors.New("the key is the primary key")
	errUndecodable = errors.New("undecodable")
	errUnopened    = errors.New("no installed key opens it")
)

// Keyring holds the keys that gossip is sealed with (AES-GCM). Every installed
// key opens, the primary seals. To rotate: install the new key on every replica,
// use it on every replica, then remove the old one. All methods are safe for
// concurrent use, and take effect with the next packet.
//
// A random nonce of 96 bits bounds a key to about 2^32 packets: a federation of
// 30 replicas should rotate at least every two weeks.
type Keyring struct {
	change sync.Mutex
	keys   atomic.Pointer[[]ringKey] // primary first
}

type ringKey struct {
	id   string
	aead cipher.AEAD
}

// NewKeyring returns a ring of the given keys, each of 16, 24 or 32 bytes.
func NewKeyring(primary []byte, others ...[]byte) (*Keyring, error) {
	k := new(Keyring)
	if err := k.Replace(primary, others...); err != nil {
		return nil, err
	}
	return k, nil
}

// KeyID names a key without giving it away: 16 hex digits of its SHA-256.
func KeyID(key []byte) string {
	sum := sha256.Sum256(key)
	return hex.EncodeToString(sum[:8])
}

// Replace installs exactly the given keys at once.
func (k *Keyring) Replace(primary []byte, others ...[]byte) error {
	keys := make([]ringKey, 0, 1+len(others))
	for _, secret := range append([][]byte{primary}, others...) {
		key, err := newRingKey(secret)
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(keys, key.same) {
			keys = append(keys, key)
		}
	}
	if len(keys) > maxKeys {
		return fmt.Errorf("gossip keyring: expected at most %d keys, found %d; remove old keys first", maxKeys, len(keys))
	}
	k.change.Lock()
	defer k.change.Unlock()
	k.keys.Store(&keys)
	return nil
}

// Install adds a key, so that what others seal with it can be opened, and
// returns its id. Installing a key twice changes nothing.
func (k *Keyring) Install(secret []byte) (id string, err error) {
	key, err := newRingKey(secret)
	if err != nil {
		return "", err
	}
	k.change.Lock()
	defer k.change.Unlock()
	keys := *k.keys.Load()
	if slices.ContainsFunc(keys, key.same) {
		return key.id, nil
	}
	if len(keys) >= maxKeys {
		return "", fmt.Errorf("gossip keyring: all %d places are taken; remove an old key first", maxKeys)
	}
	keys = append(slices.Clone(keys), key)
	k.keys.Store(&keys)
	return key.id, nil
}

// Use makes an installed key the primary. The error wraps [ErrUnknownKey].
func (k *Keyring) Use(id string) error {
	return k.edit(id, func(keys []ringKey, i int) ([]ringKey, error) {
		key := keys[i]
		return slices.Insert(slices.Delete(keys, i, i+1), 0, key), nil
	})
}

// Remove takes a key off the ring. The error wraps [ErrUnknownKey], or
// [ErrPrimaryKey] for the key in use.
func (k *Keyring) Remove(id string) error {
	return k.edit(id, func(keys []ringKey, i int) ([]ringKey, error) {
		if i == 0 {
			return nil, fmt.Errorf("remove gossip key %s: %w; use another one first", id, ErrPrimaryKey)
		}
		return slices.Delete(keys, i, i+1), nil
	})
}

// List returns the ids of the installed keys, the primary first.
func (k *Keyring) List() []string {
	var ids []string
	for _, key := range *k.keys.Load() {
		ids = append(ids, key.id)
	}
	return ids
}

func (k *Keyring) edit(id string, change func([]ringKey, int) ([]ringKey, error)) error {
	k.change.Lock()
	defer k.change.Unlock()
	keys := slices.Clone(*k.keys.Load())
	i := slices.IndexFunc(keys, func(r ringKey) bool { return r.id == id })
	if i < 0 {
		return fmt.Errorf("gossip key %s: %w; install it first", id, ErrUnknownKey)
	}
	keys, err := change(keys, i)
	if err != nil {
		return err
	}
	k.keys.Store(&keys)
	return nil
}

// seal appends the sealed form of plain to dst.
func (k *Keyring) seal(dst, plain, additional []byte) []byte {
	key := (*k.keys.Load())[0]
	dst = append(dst, sealVersion)
	start := len(dst)
	dst = append(dst, make([]byte, key.aead.NonceSize())...)
	nonce := dst[start:]
	rand.Read(nonce) // never fails: crypto/rand crashes the program instead
	return key.aead.Seal(dst, nonce, plain, additional)
}

// open returns the plain form of a sealed message.
func (k *Keyring) open(sealed, additional []byte) ([]byte, error) {
	if len(sealed) < sealOverhead || sealed[0] != sealVersion {
		return nil, errUndecodable
	}
	nonce, text := sealed[1:13], sealed[13:]
	for _, key := range *k.keys.Load() {
		if plain, err := key.aead.Open(nil, nonce, text, additional); err == nil {
			return plain, nil
		}
	}
	return nil, errUnopened
}

func newRingKey(secret []byte) (ringKey, error) {
	block, err := aes.NewCipher(secret)
	if err != nil {
		return ringKey{}, fmt.Errorf("gossip key: expected 16, 24 or 32 bytes, found %d", len(secret))
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return ringKey{}, fmt.Errorf("gossip key: %w", err)
	}
	return ringKey{id: KeyID(secret), aead: aead}, nil
}

func (r ringKey) same(o ringKey) bool { return r.id == o.id }
