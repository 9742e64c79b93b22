package main

import (
	"context"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"

	"github.com/federator/federator/peering/pb"
)

func (a *app) regionCmd() *cobra.Command {
	cmd := parent("region", "Regions as a whole: remove, recover")
	here := a.regionRecoverCmd()
	here.Annotations = withLocal(here.Annotations)
	cmd.AddCommand(a.regionRemoveCmd(), here)
	return cmd
}

func (a *app) regionRemoveCmd() *cobra.Command {
	request := &pb.RemoveRegionRequest{}
	cmd := a.ask("remove REGION", "Remove a region for good; if it comes back it is told to join anew", cobra.ExactArgs(1),
		func(ctx context.Context, agent pb.OperatorClient, args []string) (proto.Message, show, error) {
			request.Region = args[0]
			r, err := agent.RemoveRegion(ctx, request)
			return r, said("region %s, epoch %d, is removed", r.GetRegion().GetName(), r.GetRegion().GetEpoch()), err
		})
	cmd.Flags().BoolVar(&request.Force, "force", false, "remove it though its replicas still answer")
	return cmd
}
