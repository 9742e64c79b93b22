package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/federator/federator/peering/pb"
)

func (a *app) auditCmd() *cobra.Command {
	var request pb.ListAuditRequest
	var since time.Duration
	cmd := a.ask("audit", "Who changed what, when and from where", cobra.NoArgs,
		func(ctx context.Context, agent pb.OperatorClient, _ []string) (proto.Message, show, error) {
			if since > 0 {
				request.Since = timestamppb.New(time.Now().Add(-since))
			}
			r, err := agent.ListAudit(ctx, &request)
			return r, func(p *printer) {
				p.row("TIME", "ACTOR", "FROM", "REPLICA", "ACTION", "SUBJECT", "DETAIL")
				for _, e := range r.GetEntries() {
					p.row(moment(e.GetTime()), e.GetActor(), e.GetOrigin(), e.GetReplica(), e.GetAction(), e.GetSubject(), e.GetDetail())
				}
			}, err
		})
	cmd.Flags().DurationVar(&since, "since", 0, "only the last so much, for example 24h")
	cmd.Flags().Uint32Var(&request.Limit, "limit", 100, "at most so many, newest first; at most 10000")
	cmd.Flags().StringVar(&request.Actor, "actor", "", "only changes by this SPIFFE ID or uid")
	return cmd
}
