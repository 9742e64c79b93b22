package federation

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/federation/state"
)

// candidacy is how long a replica that is being made a voter stays among those
// that the region's authority is sealed to, before it has to be a voter.
const candidacy = 30 * time.Second

// noteCandidate remembers that a replica is about to become a voter.
func (r *Replica) noteCandidate(recipient string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.candidates == nil {
		r.candidates = map[string]time.Time{}
	}
	maps.DeleteFunc(r.candidates, func(_ string, since time.Time) bool { return time.Since(since) >= candidacy })
	r.candidates[recipient] = time.Now()
}

// holders are the recipients of the region's authority: its voters, and those
// that are about to be.
func (r *Replica) holders() []string {
	voters := map[string]bool{}
	for _, s := range r.node.Servers() {
		if s.Voter {
			voters[s.ID] = true
		}
	}
	var out []string
	for _, replica := range r.agreedReplicas() {
		r.mu.Lock()
		proven := time.Since(r.candidates[replica.Recipient]) < candidacy
		r.mu.Unlock()
		if voters[replica.RaftID()] || proven {
			out = append(out, replica.Recipient)
		}
	}
	slices.Sort(out)
	return out
}

// agreedReplicas are the region's replicas as Raft has them.
func (r *Replica) agreedReplicas() []*catalog.Replica {
	var out []*catalog.Replica
	r.node.Read(func(s *state.State) { out = s.Replicas() })
	return out
}

// reseal seals each secret anew when those who must be able to open it are not
// those it is sealed to.
func (r *Replica) reseal(ctx context.Context) error {
	secrets := r.secrets() // read once: each is replaced only as it was opened
	shut := r.vault.refresh(secrets)
	holders := r.holders()
	everyone := make([]string, 0, 8)
	for _, replica := range r.agreedReplicas() {
		everyone = append(everyone, replica.Recipient)
	}
	var writes []state.SecretWrite
	for _, s := range secrets {
		want := r.vault.recipients(s.Name, holders, everyone)
		if sameRecipients(s.Recipients, want) {
			continue
		}
		blob, err := r.vault.sealAnew(s, want)
		if err != nil {
			return errors.Join(shut, err)
		}
		if blob == nil {
			continue // not open here: just promoted, or just started
		}
		writes = append(writes, state.SecretWrite{Name: s.Name, Blob: blob, Recipients: want, Expect: s.Generation})
	}
	if len(writes) == 0 {
		return shut
	}
	_, err := r.proposer.Propose(ctx, r.systemMeta(), &state.PutSecrets{Secrets: writes})
	if errors.Is(err, state.ErrConflict) {
		return shut // somebody else did; the next look decides
	}
	return errors.Join(shut, err)
}

func sameRecipients(a, b []string) bool {
	a, b = slices.Clone(a), slices.Clone(b)
	slices.Sort(a)
	slices.Sort(b)
	return slices.Equal(a, b)
}

// recipients are those that a secret is to be sealed to: the gossip keys to
// every replica, the root to the recovery key too.
func (v *vault) recipients(name string, holders, everyone []string) []string {
	v.mu.Lock()
	defer v.mu.Unlock()
	switch name {
	case secretKeyring:
		return everyone
	case secretRoot:
		if v.recovery != "" {
			return append(slices.Clone(holders), v.recovery)
		}
	}
	return holders
}

// sealAnew seals a secret to the recipients; it returns nil unless exactly this
// generation of it is open here.
func (v *vault) sealAnew(s state.Secret, recipients []string) ([]byte, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	name := s.Name
	switch {
	case v.generations[name] != s.Generation || v.locked[name] != nil:
		return nil, nil
	case len(recipients) == 0:
		return nil, errors.New("nobody is left to seal the region's secrets to")
	case name == secretIntermediate && v.intermediate != nil:
		key, err := v.intermediate.MarshalKey()
		if err != nil {
			return nil, err
		}
		return sealCA(caSecret{Certificate: v.intermediate.Certificate.Raw, Root: v.intermediate.Root.Raw, Key: key}, recipients)
	case name == secretRoot && v.root != nil:
		key, err := v.root.MarshalKey()
		if err != nil {
			return nil, err
		}
		return sealCA(caSecret{Certificate: v.root.Certificate.Raw, Key: key, Recovery: v.recovery}, recipients)
	case name == secretKeyring && len(v.keyring.Keys) > 0:
		return sealKeyring(v.keyring, recipients)
	}
	return nil, nil
}
