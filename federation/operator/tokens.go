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
	"github.com/federator/federator/federation/state"
	"github.com/federator/federator/identity"
	"github.com/federator/federator/peering/pb"
	"github.com/federator/federator/peering/token"
)

// The bounds of a token's life.
const (
	defaultTokenTTL = time.Hour
	minTokenTTL     = time.Minute
	maxTokenTTL     = 24 * time.Hour
)

// CreateToken makes a join token. Only a hash of its secret is kept.
func (s *Server) CreateToken(ctx context.Context, r *pb.CreateTokenRequest) (*pb.CreateTokenResponse, error) {
	purpose := JoinPurpose{Region: r.GetRegion(), Cluster: r.GetCluster(), Description: r.GetDescription()}
	if err := s.checkPurpose(purpose); err != nil {
		return nil, err
	}
	ttl := cmp.Or(r.GetTtl().AsDuration(), defaultTokenTTL)
	if ttl < minTokenTTL || ttl > maxTokenTTL {
		return nil, invalid("a token is good for %s to %s, found %s", minTokenTTL, maxTokenTTL, ttl)
	}
	now := s.Now()
	t, err := token.New(s.Random, token.Token{
		TrustDomain: s.TrustDomain, Pins: s.pins(), Region: s.Self.Region,
		Addresses: s.addresses(token.MaxAddresses), Expires: now.Add(ttl),
	})
	if err != nil {
		return nil, refused(err)
	}
	text, err := t.Encode()
	if err != nil {
		return nil, refused(err)
	}
	hash := t.Secret.Hash()
	if _, err := s.propose(ctx, &state.CreateToken{ID: t.ID, Hash: hash[:], Purpose: purpose.String(), Expires: t.Expires}); err != nil {
		return nil, err
	}
	kept := state.Token{ID: t.ID, Purpose: purpose.String(), Expires: t.Expires, CreatedAt: now, CreatedBy: s.actor(ctx)}
	return &pb.CreateTokenResponse{Token: text, Info: tokenInfo(kept, now)}, nil
}

// checkPurpose refuses a token that nobody could use.
func (s *Server) checkPurpose(p JoinPurpose) error {
	if err := p.Validate(); err != nil {
		return invalid("%v", err)
	}
	if owner := s.Catalog.Conditions().ClusterRegion[p.Cluster]; p.Region != "" && owner != "" && owner != p.Region {
		return invalid("cluster %s belongs to region %s, and a cluster is of one region only; name another cluster for region %s, or leave one of them out", p.Cluster, owner, p.Region)
	}
	return nil
}

// pins are the keys by which a joiner knows that it speaks to this federation.
func (s *Server) pins() []identity.KeyID {
	var out []identity.KeyID
	for _, root := range s.Trust.Roots() {
		out = append(out, identity.CertKeyID(root))
	}
	return out[:min(len(out), token.MaxPins)]
}

// addresses returns where replicas of this region are reached: this one first,
// then the living, then the others.
func (s *Server) addresses(limit int) []string {
	order := func(r catalog.Replica) int {
		switch {
		case r.Name == s.Self.Name:
			return 0
		case s.Gossip.Alive(r.Name):
			return 1
		}
		return 2
	}
	siblings := s.siblings()
	slices.SortStableFunc(siblings, func(a, b catalog.Replica) int { return cmp.Compare(order(a), order(b)) })
	out := []string{s.Self.PeerAddress}
	for _, r := range siblings {
		if r.Name != s.Self.Name && r.PeerAddress != "" {
			out = append(out, r.PeerAddress)
		}
	}
	return out[:min(len(out), limit)]
}

// ListTokens lists this region's tokens, newest first. A revoked token is
// forgotten, and an expired one after a week.
func (s *Server) ListTokens(context.Context, *pb.ListTokensRequest) (*pb.ListTokensResponse, error) {
	tokens := s.tokens()
	slices.SortStableFunc(tokens, func(a, b state.Token) int { return b.CreatedAt.Compare(a.CreatedAt) })
	out := &pb.ListTokensResponse{}
	for _, t := range tokens {
		out.Tokens = append(out.Tokens, tokenInfo(t, s.Now()))
	}
	return out, nil
}

func (s *Server) tokens() (out []state.Token) {
	s.Raft.Read(func(st *state.State) { out = st.Tokens() })
	return out
}

// RevokeToken makes a token useless. A replica that joined with it stays.
func (s *Server) RevokeToken(ctx context.Context, r *pb.RevokeTokenRequest) (*pb.RevokeTokenResponse, error) {
	var ids []string
	for _, t := range s.tokens() {
		ids = append(ids, t.ID)
	}
	if !slices.Contains(ids, r.GetId()) {
		return nil, missing("token", r.GetId(), ids)
	}
	if _, err := s.propose(ctx, &state.RevokeToken{ID: r.GetId()}); err != nil {
		return nil, err
	}
	return &pb.RevokeTokenResponse{}, nil
}

// tokenInfo is what is kept of a token, as people see it.
func tokenInfo(t state.Token, now time.Time) *pb.TokenInfo {
	purpose, ok := ParsePurpose(t.Purpose)
	if !ok {
		purpose.Description = t.Purpose
	}
	out := &pb.TokenInfo{
		Id: t.ID, Created: timestamppb.New(t.CreatedAt), Expires: timestamppb.New(t.Expires), CreatedBy: t.CreatedBy,
		Description: purpose.Description, Region: purpose.Region, Cluster: purpose.Cluster, State: "unused",
	}
	switch {
	case t.Redeemed != nil:
		out.State, out.Used, out.UsedBy = "used", timestamppb.New(t.Redeemed.At), usedBy(t.Redeemed)
	case !now.Before(t.Expires):
		out.State = "expired"
	}
	return out
}

// usedBy names the replica that a redemption let in, or at least where it came
// from.
func usedBy(r *state.Redemption) string {
	var elsewhere Redeemer
	switch {
	case r.Replica != nil:
		return r.Replica.Region + "/" + r.Replica.Name
	case json.Unmarshal(r.Result, &elsewhere) == nil && elsewhere.Name != "":
		return elsewhere.Region + "/" + elsewhere.Name
	}
	return strings.TrimSpace("from " + r.From)
}

// Redeemer is who used a token. As the Result of a [state.RedeemToken] it names
// a replica of another region, which the state does not record otherwise.
type Redeemer struct {
	Region string `json:"region"`
	Name   string `json:"name"`
}
