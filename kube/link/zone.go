package link

import (
	"cmp"
	"context"
	"strings"

	"github.com/federator/federator/kube/laptop"
	"github.com/federator/federator/peering/pb"
)

// ZoneOf is the zone that the replicas of a cluster answer, as one of them says; the
// default one if none answers.
func ZoneOf(ctx context.Context, c *laptop.Cluster) string {
	agent, err := c.Agent(ctx)
	if err != nil {
		return DefaultZone
	}
	defer agent.Close()
	status, err := pb.NewOperatorClient(agent).Status(ctx, &pb.StatusRequest{})
	if err != nil {
		return DefaultZone
	}
	return cmp.Or(strings.TrimSuffix(status.GetZone(), "."), DefaultZone)
}
