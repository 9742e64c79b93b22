package federation

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"sync"

	"github.com/federator/federator/federation/gossip"
	"github.com/federator/federator/federation/state"
	"github.com/federator/federator/identity"
)

// The sealed secrets of a region, by name.
const (
	// secretIntermediate is the region's CA, sealed to its voters.
	secretIntermediate = "ca/intermediate"
	// secretRoot is the trust domain's CA, sealed to the authority region's voters
	// and to the recovery key.
	secretRoot = "ca/root"
	// secretKeyring holds the gossip keys, sealed to every replica of the region.
	secretKeyring = "gossip/keyring"
)

// caSecret is the plaintext of a sealed certificate authority.
type caSecret struct {
	Certificate []byte `json:"certificate"`
	// Root is the DER of the root that signed it; empty in the root's own secret.
	Root []byte `json:"root,omitempty"`
	Key  []byte `json:"key"`
	// Recovery is the recipient of the recovery key; in the root's secret only.
	Recovery string `json:"recovery,omitempty"`
}

// keyringSecret is the plaintext of the sealed gossip keyring.
type keyringSecret struct {
	// Version rises with every change; the highest counts.
	Version uint64 `json:"version"`
	// Keys has the primary first.
	Keys [][]byte `json:"keys"`
	// Stage is what a rotation waits for; see keepKeyring.
	Stage keyringStage `json:"stage,omitempty"`
	// Without names regions that an operator said not to wait for.
	Without []string `json:"without,omitempty"`
}

// vault holds what this replica could unseal: in memory, and nowhere else. Only
// the sealed form of the region's CA is kept beside it on disk, so that a voter
// whose certificate expired while it slept can mint its own before it listens.
type vault struct {
	key  *identity.SealKey
	file string // of the sealed intermediate
	ring *gossip.Keyring

	mu           sync.Mutex
	generations  map[string]uint64 // that were opened, or are not for this replica
	intermediate *identity.Intermediate
	root         *identity.Root
	recovery     string // recipient of the root's recovery key
	keyring      keyringSecret
	keyringFrom  uint64 // the generation that the keyring was opened from
	locked       map[string]error
}

func newVault(key *identity.SealKey, file string, ring *gossip.Keyring) *vault {
	return &vault{key: key, file: file, ring: ring, generations: map[string]uint64{}, locked: map[string]error{}}
}

// openFile unseals the copy on disk, if there is one.
func (v *vault) openFile() error {
	blob, err := os.ReadFile(v.file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.openIntermediate(blob)
}

// refresh unseals what is new among the region's secrets, and tries again what
// could not be. A secret that is not sealed to this replica is no error: it is not
// a voter then.
func (v *vault) refresh(secrets []state.Secret) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	var errs []error
	for _, s := range secrets {
		if s.Generation <= v.generations[s.Name] {
			continue // or somebody read it before another refresh
		}
		err := v.open(s)
		v.locked[s.Name] = err
		if err != nil && !errors.Is(err, identity.ErrNotRecipient) {
			errs = append(errs, fmt.Errorf("secret %s: %w", s.Name, err))
			continue
		}
		v.generations[s.Name] = s.Generation
	}
	return errors.Join(errs...)
}

func (v *vault) open(s state.Secret) error {
	switch s.Name {
	case secretIntermediate:
		return v.adoptIntermediate(s)
	case secretRoot:
		return v.openRoot(s.Blob)
	case secretKeyring:
		return v.openKeyring(s)
	}
	return nil
}

// adoptIntermediate unseals the region's CA, or drops it when this replica is no
// longer among its holders.
func (v *vault) adoptIntermediate(s state.Secret) error {
	if !slices.Contains(s.Recipients, v.key.Recipient()) {
		v.intermediate = nil
		if err := os.Remove(v.file); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return identity.ErrNotRecipient
	}
	if err := v.openIntermediate(s.Blob); err != nil {
		return err
	}
	return writeFile(v.file, s.Blob)
}

func (v *vault) openIntermediate(blob []byte) error {
	ca, err := unsealCA(blob, v.key)
	if err != nil {
		return err
	}
	v.intermediate, err = identity.OpenIntermediate(ca.Certificate, ca.Root, ca.Key)
	return err
}

func (v *vault) openRoot(blob []byte) error {
	ca, err := unsealCA(blob, v.key)
	if err != nil {
		v.root = nil
		return err
	}
	v.recovery = ca.Recovery
	v.root, err = identity.OpenRoot(ca.Certificate, ca.Key)
	return err
}

func (v *vault) openKeyring(s state.Secret) error {
	ring, err := unsealKeyring(s.Blob, v.key)
	if err != nil {
		return err
	}
	if err := v.ring.Replace(ring.Keys[0], ring.Keys[1:]...); err != nil {
		return err
	}
	v.keyring, v.keyringFrom = ring, s.Generation
	return nil
}

// signer returns the region's CA, if this replica holds it.
func (v *vault) signer() (*identity.Intermediate, bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.intermediate, v.intermediate != nil
}

// anchor returns the trust domain's root, if this replica holds it.
func (v *vault) anchor() (*identity.Root, bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.root, v.root != nil
}

// keys returns the gossip keyring.
func (v *vault) keys() keyringSecret {
	ring, _ := v.keysOf()
	return ring
}

// keysOf returns the gossip keyring and the generation that it was opened from:
// a change made from it must replace no other.
func (v *vault) keysOf() (keyringSecret, uint64) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.keyring, v.keyringFrom
}

// lockedOut says why a secret could not be opened; nil if it was.
func (v *vault) lockedOut(name string) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.locked[name]
}

func sealCA(ca caSecret, recipients []string) ([]byte, error) { return sealJSON(ca, recipients) }

func sealKeyring(ring keyringSecret, recipients []string) ([]byte, error) {
	return sealJSON(ring, recipients)
}

func sealJSON(v any, recipients []string) ([]byte, error) {
	plain, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	defer clear(plain)
	return identity.Seal(plain, recipients...)
}

func unsealCA(blob []byte, key *identity.SealKey) (ca caSecret, err error) {
	err = unsealJSON(blob, key, &ca)
	return ca, err
}

func unsealKeyring(blob []byte, key *identity.SealKey) (ring keyringSecret, err error) {
	if err = unsealJSON(blob, key, &ring); err == nil && len(ring.Keys) == 0 {
		err = errors.New("the gossip keyring holds no key")
	}
	return ring, err
}

func unsealJSON(blob []byte, key *identity.SealKey, into any) error {
	plain, err := identity.Unseal(blob, key)
	if err != nil {
		return err
	}
	defer clear(plain)
	if err := json.Unmarshal(plain, into); err != nil {
		return fmt.Errorf("unsealed secret is damaged: %w", err)
	}
	return nil
}
