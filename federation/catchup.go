package federation

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/federation/state"
	"github.com/federator/federator/identity"
	"github.com/federator/federator/peering/pb"
	"github.com/federator/federator/peering/replication"
)

// catchUpWait is how long an authority region that was restored or recovered asks
// the regions that do not answer, before it goes on without them.
const catchUpWait = 10 * time.Second

// catchUp brings an authority region that was restored or recovered up to what the
// other regions hold, before it issues or signs anything: the newest trust list
// goes to the verifier, and the regions that came or went since the backup into
// the registry. It returns the highest epoch of the own region that anyone knows.
// The wait counts from since.
func (r *Replica) catchUp(ctx context.Context, epoch uint64, since time.Time) (uint64, error) {
	known, silent := r.askAround(ctx)
	if len(silent) > 0 && time.Since(since) < catchUpWait {
		return 0, fmt.Errorf("regions %v do not say yet what they hold of the registry and the trust list", silent)
	}
	if len(silent) > 0 {
		r.log.Warn("going on without what some regions hold of the registry and the trust list", "regions", silent)
	}
	highest := max(epoch, r.catalog.Version(r.card.Replica.Region).Epoch)
	list := r.verifier.List()
	// Removed ones first: others may have taken over their clusters.
	slices.SortStableFunc(known, func(a, b *catalog.Region) int { return removedFirst(a) - removedFirst(b) })
	for _, region := range known {
		if region.Name == r.card.Replica.Region {
			highest = max(highest, region.Epoch)
			continue
		}
		if !attested(list, region) {
			continue
		}
		_, err := r.proposer.Propose(ctx, r.systemMeta(), &state.RegisterRegion{
			Region: region.Name, Founder: region.Founder, Clusters: region.Clusters, Intermediate: region.Intermediate,
			Seed: region.Seed, Epoch: region.Epoch, Removed: region.Removed,
		})
		if err != nil {
			return 0, fmt.Errorf("enter region %s again: %w", region.Name, err)
		}
	}
	return min(highest, state.MaxEpoch-1), nil
}

func removedFirst(r *catalog.Region) int {
	if r.Removed {
		return 0
	}
	return 1
}

// attested reports whether the signed trust list bears out what other regions
// say of one.
func attested(list identity.List, region *catalog.Region) bool {
	cert, err := identity.ParseCertificate(region.Intermediate)
	if err != nil {
		return false
	}
	key := identity.CertKeyID(cert)
	if region.Removed {
		return slices.ContainsFunc(list.Revoked, func(v identity.Revocation) bool { return v.KeyID == key && v.Region == region.Name })
	}
	return slices.ContainsFunc(list.Intermediates, func(i identity.ListedIntermediate) bool { return i.KeyID == key && i.Region == region.Name })
}

// askAround asks every other region what it holds of the registry, and returns
// the newest record of each region, by name, and who did not answer. It takes over
// their trust lists.
func (r *Replica) askAround(ctx context.Context) (known []*catalog.Region, silent []string) {
	var mu sync.Mutex
	var asking sync.WaitGroup
	for _, region := range r.otherRegions() {
		asking.Go(func() {
			r.askTrust(ctx, region) // needs no trust in each other
			answer, err := ask(ctx, r.peers, r.replicasOf(region), 2*time.Second, func(ctx context.Context, c *grpc.ClientConn) (*pb.GetDirectoryResponse, error) {
				return pb.NewFederationClient(c).GetDirectory(ctx, &pb.GetDirectoryRequest{Regions: []string{region}})
			})
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				silent = append(silent, region)
				return
			}
			r.learnTrust(answer.GetTrustList())
			known = append(known, regionsOf(answer)...)
		})
	}
	asking.Wait()
	slices.Sort(silent)
	slices.SortFunc(known, func(a, b *catalog.Region) int {
		if c := strings.Compare(a.Name, b.Name); c != 0 {
			return c
		}
		return newer(b, a)
	})
	return slices.CompactFunc(known, func(a, b *catalog.Region) bool { return a.Name == b.Name }), silent
}

// newer orders two records of a region: by epoch, removed or not, and by time.
func newer(a, b *catalog.Region) int {
	switch {
	case a.Epoch != b.Epoch:
		if a.Epoch > b.Epoch {
			return 1
		}
		return -1
	case a.Removed != b.Removed:
		return removedFirst(b) - removedFirst(a)
	}
	return len(a.Clusters) - len(b.Clusters) // clusters are claimed, and not given back
}

func regionsOf(answer *pb.GetDirectoryResponse) (out []*catalog.Region) {
	for _, wire := range answer.GetRegions() {
		if region, err := replication.RegionFromPB(wire); err == nil {
			out = append(out, region)
		}
	}
	return out
}
