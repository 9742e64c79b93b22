package federation

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/federation/state"
	"github.com/federator/federator/identity"
	"github.com/federator/federator/peering/enroll"
)

// publishTrust signs a new trust list when the registry calls for one.
func (r *Replica) publishTrust(ctx context.Context) error {
	if r.card.Authority != r.card.Replica.Region || !r.holdsRoot() || r.about().NeedsEpoch {
		return nil // no authority; just promoted or started; restored, and yet to ask the others
	}
	return r.publishTrustNow(ctx)
}

// publishTrustNow publishes until the list says what the registry calls for.
func (r *Replica) publishTrustNow(ctx context.Context) error {
	return r.changeTrust(ctx, r.systemMeta(), func(regions []*catalog.Region, previous identity.List) identity.List {
		return desiredList(r.card.TrustDomain, previous, regions, time.Now())
	})
}

// changeTrust publishes the list that edit makes of the registry and the newest
// list known, unless it says nothing new. Another may publish at the same moment:
// then it is made anew.
func (r *Replica) changeTrust(ctx context.Context, meta state.Meta, edit func([]*catalog.Region, identity.List) identity.List) error {
	root, ok := r.vault.anchor()
	if !ok || r.about().NeedsEpoch {
		return fmt.Errorf("%w: this replica does not hold the root, or has yet to ask the other regions what is in force", enroll.ErrUnavailable)
	}
	for {
		var regions []*catalog.Region
		var signed []byte
		var generation uint64
		r.node.Read(func(s *state.State) {
			regions = s.Regions()
			signed, generation = s.Trust()
		})
		published, err := identity.ReadList(signed)
		if err != nil {
			return fmt.Errorf("the trust list in force: %w", err)
		}
		newest := newestList(published, r.verifier.List())
		next := edit(regions, newest)
		if sameTrust(published, next) && published.Sequence == newest.Sequence {
			return nil
		}
		list, err := root.SignList(next)
		if err != nil {
			return err
		}
		_, err = r.proposer.Propose(ctx, meta, &state.PutTrust{List: list, Expect: &generation})
		if !errors.Is(err, state.ErrConflict) || !sleep(ctx, 10*time.Millisecond) {
			return err
		}
	}
}
