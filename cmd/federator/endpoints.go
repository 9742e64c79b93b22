package main

import (
	"context"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"

	"github.com/federator/federator/peering/pb"
)

func (a *app) endpointsCmd() *cobra.Command {
	var region string
	cmd := a.ask("endpoints NAMESPACE/NAME", "List the endpoints of a service, and who decided their health", cobra.ExactArgs(1),
		func(ctx context.Context, agent pb.OperatorClient, args []string) (proto.Message, show, error) {
			r, err := agent.Endpoints(ctx, &pb.EndpointsRequest{Service: args[0], Region: region})
			return r, func(p *printer) {
				p.row("REGION", "ZONE", "CLUSTER", "ID", "ADDRESS", "HOSTNAME", "WEIGHT", "HEALTH", "DECIDED BY", "SINCE", "STALE")
				for _, e := range r.GetEndpoints() {
					p.row(e.GetRegion(), e.GetZone(), e.GetCluster(), e.GetId(), e.GetAddress(), e.GetHostname(), e.GetWeight(),
						e.GetHealth(), e.GetHealthFrom(), moment(e.GetSince()), yes(e.GetStale()))
				}
			}, err
		})
	cmd.Flags().StringVar(&region, "region", "", "only this region")
	return cmd
}
