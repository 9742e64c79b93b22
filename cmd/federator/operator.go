package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/federator/federator/identity"
	"github.com/federator/federator/peering/pb"
)

func (a *app) operatorCmd() *cobra.Command {
	cmd := parent("operator", "People who may speak to agents from afar: create, list and delete")
	cmd.AddCommand(a.operatorCreateCmd(), a.operatorListCmd(), a.operatorDeleteCmd())
	return cmd
}

func (a *app) operatorCreateCmd() *cobra.Command {
	var role, dir string
	var ttl time.Duration
	cmd := a.ask("create NAME --role ROLE", "Grant a role to a name, and write a certificate for it to a directory", cobra.ExactArgs(1),
		func(ctx context.Context, agent pb.OperatorClient, args []string) (proto.Message, show, error) {
			if dir == "" {
				dir = args[0] + ".operator"
			}
			// The directory is made first, so that a grant never stands without it.
			if err := os.Mkdir(dir, 0o700); err != nil {
				return nil, nil, fmt.Errorf("directory for the certificate: %w; choose another with --out", err)
			}
			r, err := enrolOperator(ctx, agent, args[0], role, ttl, dir)
			if err != nil {
				_ = os.RemoveAll(dir) // what matters is why there is no certificate
				return nil, nil, err
			}
			return r, func(p *printer) {
				p.line("%s may act as %s until %s; its certificate is in %s", r.GetId(), role, moment(r.GetNotAfter()), dir)
				p.line("use it with: federator status --identity %s --address %s", dir, or(strings.Join(r.GetAddresses()[:min(1, len(r.GetAddresses()))], ""), "HOST:PORT"))
			}, nil
		})
	cmd.Flags().StringVar(&role, "role", "", "viewer, operator or admin; each may do what the one before it may")
	cmd.Flags().DurationVar(&ttl, "ttl", 24*time.Hour, "how long the certificate is good for, 1m to 720h")
	cmd.Flags().StringVar(&dir, "out", "", "the directory to write to; it must not exist (default NAME.operator)")
	required(cmd, "role") // a default would take an admin's role away in passing
	return cmd
}

// enrolOperator makes a key, has it certified and keeps both in dir. The key
// never leaves this machine.
func enrolOperator(ctx context.Context, agent pb.OperatorClient, name, role string, ttl time.Duration, dir string) (*pb.CreateOperatorResponse, error) {
	source, err := identity.OpenSource(dir)
	if err != nil {
		return nil, err
	}
	s, err := agent.Status(ctx, &pb.StatusRequest{})
	if err != nil {
		return nil, err
	}
	csr, err := source.Request(identity.OperatorID(s.GetTrustDomain(), name), nil, nil)
	if err != nil {
		return nil, err
	}
	r, err := agent.CreateOperator(ctx, &pb.CreateOperatorRequest{Name: name, Role: role, Csr: csr, Ttl: durationpb.New(ttl)})
	if err != nil {
		return nil, err
	}
	return r, saveOperator(dir, source, r)
}

func (a *app) operatorListCmd() *cobra.Command {
	return a.ask("list", "List the operators and their roles", cobra.NoArgs,
		func(ctx context.Context, agent pb.OperatorClient, _ []string) (proto.Message, show, error) {
			r, err := agent.ListOperators(ctx, &pb.ListOperatorsRequest{})
			return r, func(p *printer) {
				p.row("OPERATOR", "ROLE", "GRANTED", "IN", "BY")
				for _, o := range r.GetOperators() {
					p.row(o.GetName(), o.GetRole(), moment(o.GetMeta().GetWritten()), o.GetMeta().GetRegion(), o.GetMeta().GetActor())
				}
			}, err
		})
}

func (a *app) operatorDeleteCmd() *cobra.Command {
	return a.ask("delete NAME", "Take an operator's role away", cobra.ExactArgs(1),
		func(ctx context.Context, agent pb.OperatorClient, args []string) (proto.Message, show, error) {
			r, err := agent.DeleteOperator(ctx, &pb.DeleteOperatorRequest{Name: args[0]})
			return r, said("operator %s is deleted", args[0]), err
		})
}
