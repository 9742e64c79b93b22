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
	duties.Go(func() { r.every(ctx, dutyEvery, "begin a new epoch", r.renewEpoch(time.Now())) })
	duties.Go(func() { r.every(ctx, keyringEvery, "keep the gossip keys", r.keepKeyring) })
	duties.Go(func() { r.conduct(ctx) })
	duties.Go(func() { r.every(ctx, scheduleEvery, "begin scheduled drills", r.keepSchedules) })
	duties.Go(func() { r.every(ctx, scheduleEvery, "collect the samples of drills", r.collectSamples) })
	duties.Go(func() { r.every(ctx, retireEvery, "delete old drills", r.retireDrills) })
	duties.Go(func() {
		r.every(ctx, retireEvery, "delete the policies of clusters that are no more", r.retirePolicies)
	})
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

// renewEpoch is the duty to begin a new epoch after the region was recovered or
// restored. The replica has led since then.
func (r *Replica) renewEpoch(since time.Time) func(context.Context) error {
	return func(ctx context.Context) error {
		about := r.about()
		if !about.NeedsEpoch {
			return nil
		}
		next := r.requestEpoch
		if about.Authority {
			next = func(ctx context.Context, about state.About) (uint64, error) { return r.issueEpoch(ctx, about, since) }
		}
		epoch, err := next(ctx, about)
		if err != nil {
			return err
		}
		_, err = r.proposer.Propose(ctx, r.systemMeta(), &state.SetEpoch{Epoch: epoch})
		return err
	}
}

// issueEpoch has the authority region give itself an epoch.
func (r *Replica) issueEpoch(ctx context.Context, about state.About, since time.Time) (uint64, error) {
	highest, err := r.catchUp(ctx, about.Epoch, since)
	if err != nil {
		return 0, err
	}
	result, err := r.proposer.Propose(ctx, r.systemMeta(), &state.NextEpoch{
		Region: about.Region, Founder: founderOf(r.card.Replica.PublicKey), Attempt: r.card.Replica.DiskID + fmt.Sprint(about.Epoch), AtLeast: highest + 1, Seed: &r.card.Replica,
	})
	if err != nil {
		return 0, err
	}
	issued, err := state.Value[state.Issued](result)
	return issued.Epoch, err
}

// requestEpoch asks the authority region for an epoch.
func (r *Replica) requestEpoch(ctx context.Context, about state.About) (uint64, error) {
	seed := enroll.ReplicaToWire(&r.card.Replica)
	seed.PublicKey = r.card.Replica.PublicKey
	req := &pb.NextEpochRequest{Region: about.Region, Epoch: about.Epoch, Founder: founderOf(r.card.Replica.PublicKey), Reason: "recovered", Seed: seed}
	answer, err := ask(ctx, r.peers, r.replicasOf(r.card.Authority), 5*time.Second, func(ctx context.Context, c *grpc.ClientConn) (*pb.NextEpochResponse, error) {
		return pb.NewFederationClient(c).NextEpoch(ctx, req)
	})
	if err != nil {
		return 0, fmt.Errorf("ask the authority region %s: %w", r.card.Authority, err)
	}
	r.learnTrust(answer.GetTrustList())
	return answer.GetRegion().GetEpoch(), nil
}

// about is what the region knows of itself.
func (r *Replica) about() (about state.About) {
	r.node.Read(func(s *state.State) { about = s.About() })
	return about
}
