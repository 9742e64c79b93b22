package federation

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/federation/operator"
	"github.com/federator/federator/federation/state"
	"github.com/federator/federator/identity"
	"github.com/federator/federator/peering/enroll"
	"github.com/federator/federator/peering/pb"
	"github.com/federator/federator/peering/rpc"
)

// admissions decides who may join: it is the enroll.Backend of this replica.
type admissions struct{ r *Replica }

// Describe tells strangers what this replica is.
func (a admissions) Describe() enroll.Description {
	return enroll.Description{
		TrustDomain: a.r.card.TrustDomain, Region: a.r.card.Replica.Region, Cluster: a.r.card.Replica.Cluster, Epoch: a.r.catalog.Version(a.r.card.Replica.Region).Epoch,
		MinProtocol: state.MinProtocol, MaxProtocol: state.Protocol, Build: a.r.card.Replica.Build,
		TrustList: a.r.verifier.Signed(),
	}
}

// tokenArrival is how long a token that another replica made may take to arrive
// here.
const tokenArrival = 2 * time.Second

// Token looks up a token; one that was made a moment ago on another replica may
// still be on its way here.
func (a admissions) Token(ctx context.Context, id string) (enroll.TokenRecord, bool, error) {
	deadline := time.Now().Add(tokenArrival)
	for {
		var t state.Token
		var ok bool
		a.r.node.Read(func(s *state.State) { t, ok = s.Token(id) })
		if ok {
			return tokenRecord(t), true, nil
		}
		if time.Now().After(deadline) || a.r.node.IsLeader() || !sleep(ctx, 50*time.Millisecond) {
			return enroll.TokenRecord{}, false, nil
		}
	}
}

func tokenRecord(t state.Token) enroll.TokenRecord {
	purpose, _ := operator.ParsePurpose(t.Purpose)
	record := enroll.TokenRecord{SecretHash: t.Hash, Expires: t.Expires, Region: purpose.Region, Cluster: purpose.Cluster}
	if t.Redeemed != nil {
		copy(record.UsedBy[:], t.Redeemed.CSRKey)
	}
	return record
}

// Redeem spends the token, and admits a replica of the own region in the same
// step.
func (a admissions) Redeem(ctx context.Context, j enroll.Admission) error {
	if drill := a.r.catalog.Conditions().CutOff; drill != "" && j.Replica.Region != a.r.card.Replica.Region {
		return fmt.Errorf("%w: drill %s cuts region %s off from the others; take a token of another region, or wait for its end", enroll.ErrUnavailable, drill, a.r.card.Replica.Region)
	}
	var t state.Token
	a.r.node.Read(func(s *state.State) { t, _ = s.Token(j.TokenID) })
	cmd := &state.RedeemToken{ID: j.TokenID, SecretHash: t.Hash, Purpose: t.Purpose}
	key := j.Request.KeyID()
	cmd.CSRKey = key[:]
	if j.Replica.Region == a.r.card.Replica.Region {
		if err := a.r.claimCluster(ctx, j.Replica.Cluster); err != nil {
			return enrollError(err)
		}
		cmd.Admit = &state.AdmitReplica{Replica: j.Replica}
	} else {
		by, err := json.Marshal(redeemedElsewhere{
			Redeemer: operator.Redeemer{Region: j.Replica.Region, Name: j.Replica.Name}, Cluster: j.Replica.Cluster, DiskID: j.Replica.DiskID,
		})
		if err != nil {
			return err
		}
		cmd.Result = by
	}
	_, err := a.r.proposer.Propose(ctx, joinMeta(j), cmd)
	return enrollError(err)
}

// redeemedElsewhere is what the token of a replica of another region keeps: a
// retry must ask for the same.
type redeemedElsewhere struct {
	operator.Redeemer
	Cluster string `json:"cluster"`
	DiskID  string `json:"diskID"`
}

func joinMeta(j enroll.Admission) state.Meta {
	return state.Meta{Actor: "token:" + j.TokenID, From: j.Origin}
}

// Admit lets the replica in: here, in the region it names, or as the founder of
// a new region.
func (a admissions) Admit(ctx context.Context, j enroll.Admission) (*pb.EnrollResponse, error) {
	region := j.Replica.Region
	switch {
	case region == a.r.card.Replica.Region:
		answer, err := a.r.admitHere(ctx, joinMeta(j), j.Replica, j.CSR)
		return answer, enrollError(err)
	case slices.Contains(a.r.otherRegions(), region) && !a.r.foundedBy(region, j.Replica.PublicKey):
		return a.admitElsewhere(ctx, j)
	}
	return a.foundElsewhere(ctx, j)
}

// admitElsewhere has a region admit the replica on the word of this one.
func (a admissions) admitElsewhere(ctx context.Context, j enroll.Admission) (*pb.EnrollResponse, error) {
	answer, err := ask(ctx, a.r.peers, a.r.replicasOf(j.Replica.Region), 10*time.Second, func(ctx context.Context, c *grpc.ClientConn) (*pb.AdmitReplicaResponse, error) {
		return pb.NewFederationClient(c).AdmitReplica(ctx, &pb.AdmitReplicaRequest{
			Csr: j.CSR, Replica: enroll.ReplicaToWire(&j.Replica), IssuingRegion: a.r.card.Replica.Region, TokenId: j.TokenID,
		})
	})
	if err != nil {
		return nil, decided(err, j.Replica.Region)
	}
	return answer.GetAdmission(), nil
}

// decided keeps the decision of another region, and says of anything else that
// it can be tried again.
func decided(err error, region string) error {
	if rpc.Reason(err) != "" {
		return enroll.FromStatus(err)
	}
	return fmt.Errorf("%w: region %s has to decide: %w", enroll.ErrUnavailable, region, err)
}

// AdmitReplica admits a replica whose token another region redeemed.
func (f *federationServer) AdmitReplica(ctx context.Context, req *pb.AdmitReplicaRequest) (*pb.AdmitReplicaResponse, error) {
	id, err := f.redeemer(ctx, req.GetIssuingRegion())
	if err != nil {
		return nil, err
	}
	if _, ok := f.r.vault.signer(); !ok {
		return forwardToLeader(ctx, f.r, func(ctx context.Context, c *grpc.ClientConn) (*pb.AdmitReplicaResponse, error) {
			return pb.NewFederationClient(c).AdmitReplica(ctx, req)
		})
	}
	replica, err := enroll.ReplicaFromWire(req.GetReplica())
	if err != nil {
		return nil, wireError(fmt.Errorf("%w: %w", enroll.ErrInvalid, err))
	}
	request, err := identity.ParseRequest(req.GetCsr())
	if err != nil {
		return nil, wireError(fmt.Errorf("%w: %w", enroll.ErrInvalid, err))
	}
	replica.PublicKey = request.SPKI
	meta := state.Meta{Actor: id.String(), From: fmt.Sprintf("token %s of %s", req.GetTokenId(), req.GetIssuingRegion())}
	if err := f.r.nameFree(replica.Name, replica.PublicKey); err != nil {
		return nil, wireError(err)
	}
	if err := f.r.claimCluster(ctx, replica.Cluster); err != nil {
		return nil, wireError(enrollError(err))
	}
	if _, err := f.r.proposer.Propose(ctx, meta, &state.AdmitReplica{Replica: replica}); err != nil {
		return nil, wireError(enrollError(err))
	}
	admission, err := f.r.admitHere(ctx, meta, replica, req.GetCsr())
	if err != nil {
		return nil, wireError(enrollError(err))
	}
	return &pb.AdmitReplicaResponse{Admission: admission}, nil
}

// admitHere signs the certificate of a replica that Raft has admitted, and gives
// it all it needs to start. A standby has a voter do it.
func (r *Replica) admitHere(ctx context.Context, meta state.Meta, replica catalog.Replica, csr []byte) (*pb.EnrollResponse, error) {
	ca, ok := r.vault.signer()
	if !ok {
		answer, err := forwardToLeader(ctx, r, func(ctx context.Context, c *grpc.ClientConn) (*pb.AdmitReplicaResponse, error) {
			return pb.NewFederationClient(c).AdmitReplica(ctx, &pb.AdmitReplicaRequest{
				Csr: csr, Replica: enroll.ReplicaToWire(&replica), IssuingRegion: r.card.Replica.Region, TokenId: meta.Actor,
			})
		})
		return answer.GetAdmission(), err
	}
	record, err := r.admitted(replica)
	if err != nil {
		return nil, err
	}
	chain, err := r.sign(ca, *record, csr)
	if err != nil {
		return nil, err
	}
	out, err := r.welcome(*record)
	if err != nil {
		return nil, err
	}
	out.SvidChain = chain
	if len(r.agreedReplicas()) == 2 {
		out.Warnings = append(out.Warnings, "two replicas are one voter and a standby: the region survives the loss of the standby only; join a third")
	}
	return out, nil
}

// admitted returns the record of a replica that asks for its certificate. It is
// the record that counts, not what the replica says of itself now.
func (r *Replica) admitted(replica catalog.Replica) (record *catalog.Replica, err error) {
	r.node.Read(func(s *state.State) { record = s.Replica(replica.Name) })
	switch {
	case record == nil:
		return nil, fmt.Errorf("%w: the record of replica %s has not arrived here, or was removed meanwhile", enroll.ErrUnavailable, replica.Name)
	case !bytes.Equal(record.PublicKey, replica.PublicKey):
		return nil, fmt.Errorf("%w: the name %q was given to another", enroll.ErrNameTaken, replica.Name)
	}
	return record, nil
}

// welcome is what every admitted replica is told.
func (r *Replica) welcome(replica catalog.Replica) (*pb.EnrollResponse, error) {
	ring := r.vault.keys()
	if ring.Version == 0 {
		return nil, fmt.Errorf("%w: the gossip keys are not unsealed here yet", enroll.ErrUnavailable)
	}
	sealed, err := sealKeyring(ring, []string{replica.Recipient})
	if err != nil {
		return nil, fmt.Errorf("%w: recipient: %w", enroll.ErrInvalid, err)
	}
	out := &pb.EnrollResponse{
		TrustList: r.agreedTrust(), TrustDomain: r.card.TrustDomain, Region: replica.Region,
		Epoch: r.catalog.Version(r.card.Replica.Region).Epoch, SealedKeyring: sealed, AuthorityRegion: r.card.Authority,
		Time: timestamppb.Now(), Protocol: state.Protocol,
	}
	for _, known := range r.everybody() {
		out.Directory = append(out.Directory, enroll.ReplicaToWire(&known))
	}
	return out, nil
}

// foundElsewhere has the authority region enter the new region.
func (a admissions) foundElsewhere(ctx context.Context, j enroll.Admission) (*pb.EnrollResponse, error) {
	if len(j.IntermediateCSR) == 0 {
		return nil, fmt.Errorf("%w: region %s is new, and the request has no key for its certificate authority", enroll.ErrInvalid, j.Replica.Region)
	}
	answer, err := a.register(ctx, j)
	if err != nil {
		return nil, err
	}
	a.r.learnTrust(answer.GetTrustList())
	out, err := a.r.welcome(j.Replica)
	if err != nil {
		return nil, err
	}
	out.Founding = true
	out.Epoch = answer.GetRegion().GetEpoch()
	out.Intermediate, out.TrustList = answer.GetIntermediate(), answer.GetTrustList()
	return out, nil
}

func (a admissions) register(ctx context.Context, j enroll.Admission) (*pb.RegisterRegionResponse, error) {
	if a.r.card.Authority == a.r.card.Replica.Region && a.r.holdsRoot() {
		answer, err := a.r.registerRegion(ctx, joinMeta(j), j.Replica, j.IntermediateCSR)
		return answer, enrollError(err)
	}
	founder := enroll.ReplicaToWire(&j.Replica)
	founder.PublicKey = j.Replica.PublicKey
	req := &pb.RegisterRegionRequest{
		Region: j.Replica.Region, Cluster: j.Replica.Cluster, Founder: founder, IntermediateCsr: j.IntermediateCSR,
		IssuingRegion: a.r.card.Replica.Region, TokenId: j.TokenID,
	}
	call := func(ctx context.Context, c *grpc.ClientConn) (*pb.RegisterRegionResponse, error) {
		return pb.NewFederationClient(c).RegisterRegion(ctx, req)
	}
	if a.r.card.Authority == a.r.card.Replica.Region {
		answer, err := forwardToLeader(ctx, a.r, call)
		if err != nil {
			return nil, decided(err, a.r.card.Authority)
		}
		return answer, nil
	}
	answer, err := ask(ctx, a.r.peers, a.r.replicasOf(a.r.card.Authority), 10*time.Second, call)
	if err != nil {
		return nil, decided(err, a.r.card.Authority)
	}
	return answer, nil
}

// Renew certifies the enrolled key of a replica whose certificate has expired.
func (a admissions) Renew(ctx context.Context, j enroll.Renewal) (*pb.RenewResponse, error) {
	if j.Region != a.r.card.Replica.Region {
		return nil, fmt.Errorf("%w: this is a replica of region %s, not of %s", enroll.ErrUnknownReplica, a.r.card.Replica.Region, j.Region)
	}
	chain, err := a.r.signEnrolled(j.CSR)
	if errors.Is(err, enroll.ErrUnavailable) { // a standby: have a voter sign
		chain, err = ask(ctx, a.r.peers, a.r.siblings(), 3*time.Second, func(ctx context.Context, c *grpc.ClientConn) ([][]byte, error) {
			answer, err := pb.NewSiblingsClient(c).Sign(ctx, &pb.SignRequest{Csr: j.CSR})
			return answer.GetSvidChain(), enroll.FromStatus(err)
		})
	}
	if err != nil {
		return nil, err
	}
	return &pb.RenewResponse{SvidChain: chain, TrustList: a.r.verifier.Signed(), Time: timestamppb.Now()}, nil
}

// enrollError puts the refusals of the state machine into the words of enrolment.
func enrollError(err error) error {
	for _, pair := range []struct{ state, enroll error }{
		{state.ErrNameTaken, enroll.ErrNameTaken}, {state.ErrClusterTaken, enroll.ErrClusterOwned},
		{state.ErrTokenUnknown, enroll.ErrUnknownToken}, {state.ErrTokenExpired, enroll.ErrExpired},
		{state.ErrTokenUsed, enroll.ErrReused}, {state.ErrTokenPurpose, enroll.ErrRestricted},
		{state.ErrRegionTaken, enroll.ErrRegionFounded}, {state.ErrRegionRemoved, enroll.ErrRegionRemoved},
		{state.ErrProtocol, enroll.ErrIncompatible}, {state.ErrInvalid, enroll.ErrInvalid},
		{state.ErrNotLeader, enroll.ErrUnavailable}, {state.ErrUncertain, enroll.ErrUnavailable}, {state.ErrBusy, enroll.ErrUnavailable},
	} {
		if errors.Is(err, pair.state) {
			return fmt.Errorf("%w: %w", pair.enroll, err)
		}
	}
	return err
}

// wireError gives an error the form in which it crosses to another replica.
func wireError(err error) error {
	if err == nil {
		return nil
	}
	if wire, ok := enroll.ToStatus(enrollError(err)); ok {
		return wire
	}
	if _, ok := status.FromError(err); ok {
		return err
	}
	return status.Error(codes.Internal, err.Error())
}
