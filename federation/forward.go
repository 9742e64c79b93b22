package federation

import (
	"context"
	"fmt"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/federator/federator/peering/enroll"
)

// forwardedKey marks, in the metadata of a call, that a sibling passed it on.
const forwardedKey = "federator-forwarded"

// forwardToLeader has the leader answer a call that needs what a standby does
// not hold. A call travels at most once: two replicas that each take the other for
// the leader would pass it to and fro.
func forwardToLeader[T any](ctx context.Context, r *Replica, call func(context.Context, *grpc.ClientConn) (T, error)) (T, error) {
	var zero T
	leader, _ := r.node.Leader()
	if r.node.IsLeader() || leader == "" || forwarded(ctx) {
		return zero, wireError(fmt.Errorf("%w: no replica that can decide is reachable in region %s", enroll.ErrUnavailable, r.card.Replica.Region))
	}
	for _, s := range r.siblings() {
		if s.RaftID() != leader {
			continue
		}
		c, err := r.peers.client(s)
		if err != nil {
			return zero, err
		}
		return call(metadata.AppendToOutgoingContext(ctx, forwardedKey, "1"), c)
	}
	return zero, wireError(fmt.Errorf("%w: the leader %s is not known", enroll.ErrUnavailable, leader))
}

// forwarded reports whether the call being answered was passed on by a sibling.
func forwarded(ctx context.Context) bool {
	return len(metadata.ValueFromIncomingContext(ctx, forwardedKey)) > 0
}
