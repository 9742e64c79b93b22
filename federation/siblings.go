package federation

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/federation/state"
	"github.com/federator/federator/identity"
	"github.com/federator/federator/peering/enroll"
	"github.com/federator/federator/peering/pb"
	"github.com/federator/federator/peering/rpc"
)

// siblingsServer answers the replicas of the own region.
type siblingsServer struct {
	pb.UnimplementedSiblingsServer
	r *Replica
}

// Propose runs a command that a sibling forwarded, if this replica leads.
func (s *siblingsServer) Propose(ctx context.Context, req *pb.ProposeRequest) (*pb.ProposeResponse, error) {
	if err := s.member(ctx); err != nil && s.r.node.IsLeader() {
		return nil, err
	}
	result, err := s.r.node.ProposeEncoded(ctx, req.GetCommand())
	if errors.Is(err, state.ErrNotLeader) {
		leader, _ := s.r.node.Leader()
		return &pb.ProposeResponse{NotLeader: true, LeaderId: leader}, nil
	}
	if err != nil {
		return &pb.ProposeResponse{Code: state.CodeOf(err), Message: err.Error()}, nil
	}
	return &pb.ProposeResponse{Result: result.Value, Index: result.Index}, nil
}

// registered reports whether the region's Raft has a replica of that name. Before
// the region is founded it has none.
func (r *Replica) registered(name string) (ok bool) {
	r.node.Read(func(s *state.State) { ok = s.About().Epoch == 0 || s.Replica(name) != nil })
	return ok
}

// notRegistered refuses a replica that was removed. It carries no reason, so that
// one that was just admitted asks another, which may have heard of it.
func (r *Replica) notRegistered(name string) error {
	return status.Errorf(codes.PermissionDenied, "replica %s is not registered in region %s; it must join anew", name, r.card.Replica.Region)
}

// member refuses a caller that the region's Raft does not have.
func (s *siblingsServer) member(ctx context.Context) error {
	if id, _ := rpc.PeerID(ctx); !s.r.registered(id.Name) {
		return s.r.notRegistered(id.Name)
	}
	return nil
}

// Prove shows that this replica holds the region's authority.
func (s *siblingsServer) Prove(ctx context.Context, req *pb.ProveRequest) (*pb.ProveResponse, error) {
	if err := s.member(ctx); err != nil {
		return nil, err
	}
	ca, ok := s.r.vault.signer()
	if !ok {
		return nil, status.Error(codes.FailedPrecondition, "the region's certificate authority is not unsealed here yet")
	}
	proof, err := identity.ProveUnseal(req.GetNonce(), ca.Signer())
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	return &pb.ProveResponse{Proof: proof}, nil
}

// Sign certifies an enrolled key once more. The sibling may be passing on the
// request of another replica, whose possession of the key the request proves.
func (s *siblingsServer) Sign(ctx context.Context, req *pb.SignRequest) (*pb.SignResponse, error) {
	if err := s.member(ctx); err != nil {
		return nil, err
	}
	chain, err := s.r.signEnrolled(req.GetCsr())
	if err != nil {
		return nil, wireError(err)
	}
	return &pb.SignResponse{SvidChain: chain, TrustList: s.r.verifier.Signed()}, nil
}

// signEnrolled certifies the key of a request if it is on record for one of the
// region's replicas.
func (r *Replica) signEnrolled(csr []byte) ([][]byte, error) {
	ca, ok := r.vault.signer()
	if !ok {
		return nil, fmt.Errorf("%w: this replica does not hold the region's certificate authority; ask another", enroll.ErrUnavailable)
	}
	req, err := identity.ParseRequest(csr)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", enroll.ErrInvalid, err)
	}
	for _, record := range r.agreedReplicas() {
		if bytes.Equal(req.SPKI, record.PublicKey) {
			return r.sign(ca, *record, csr)
		}
	}
	return nil, enroll.ErrUnknownReplica
}

// Announce notes how far a sibling is, and tells it where the region stands.
func (s *siblingsServer) Announce(ctx context.Context, req *pb.AnnounceRequest) (*pb.AnnounceResponse, error) {
	id, _ := rpc.PeerID(ctx)
	s.r.noteApplied(id.Name, req.GetAppliedIndex())
	stats := s.r.node.Stats()
	// Only one that follows the region's Raft can say that somebody is no member; a
	// replica that has just started knows nobody.
	_, led := s.r.node.Leader()
	known := !led || slices.ContainsFunc(stats.Servers, func(m state.Server) bool {
		name, _, _ := strings.Cut(m.ID, ".")
		return name == id.Name
	})
	s.r.node.Read(func(st *state.State) { known = known || st.About().Epoch == 0 || st.Replica(id.Name) != nil })
	return &pb.AnnounceResponse{
		Leader: stats.Leader, Epoch: stats.Version.Epoch, CommitIndex: stats.CommitIndex,
		Time: timestamppb.Now(), Unknown: !known,
	}, nil
}

// proveUnsealed has a replica prove that it can open the region's authority,
// after sealing that to it: promotion to voter requires it.
func (r *Replica) proveUnsealed(ctx context.Context, candidate catalog.Replica) error {
	ca, ok := r.vault.signer()
	if !ok {
		return errors.New("the region's certificate authority is not unsealed on the leader")
	}
	r.noteCandidate(candidate.Recipient)
	if err := r.reseal(ctx); err != nil {
		return err
	}
	c, err := r.peers.client(candidate)
	if err != nil {
		return err
	}
	for {
		nonce := make([]byte, 32)
		rand.Read(nonce)
		answer, err := pb.NewSiblingsClient(c).Prove(ctx, &pb.ProveRequest{Nonce: nonce})
		switch {
		case err == nil:
			return identity.CheckProof(nonce, answer.GetProof(), ca.Certificate)
		case status.Code(err) != codes.FailedPrecondition:
			return fmt.Errorf("replica %s: %w", candidate.Name, err)
		case !sleep(ctx, retryProof):
			return fmt.Errorf("replica %s could not unseal in time: %w", candidate.Name, err)
		}
	}
}
