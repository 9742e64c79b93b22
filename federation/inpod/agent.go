package inpod

import (
	"context"
	"path/filepath"
	"slices"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/federator/federator/kube/pod"
	"github.com/federator/federator/peering/pb"
)

// agent asks the replica of this process the way operators do, over its socket: what
// it is asked to do is checked and audited as theirs is.
type agent struct {
	*grpc.ClientConn
	cluster string
}

// Bounds of a call, and of a token.
const (
	callTimeout = 20 * time.Second
	tokenLife   = time.Hour
)

// dial prepares to ask; it does not connect yet.
func dial(socket, cluster string) (*agent, error) {
	path, err := filepath.Abs(socket)
	if err != nil {
		return nil, err
	}
	conn, err := grpc.NewClient("unix:"+path, grpc.WithTransportCredentials(insecure.NewCredentials()))
	return &agent{conn, cluster}, err
}

// Members implements [pod.Membership].
func (a *agent) Members(ctx context.Context) ([]pod.Member, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	answer, err := pb.NewOperatorClient(a).Members(ctx, &pb.MembersRequest{})
	if err != nil {
		return nil, err
	}
	all := answer.GetMembers()
	own := slices.IndexFunc(all, (*pb.Member).GetSelf)
	if own < 0 {
		return nil, nil // not a member yet
	}
	var out []pod.Member
	for _, m := range all {
		if r := m.GetReplica(); r.GetRegion() == all[own].GetReplica().GetRegion() && r.GetCluster() == a.cluster {
			alive := m.GetSelf() || m.GetState() == "alive" || m.GetState() == "suspect"
			out = append(out, pod.Member{Name: r.GetName(), Alive: alive})
		}
	}
	return out, nil
}

// Invite implements [pod.Membership].
func (a *agent) Invite(ctx context.Context, name string) (string, time.Time, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	client := pb.NewOperatorClient(a)
	status, err := client.Status(ctx, &pb.StatusRequest{})
	if err != nil {
		return "", time.Time{}, err
	}
	answer, err := client.CreateToken(ctx, &pb.CreateTokenRequest{
		Ttl: durationpb.New(tokenLife), Region: status.GetSelf().GetRegion(), Cluster: a.cluster, Description: "for pod " + name,
	})
	return answer.GetToken(), answer.GetInfo().GetExpires().AsTime(), err
}

// Remove implements [pod.Membership]. It is never forced.
func (a *agent) Remove(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	_, err := pb.NewOperatorClient(a).Leave(ctx, &pb.LeaveRequest{Name: name})
	return err
}
