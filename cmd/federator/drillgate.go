package main

import (
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"

	"github.com/federator/federator/peering/pb"
)

func (a *app) drillGateCmd() *cobra.Command {
	cmd := parent("gate", "Locks that only named operators open: create, open, close, list and delete")
	cmd.Long = `A gate is a lock for drills: where the safety of a policy names it, drills of that
service begin and go on only while it is open, and only the operators that it names
can open it, by their certificates.`
	cmd.AddCommand(a.gateCreateCmd(), a.gateOpenCmd(), a.gateCloseCmd(), a.gateListCmd(), a.gateDeleteCmd())
	return cmd
}

func (a *app) gateCreateCmd() *cobra.Command {
	var operators []string
	cmd := a.ask("create NAME --operators NAME,...", "Make a gate, closed, or say anew who may open it", cobra.ExactArgs(1),
		func(ctx context.Context, agent pb.OperatorClient, args []string) (proto.Message, show, error) {
			r, err := agent.CreateGate(ctx, &pb.CreateGateRequest{Name: args[0], Operators: operators})
			return r, said("gate %s is closed; %s may open it", r.GetName(), strings.Join(r.GetOperators(), ", ")), err
		})
	cmd.Flags().StringSliceVar(&operators, "operators", nil, "the operators who may open it, by name")
	required(cmd, "operators")
	return cmd
}

func (a *app) gateOpenCmd() *cobra.Command {
	var duration time.Duration
	cmd := a.ask("open NAME --for DURATION", "Open a gate for a while, as one of the operators that it names", cobra.ExactArgs(1),
		func(ctx context.Context, agent pb.OperatorClient, args []string) (proto.Message, show, error) {
			r, err := agent.OpenGate(ctx, &pb.OpenGateRequest{Name: args[0], Duration: lastingFor(duration)})
			return r, said("gate %s is open until %s", r.GetName(), moment(r.GetOpenUntil())), err
		})
	cmd.Flags().DurationVar(&duration, "for", 0, "how long, 1s to 24h")
	required(cmd, "for")
	return cmd
}

func (a *app) gateCloseCmd() *cobra.Command {
	return a.ask("close NAME", "Close a gate at once; drills that need it end", cobra.ExactArgs(1),
		func(ctx context.Context, agent pb.OperatorClient, args []string) (proto.Message, show, error) {
			r, err := agent.CloseGate(ctx, &pb.CloseGateRequest{Name: args[0]})
			return r, said("gate %s is closed", r.GetName()), err
		})
}

func (a *app) gateListCmd() *cobra.Command {
	return a.ask("list", "List the gates, and those that policies name and nobody made", cobra.NoArgs,
		func(ctx context.Context, agent pb.OperatorClient, _ []string) (proto.Message, show, error) {
			r, err := agent.ListGates(ctx, &pb.ListGatesRequest{})
			return r, func(p *printer) {
				p.row("GATE", "STATE", "UNTIL", "OPENED BY", "MAY BE OPENED BY", "POLICIES")
				for _, g := range r.GetGates() {
					p.row(g.GetName(), gateState(g), moment(g.GetOpenUntil()), g.GetOpenedBy(), strings.Join(g.GetOperators(), ", "), strings.Join(g.GetPolicies(), ", "))
				}
			}, err
		})
}

func gateState(g *pb.GateInfo) string {
	switch {
	case g.GetMissing():
		return "MISSING"
	case g.GetOpen():
		return "open"
	}
	return "closed"
}

func (a *app) gateDeleteCmd() *cobra.Command {
	return a.ask("delete NAME", "Delete a gate; a policy that names it then lets no drill begin", cobra.ExactArgs(1),
		func(ctx context.Context, agent pb.OperatorClient, args []string) (proto.Message, show, error) {
			r, err := agent.DeleteGate(ctx, &pb.DeleteGateRequest{Name: args[0]})
			return r, said("gate %s is deleted", args[0]), err
		})
}
