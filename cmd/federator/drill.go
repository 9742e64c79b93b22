package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/federation/drill"
	"github.com/federator/federator/peering/pb"
)

func (a *app) drillCmd() *cobra.Command {
	cmd := parent("drill", "Practise a failure safely: plan, start, watch, stop and report")
	cmd.Long = `A drill takes a region, a zone, a cluster or one service away on purpose, for a
bounded time, after a vote of the regions; it ends by itself, and at once when
anything real goes wrong. For an emergency, see "federator evacuate".`
	cmd.AddCommand(a.drillPlanCmd(), a.drillStartCmd(), a.drillStopCmd(), a.drillExtendCmd(), a.drillListCmd(),
		a.drillStatusCmd(), a.drillReportCmd(), a.drillGateCmd(), a.drillScheduleCmd())
	return cmd
}

// scopeFlags say what a drill takes away.
type scopeFlags struct{ evacuate, isolate, cluster, service string }

func (f *scopeFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.evacuate, "evacuate", "", "the REGION or REGION/ZONE to move traffic away from")
	cmd.Flags().StringVar(&f.isolate, "isolate", "", "the REGION to cut off from the others, instead")
	cmd.Flags().StringVar(&f.cluster, "cluster", "", "only this cluster of the region")
	cmd.Flags().StringVar(&f.service, "service", "", "only this service, NAMESPACE/NAME")
	before(cmd, f.check)
}

func (f *scopeFlags) check() error {
	if (f.evacuate == "") == (f.isolate == "") {
		return errors.New("what is to be taken away? Give either --evacuate REGION[/ZONE] or --isolate REGION")
	}
	if f.isolate != "" && (f.cluster != "" || f.service != "") {
		return errors.New("--isolate is for a whole region; leave --cluster and --service out")
	}
	_, err := f.drill()
	return err
}

// drill is a drill of the scope; see check for what is refused.
func (f *scopeFlags) drill() (catalog.Drill, error) {
	d := catalog.Drill{Kind: catalog.DrillEvacuate, Scope: catalog.Scope{Cluster: f.cluster}}
	where := f.evacuate
	if f.isolate != "" {
		d.Kind, where = catalog.DrillIsolate, f.isolate
	}
	at, err := catalog.ParseLocality(where)
	if err != nil {
		return d, err
	}
	d.Scope.Region, d.Scope.Zone = at.Region, at.Zone
	if f.service != "" {
		if d.Scope.Service, err = catalog.ParseServiceName(f.service); err != nil {
			return d, err
		}
	}
	return d, d.Scope.Validate()
}

func (a *app) drillPlanCmd() *cobra.Command {
	var scope scopeFlags
	cmd := &cobra.Command{
		Use: "plan --evacuate REGION[/ZONE]", Short: "Say where traffic would go, in numbers, and what would break; exit code 3 if it is unsafe",
		Args:    usage(cobra.NoArgs),
		Example: "  federator drill plan --evacuate us-west\n  federator drill plan --evacuate us-west/a --service shop/checkout",
		RunE: func(cmd *cobra.Command, _ []string) error {
			d, err := scope.drill()
			if err != nil {
				return err
			}
			d.Shape.Hold = catalog.Duration(defaultHold)
			spec, err := json.Marshal(d)
			if err != nil {
				return err
			}
			return a.call(cmd.Context(), func(ctx context.Context, agent pb.OperatorClient) error {
				r, err := agent.PlanDrill(ctx, &pb.PlanDrillRequest{Spec: spec})
				if err != nil {
					return err
				}
				return a.showPlan(r)
			})
		},
	}
	scope.add(cmd)
	return cmd
}

// showPlan prints a plan and returns errProblems if it is unsafe.
func (a *app) showPlan(r *pb.PlanDrillResponse) error {
	var err error
	if a.output == "json" {
		err = a.printJSON(json.RawMessage(r.GetPlan()))
	} else {
		var plan drill.Plan
		if err := json.Unmarshal(r.GetPlan(), &plan); err != nil {
			return fmt.Errorf("the agent's plan: %w; does it run another version? See \"federator version --agent\"", err)
		}
		err = a.print(r, func(p *printer) { printPlan(p, &plan) })
	}
	if err == nil && len(r.GetUnsafe()) > 0 {
		return errProblems
	}
	return err
}

func printPlan(p *printer, plan *drill.Plan) {
	p.line("%s of %s: %d of %d services", kindNoun(string(plan.Kind)), plan.Scope, plan.Concerned, plan.Services)
	if len(plan.Load) > 0 {
		p.gap()
		p.row("TRAFFIC OF THESE", "BEFORE", "DURING", "TIMES")
		for _, l := range plan.Load {
			p.row(placeOf(l, plan.Scope), portion(l.Before), portion(l.After), times(l))
		}
	}
	for _, g := range plan.Groups {
		p.gap()
		title := fmt.Sprintf("%d service(s): %s", g.Count, strings.Join(g.Services[:min(6, len(g.Services))], ", "))
		if g.Count > 6 {
			title += ", ..."
		}
		if g.SetAside {
			title += "; NOT TOUCHED, see below"
		}
		p.line("%s", title)
		p.row("  CLIENTS IN", "GO TO", "BEFORE", "DURING")
		for _, c := range g.Clients {
			from := c.Region
			for _, l := range c.Load {
				p.row("  "+from, placeOf(l, plan.Scope), portion(l.Before), portion(l.After)+clientNote(c))
				from = ""
			}
		}
	}
	if plan.Unlisted > 0 {
		p.line("and %d services more", plan.Unlisted)
	}
	p.gap()
	printFindings(p, plan)
}

func clientNote(c drill.Client) string {
	switch {
	case c.Panic:
		return " (panic)"
	case c.Stale:
		return " (unconfirmed)"
	}
	return ""
}

func printFindings(p *printer, plan *drill.Plan) {
	for _, f := range plan.Findings {
		p.line("%s: %s (%s)", strings.ToUpper(string(f.Severity)), f.Subject, f.Code)
		p.line("  found:\t%s", f.Found)
		p.line("  do:\t%s", f.Do)
	}
	if unsafe := plan.Unsafe(); len(unsafe) > 0 {
		p.line("UNSAFE: %d finding(s) block it; --force starts it all the same and is recorded", len(unsafe))
	} else {
		p.line("SAFE: nothing blocks it")
	}
	p.line("assumed: %s", strings.Join(plan.Assumptions, "; "))
}

func placeOf(l drill.Load, scope catalog.Scope) string {
	narrow := scope.Zone != "" || scope.Cluster != ""
	switch {
	case l.Drilled && narrow:
		scope.Service = catalog.ServiceName{}
		return scope.String() + " (drilled)"
	case l.Drilled:
		return l.Place + " (drilled)"
	case narrow && l.Place == scope.Region:
		return "rest of " + l.Place
	}
	return l.Place
}

// portion writes parts per million.
func portion(ppm uint32) string {
	return fmt.Sprintf("%g %%", math.Round(float64(ppm)/1000)/10)
}

func times(l drill.Load) string {
	if l.Before == 0 {
		return "new"
	}
	return fmt.Sprintf("x %.2f", l.Factor())
}

func (a *app) drillStopCmd() *cobra.Command {
	var reason string
	cmd := a.ask("stop [ID]", "End a drill at once in every region, from any replica", cobra.MaximumNArgs(1),
		func(ctx context.Context, agent pb.OperatorClient, args []string) (proto.Message, show, error) {
			r, err := agent.StopDrill(ctx, &pb.StopDrillRequest{Id: first(args), Reason: reason})
			return r, said("drill %s is told to end", r.GetId()), err
		})
	cmd.Flags().StringVar(&reason, "reason", "", "why, for the audit trail and the report")
	return cmd
}

func (a *app) drillExtendCmd() *cobra.Command {
	var by time.Duration
	cmd := a.ask("extend [ID] --by DURATION", "Hold the scope away for longer", cobra.MaximumNArgs(1),
		func(ctx context.Context, agent pb.OperatorClient, args []string) (proto.Message, show, error) {
			r, err := agent.ExtendDrill(ctx, &pb.ExtendDrillRequest{Id: first(args), By: lastingFor(by)})
			return r, func(p *printer) {
				p.line("drill %s holds %s for %s in all, another %s to its end", r.GetId(), r.GetScope(), span(r.GetHold()), span(r.GetRemaining()))
			}, err
		})
	cmd.Flags().DurationVar(&by, "by", 0, "how much longer; a drill takes 24h at most, an isolation 10m")
	required(cmd, "by")
	return cmd
}

func first(args []string) string {
	if len(args) == 0 {
		return ""
	}
	return args[0]
}

// kindNoun is what a drill of a kind is.
func kindNoun(kind string) string {
	switch catalog.DrillKind(kind) {
	case catalog.DrillEvacuate:
		return "evacuation"
	case catalog.DrillIsolate:
		return "isolation"
	}
	return kind
}
