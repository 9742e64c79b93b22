package main

import (
	"context"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"

	"github.com/federator/federator/peering/pb"
)

func (a *app) membersCmd() *cobra.Command {
	var region string
	cmd := a.ask("members", "List the replicas", cobra.NoArgs,
		func(ctx context.Context, agent pb.OperatorClient, _ []string) (proto.Message, show, error) {
			r, err := agent.Members(ctx, &pb.MembersRequest{Region: region})
			return r, func(p *printer) {
				p.row("REGION", "NAME", "CLUSTER", "ZONE", "ROLE", "STATE", "RTT", "PEER", "GOSSIP", "DNS", "VERSION")
				for _, m := range r.GetMembers() {
					name := m.GetReplica().GetName()
					if m.GetSelf() {
						name += " *"
					}
					p.row(m.GetReplica().GetRegion(), name, m.GetReplica().GetCluster(), m.GetReplica().GetZone(), m.GetRole(), m.GetState(), span(m.GetRtt()),
						m.GetReplica().GetPeerAddress(), m.GetReplica().GetGossipAddress(), m.GetReplica().GetDnsAddress(), m.GetReplica().GetBuild())
				}
			}, err
		})
	cmd.Flags().StringVar(&region, "region", "", "only this region")
	return cmd
}
