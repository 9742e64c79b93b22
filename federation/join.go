package federation

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"time"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/federation/state"
	"github.com/federator/federator/identity"
	"github.com/federator/federator/peering/enroll"
	"github.com/federator/federator/peering/token"
)

// JoinOptions are what [Join] admits a replica with.
type JoinOptions struct {
	Place
	Token token.Token
	// Progress, if set, is told each step in words.
	Progress func(step string)
	Log      *slog.Logger
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// JoinResult says what the replica became.
type JoinResult struct {
	Replica     catalog.Replica
	TrustDomain string
	Epoch       uint64
	// Founding: it is the first replica of its region.
	Founding bool
	Warnings []string
}

// Join redeems a token and fills the data directory with all that the replica
// needs to run. Until it succeeds nothing but the replica's own keys is written,
// and calling it again with the same token and directory is safe.
func Join(ctx context.Context, o JoinOptions) (JoinResult, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if done, ok := o.joinedAlready(); ok {
		return done, nil
	}
	lock, err := o.claim()
	if err != nil {
		return JoinResult{}, err
	}
	defer lock.Close()
	dir, replica, keys, err := o.prepare()
	if err != nil {
		return JoinResult{}, err
	}
	caKey, err := dir.foundingKey(keys.seal)
	if err != nil {
		return JoinResult{}, err
	}
	names, ips := sanOf(replica)
	joiner := &enroll.Joiner{Now: o.Now, Progress: o.Progress}
	admitted, err := joiner.Join(ctx, o.Token, enroll.Request{
		Replica: replica, Key: keys.source.Signer(), IntermediateKey: caKey, DNSNames: names, IPs: ips,
	})
	if err != nil {
		return JoinResult{}, err
	}
	f, err := admittedAs(admitted, replica, keys, caKey, o.Now())
	if err != nil {
		return JoinResult{}, fmt.Errorf("the admission of %s: %w", admitted.Address, err)
	}
	card := Card{Format: cardFormat, TrustDomain: admitted.TrustDomain, Authority: admitted.AuthorityRegion, Replica: replica, Seeds: admitted.Directory}
	if err := dir.settle(card, f, admitted.TrustList, admitted.SealedKeyring); err != nil {
		return JoinResult{}, err
	}
	if err := dir.removeFoundingKey(); err != nil {
		return JoinResult{}, err
	}
	return JoinResult{Replica: replica, TrustDomain: admitted.TrustDomain, Epoch: admitted.Epoch,
		Founding: admitted.Founding, Warnings: admitted.Warnings}, nil
}

// joinedAlready recognises a join that succeeded and whose answer was lost.
func (o *JoinOptions) joinedAlready() (JoinResult, bool) {
	card, err := dataDir(o.DataDir).readCard()
	if err != nil {
		return JoinResult{}, false
	}
	differs := o.PeerAddress != "" && o.PeerAddress != card.Replica.PeerAddress || o.GossipAddress != "" && o.GossipAddress != card.Replica.GossipAddress
	o.fill()
	same := !differs && card.TrustDomain == o.Token.TrustDomain && card.Replica.Region == o.Region && card.Replica.Name == o.Name && card.Replica.Cluster == o.Cluster
	return JoinResult{Replica: card.Replica, TrustDomain: card.TrustDomain,
		Warnings: []string{"this data directory has joined already; nothing was changed"}}, same
}

// admittedAs stores the replica's certificate and, for a founder, prepares what
// its region begins with.
func admittedAs(a *enroll.Result, replica catalog.Replica, keys ownKeys, caKey crypto.Signer, now time.Time) (*founding, error) {
	if !a.Founding {
		return nil, keys.source.Replace(a.Chain)
	}
	keyDER, err := identity.MarshalKey(caKey)
	if err != nil {
		return nil, err
	}
	ca, err := openUnder(a.Intermediate, a.Roots, keyDER)
	if err != nil {
		return nil, err
	}
	if err := keys.certify(ca, replica, now); err != nil {
		return nil, err
	}
	secrets, err := regionSecrets(ca, replica.Recipient, a.SealedKeyring)
	if err != nil {
		return nil, err
	}
	return &founding{
		Found: state.Found{TrustDomain: a.TrustDomain, Region: replica.Region, Epoch: a.Epoch,
			Founder: founderOf(replica.PublicKey), Replica: replica, Intermediate: a.Intermediate},
		Secrets: secrets,
	}, nil
}

// openUnder opens an intermediate under whichever of the roots signed it.
func openUnder(cert []byte, roots [][]byte, key []byte) (*identity.Intermediate, error) {
	err := errors.New("no root came with the region's certificate")
	for _, root := range roots {
		var ca *identity.Intermediate
		if ca, err = identity.OpenIntermediate(cert, root, key); err == nil {
			return ca, nil
		}
	}
	return nil, err
}

func (d dataDir) foundingKeyFile() string { return d.path("identity", "founding.sealed") }

// removeFoundingKey forgets it, once the join has succeeded.
func (d dataDir) removeFoundingKey() error {
	if err := os.Remove(d.foundingKeyFile()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// foundingKey returns the key of the certificate authority that the replica
// would bring should it found its region. It is kept, sealed to the replica, until
// the join succeeds, so that a retry asks for the same thing.
func (d dataDir) foundingKey(seal *identity.SealKey) (crypto.Signer, error) {
	blob, err := os.ReadFile(d.foundingKeyFile())
	if err == nil {
		plain, err := identity.Unseal(blob, seal)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", d.foundingKeyFile(), err)
		}
		defer clear(plain)
		return identity.ParseKey(plain)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	key, err := identity.NewKey()
	if err != nil {
		return nil, err
	}
	plain, err := identity.MarshalKey(key)
	if err != nil {
		return nil, err
	}
	defer clear(plain)
	if blob, err = identity.Seal(plain, seal.Recipient()); err != nil {
		return nil, err
	}
	return key, writeFile(d.foundingKeyFile(), blob)
}
