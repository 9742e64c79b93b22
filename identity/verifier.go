package identity

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"
)

// What callers branch on.
var (
	// ErrNoList: no trust list is known yet, so nobody can be judged.
	ErrNoList = errors.New("no trust list known yet")
	// ErrStaleList: the list offered is older than the one in force.
	ErrStaleList = errors.New("older trust list")
	// ErrListConflict: two different lists carry the same sequence.
	ErrListConflict = errors.New("conflicting trust list")
	// ErrUntrustedList: no known root signed the list.
	ErrUntrustedList = errors.New("trust list is not signed by a known root")
	// ErrRevoked: the certificate, its key or its signer is revoked.
	ErrRevoked = errors.New("revoked")
)

// Verifier judges certificate chains by the trust list in force. It is safe for
// concurrent use.
type Verifier struct {
	trustDomain string

	mu       sync.RWMutex
	roots    []*x509.Certificate
	current  *opened
	listed   map[KeyID]ListedIntermediate
	watchers map[int]func()
	nextID   int
}

// NewVerifier returns a verifier that knows the given roots (proven by pin, or
// made here) and waits for a list signed by one of them.
func NewVerifier(trustDomain string, roots ...*x509.Certificate) *Verifier {
	return &Verifier{trustDomain: trustDomain, roots: roots, watchers: map[int]func(){}}
}

// LoadVerifier restores a verifier from the list that SaveList wrote. The file
// is taken to be this replica's own word: it brings its roots.
func LoadVerifier(trustDomain, path string) (*Verifier, error) {
	signed, err := readBounded(path, maxList)
	if err != nil {
		return nil, fmt.Errorf("load trust list: %w", err)
	}
	o, err := openList(signed)
	if err != nil {
		return nil, fmt.Errorf("load trust list %s: %w; remove the file and join again with a token", path, err)
	}
	v := NewVerifier(trustDomain, o.roots...)
	_, err = v.Update(signed)
	return v, err
}

// SaveList writes the list in force to a file, atomically.
func (v *Verifier) SaveList(path string) error {
	signed := v.Signed()
	if signed == nil {
		return fmt.Errorf("save trust list: %w", ErrNoList)
	}
	return WriteFile(path, signed, 0o644)
}

// TrustDomain is the domain whose certificates are judged.
func (v *Verifier) TrustDomain() string { return v.trustDomain }

// Update takes a signed list: from a root that is known now, of a higher
// sequence than the one in force. The same list again changes nothing. The
// watchers run before Update returns.
func (v *Verifier) Update(signed []byte) (changed bool, err error) {
	o, err := openList(signed)
	if err != nil {
		return false, err
	}
	changed, err = v.replace(o)
	if changed {
		v.notify()
	}
	return changed, err
}

func (v *Verifier) replace(o *opened) (bool, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if o.list.TrustDomain != v.trustDomain {
		return false, fmt.Errorf("trust list of domain %s: expected %s", o.list.TrustDomain, v.trustDomain)
	}
	if c := v.current; c != nil {
		if bytes.Equal(o.payload, c.payload) {
			return false, nil
		}
		if o.list.Sequence < c.list.Sequence {
			return false, fmt.Errorf("%w: sequence %d, in force is %d", ErrStaleList, o.list.Sequence, c.list.Sequence)
		}
		if o.list.Sequence == c.list.Sequence {
			return false, fmt.Errorf("%w: two lists of sequence %d differ; check whether two regions act as the authority", ErrListConflict, o.list.Sequence)
		}
	}
	if findRoot(v.roots, o.signer) == nil {
		return false, fmt.Errorf("%w: its signer is %s", ErrUntrustedList, o.signer)
	}
	v.current, v.roots = o, o.roots
	v.listed = make(map[KeyID]ListedIntermediate, len(o.list.Intermediates))
	for _, in := range o.list.Intermediates {
		v.listed[in.KeyID] = in
	}
	return true, nil
}

// OnChange calls fn after every change of the list, until the returned function
// is called. fn must not block.
func (v *Verifier) OnChange(fn func()) (cancel func()) {
	v.mu.Lock()
	defer v.mu.Unlock()
	id := v.nextID
	v.nextID++
	v.watchers[id] = fn
	return func() {
		v.mu.Lock()
		defer v.mu.Unlock()
		delete(v.watchers, id)
	}
}

func (v *Verifier) notify() {
	v.mu.RLock()
	fns := make([]func(), 0, len(v.watchers))
	for _, fn := range v.watchers {
		fns = append(fns, fn)
	}
	v.mu.RUnlock()
	for _, fn := range fns {
		fn()
	}
}

// List returns the list in force, to read only; Sequence is 0 if there is none.
func (v *Verifier) List() List {
	v.mu.RLock()
	defer v.mu.RUnlock()
	if v.current == nil {
		return List{}
	}
	return v.current.list
}

// Signed returns the list in force as it was received, or nil.
func (v *Verifier) Signed() []byte {
	v.mu.RLock()
	defer v.mu.RUnlock()
	if v.current == nil {
		return nil
	}
	return v.current.signed
}

// Roots returns the certificates of the roots that are trusted now.
func (v *Verifier) Roots() []*x509.Certificate {
	v.mu.RLock()
	defer v.mu.RUnlock()
	return v.roots
}

// VerifyChain judges a chain in DER, leaf first, at a time. The error is or
// wraps a [*TimeError] if nothing but a clock speaks against the chain.
func (v *Verifier) VerifyChain(raw [][]byte, now time.Time) (ID, error) {
	c, err := parseChain(raw)
	if err != nil {
		return ID{}, err
	}
	return v.judge(c, now)
}

// VerifyPeer judges the peer of a TLS connection as [Verifier.VerifyChain] does.
func (v *Verifier) VerifyPeer(cs tls.ConnectionState, now time.Time) (ID, error) {
	c, err := newChain(cs.PeerCertificates)
	if err != nil {
		return ID{}, err
	}
	return v.judge(c, now)
}

// VerifyTrust judges all of a chain but its times: whether a connection that was
// made with it may stay open, or a new certificate is sound though a clock is off.
func (v *Verifier) VerifyTrust(raw [][]byte) (ID, error) {
	c, err := parseChain(raw)
	if err != nil {
		return ID{}, err
	}
	_, err = v.trust(c)
	return c.id, err
}

func (v *Verifier) judge(c *chain, now time.Time) (ID, error) {
	w, err := v.trust(c)
	if err != nil {
		return ID{}, err
	}
	if err := w.check("certificate of "+c.id.String(), now); err != nil {
		return ID{}, err
	}
	return c.id, nil
}

// trust applies the rules that need the list, and returns when the chain is valid.
func (v *Verifier) trust(c *chain) (window, error) {
	v.mu.RLock()
	defer v.mu.RUnlock()
	if v.current == nil {
		return window{}, fmt.Errorf("verify %s: %w", c.id, ErrNoList)
	}
	if c.id.TrustDomain != v.trustDomain {
		return window{}, fmt.Errorf("certificate of %s: expected trust domain %s", c.id, v.trustDomain)
	}
	in, ok := v.listed[c.intermediateKey]
	if !ok {
		return window{}, fmt.Errorf("certificate of %s: intermediate of region %s epoch %d (%s) is not in the trust list of sequence %d",
			c.id, c.region, c.epoch, c.intermediateKey, v.current.list.Sequence)
	}
	if in.Region != c.region || in.Epoch != c.epoch {
		return window{}, fmt.Errorf("certificate of %s: its intermediate says region %s epoch %d, the trust list says %s epoch %d",
			c.id, c.region, c.epoch, in.Region, in.Epoch)
	}
	for i := range v.current.list.Revoked {
		if r := &v.current.list.Revoked[i]; r.matches(c) {
			return window{}, fmt.Errorf("certificate of %s: %w on %s: %s", c.id, ErrRevoked, stamp(r.At), r.Reason)
		}
	}
	_, w, err := c.verify(v.roots)
	return w, err
}

// readBounded reads a file that must not be larger than limit bytes.
func readBounded(path string, limit int64) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Size() > limit {
		return nil, fmt.Errorf("%s: %d bytes: expected at most %d", path, info.Size(), limit)
	}
	return os.ReadFile(path)
}
