package main

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/federator/federator/kube/laptop"
	"github.com/federator/federator/kube/link"
	"github.com/federator/federator/peering/pb"
)

func (a *app) checkCmd() *cobra.Command {
	return &cobra.Command{
		Use: "check", Short: "Look for every problem, and say what to do; exit code 3 if there is one",
		Args: usage(cobra.NoArgs),
		Long: `Look for every problem, and say what to do; exit code 3 if there is one. With
--context, which may be given several times, it asks a replica in each of these
Kubernetes clusters, and looks at what is around it there, too: what is installed,
pods that do not run, the cluster's DNS, and what the user of the context may do.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if len(a.reach.contexts) > 0 {
				return a.checkClusters(cmd)
			}
			return a.call(cmd.Context(), func(ctx context.Context, agent pb.OperatorClient) error {
				found, err := agent.Check(ctx, &pb.CheckRequest{})
				if err != nil {
					return err
				}
				return a.printProblems(found)
			})
		},
	}
}

// printProblems prints what was found; an error if there is something to act on.
func (a *app) printProblems(found *pb.CheckResponse) error {
	if err := a.print(found, func(p *printer) { showProblems(p, found) }); err != nil {
		return err
	}
	for _, problem := range found.GetProblems() {
		if problem.GetSeverity() != "info" {
			return errProblems
		}
	}
	return nil
}

// checkClusters checks clusters, and what a replica in each of them finds.
func (a *app) checkClusters(cmd *cobra.Command) error {
	all := &pb.CheckResponse{Checked: link.Checked()}
	for _, name := range a.reach.contexts {
		cluster, err := a.reach.open(name)
		if err != nil {
			return err
		}
		found := a.checkCluster(cmd.Context(), cluster)
		for _, p := range found.GetProblems() {
			a.of(cmd.Root(), name, p)
		}
		all.Problems = append(all.Problems, found.GetProblems()...)
		for _, c := range found.GetChecked() {
			if !slices.Contains(all.Checked, c) {
				all.Checked = append(all.Checked, c)
			}
		}
	}
	slices.SortStableFunc(all.Problems, func(x, y *pb.Problem) int {
		worst := []string{"error", "warning", "info"}
		return cmp.Compare(slices.Index(worst, x.GetSeverity()), slices.Index(worst, y.GetSeverity()))
	})
	return a.printProblems(all)
}

// checkCluster checks one cluster; that no replica answers is a problem, and no error.
func (a *app) checkCluster(ctx context.Context, cluster *laptop.Cluster) *pb.CheckResponse {
	ctx, cancel := context.WithTimeout(ctx, a.timeout)
	defer cancel()
	facts := link.Look(ctx, cluster, link.ToAsk)
	var inside *pb.CheckResponse
	if facts.Agent != nil {
		var err error
		if inside, err = checkInside(ctx, cluster); err != nil { // it has ended since
			facts.Agent, facts.Silent = nil, a.reach.plain(err).Error()
		}
	}
	return &pb.CheckResponse{Problems: append(link.Examine(&facts), inside.GetProblems()...), Checked: inside.GetChecked()}
}

// checkInside asks a replica of the cluster.
func checkInside(ctx context.Context, cluster *laptop.Cluster) (*pb.CheckResponse, error) {
	agent, err := cluster.Agent(ctx)
	if err != nil {
		return nil, err
	}
	defer agent.Close()
	return pb.NewOperatorClient(agent).Check(ctx, &pb.CheckRequest{})
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
