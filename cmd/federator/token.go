package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/federator/federator/peering/pb"
)

func (a *app) tokenCmd() *cobra.Command {
	cmd := parent("token", "Let new replicas in: create, list and revoke join tokens")
	cmd.AddCommand(a.tokenCreateCmd(), a.tokenListCmd(), a.tokenRevokeCmd())
	return cmd
}

func (a *app) tokenCreateCmd() *cobra.Command {
	var ttl time.Duration
	request := &pb.CreateTokenRequest{}
	cmd := a.ask("create", "Print a token that lets one replica join, once", cobra.NoArgs,
		func(ctx context.Context, agent pb.OperatorClient, _ []string) (proto.Message, show, error) {
			request.Ttl = durationpb.New(ttl)
			r, err := agent.CreateToken(ctx, request)
			return r, said("%s", r.GetToken()), err
		})
	cmd.Flags().DurationVar(&ttl, "ttl", time.Hour, "how long it is good for, 1m to 24h")
	cmd.Flags().StringVar(&request.Region, "region", "", "good for this region only")
	cmd.Flags().StringVar(&request.Cluster, "cluster", "", "good for this cluster only")
	cmd.Flags().StringVar(&request.Description, "description", "", "what it is for")
	return cmd
}

func (a *app) tokenListCmd() *cobra.Command {
	return a.ask("list", "List this region's tokens, without their secrets", cobra.NoArgs,
		func(ctx context.Context, agent pb.OperatorClient, _ []string) (proto.Message, show, error) {
			r, err := agent.ListTokens(ctx, &pb.ListTokensRequest{})
			return r, func(p *printer) {
				p.row("ID", "STATE", "EXPIRES", "CREATED", "BY", "FOR", "USED BY", "DESCRIPTION")
				for _, t := range r.GetTokens() {
					scope := t.GetRegion()
					if t.GetCluster() != "" {
						scope += "/" + t.GetCluster()
					}
					p.row(t.GetId(), t.GetState(), moment(t.GetExpires()), moment(t.GetCreated()), t.GetCreatedBy(), or(scope, "any"), t.GetUsedBy(), t.GetDescription())
				}
			}, err
		})
}

func (a *app) tokenRevokeCmd() *cobra.Command {
	return a.ask("revoke ID", "Make a token useless", cobra.ExactArgs(1),
		func(ctx context.Context, agent pb.OperatorClient, args []string) (proto.Message, show, error) {
			r, err := agent.RevokeToken(ctx, &pb.RevokeTokenRequest{Id: args[0]})
			return r, said("token %s is revoked", args[0]), err
		})
}

// parent is a command that only holds others.
func parent(use, short string) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short, Args: usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
}
