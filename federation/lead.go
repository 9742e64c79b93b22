package federation

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/federation/state"
	"github.com/federator/federator/identity"
	"github.com/federator/federator/peering/enroll"
	"github.com/federator/federator/peering/pb"
)

// How often the leader looks at its duties, and how long it waits for a proof.
const (
	leaseEvery   = 200 * time.Millisecond
	dutyEvery    = time.Second
	keyringEvery = 5 * time.Second
	retryProof   = 200 * time.Millisecond
	dutyTimeout  = 10 * time.Second
)

// lead does what only a leader does, whenever this replica is one.
func (r *Replica) lead(ctx context.Context) error {
	changed, stop := r.node.LeaderCh()
	defer stop()
	for {
		if r.node.IsLeader() {
			r.reign(ctx, changed)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		case <-time.After(time.Second):
		}
	}
}

// reign runs the duties until the replica no longer leads.
func (r *Replica) reign(ctx context.Context, changed <-chan struct{}) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r.log.Info("this replica leads its region")
	var duties sync.WaitGroup
	defer duties.Wait()
	defer cancel()
	if _, err := r.node.Barrier(ctx); err != nil {
		return
	}
	select { // a founder's first commands come before everything else
	case <-ctx.Done():
		return
	case <-r.founded:
	}
	duties.Go(func() { _ = r.node.MaintainVoters(ctx, r.voterHooks()) })
	duties.Go(func() { r.every(ctx, leaseEvery, "grant leases", r.grantLeases) })
	duties.Go(func() { r.every(ctx, dutyEvery, "adopt the objects of other regions", r.adoptObjects) })
	duties.Go(func() { r.every(ctx, dutyEvery, "seal the region's secrets", r.reseal) })
	duties.Go(func() { r.every(ctx, dutyEvery, "publish the trust list", r.publishTrust) })
	duties.Go(func() { r.every(ctx, dutyEvery, "begin a new epoch", r.renewEpoch) })
	duties.Go(func() { r.every(ctx, keyringEvery, "keep the gossip keys", r.keepKeyring) })
	for r.node.IsLeader() && ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-changed:
		case <-time.After(time.Second):
		}
	}
	r.log.Info("this replica no longer leads its region")
}

// every performs a duty at an interval; failures are retried and logged when
// they change.
func (r *Replica) every(ctx context.Context, interval time.Duration, name string, duty func(context.Context) error) {
	last := ""
	for {
		one, cancel := context.WithTimeout(ctx, dutyTimeout)
		err := duty(one)
		cancel()
		switch {
		case ctx.Err() != nil:
			return
		case err == nil:
			last = ""
		case err.Error() != last:
			last = err.Error()
			r.log.Warn("could not "+name+"; trying again", "error", err)
		}
		if !sleep(ctx, interval) {
			return
		}
	}
}

// sleep waits, and reports whether ctx is still going.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

func (r *Replica) voterHooks() state.VoterHooks {
	return state.VoterHooks{
		Alive:   func(c catalog.Replica) bool { return r.gossip.Alive(c.Name) },
		Applied: r.appliedBy,
		Prove:   r.proveUnsealed,
		Warn: func(list []string) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.warnings = slices.Clone(list)
		},
		CleanUpAfter: time.Duration(r.cfg.Raft.DeadServerAfter),
	}
}

// grantLeases gives each cluster whose health owner is gone a new one.
func (r *Replica) grantLeases(ctx context.Context) error {
	var clusters []*catalog.Cluster
	r.node.Read(func(s *state.State) { clusters = s.Clusters() })
	replicas := r.replicasOf(r.card.Replica.Region)
	var errs []error
	for _, c := range clusters {
		next := successor(*c, replicas, r.gossip.Alive)
		if next == "" || next == c.HealthOwner {
			continue
		}
		_, err := r.proposer.Propose(ctx, r.systemMeta(), &state.GrantLease{Cluster: c.Name, Owner: next, Expect: &c.HealthTerm})
		if err != nil && !errors.Is(err, state.ErrConflict) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// adoptObjects brings the objects that other regions wrote into the own Raft, so
// that each region holds all of them and passes them on.
func (r *Replica) adoptObjects(ctx context.Context) error {
	var foreign []catalog.Object
	members := append(r.otherRegions(), r.card.Replica.Region)
	for _, region := range r.otherRegions() {
		r.catalog.Records(region, catalog.RecordObject, func(rec *catalog.Record) bool {
			foreign = append(foreign, *rec.Object)
			return true
		})
	}
	slices.Sort(members)
	now := time.Now()
	var adopt []catalog.Object
	var refused []state.RefusedObject
	var due, suspect bool
	r.node.Read(func(s *state.State) {
		adopt, refused = s.Adoptable(foreign, members, now)
		due, suspect = s.SweepDue(members, now), s.About().ObjectsSuspect
	})
	r.mu.Lock()
	r.refused = refused
	r.mu.Unlock()
	suspect = suspect && r.importsKnown()
	if len(adopt) == 0 && !due && !suspect {
		return nil
	}
	if suspect {
		adopt = foreign
	}
	_, err := r.proposer.Propose(ctx, r.systemMeta(), &state.MergeObjects{Objects: adopt, Regions: members, Replace: suspect})
	return err
}

// publishTrust signs a new trust list when the registry calls for one.
func (r *Replica) publishTrust(ctx context.Context) error {
	if r.card.Authority != r.card.Replica.Region {
		return nil
	}
	root, ok := r.vault.anchor()
	if !ok {
		return nil // just promoted, or just started
	}
	var regions []*catalog.Region
	var signed []byte
	var generation uint64
	r.node.Read(func(s *state.State) {
		regions = s.Regions()
		signed, generation = s.Trust()
	})
	previous, err := identity.ReadList(signed)
	if err != nil {
		return fmt.Errorf("the trust list in force: %w", err)
	}
	next := desiredList(r.card.TrustDomain, previous, regions, time.Now())
	if sameTrust(previous, next) {
		return nil
	}
	list, err := root.SignList(next)
	if err != nil {
		return err
	}
	_, err = r.proposer.Propose(ctx, r.systemMeta(), &state.PutTrust{List: list, Expect: &generation})
	return err
}

// publishTrustNow publishes until the list says what the registry calls for: the
// leader's own duty may publish at the same moment, and from an older registry.
func (r *Replica) publishTrustNow(ctx context.Context) error {
	for {
		err := r.publishTrust(ctx)
		if !errors.Is(err, state.ErrConflict) || !sleep(ctx, 10*time.Millisecond) {
			return err
		}
	}
}

// renewEpoch asks for a new epoch after the region was recovered or restored.
func (r *Replica) renewEpoch(ctx context.Context) error {
	var about state.About
	r.node.Read(func(s *state.State) { about = s.About() })
	if !about.NeedsEpoch {
		return nil
	}
	founder := founderOf(r.card.Replica.PublicKey)
	var epoch uint64
	if about.Authority {
		result, err := r.proposer.Propose(ctx, r.systemMeta(), &state.NextEpoch{
			Region: about.Region, Founder: founder, Attempt: r.card.Replica.DiskID + fmt.Sprint(about.Epoch), AtLeast: r.highestEpoch(about.Epoch) + 1, Seed: &r.card.Replica,
		})
		if err != nil {
			return err
		}
		issued, err := state.Value[state.Issued](result)
		if err != nil {
			return err
		}
		epoch = issued.Epoch
	} else {
		seed := enroll.ReplicaToWire(&r.card.Replica)
		seed.PublicKey = r.card.Replica.PublicKey
		answer, err := ask(ctx, r.peers, r.replicasOf(r.card.Authority), 5*time.Second, func(ctx context.Context, c *grpc.ClientConn) (*pb.NextEpochResponse, error) {
			return pb.NewFederationClient(c).NextEpoch(ctx, &pb.NextEpochRequest{Region: about.Region, Epoch: about.Epoch, Founder: founder, Reason: "recovered", Seed: seed})
		})
		if err != nil {
			return fmt.Errorf("ask the authority region %s: %w", r.card.Authority, err)
		}
		epoch = answer.GetRegion().GetEpoch()
		r.learnTrust(answer.GetTrustList())
	}
	_, err := r.proposer.Propose(ctx, r.systemMeta(), &state.SetEpoch{Epoch: epoch})
	return err
}

// highestEpoch is the highest epoch of the own region that anyone here knows of.
func (r *Replica) highestEpoch(epoch uint64) uint64 {
	return max(epoch, r.catalog.Version(r.card.Replica.Region).Epoch)
}
