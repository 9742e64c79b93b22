package main

import (
	"context"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"

	"github.com/federator/federator/peering/pb"
)

func (a *app) leaveCmd() *cobra.Command {
	request := &pb.LeaveRequest{}
	cmd := a.ask("leave [NAME]", "Take a replica out of its region for good; default the one that is asked", cobra.MaximumNArgs(1),
		func(ctx context.Context, agent pb.OperatorClient, args []string) (proto.Message, show, error) {
			if len(args) == 1 {
				request.Name = args[0]
			}
			r, err := agent.Leave(ctx, request)
			return r, func(p *printer) {
				showWarnings(p, r.GetWarnings())
				p.line("%s has left; the voters of its region are now: %s", or(request.GetName(), "the replica"), or(strings.Join(r.GetVoters(), ", "), "none"))
			}, err
		})
	cmd.Flags().BoolVar(&request.Force, "force", false, "leave though the region then has no quorum or no replica left")
	cmd.Flags().BoolVar(&request.Compromised, "compromised", false, "its key may be known to others: revoke it and re-seal what it could read")
	return cmd
}
