package state

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/federator/federator/federation/catalog"
)

// The bounds of secrets.
const (
	maxSecrets    = 1000
	maxBlob       = 1 << 20
	maxRecipients = 1000
)

// Secret is a sealed blob: only the holders of the recipients' keys can open it.
// The plaintext is never here.
type Secret struct {
	Name string `json:"name"`
	// Blob is sealed by package identity.
	Blob []byte `json:"blob"`
	// Recipients are the age public keys it is sealed to.
	Recipients []string `json:"recipients"`
	// Generation counts the writes of this name, from 1.
	Generation uint64 `json:"generation"`
}

// Secret returns the sealed secret of that name. Its fields are shared and must
// not be changed.
func (s *State) Secret(name string) (Secret, bool) {
	secret, ok := s.secrets[name]
	return secret, ok
}

// Secrets returns all sealed secrets, ordered by name.
func (s *State) Secrets() []Secret {
	out := make([]Secret, 0, len(s.secrets))
	for _, name := range slices.Sorted(maps.Keys(s.secrets)) {
		out = append(out, s.secrets[name])
	}
	return out
}

// PutSecrets writes sealed secrets, all or none. Each names the generation it
// replaces; another found gives [ErrConflict].
type PutSecrets struct {
	Secrets []SecretWrite `json:"secrets"`
}

// SecretWrite replaces one secret.
type SecretWrite struct {
	Name       string   `json:"name"`
	Blob       []byte   `json:"blob,omitempty"`
	Recipients []string `json:"recipients,omitempty"`
	// Expect is the generation that is replaced; 0 when there is none yet.
	Expect uint64 `json:"expect"`
	Delete bool   `json:"delete,omitempty"`
}

func (*PutSecrets) kind() Type { return TypePutSecrets }

func (p *PutSecrets) audit() (string, string) {
	names := make([]string, len(p.Secrets))
	for i, w := range p.Secrets {
		names[i] = fmt.Sprintf("%s (generation %d, %d recipients)", w.Name, w.Expect+1, len(w.Recipients))
	}
	return "secrets", strings.Join(names, ", ")
}

func (p *PutSecrets) validate() error {
	if len(p.Secrets) == 0 || len(p.Secrets) > maxSecrets {
		return ErrInvalid.withf("expected 1 to %d secrets, found %d", maxSecrets, len(p.Secrets))
	}
	names := map[string]bool{}
	for _, w := range p.Secrets {
		switch {
		case w.Name == "" || len(w.Name) > maxObjectName || names[w.Name]:
			return ErrInvalid.withf("secret %q: the name is empty, too long or listed twice", clip(w.Name, 64))
		case len(w.Blob) > maxBlob || len(w.Recipients) > maxRecipients:
			return ErrInvalid.withf("secret %s: %d bytes and %d recipients exceed the bounds of %d and %d", w.Name, len(w.Blob), len(w.Recipients), maxBlob, maxRecipients)
		case !w.Delete && (len(w.Blob) == 0 || len(w.Recipients) == 0):
			return ErrInvalid.withf("secret %s: expected a sealed blob and its recipients", w.Name)
		}
		names[w.Name] = true
	}
	return nil
}

func (p *PutSecrets) apply(c *change) (any, error) {
	for _, w := range p.Secrets {
		if found := c.secrets[w.Name].Generation; found != w.Expect {
			return nil, ErrConflict.withf("secret %s is at generation %d, not %d: it was re-sealed meanwhile; read it again and retry", w.Name, found, w.Expect)
		}
	}
	c.then(func() {
		for _, w := range p.Secrets {
			if w.Delete {
				delete(c.secrets, w.Name)
				continue
			}
			c.secrets[w.Name] = Secret{Name: w.Name, Blob: w.Blob, Recipients: w.Recipients, Generation: w.Expect + 1}
		}
	})
	return nil, nil
}

// PutTrust publishes a new trust list, which package identity signs and
// verifies. Only the authority region has one.
type PutTrust struct {
	List []byte `json:"list"`
	// Expect, when set, is the generation that is replaced (0: none yet).
	Expect *uint64 `json:"expect,omitempty"`
}

func (*PutTrust) kind() Type { return TypePutTrust }

func (p *PutTrust) audit() (string, string) {
	return "trust list", fmt.Sprintf("sha256 %x", hash(p.List))
}

func (p *PutTrust) validate() error {
	if len(p.List) == 0 || len(p.List) > maxBlob {
		return ErrInvalid.withf("trust list: expected 1 to %d bytes, found %d", maxBlob, len(p.List))
	}
	return nil
}

func (p *PutTrust) apply(c *change) (any, error) {
	if err := c.authority(); err != nil {
		return nil, err
	}
	if p.Expect != nil && *p.Expect != c.trustGen {
		return nil, ErrConflict.withf("the trust list is at generation %d, not %d: it was changed meanwhile; read it again and retry", c.trustGen, *p.Expect)
	}
	c.put(catalog.Record{Trust: &catalog.Trust{List: p.List}})
	generation := c.trustGen + 1
	c.then(func() { c.trustGen = generation })
	return generation, nil
}

// authority refuses what only the authority region may do.
func (c *change) authority() error {
	if !c.about.Authority {
		return ErrNotAuthority.withf("region %s is not the authority region; ask that one", c.about.Region)
	}
	return nil
}
