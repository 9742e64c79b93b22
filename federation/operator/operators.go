package operator

import (
	"cmp"
	"context"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/identity"
	"github.com/federator/federator/peering/pb"
)

// The bounds of the life of an operator's certificate.
const (
	defaultOperatorTTL = 24 * time.Hour
	minOperatorTTL     = time.Minute
	maxOperatorTTL     = 30 * 24 * time.Hour
)

// maxOperatorAddresses is how many replicas an operator is told of.
const maxOperatorAddresses = 16

// CreateOperator grants a role to a name and signs its key. Only voters hold the
// region's CA unsealed, so a standby names one of them.
func (s *Server) CreateOperator(ctx context.Context, r *pb.CreateOperatorRequest) (*pb.CreateOperatorResponse, error) {
	request, ttl, err := s.operatorRequest(r)
	if err != nil {
		return nil, err
	}
	ca, ok := s.Signer()
	if !ok {
		return nil, s.notVoter()
	}
	now := s.Now()
	chain, err := ca.SignOperator(identity.OperatorRequest{Name: r.GetName(), PublicKey: request.PublicKey, TTL: ttl}, now)
	if err != nil {
		return nil, refused(err)
	}
	leaf, err := identity.ParseCertificate(chain[0])
	if err != nil {
		return nil, refused(err)
	}
	// Nothing of the certificate leaves before the role is granted.
	key := catalog.ObjectKey{Kind: catalog.KindOperator, Name: r.GetName()}
	if _, err := s.write(ctx, key, catalog.Operator{Role: catalog.Role(r.GetRole())}); err != nil {
		return nil, err
	}
	out := &pb.CreateOperatorResponse{
		Chain: chain, TrustList: s.Trust.Signed(), Id: identity.OperatorID(s.TrustDomain, r.GetName()).String(),
		NotAfter: timestamppb.New(leaf.NotAfter), Addresses: s.addresses(maxOperatorAddresses),
	}
	for _, root := range s.Trust.Roots() {
		out.Roots = append(out.Roots, root.Raw)
	}
	return out, nil
}

// operatorRequest checks everything about a request but the signer.
func (s *Server) operatorRequest(r *pb.CreateOperatorRequest) (*identity.Request, time.Duration, error) {
	id := identity.OperatorID(s.TrustDomain, r.GetName())
	if err := id.Validate(); err != nil {
		return nil, 0, invalid("operator name %q: %v", r.GetName(), err)
	}
	switch catalog.Role(r.GetRole()) {
	case catalog.RoleViewer, catalog.RoleOperator, catalog.RoleAdmin:
	default:
		return nil, 0, invalid("role %q: expected viewer, operator or admin", r.GetRole())
	}
	ttl := cmp.Or(r.GetTtl().AsDuration(), defaultOperatorTTL)
	if ttl < minOperatorTTL || ttl > maxOperatorTTL {
		return nil, 0, invalid("an operator's certificate is good for %s to %s, found %s", minOperatorTTL, maxOperatorTTL, ttl)
	}
	request, err := identity.ParseRequest(r.GetCsr())
	if err != nil {
		return nil, 0, invalid("certificate request: %v", err)
	}
	if request.ID != (identity.ID{}) && request.ID != id {
		return nil, 0, invalid("certificate request: expected %s, found %s", id, request.ID)
	}
	return request, ttl, nil
}

// notVoter names the replicas that can sign.
func (s *Server) notVoter() error {
	stats := s.Raft.Stats()
	var voters []string
	for _, r := range s.siblings() {
		if r.Name != s.Self.Name && roleOf(stats, r.RaftID()) != "standby" {
			voters = append(voters, r.Name+" ("+r.PeerAddress+")")
		}
	}
	if len(voters) == 0 {
		return unmet("NOT_VOTER", "the region's certificate authority is not unsealed on this replica yet; try again in a few seconds")
	}
	slices.Sort(voters)
	return unmet("NOT_VOTER", "the region's certificate authority is unsealed on voters only, and this replica is none; ask one of %s", strings.Join(voters, ", "))
}

// ListOperators lists the operators and their roles.
func (s *Server) ListOperators(context.Context, *pb.ListOperatorsRequest) (*pb.ListOperatorsResponse, error) {
	out := &pb.ListOperatorsResponse{}
	for _, o := range living(s.objects(), catalog.KindOperator) {
		var op catalog.Operator
		if json.Unmarshal(o.Spec, &op) == nil {
			out.Operators = append(out.Operators, &pb.OperatorInfo{Name: o.Name, Role: string(op.Role), Meta: metaOf(o)})
		}
	}
	return out, nil
}

// DeleteOperator takes a role away; the certificate is then good for nothing.
func (s *Server) DeleteOperator(ctx context.Context, r *pb.DeleteOperatorRequest) (*pb.DeleteOperatorResponse, error) {
	if _, err := s.object(catalog.KindOperator, r.GetName()); err != nil {
		return nil, err
	}
	if _, err := s.write(ctx, catalog.ObjectKey{Kind: catalog.KindOperator, Name: r.GetName()}, nil); err != nil {
		return nil, err
	}
	return &pb.DeleteOperatorResponse{}, nil
}
