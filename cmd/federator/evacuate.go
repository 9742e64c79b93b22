package main

import (
	"context"
	"errors"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/federator/federator/peering/pb"
)

func (a *app) evacuateCmd() *cobra.Command {
	var (
		duration time.Duration
		reason   string
		end      bool
		force    bool
	)
	cmd := a.ask("evacuate [REGION]", "Take a region out of every answer at once, or list those that are", cobra.MaximumNArgs(1),
		func(ctx context.Context, agent pb.OperatorClient, args []string) (proto.Message, show, error) {
			switch {
			case len(args) == 0 && (end || duration > 0):
				return nil, nil, usageError{errors.New("evacuate: which REGION?")}
			case len(args) == 0:
				r, err := agent.ListEvacuations(ctx, &pb.ListEvacuationsRequest{})
				return r, func(p *printer) { showEvacuations(p, r.GetEvacuations()) }, err
			case end:
				r, err := agent.StopEvacuation(ctx, &pb.StopEvacuationRequest{Region: args[0]})
				return r, said("%s is no longer evacuated", args[0]), err
			case duration == 0:
				return nil, nil, usageError{errors.New("evacuate: for how long? Give --for, for example --for 10m, or --stop")}
			}
			r, err := agent.Evacuate(ctx, &pb.EvacuateRequest{Region: args[0], Duration: durationpb.New(duration), Reason: reason, Force: force})
			return r, func(p *printer) { showEvacuations(p, []*pb.EvacuationInfo{r}) }, err
		})
	cmd.Long = `Take a region out of every answer, in all regions, at once. It needs no vote, is
audited, always ends, and works from any region that lives. Without REGION the
evacuations in force are listed.`
	cmd.Example = "  federator evacuate us-west --for 10m --reason \"power work\"\n  federator evacuate us-west --stop"
	cmd.Flags().DurationVar(&duration, "for", 0, "how long, 1s to 24h")
	cmd.Flags().StringVar(&reason, "reason", "", "why, for the audit trail")
	cmd.Flags().BoolVar(&force, "force", false, "also where it breaks the safety of a policy; nothing is ever emptied")
	cmd.Flags().BoolVar(&end, "stop", false, "end it now")
	exclusive(cmd, "for", "stop")
	return cmd
}

func showEvacuations(p *printer, evacuations []*pb.EvacuationInfo) {
	p.row("EVACUATED", "STARTED", "UNTIL", "REMAINING", "BY", "REASON", "IGNORED")
	for _, e := range evacuations {
		p.row(e.GetRegion(), moment(e.GetStarted()), moment(e.GetUntil()), span(e.GetRemaining()), e.GetMeta().GetActor(), e.GetReason(), e.GetIgnored())
	}
}
