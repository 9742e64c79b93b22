package federation

import (
	"context"
	"fmt"
	"slices"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/federation/state"
	"github.com/federator/federator/identity"
	"github.com/federator/federator/peering/enroll"
	"github.com/federator/federator/peering/pb"
	"github.com/federator/federator/peering/replication"
	"github.com/federator/federator/peering/rpc"
)

// federationServer answers the replicas of all regions.
type federationServer struct {
	pb.UnimplementedFederationServer
	r *Replica
}

// caller returns who calls, unless its region was removed, or it was itself from
// the own region. Of other regions' replicas the records may not have arrived yet.
func (f *federationServer) caller(ctx context.Context) (identity.ID, error) {
	id, _ := rpc.PeerID(ctx)
	if err := f.r.allowed(id.Region, id.Name); err != nil {
		return id, status.Error(codes.PermissionDenied, err.Error())
	}
	if id.Region == f.r.card.Replica.Region && !f.r.registered(id.Name) {
		return id, f.r.notRegistered(id.Name)
	}
	return id, nil
}

// redeemer returns who calls for an admission by a token of the issuing region:
// a replica of that region, or one of this region, which was called itself.
func (f *federationServer) redeemer(ctx context.Context, issuing string) (identity.ID, error) {
	id, err := f.caller(ctx)
	if err == nil && id.Region != issuing && id.Region != f.r.card.Replica.Region {
		err = status.Errorf(codes.PermissionDenied, "replica %s of region %s cannot redeem tokens of region %s", id.Name, id.Region, issuing)
	}
	return id, err
}

// onBehalf is the actor of what a replica does on the word of somebody that only
// it has seen.
func onBehalf(id identity.ID, actor string) string {
	if actor == "" {
		return id.String()
	}
	whole := id.String() + " for " + actor
	return whole[:min(len(whole), maxActor)]
}

// maxActor bounds an actor, in bytes.
const maxActor = 512

// RegisterRegion enters a region in the registry and certifies its authority.
func (f *federationServer) RegisterRegion(ctx context.Context, req *pb.RegisterRegionRequest) (*pb.RegisterRegionResponse, error) {
	id, err := f.redeemer(ctx, req.GetIssuingRegion())
	if err != nil {
		return nil, err
	}
	if !f.r.holdsRoot() {
		return forwardToLeader(ctx, f.r, func(ctx context.Context, c *grpc.ClientConn) (*pb.RegisterRegionResponse, error) {
			return pb.NewFederationClient(c).RegisterRegion(ctx, req)
		})
	}
	meta := state.Meta{Actor: id.String(), From: fmt.Sprintf("token %s of %s", req.GetTokenId(), req.GetIssuingRegion())}
	founder, err := enroll.ReplicaFromWire(req.GetFounder())
	if err != nil {
		return nil, wireError(fmt.Errorf("%w: founder: %w", enroll.ErrInvalid, err))
	}
	founder.PublicKey = req.GetFounder().GetPublicKey()
	answer, err := f.r.registerRegion(ctx, meta, founder, req.GetIntermediateCsr())
	return answer, wireError(err)
}

// holdsRoot reports whether this replica can act for the authority region.
func (r *Replica) holdsRoot() bool {
	_, ok := r.vault.anchor()
	return ok
}

// registerRegion does the work of RegisterRegion on a replica that holds the
// root. It is idempotent for the same founder and key.
func (r *Replica) registerRegion(ctx context.Context, meta state.Meta, founder catalog.Replica, csr []byte) (*pb.RegisterRegionResponse, error) {
	root, ok := r.vault.anchor()
	if !ok {
		return nil, fmt.Errorf("%w: this replica does not hold the root", enroll.ErrUnavailable)
	}
	request, err := identity.ParseRequest(csr)
	if err != nil {
		return nil, fmt.Errorf("%w: certificate request of the region: %w", enroll.ErrInvalid, err)
	}
	region := founder.Region
	if err := certifiedOther(r.regionRecord(region), request.KeyID()); err != nil {
		return nil, err
	}
	result, err := r.proposer.Propose(ctx, meta, &state.RegisterRegion{
		Region: region, Founder: founderOf(founder.PublicKey), Clusters: []string{founder.Cluster}, Seed: &founder,
	})
	if err != nil {
		return nil, err
	}
	issued, err := state.Value[state.Issued](result)
	if err != nil {
		return nil, err
	}
	record := r.regionRecord(region)
	if err := certifiedOther(record, request.KeyID()); err != nil { // at the same time
		return nil, err
	}
	if record == nil || len(record.Intermediate) == 0 {
		cert, err := root.SignIntermediate(region, issued.Epoch, request.PublicKey, time.Now())
		if err != nil {
			return nil, err
		}
		if _, err := r.proposer.Propose(ctx, meta, &state.SetIntermediate{Region: region, Intermediate: cert.Raw}); err != nil {
			return nil, err
		}
	}
	// The founder's certificates count only once the list names their signer.
	if err := r.publishTrustNow(ctx); err != nil {
		return nil, err
	}
	record = r.regionRecord(region)
	if record == nil {
		return nil, fmt.Errorf("%w: region %s was removed meanwhile", enroll.ErrUnavailable, region)
	}
	return &pb.RegisterRegionResponse{
		Region: replication.RegionToPB(record), Intermediate: record.Intermediate,
		TrustList: r.agreedTrust(), AuthorityRegion: r.card.Authority,
	}, nil
}

// certifiedOther refuses a key for a region that has a certificate authority with
// another one. The request proves the key, so nobody else's founding passes.
func certifiedOther(record *catalog.Region, key identity.KeyID) error {
	if record == nil || record.Removed || len(record.Intermediate) == 0 || certifies(record.Intermediate, key) {
		return nil
	}
	return fmt.Errorf("%w: region %s has a certificate authority already, with another key", enroll.ErrRegionFounded, record.Name)
}

// certifies reports whether the DER certificate is for the key.
func certifies(der []byte, key identity.KeyID) bool {
	cert, err := identity.ParseCertificate(der)
	return err == nil && identity.CertKeyID(cert) == key
}

func (r *Replica) regionRecord(name string) (record *catalog.Region) {
	r.node.Read(func(s *state.State) { record = s.Region(name) })
	return record
}

// agreedTrust is the newest trust list that this replica knows.
func (r *Replica) agreedTrust() (list []byte) {
	r.node.Read(func(s *state.State) { list, _ = s.Trust() })
	if list == nil {
		return r.verifier.Signed()
	}
	return list
}

// NextEpoch issues a new epoch to the caller's region.
func (f *federationServer) NextEpoch(ctx context.Context, req *pb.NextEpochRequest) (*pb.NextEpochResponse, error) {
	id, err := f.ofOwnRegion(ctx, req.GetRegion())
	if err != nil {
		return nil, err
	}
	seed, err := enroll.ReplicaFromWire(req.GetSeed())
	if err != nil {
		return nil, wireError(fmt.Errorf("%w: seed: %w", enroll.ErrInvalid, err))
	}
	seed.PublicKey = req.GetSeed().GetPublicKey()
	if seed.Region != id.Region || req.GetEpoch() >= state.MaxEpoch {
		return nil, wireError(fmt.Errorf("%w: expected a seed of region %s and an epoch below %d, found one of %s and %d", enroll.ErrInvalid, id.Region, uint64(state.MaxEpoch), seed.Region, req.GetEpoch()))
	}
	_, err = f.r.proposer.Propose(ctx, state.Meta{Actor: id.String(), From: req.GetReason()}, &state.NextEpoch{
		Region: req.GetRegion(), Founder: req.GetFounder(), Attempt: fmt.Sprintf("%s@%d", req.GetFounder(), req.GetEpoch()), AtLeast: req.GetEpoch() + 1, Seed: &seed,
	})
	if err != nil {
		return nil, wireError(err)
	}
	return &pb.NextEpochResponse{Region: replication.RegionToPB(f.r.regionRecord(req.GetRegion())), TrustList: f.r.agreedTrust()}, nil
}

// ofOwnRegion admits callers that act for their own region only.
func (f *federationServer) ofOwnRegion(ctx context.Context, region string) (identity.ID, error) {
	id, err := f.caller(ctx)
	if err == nil && id.Region != region {
		err = status.Errorf(codes.PermissionDenied, "replica %s of region %s cannot act for region %s", id.Name, id.Region, region)
	}
	return id, err
}

// ClaimCluster records that the caller's region owns a cluster name.
func (f *federationServer) ClaimCluster(ctx context.Context, req *pb.ClaimClusterRequest) (*pb.ClaimClusterResponse, error) {
	id, err := f.ofOwnRegion(ctx, req.GetRegion())
	if err != nil {
		return nil, err
	}
	_, err = f.r.proposer.Propose(ctx, state.Meta{Actor: id.String()}, &state.ClaimCluster{Region: req.GetRegion(), Cluster: req.GetCluster()})
	return &pb.ClaimClusterResponse{Region: req.GetRegion()}, wireError(err)
}

// claimCluster makes sure that the authority region knows the cluster as ours.
func (r *Replica) claimCluster(ctx context.Context, cluster string) error {
	for _, region := range r.registry() {
		if region.Name == r.card.Replica.Region && slices.Contains(region.Clusters, cluster) {
			return nil
		}
	}
	if r.card.Authority == r.card.Replica.Region {
		_, err := r.proposer.Propose(ctx, r.systemMeta(), &state.ClaimCluster{Region: r.card.Replica.Region, Cluster: cluster})
		return err
	}
	_, err := ask(ctx, r.peers, r.replicasOf(r.card.Authority), 5*time.Second, func(ctx context.Context, c *grpc.ClientConn) (*pb.ClaimClusterResponse, error) {
		return pb.NewFederationClient(c).ClaimCluster(ctx, &pb.ClaimClusterRequest{Region: r.card.Replica.Region, Cluster: cluster})
	})
	if err != nil {
		return fmt.Errorf("cluster %s is new to the federation, and the authority region %s has to enter it: %w", cluster, r.card.Authority, enroll.FromStatus(err))
	}
	return nil
}

// RemoveRegion removes a region for good, on the word of an operator of the
// caller's region.
func (f *federationServer) RemoveRegion(ctx context.Context, req *pb.RemoveRegionRequest) (*pb.RemoveRegionResponse, error) {
	id, err := f.caller(ctx)
	if err != nil {
		return nil, err
	}
	if !f.r.holdsRoot() {
		return forwardToLeader(ctx, f.r, func(ctx context.Context, c *grpc.ClientConn) (*pb.RemoveRegionResponse, error) {
			return pb.NewFederationClient(c).RemoveRegion(ctx, req)
		})
	}
	if !req.GetForce() && !f.r.awaitSilence(ctx, req.GetRegion()) {
		return nil, rpc.Error(codes.FailedPrecondition, "STILL_ANSWERS", errAnswers(req.GetRegion()).Error())
	}
	record, err := f.r.removeHere(ctx, req.GetRegion(), state.Meta{Actor: onBehalf(id, req.GetActor()), From: req.GetOrigin()})
	if err != nil {
		return nil, wireError(err)
	}
	return &pb.RemoveRegionResponse{Region: replication.RegionToPB(record)}, nil
}

// removeRegion has the authority region remove a region. Without force it is
// refused while the region's replicas answer.
func (r *Replica) removeRegion(ctx context.Context, region, actor, origin string, force bool) (*catalog.Region, error) {
	if !force && r.answers(region) {
		return nil, errAnswers(region)
	}
	if r.card.Authority == r.card.Replica.Region {
		return r.removeHere(ctx, region, state.Meta{Actor: actor, From: origin})
	}
	answer, err := ask(ctx, r.peers, r.replicasOf(r.card.Authority), 10*time.Second, func(ctx context.Context, c *grpc.ClientConn) (*pb.RemoveRegionResponse, error) {
		return pb.NewFederationClient(c).RemoveRegion(ctx, &pb.RemoveRegionRequest{Region: region, Actor: actor, Origin: origin, Force: force})
	})
	if err != nil {
		return nil, fmt.Errorf("the authority region %s has to remove it: %w", r.card.Authority, err)
	}
	return replication.RegionFromPB(answer.GetRegion())
}

// answers reports whether replicas of a region are known to be there, by echoes
// or, before those have told anything, by its stream.
func (r *Replica) answers(region string) bool {
	silent, _ := r.gossip.Reach()
	is, known := silent[region]
	return known && !is || !known && r.importer.Synced(region)
}

func errAnswers(region string) error {
	return fmt.Errorf("the replicas of region %s still answer: stop them first, or remove it all the same with --force; it cannot come back but by joining anew", region)
}

// silenceWait is how much later than the region that asks the authority region may
// notice that a third one is silent.
const silenceWait = 3 * time.Second

// awaitSilence reports whether a region does not answer, or no longer in a moment.
func (r *Replica) awaitSilence(ctx context.Context, region string) bool {
	for deadline := time.Now().Add(silenceWait); r.answers(region); {
		if time.Now().After(deadline) || !sleep(ctx, 100*time.Millisecond) {
			return false
		}
	}
	return true
}

func (r *Replica) removeHere(ctx context.Context, region string, meta state.Meta) (*catalog.Region, error) {
	if _, err := r.proposer.Propose(ctx, meta, &state.RemoveRegion{Region: region}); err != nil {
		return nil, err
	}
	record := r.regionRecord(region)
	if r.holdsRoot() {
		if err := r.publishTrustNow(ctx); err != nil {
			return record, err
		}
	}
	return record, nil
}

// GetKeyring seals the gossip keys to replicas of the caller's region.
func (f *federationServer) GetKeyring(ctx context.Context, req *pb.GetKeyringRequest) (*pb.GetKeyringResponse, error) {
	if _, err := f.caller(ctx); err != nil {
		return nil, err
	}
	ring := f.r.vault.keys()
	if ring.Version == 0 {
		return nil, status.Error(codes.Unavailable, "this replica has not unsealed the gossip keys yet; ask another")
	}
	if n := len(req.GetRecipients()); n == 0 || n > 64 {
		return nil, status.Errorf(codes.InvalidArgument, "expected 1 to 64 recipients, found %d", n)
	}
	blob, err := sealKeyring(ring, req.GetRecipients())
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	return &pb.GetKeyringResponse{SealedKeyring: blob, Version: ring.Version}, nil
}

// GetDirectory tells the caller about every replica and region known here.
func (f *federationServer) GetDirectory(ctx context.Context, req *pb.GetDirectoryRequest) (*pb.GetDirectoryResponse, error) {
	if _, err := f.caller(ctx); err != nil {
		return nil, err
	}
	out := &pb.GetDirectoryResponse{AuthorityRegion: f.r.card.Authority, TrustList: f.r.agreedTrust(), Time: timestamppb.Now()}
	for _, replica := range f.r.everybody() {
		if len(req.GetRegions()) == 0 || slices.Contains(req.GetRegions(), replica.Region) {
			out.Replicas = append(out.Replicas, enroll.ReplicaToWire(&replica))
		}
	}
	for _, region := range f.r.registry() {
		out.Regions = append(out.Regions, replication.RegionToPB(region))
	}
	return out, nil
}
