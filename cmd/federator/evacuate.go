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
			case len(args) == 0 && (end || force || duration > 0):
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
			return r, func(p *printer) { showEvacuation(p, r) }, err
		})
	cmd.Long = `Take a region out of every answer, in all regions, at once. It needs no vote, is
audited, always ends, and works from any region that lives. Without REGION the
evacuations in force are listed. A service for which it would break a safety rule
of its policy keeps the region unless you say --force; one that would be left with
nothing always does.`
	cmd.Example = "  federator evacuate us-west --for 10m --reason \"power work\"\n  federator evacuate us-west --stop"
	cmd.Flags().DurationVar(&duration, "for", 0, "how long, 1s to 24h")
	cmd.Flags().StringVar(&reason, "reason", "", "why, for the audit trail")
	cmd.Flags().BoolVar(&end, "stop", false, "end it now")
	cmd.Flags().BoolVar(&force, "force", false, "do not heed the safety rules of policies; recorded")
	exclusive(cmd, "for", "stop")
	exclusive(cmd, "force", "stop")
	return cmd
}

// showEvacuation shows one that has just begun.
func showEvacuation(p *printer, e *pb.EvacuationInfo) {
	showEvacuations(p, []*pb.EvacuationInfo{e})
	if e.GetIgnored() != "" {
		p.gap()
		p.line("warning: some services keep %s, see IGNORED; --force overrides the safety rules of policies, not that something must be left", e.GetRegion())
	}
}

func showEvacuations(p *printer, evacuations []*pb.EvacuationInfo) {
	p.row("EVACUATED", "STARTED", "UNTIL", "REMAINING", "BY", "REASON", "FORCED", "IGNORED")
	for _, e := range evacuations {
		p.row(e.GetRegion(), moment(e.GetStarted()), moment(e.GetUntil()), span(e.GetRemaining()), e.GetMeta().GetActor(), e.GetReason(), yes(e.GetForced()), e.GetIgnored())
	}
}
