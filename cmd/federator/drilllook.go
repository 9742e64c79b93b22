package main

import (
	"context"
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"

	"github.com/federator/federator/peering/pb"
)

func (a *app) drillListCmd() *cobra.Command {
	return a.ask("list", "List the drills that are kept, the newest first", cobra.NoArgs,
		func(ctx context.Context, agent pb.OperatorClient, _ []string) (proto.Message, show, error) {
			r, err := agent.ListDrills(ctx, &pb.ListDrillsRequest{})
			return r, func(p *printer) { showDrills(p, r.GetDrills()) }, err
		})
}

func showDrills(p *printer, drills []*pb.DrillInfo) {
	p.row("DRILL", "KIND", "SCOPE", "STATE", "PHASE", "ELAPSED", "REMAINING", "STARTED", "BY", "OUTCOME")
	for _, d := range drills {
		by := d.GetActor()
		if d.GetSchedule() != "" {
			by = "schedule " + d.GetSchedule()
		}
		outcome := d.GetOutcome()
		if outcome != "" {
			outcome = endOf(d)
		}
		p.row(d.GetId(), d.GetKind(), d.GetScope(), d.GetState(), d.GetPhase(), span(d.GetElapsed()), span(d.GetRemaining()), moment(d.GetCreated()), by, outcome)
	}
}

func (a *app) drillStatusCmd() *cobra.Command {
	return a.ask("status [ID]", "How a drill is doing, and what each region says of it", cobra.MaximumNArgs(1),
		func(ctx context.Context, agent pb.OperatorClient, args []string) (proto.Message, show, error) {
			r, err := agent.GetDrill(ctx, &pb.GetDrillRequest{Id: first(args)})
			return r, func(p *printer) { showDrill(p, r) }, err
		})
}

func showDrill(p *printer, d *pb.DrillInfo) {
	p.line("drill\t%s, %s of %s", d.GetId(), kindNoun(d.GetKind()), d.GetScope())
	by := d.GetActor()
	if d.GetSchedule() != "" {
		by = "schedule " + d.GetSchedule()
	}
	if d.GetForced() {
		by += ", FORCED although its plan was unsafe"
	}
	p.line("by\t%s, coordinated by %s", by, d.GetRegion())
	if d.GetReason() != "" {
		p.line("reason\t%s", d.GetReason())
	}
	p.line("shape\tramp %s, hold %s, return %s, objective %s", span(d.GetRamp()), span(d.GetHold()), span(d.GetReturn()), or(span(d.GetObjective()), "none"))
	if d.GetOutcome() != "" {
		p.line("ended\t%s", endOf(d))
	} else {
		p.line("state\t%s, phase %s, %d %% taken away", d.GetState(), d.GetPhase(), d.GetSharePercent())
		p.line("time\t%s gone, %s to the end", span(d.GetElapsed()), span(d.GetRemaining()))
	}
	if d.GetIgnored() != "" {
		p.line("set aside\t%s", d.GetIgnored())
	}
	p.gap()
	p.row("REGION", "VOTE", "LAST PHASE", "SINCE", "EXTENDED", "SAYS")
	for _, b := range d.GetBallots() {
		phase, since := "", ""
		if acks := b.GetAcks(); len(acks) > 0 {
			phase, since = acks[len(acks)-1].GetPhase(), moment(acks[len(acks)-1].GetAt())
		}
		p.row(b.GetRegion(), b.GetVote(), phase, since, span(b.GetExtended()), or(b.GetEnd(), b.GetReason()))
	}
}

func (a *app) drillReportCmd() *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use: "report [ID]", Short: "What happened in a drill, the newest if no ID is given: -o text, json or html", Args: usage(cobra.MaximumNArgs(1)),
		Example:     "  federator drill report -o html --file report.html",
		Annotations: map[string]string{formats: "text json html"},
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.call(cmd.Context(), func(ctx context.Context, agent pb.OperatorClient) error {
				r, err := agent.ReportDrill(ctx, &pb.ReportDrillRequest{Id: first(args), Format: a.output})
				if err != nil {
					return err
				}
				if file == "" {
					_, err = plain{a.out}.Write(r.GetReport())
					return err
				}
				if err := os.WriteFile(file, r.GetReport(), 0o600); err != nil {
					return fmt.Errorf("the report: %w; choose another --file", err)
				}
				fmt.Fprintf(a.err, "the report of drill %s (%s) is in %s\n", r.GetId(), r.GetVerdict(), file)
				return nil
			})
		},
	}
	cmd.Flags().StringVar(&file, "file", "", "write it to this file instead of standard output")
	return cmd
}
