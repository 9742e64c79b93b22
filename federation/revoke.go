package federation

import (
	"context"
	"fmt"
	"slices"
	"time"

	"google.golang.org/grpc"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/federation/state"
	"github.com/federator/federator/identity"
	"github.com/federator/federator/peering/enroll"
	"github.com/federator/federator/peering/pb"
	"github.com/federator/federator/peering/rpc"
)

// revoke has the authority region withdraw trust from the key of one of this
// region's replicas, everywhere and for good.
func (r *Replica) revoke(ctx context.Context, replica catalog.Replica, actor, origin string) error {
	key := identity.SPKIKeyID(replica.PublicKey)
	reason := fmt.Sprintf("replica %s of %s is compromised", replica.Name, replica.Region)
	if r.card.Authority == r.card.Replica.Region && r.holdsRoot() {
		return r.revokeKey(ctx, replica.Region, key, reason, state.Meta{Actor: actor, From: origin})
	}
	req := &pb.RevokeRequest{Region: replica.Region, Name: replica.Name, Key: key.String(), Reason: reason, Actor: actor}
	call := func(ctx context.Context, c *grpc.ClientConn) (*pb.RevokeResponse, error) {
		return pb.NewFederationClient(c).Revoke(ctx, req)
	}
	var answer *pb.RevokeResponse
	var err error
	if r.card.Authority == r.card.Replica.Region {
		answer, err = forwardToLeader(ctx, r, call)
	} else {
		answer, err = ask(ctx, r.peers, r.replicasOf(r.card.Authority), 5*time.Second, call)
	}
	if err != nil {
		return fmt.Errorf("the authority region %s has to revoke the key: %w", r.card.Authority, err)
	}
	r.learnTrust(answer.GetTrustList())
	return nil
}

// Revoke revokes a key of the caller's own region.
func (f *federationServer) Revoke(ctx context.Context, req *pb.RevokeRequest) (*pb.RevokeResponse, error) {
	id, err := f.ofOwnRegion(ctx, req.GetRegion())
	if err != nil {
		return nil, err
	}
	if !f.r.holdsRoot() {
		return forwardToLeader(ctx, f.r, func(ctx context.Context, c *grpc.ClientConn) (*pb.RevokeResponse, error) {
			return pb.NewFederationClient(c).Revoke(ctx, req)
		})
	}
	key, err := identity.ParseKeyID(req.GetKey())
	if err != nil {
		return nil, wireError(fmt.Errorf("%w: key: %w", enroll.ErrInvalid, err))
	}
	if !f.r.isKeyOf(req.GetRegion(), req.GetName(), key) {
		return nil, wireError(fmt.Errorf("%w: region %s has no replica %s with that key", enroll.ErrUnknownReplica, req.GetRegion(), req.GetName()))
	}
	meta := state.Meta{Actor: onBehalf(id, req.GetActor()), From: rpc.Origin(ctx)}
	if err := f.r.revokeKey(ctx, req.GetRegion(), key, req.GetReason(), meta); err != nil {
		return nil, wireError(err)
	}
	return &pb.RevokeResponse{TrustList: f.r.agreedTrust()}, nil
}

// isKeyOf reports whether a replica of the region enrolled with the key. It is the
// region's own word, so the revocation holds for that region only.
func (r *Replica) isKeyOf(region, name string, key identity.KeyID) bool {
	return slices.ContainsFunc(r.replicasOf(region), func(c catalog.Replica) bool {
		return c.Name == name && identity.SPKIKeyID(c.PublicKey) == key
	})
}

// maxReason bounds what a revocation says, in bytes.
const maxReason = 256

// revokeKey publishes a trust list that revokes the key too, where a certificate
// authority of the region signed it.
func (r *Replica) revokeKey(ctx context.Context, region string, key identity.KeyID, reason string, meta state.Meta) error {
	gone := identity.Revocation{KeyID: key, Region: region, Reason: reason[:min(len(reason), maxReason)]}
	return r.changeTrust(ctx, meta, func(_ []*catalog.Region, previous identity.List) identity.List {
		next := previous
		next.Sequence++
		next.IssuedAt = time.Now().UTC()
		gone.At = next.IssuedAt
		next.Revoked = withRevocations(previous.Revoked, gone)
		return next
	})
}
