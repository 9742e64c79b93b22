package operator

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"

	"google.golang.org/grpc/codes"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/federation/state"
	"github.com/federator/federator/peering/pb"
	"github.com/federator/federator/peering/replication"
	"github.com/federator/federator/peering/rpc"
)

// RemoveRegion removes a region for good. The authority region does it.
func (s *Server) RemoveRegion(ctx context.Context, r *pb.RemoveRegionRequest) (*pb.RemoveRegionResponse, error) {
	name := r.GetRegion()
	record := s.registry()[name]
	switch known := s.knownRegions(); {
	case record == nil && !slices.Contains(known, name):
		return nil, missing("region", name, known)
	case name == s.Authority:
		return nil, unmet("AUTHORITY", "region %s is the authority region, without which no region can join or be removed", name)
	case name == s.Self.Region:
		return nil, unmet("OWN_REGION", "region %s is this replica's own: run this in another region, for example on a replica of %s", name, s.Authority)
	case r.GetEpoch() != 0 && record != nil && record.Epoch != r.GetEpoch():
		return nil, unmet("OTHER_EPOCH", "region %s is in epoch %d now, not %d: it was founded or recovered anew since", name, record.Epoch, r.GetEpoch())
	}
	if !r.GetForce() && s.answeringRegion(name) {
		return nil, unmet("STILL_ANSWERS", "the replicas of region %s still answer: stop them first, or remove it all the same with --force; it can come back only by joining anew", name)
	}
	removed, err := s.Config.RemoveRegion(ctx, name, s.actor(ctx), s.origin(ctx), r.GetForce())
	if err != nil {
		return nil, elsewhere(err)
	}
	return &pb.RemoveRegionResponse{Region: replication.RegionToPB(removed)}, nil
}

// answeringRegion reports whether the replicas of a region answer.
func (s *Server) answeringRegion(name string) bool {
	if s.Catalog.Conditions().Reach[name] != catalog.Reachable {
		return false
	}
	return slices.ContainsFunc(s.members(s.Raft.Stats()), func(m memberView) bool {
		return m.Replica.Region == name && m.state == "alive"
	})
}

// elsewhere is [refused] for what another room could not do: in words, and with
// a reason if it has none.
func elsewhere(err error) error {
	if err == nil || rpc.Reason(err) != "" || state.CodeOf(err) != "internal" {
		return refused(err)
	}
	return rpc.Error(codes.FailedPrecondition, "REFUSED", err.Error())
}

// KeyringStatus tells which gossip keys there are, and who waits for what.
func (s *Server) KeyringStatus(ctx context.Context, _ *pb.KeyringStatusRequest) (*pb.KeyringStatusResponse, error) {
	version, keys, waiting := s.Keyring(ctx)
	out := &pb.KeyringStatusResponse{Version: version, WaitingFor: waiting}
	for i, key := range keys {
		out.Keys = append(out.Keys, &pb.KeyInfo{Fingerprint: fingerprint(key), Primary: i == 0})
	}
	return out, nil
}

// fingerprint tells keys apart without giving them away.
func fingerprint(key []byte) string {
	sum := sha256.Sum256(key)
	return hex.EncodeToString(sum[:4])
}

// RotateKeyring begins a rotation of the gossip key, or lets one go on without
// some regions.
func (s *Server) RotateKeyring(ctx context.Context, r *pb.RotateKeyringRequest) (*pb.KeyringStatusResponse, error) {
	for _, region := range r.GetWithout() {
		if known := s.knownRegions(); !slices.Contains(known, region) {
			return nil, missing("region", region, known)
		}
	}
	if err := s.Config.RotateKeyring(ctx, r.GetWithout()); err != nil {
		return nil, elsewhere(err)
	}
	detail := "begun"
	if len(r.GetWithout()) > 0 {
		detail = "without " + strings.Join(r.GetWithout(), ", ")
	}
	if _, err := s.note(ctx, "rotate-keyring", "gossip keyring", detail); err != nil {
		return nil, err
	}
	return s.KeyringStatus(ctx, nil)
}
