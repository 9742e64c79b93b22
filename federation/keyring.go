package federation

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"

	"github.com/federator/federator/federation/state"
	"github.com/federator/federator/peering/pb"
)

// keyringStage is how far a rotation of the gossip key has come. Each stage waits
// until every region holds it: publish the new key, use it, drop the old one.
type keyringStage string

const (
	settled    keyringStage = ""
	installing keyringStage = "installing" // the new key is last, nobody seals with it yet
	using      keyringStage = "using"      // the new key is first, the old one still opens
)

// keyringGrace is how long after a region's Raft has a keyring all of its
// replicas have unsealed it.
const keyringGrace = 5 * time.Second

// next is the keyring of the following stage.
func (k keyringSecret) next() keyringSecret {
	switch k.Stage {
	case installing:
		last := len(k.Keys) - 1
		return keyringSecret{Version: k.Version + 1, Stage: using, Without: k.Without,
			Keys: append([][]byte{k.Keys[last]}, k.Keys[:last]...)}
	case using:
		return keyringSecret{Version: k.Version + 1, Keys: k.Keys[:1]}
	}
	return k
}

// keepKeyring follows the authority region's gossip keys, or, in the authority
// region, takes a rotation to its next stage when every region has the present one.
func (r *Replica) keepKeyring(ctx context.Context) error {
	own, generation := r.vault.keysOf()
	if own.Version == 0 {
		return nil // not unsealed yet
	}
	if r.card.Authority != r.card.Replica.Region {
		return r.followKeyring(ctx, own, generation)
	}
	if own.Stage == settled {
		return nil
	}
	if waiting := r.laggards(ctx, own); len(waiting) > 0 {
		return fmt.Errorf("regions %v do not hold version %d of the gossip keys yet; to go on without one: federator keyring rotate --without REGION", waiting, own.Version)
	}
	if !r.spread.since(own.Version, time.Now(), keyringGrace) {
		return nil
	}
	return r.putKeyring(ctx, own.next(), generation)
}

// spreadKeyring notes since when every region has held a version of the keyring.
type spreadKeyring struct {
	version uint64
	at      time.Time
}

// since reports whether the version was first seen everywhere that long ago.
func (s *spreadKeyring) since(version uint64, now time.Time, grace time.Duration) bool {
	if s.version != version {
		*s = spreadKeyring{version, now}
	}
	return now.Sub(s.at) >= grace
}

// followKeyring takes over a newer keyring of the authority region.
func (r *Replica) followKeyring(ctx context.Context, own keyringSecret, generation uint64) error {
	answer, err := r.askKeyring(ctx, r.card.Authority)
	if err != nil || answer.GetVersion() <= own.Version {
		return nil //nolint:nilerr // an unreachable authority is reported as its region's state
	}
	ring, err := unsealKeyring(answer.GetSealedKeyring(), r.keys.seal)
	if err != nil {
		return fmt.Errorf("gossip keys of the authority region: %w", err)
	}
	return r.putKeyring(ctx, ring, generation)
}

// askKeyring has a region seal the keyring that it holds to this replica.
func (r *Replica) askKeyring(ctx context.Context, region string) (*pb.GetKeyringResponse, error) {
	me := r.card.Replica.Recipient
	return ask(ctx, r.peers, r.replicasOf(region), time.Second, func(ctx context.Context, c *grpc.ClientConn) (*pb.GetKeyringResponse, error) {
		return pb.NewFederationClient(c).GetKeyring(ctx, &pb.GetKeyringRequest{Recipients: []string{me}})
	})
}

// laggards are the regions that do not hold the keyring yet. All are asked at
// once: a dead replica costs its region a second, and the others nothing.
func (r *Replica) laggards(ctx context.Context, own keyringSecret) []string {
	var mu sync.Mutex
	var asked sync.WaitGroup
	lag := map[string]bool{}
	for _, region := range r.otherRegions() {
		if slices.Contains(own.Without, region) {
			continue
		}
		asked.Go(func() {
			answer, err := r.askKeyring(ctx, region)
			if err != nil || answer.GetVersion() < own.Version {
				mu.Lock()
				defer mu.Unlock()
				lag[region] = true
			}
		})
	}
	asked.Wait()
	return slices.Sorted(maps.Keys(lag))
}

// putKeyring seals a keyring to every replica of the region and writes it, in
// place of the generation that it was made from.
func (r *Replica) putKeyring(ctx context.Context, ring keyringSecret, expect uint64) error {
	var recipients []string
	for _, replica := range r.agreedReplicas() {
		recipients = append(recipients, replica.Recipient)
	}
	blob, err := sealKeyring(ring, recipients)
	if err != nil {
		return err
	}
	_, err = r.proposer.Propose(ctx, r.systemMeta(), &state.PutSecrets{Secrets: []state.SecretWrite{
		{Name: secretKeyring, Blob: blob, Recipients: recipients, Expect: expect},
	}})
	return err
}

// rotateKeyring begins a rotation of the gossip key, or lets one that is under
// way go on without some regions.
func (r *Replica) rotateKeyring(ctx context.Context, without []string) error {
	if r.card.Authority != r.card.Replica.Region {
		return fmt.Errorf("the gossip key is rotated from the authority region: run this on a replica of %s", r.card.Authority)
	}
	own, generation := r.vault.keysOf()
	switch {
	case own.Version == 0:
		return errors.New("this replica has not unsealed the gossip keys yet; try again in a few seconds, or on another replica")
	case own.Stage != settled:
		own.Version++
		own.Without = without
		return r.putKeyring(ctx, own, generation)
	}
	key := make([]byte, 32)
	rand.Read(key) // never fails: crypto/rand crashes the program instead
	return r.putKeyring(ctx, keyringSecret{Version: own.Version + 1, Stage: installing, Without: without, Keys: append(slices.Clone(own.Keys), key)}, generation)
}

// keyringStatus returns the keyring's version, its keys, the primary first, and
// what a rotation waits for.
func (r *Replica) keyringStatus(ctx context.Context) (version uint64, keys [][]byte, waitingFor []string) {
	own := r.vault.keys()
	if own.Stage != settled && r.card.Authority == r.card.Replica.Region {
		waitingFor = r.laggards(ctx, own)
	}
	return own.Version, own.Keys, waitingFor
}
