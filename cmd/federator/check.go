package main

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	"github.com/federator/federator/peering/pb"
)

func (a *app) checkCmd() *cobra.Command {
	return &cobra.Command{
		Use: "check", Short: "Look for every problem, and say what to do; exit code 3 if there is one",
		Args: usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.call(cmd.Context(), func(ctx context.Context, agent pb.OperatorClient) error {
				found, err := agent.Check(ctx, &pb.CheckRequest{})
				if err != nil {
					return err
				}
				if err := a.print(found, func(p *printer) { showProblems(p, found) }); err != nil {
					return err
				}
				for _, problem := range found.GetProblems() {
					if problem.GetSeverity() != "info" {
						return errProblems
					}
				}
				return nil
			})
		},
	}
}

func showProblems(p *printer, found *pb.CheckResponse) {
	for _, problem := range found.GetProblems() {
		p.line("%s: %s (%s)", strings.ToUpper(problem.GetSeverity()), problem.GetSubject(), problem.GetCode())
		for _, part := range []struct{ name, text string }{
			{"expected", problem.GetExpected()}, {"found", problem.GetFound()},
			{"since", moment(problem.GetSince())}, {"do", problem.GetAction()},
		} {
			if part.text != "" {
				p.line("  %s:\t%s", part.name, strings.ReplaceAll(part.text, "\n", "\n  \t"))
			}
		}
		p.gap()
	}
	p.line("%d problem(s); looked at %s", len(found.GetProblems()), strings.Join(found.GetChecked(), ", "))
}
