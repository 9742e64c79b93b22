package state

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"maps"
	"slices"
	"time"

	"github.com/federator/federator/federation/catalog"
)

// maxTokenResult bounds what redeeming a token may record, in bytes.
const maxTokenResult = 64 << 10

// tokenMemory is how long a token is remembered after it expired, so that the
// error can say so.
const tokenMemory = 7 * 24 * time.Hour

// retryElsewhere is how long a token that let a replica into another region can
// be retried. This region does not hear when that replica leaves, and must not
// let it in again without anybody's leave.
const retryElsewhere = 15 * time.Minute

// Token is a single-use invitation. Its secret is never here, only its hash.
type Token struct {
	ID string `json:"id"`
	// Hash is the SHA-256 of the secret.
	Hash      []byte    `json:"hash"`
	Purpose   string    `json:"purpose"`
	Expires   time.Time `json:"expires"`
	CreatedAt time.Time `json:"createdAt"`
	CreatedBy string    `json:"createdBy,omitempty"`
	// Redeemed is set once, by the redemption.
	Redeemed *Redemption `json:"redeemed,omitempty"`
}

// Redemption says who used a token, when, and what came of it.
type Redemption struct {
	// CSRKey is the SHA-256 of the SPKI of the certificate request.
	CSRKey []byte    `json:"csrKey"`
	At     time.Time `json:"at"`
	By     string    `json:"by,omitempty"`
	From   string    `json:"from,omitempty"`
	// Result is what the caller asked to record.
	Result json.RawMessage `json:"result,omitempty"`
	// Replica is the admitted replica, Epoch the epoch of the registered region.
	Replica *catalog.Replica `json:"replica,omitempty"`
	Epoch   uint64           `json:"epoch,omitempty"`
}

// Token returns the token with the id.
func (s *State) Token(id string) (Token, bool) {
	t, ok := s.tokens[id]
	return t, ok
}

// Tokens returns all tokens, ordered by id.
func (s *State) Tokens() []Token {
	out := make([]Token, 0, len(s.tokens))
	for _, id := range slices.Sorted(maps.Keys(s.tokens)) {
		out = append(out, s.tokens[id])
	}
	return out
}

// CreateToken makes a token valid until Expires.
type CreateToken struct {
	ID      string    `json:"id"`
	Hash    []byte    `json:"hash"`
	Purpose string    `json:"purpose"`
	Expires time.Time `json:"expires"`
}

func (*CreateToken) kind() Type { return TypeCreateToken }

func (t *CreateToken) audit() (string, string) {
	return t.ID, t.Purpose + ", expires " + t.Expires.UTC().Format(time.RFC3339)
}

func (t *CreateToken) validate() error {
	switch {
	case t.ID == "" || len(t.ID) > maxIDBytes || t.Purpose == "" || len(t.Purpose) > maxIDBytes:
		return ErrInvalid.withf("token: expected an id and a purpose of 1 to %d bytes", maxIDBytes)
	case len(t.Hash) != sha256.Size:
		return ErrInvalid.withf("token %s: expected a SHA-256 hash", t.ID)
	}
	return nil
}

func (t *CreateToken) apply(c *change) (any, error) {
	if !t.Expires.After(c.meta.Time) {
		return nil, ErrInvalid.withf("token %s would expire at %s, before now", t.ID, t.Expires.Format(time.RFC3339))
	}
	if _, ok := c.tokens[t.ID]; ok {
		return nil, ErrConflict.withf("token %s exists already", t.ID)
	}
	old := c.forgettable()
	if len(c.tokens)-len(old) >= tokenLimit {
		return nil, ErrInvalid.withf("%d tokens exist, which is the bound: revoke some with federator token revoke", tokenLimit)
	}
	c.then(func() {
		for _, id := range old {
			delete(c.tokens, id)
		}
		c.tokens[t.ID] = Token{ID: t.ID, Hash: t.Hash, Purpose: t.Purpose, Expires: t.Expires, CreatedAt: c.meta.Time, CreatedBy: c.meta.Actor}
	})
	return nil, nil
}

// forgettable returns the tokens that expired long ago.
func (c *change) forgettable() []string {
	var out []string
	for id, t := range c.tokens {
		if c.meta.Time.Sub(t.Expires) > tokenMemory {
			out = append(out, id)
		}
	}
	return out
}

// RedeemToken uses a token. What it admits or registers happens in the same
// step, or nothing does. It is idempotent for the same certificate request key;
// the [Redemption] is the result.
type RedeemToken struct {
	ID string `json:"id"`
	// SecretHash is the SHA-256 of the secret that was presented.
	SecretHash []byte `json:"secretHash"`
	// CSRKey is the SHA-256 of the SPKI of the certificate request.
	CSRKey []byte `json:"csrKey"`
	// Purpose must be the token's.
	Purpose string `json:"purpose"`
	// Admit is the replica to register, Register the region (authority only).
	Admit    *AdmitReplica   `json:"admit,omitempty"`
	Register *RegisterRegion `json:"register,omitempty"`
	// Result is kept with the token and returned again on retries.
	Result json.RawMessage `json:"result,omitempty"`
}

func (*RedeemToken) kind() Type { return TypeRedeemToken }

func (r *RedeemToken) audit() (string, string) {
	detail := r.Purpose
	if r.Admit != nil {
		detail += ", replica " + r.Admit.Replica.Name
	}
	if r.Register != nil {
		detail += ", region " + r.Register.Region
	}
	return r.ID, detail
}

func (r *RedeemToken) validate() error {
	if len(r.CSRKey) != sha256.Size || len(r.SecretHash) != sha256.Size {
		return ErrInvalid.withf("token: expected SHA-256 hashes of the secret and of the request's key")
	}
	if len(r.Result) > maxTokenResult {
		return ErrInvalid.withf("token: a result of %d bytes exceeds the bound of %d", len(r.Result), maxTokenResult)
	}
	var errs []error
	if r.Admit != nil {
		errs = append(errs, r.Admit.validate())
	}
	if r.Register != nil {
		errs = append(errs, r.Register.validate())
	}
	return cmp.Or(errs...)
}

func (r *RedeemToken) apply(c *change) (any, error) {
	token, known := c.tokens[r.ID]
	if subtle.ConstantTimeCompare(token.Hash, r.SecretHash) != 1 || !known {
		return nil, ErrTokenUnknown
	}
	if token.Redeemed != nil {
		return r.again(c, token)
	}
	if token.Purpose != r.Purpose {
		return nil, ErrTokenPurpose.withf("the token was made for %q, not for %q; create another with federator token create", token.Purpose, r.Purpose)
	}
	if !c.meta.Time.Before(token.Expires) {
		return nil, ErrTokenExpired.withf("the token expired at %s, %s ago; create a new one with federator token create", token.Expires.UTC().Format(time.RFC3339), c.meta.Time.Sub(token.Expires).Round(time.Second))
	}
	redemption, err := r.redeem(c)
	if err != nil {
		return nil, err
	}
	token.Redeemed = redemption
	c.then(func() { c.tokens[r.ID] = token })
	return redemption, nil
}

// redeem does what the token is for.
func (r *RedeemToken) redeem(c *change) (*Redemption, error) {
	out := &Redemption{CSRKey: r.CSRKey, At: c.meta.Time, By: c.meta.Actor, From: c.meta.From, Result: r.Result}
	if r.Admit != nil {
		if err := c.admissible(&r.Admit.Replica); err != nil {
			return nil, err
		}
		replica := c.admit(r.Admit.Replica)
		out.Replica = &replica
	}
	if r.Register != nil {
		issued, err := r.Register.register(c)
		if err != nil {
			return nil, err
		}
		out.Epoch = issued.Epoch
	}
	return out, nil
}

// again answers a retry by the same key, and refuses everybody else. A replica
// that was removed since needs a new token.
func (r *RedeemToken) again(c *change, token Token) (any, error) {
	if subtle.ConstantTimeCompare(token.Redeemed.CSRKey, r.CSRKey) != 1 {
		return nil, ErrTokenUsed
	}
	if !r.same(token.Redeemed) {
		return nil, ErrTokenUsed.withf("the token was used already, for another name or region; create a new one with federator token create")
	}
	admitted := token.Redeemed.Replica
	switch {
	case admitted != nil && c.Replica(admitted.Name) == nil:
		return nil, ErrTokenUsed.withf("the token was used, and replica %s was removed since; create a new one with federator token create", admitted.Name)
	case admitted == nil && c.meta.Time.Sub(token.Redeemed.At) > retryElsewhere:
		return nil, ErrTokenUsed.withf("the token was used for another region, %s ago; create a new one with federator token create", c.meta.Time.Sub(token.Redeemed.At).Round(time.Second))
	}
	return token.Redeemed, nil
}

// same reports whether a retry asks for what the token was used for.
func (r *RedeemToken) same(used *Redemption) bool {
	if r.Admit == nil || used.Replica == nil {
		return r.Admit == nil && used.Replica == nil && bytes.Equal(r.Result, used.Result)
	}
	want, got := &r.Admit.Replica, used.Replica
	return want.Name == got.Name && want.Region == got.Region && want.Cluster == got.Cluster && want.DiskID == got.DiskID
}

// RevokeToken forgets a token.
type RevokeToken struct {
	ID string `json:"id"`
}

func (*RevokeToken) kind() Type { return TypeRevokeToken }

func (r *RevokeToken) audit() (string, string) { return r.ID, "" }

func (r *RevokeToken) validate() error {
	if r.ID == "" || len(r.ID) > maxIDBytes {
		return ErrInvalid.withf("token: expected an id")
	}
	return nil
}

func (r *RevokeToken) apply(c *change) (any, error) {
	if _, ok := c.tokens[r.ID]; !ok {
		return nil, ErrTokenUnknown
	}
	c.then(func() { delete(c.tokens, r.ID) })
	return nil, nil
}
