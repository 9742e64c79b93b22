package federation

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"time"

	"google.golang.org/grpc"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/federation/gossip"
	"github.com/federator/federator/federation/state"
	"github.com/federator/federator/peering/enroll"
	"github.com/federator/federator/peering/pb"
)

// Check reports why Admit would refuse.
func (a admissions) Check(ctx context.Context, j enroll.Admission) error {
	if err := a.r.clusterFree(j.Replica.Region, j.Replica.Cluster); err != nil {
		return err
	}
	if err := a.r.addressFree(j.Replica); err != nil {
		return err
	}
	if j.Replica.Region == a.r.card.Replica.Region {
		return a.r.nameFree(j.Replica.Name, j.Replica.PublicKey)
	}
	founding := !slices.Contains(a.r.otherRegions(), j.Replica.Region) || a.r.foundedBy(j.Replica.Region, j.Replica.PublicKey)
	decides := j.Replica.Region
	if founding {
		if decides = a.r.card.Authority; decides == a.r.card.Replica.Region {
			return a.r.regionFree(j.Replica.Region, j.Replica.PublicKey)
		}
	}
	answer, err := ask(ctx, a.r.peers, a.r.replicasOf(decides), 5*time.Second, func(ctx context.Context, c *grpc.ClientConn) (*pb.CheckAdmissionResponse, error) {
		return pb.NewFederationClient(c).CheckAdmission(ctx, &pb.CheckAdmissionRequest{
			Region: j.Replica.Region, Cluster: j.Replica.Cluster, Name: j.Replica.Name, PublicKey: j.Replica.PublicKey, Founding: founding,
		})
	})
	if err != nil {
		return fmt.Errorf("%w: region %s has to decide and did not answer: %w", enroll.ErrUnavailable, decides, err)
	}
	if answer.GetCode() == "" {
		return nil
	}
	return enroll.FromCode(answer.GetCode(), answer.GetMessage())
}

// CheckAdmission answers the same for another region that redeems a token.
func (f *federationServer) CheckAdmission(ctx context.Context, req *pb.CheckAdmissionRequest) (*pb.CheckAdmissionResponse, error) {
	if _, err := f.caller(ctx); err != nil {
		return nil, err
	}
	err := f.r.clusterFree(req.GetRegion(), req.GetCluster())
	switch {
	case err != nil:
	case req.GetFounding():
		err = f.r.regionFree(req.GetRegion(), req.GetPublicKey())
	case req.GetRegion() == f.r.card.Replica.Region:
		err = f.r.nameFree(req.GetName(), req.GetPublicKey())
	}
	if err != nil {
		return &pb.CheckAdmissionResponse{Code: enroll.Code(err), Message: err.Error()}, nil
	}
	return &pb.CheckAdmissionResponse{}, nil
}

// addressFree refuses the address of a replica that answers there now, as a copied
// command line gives it. A machine that takes a dead replica's address may join.
func (r *Replica) addressFree(joiner catalog.Replica) error {
	alive := map[string]bool{r.card.Replica.Region + "/" + r.card.Replica.Name: true}
	for _, m := range r.gossip.Members() {
		alive[m.Region+"/"+m.Name] = m.State == gossip.MemberAlive
	}
	for _, known := range r.everybody() {
		same := known.Region == joiner.Region && known.Name == joiner.Name
		taken := known.PeerAddress == joiner.PeerAddress || known.GossipAddress == joiner.GossipAddress
		if taken && !same && alive[known.Region+"/"+known.Name] {
			return fmt.Errorf("%w: replica %s of region %s answers at peer address %s and gossip address %s; give the addresses at which this machine is reached", enroll.ErrInvalid, known.Name, known.Region, known.PeerAddress, known.GossipAddress)
		}
	}
	return nil
}

// nameFree refuses a replica name that another key holds in the own region.
func (r *Replica) nameFree(name string, key []byte) error {
	var record *catalog.Replica
	r.node.Read(func(s *state.State) { record = s.Replica(name) })
	if record != nil && !bytes.Equal(record.PublicKey, key) {
		return fmt.Errorf("%w: %q is a replica of region %s since %s", enroll.ErrNameTaken, name, r.card.Replica.Region, record.JoinedAt.UTC().Format(time.RFC3339))
	}
	return nil
}

// clusterFree refuses a cluster name that another region owns.
func (r *Replica) clusterFree(region, cluster string) error {
	for _, rec := range r.registry() {
		if !rec.Removed && rec.Name != region && slices.Contains(rec.Clusters, cluster) {
			return fmt.Errorf("%w: %q belongs to region %s", enroll.ErrClusterOwned, cluster, rec.Name)
		}
	}
	return nil
}

// regionFree refuses to found a region that another replica founded.
func (r *Replica) regionFree(region string, key []byte) error {
	for _, rec := range r.registry() {
		if rec.Name == region && !rec.Removed && rec.Founder != founderOf(key) {
			return fmt.Errorf("%w: region %s was founded by key %.16s", enroll.ErrRegionFounded, region, rec.Founder)
		}
	}
	return nil
}

// foundedBy reports whether the key is the founder of a region, so that its join
// is a retry of the founding.
func (r *Replica) foundedBy(region string, key []byte) bool {
	for _, rec := range r.registry() {
		if rec.Name == region && !rec.Removed {
			return rec.Founder == founderOf(key)
		}
	}
	return false
}
