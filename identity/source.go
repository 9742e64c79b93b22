package identity

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"
)

// Files of a source in its folder.
const (
	keyFile  = "key.pem"
	svidFile = "svid.pem"
	maxPEM   = 64 << 10 // bytes
)

// ErrNoSVID: the source has a key but no certificate yet.
var ErrNoSVID = errors.New("no certificate yet: this replica has not joined")

// Source is a party's own identity: one key for good and its current
// certificate, which can be replaced at any moment without disturbing
// connections. It is safe for concurrent use.
type Source struct {
	dir string // empty: memory only
	key *ecdsa.PrivateKey
	now atomic.Pointer[svid]
}

// svid is one certificate of the source, immutable.
type svid struct {
	id    ID
	leaf  *x509.Certificate
	short tls.Certificate // leaf and intermediate
	full  tls.Certificate // with the root, for enrolment
	raw   [][]byte
}

// NewSource makes a source with a new key, in memory only.
func NewSource() (*Source, error) {
	key, err := NewKey()
	if err != nil {
		return nil, fmt.Errorf("make key: %w", err)
	}
	return &Source{key: key}, nil
}

// OpenSource loads the key and, if there is one, the certificate from a folder.
// If the folder holds no key, one is made and stored there (mode 0600) first.
func OpenSource(dir string) (*Source, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open identity: %w", err)
	}
	key, err := loadOrMakeKey(filepath.Join(dir, keyFile))
	if err != nil {
		return nil, fmt.Errorf("open identity: %w", err)
	}
	s := &Source{dir: dir, key: key}
	path := filepath.Join(dir, svidFile)
	raw, err := loadChain(path)
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err == nil {
		err = s.use(raw)
	}
	if err != nil {
		return nil, fmt.Errorf("open identity: %s: %w; remove the file: the replica then renews with its recorded key", path, err)
	}
	return s, nil
}

func loadOrMakeKey(path string) (*ecdsa.PrivateKey, error) {
	b, err := readBounded(path, maxPEM)
	if errors.Is(err, fs.ErrNotExist) {
		return makeKey(path)
	}
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(b)
	if block == nil || block.Type != "PRIVATE KEY" {
		return nil, fmt.Errorf("%s: expected a PEM private key; restore it from a backup, or leave and join again with a token", path)
	}
	key, err := ParseKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return key, nil
}

func makeKey(path string) (*ecdsa.PrivateKey, error) {
	key, err := NewKey()
	if err != nil {
		return nil, fmt.Errorf("make key: %w", err)
	}
	der, err := MarshalKey(key)
	if err != nil {
		return nil, err
	}
	return key, WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600)
}

func loadChain(path string) ([][]byte, error) {
	b, err := readBounded(path, maxPEM)
	if err != nil {
		return nil, err
	}
	var raw [][]byte
	for {
		var block *pem.Block
		if block, b = pem.Decode(b); block == nil {
			return raw, nil
		}
		raw = append(raw, block.Bytes)
	}
}

// Signer is the source's key.
func (s *Source) Signer() crypto.Signer { return s.key }

// SPKI is the DER of the public key, as the catalog records it.
func (s *Source) SPKI() ([]byte, error) { return MarshalPublic(s.key.Public()) }

// Request makes a certificate request for the source's key.
func (s *Source) Request(id ID, dnsNames []string, ips []net.IP) ([]byte, error) {
	return NewRequest(s.key, id, dnsNames, ips)
}

// Replace stores a new chain (leaf, intermediate, root in DER) for the source's
// key and uses it for every handshake from now on. It does not judge trust.
func (s *Source) Replace(raw [][]byte) error {
	if _, err := s.newSVID(raw); err != nil {
		return err
	}
	if s.dir != "" {
		var b []byte
		for _, der := range raw {
			b = append(b, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
		}
		if err := WriteFile(filepath.Join(s.dir, svidFile), b, 0o644); err != nil {
			return err
		}
	}
	return s.use(raw)
}

func (s *Source) use(raw [][]byte) error {
	v, err := s.newSVID(raw)
	if err == nil {
		s.now.Store(v)
	}
	return err
}

func (s *Source) newSVID(raw [][]byte) (*svid, error) {
	c, err := parseChain(raw)
	if err != nil {
		return nil, err
	}
	if c.sentRoot == nil {
		return nil, errors.New("certificate chain: expected leaf, intermediate and root")
	}
	if err := checkPair(c.leaf, s.key); err != nil {
		return nil, err
	}
	v := &svid{id: c.id, leaf: c.leaf, raw: raw}
	v.short = tls.Certificate{Certificate: raw[:2], PrivateKey: s.key, Leaf: c.leaf}
	v.full = tls.Certificate{Certificate: raw, PrivateKey: s.key, Leaf: c.leaf}
	return v, nil
}

// ID is the identity in the current certificate; [ErrNoSVID] if there is none.
func (s *Source) ID() (ID, error) {
	v := s.now.Load()
	if v == nil {
		return ID{}, ErrNoSVID
	}
	return v.id, nil
}

// Chain returns the current chain (leaf, intermediate, root in DER), or nil.
func (s *Source) Chain() [][]byte {
	if v := s.now.Load(); v != nil {
		return v.raw
	}
	return nil
}

// Leaf returns the current certificate, or nil.
func (s *Source) Leaf() *x509.Certificate {
	if v := s.now.Load(); v != nil {
		return v.leaf
	}
	return nil
}

// NotAfter is when the current certificate expires; zero if there is none.
func (s *Source) NotAfter() time.Time {
	if leaf := s.Leaf(); leaf != nil {
		return leaf.NotAfter
	}
	return time.Time{}
}

// Valid reports whether there is a certificate that is valid now.
func (s *Source) Valid(now time.Time) bool {
	leaf := s.Leaf()
	return leaf != nil && checkTime("", leaf, now) == nil
}

func (s *Source) certificate(withRoot bool) (*tls.Certificate, error) {
	v := s.now.Load()
	switch {
	case v == nil:
		return nil, ErrNoSVID
	case withRoot:
		return &v.full, nil
	}
	return &v.short, nil
}
