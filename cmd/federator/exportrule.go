package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"

	"github.com/federator/federator/federation/catalog/rulefile"
	"github.com/federator/federator/peering/pb"
)

func (a *app) exportRuleCmd() *cobra.Command {
	cmd := parent("export-rule", "Which clusters may export which services: apply, list, get, delete and check")
	cmd.Long = `A cluster may export a service if no export rule names the service, or if one that
names it allows the cluster. The rules hold in every region, on everyone who reads.`
	cmd.AddCommand(a.exportRuleApplyCmd(), a.exportRuleListCmd(), a.exportRuleGetCmd(), a.exportRuleDeleteCmd(), a.exportRuleCheckCmd())
	return cmd
}

func (a *app) exportRuleApplyCmd() *cobra.Command {
	var path string
	var dryRun, force bool
	cmd := &cobra.Command{
		Use: "apply -f FILE", Short: "Write the export rules of a file", Args: usage(cobra.NoArgs),
		Example: `  federator export-rule apply --dry-run -f - <<END
  kind: ExportRule
  name: payments
  spec:
    services: [payments/*]
    clusters: [us-1, region:eu-central]
  END`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			data, err := a.readFile(path)
			if err != nil {
				return err
			}
			rules, err := rulefile.Parse(data)
			if err != nil {
				return fmt.Errorf("%s: %w", path, err)
			}
			return a.call(cmd.Context(), func(ctx context.Context, agent pb.OperatorClient) error {
				return a.applyExportRules(ctx, agent, rules, dryRun, force)
			})
		},
	}
	cmd.Flags().StringVarP(&path, "file", "f", "", "the file, - for standard input")
	exportRuleFlags(cmd, &dryRun, &force)
	required(cmd, "file")
	return cmd
}

func exportRuleFlags(cmd *cobra.Command, dryRun, force *bool) {
	cmd.Flags().BoolVar(dryRun, "dry-run", false, "only say what would change, and what it would take away or give back")
	cmd.Flags().BoolVar(force, "force", false, "do it although it takes away what is exported now; this is recorded")
}

func (a *app) applyExportRules(ctx context.Context, agent pb.OperatorClient, rules []rulefile.Named, dryRun, force bool) error {
	request := &pb.ApplyExportRulesRequest{DryRun: dryRun, Force: force}
	for _, r := range rules {
		spec, err := json.Marshal(r.Spec)
		if err != nil {
			return err
		}
		request.Rules = append(request.Rules, &pb.ExportRuleInfo{Name: r.Name, Spec: spec})
	}
	r, err := agent.ApplyExportRules(ctx, request)
	if err != nil {
		return a.reach.ofFile(err)
	}
	return a.print(r, func(p *printer) {
		for _, change := range r.GetRules() {
			p.line("export rule %s %s", change.GetName(), change.GetAction())
			for _, w := range change.GetWarnings() {
				p.line("  warning: %s", w)
			}
		}
		showExports(p, r.GetTakesAway(), r.GetGivesBack())
	})
}

// showExports prints what a change of the rules takes away, and what it gives back.
func showExports(p *printer, taken, given []*pb.RefusedExport) {
	if len(taken)+len(given) == 0 {
		return
	}
	p.gap()
	p.row("EXPORT", "SERVICE", "CLUSTER", "REGION", "ENDPOINTS", "NAMED BY")
	show := func(what string, list []*pb.RefusedExport) {
		for _, x := range list {
			p.row(what, x.GetService(), x.GetCluster(), x.GetRegion(), x.GetEndpoints(), strings.Join(x.GetRules(), ", "))
		}
	}
	show("taken away", taken)
	show("given back", given)
}

func (a *app) exportRuleListCmd() *cobra.Command {
	var consistent bool
	cmd := a.ask("list", "List the export rules, and how many exports of those that each names are refused", cobra.NoArgs,
		func(ctx context.Context, agent pb.OperatorClient, _ []string) (proto.Message, show, error) {
			r, err := agent.ListExportRules(ctx, &pb.ListExportRulesRequest{Consistent: consistent})
			return r, func(p *printer) {
				p.row("RULE", "GENERATION", "WRITTEN", "IN", "BY", "REFUSED", "SPEC")
				for _, rule := range r.GetRules() {
					m := rule.GetMeta()
					p.row(rule.GetName(), m.GetGeneration(), moment(m.GetWritten()), m.GetRegion(), m.GetActor(), rule.GetRefuses(), string(rule.GetSpec()))
				}
			}, err
		})
	consistently(cmd, &consistent)
	return cmd
}

// exportRuleGetCmd prints an export rule as a file that apply takes.
func (a *app) exportRuleGetCmd() *cobra.Command {
	var consistent bool
	cmd := &cobra.Command{
		Use: "get NAME", Short: "Print an export rule in the form that apply takes", Args: usage(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.call(cmd.Context(), func(ctx context.Context, agent pb.OperatorClient) error {
				r, err := agent.GetExportRule(ctx, &pb.GetExportRuleRequest{Name: args[0], Consistent: consistent})
				if err != nil {
					return err
				}
				return a.printDocument("ExportRule", r.GetName(), r.GetSpec())
			})
		},
	}
	consistently(cmd, &consistent)
	return cmd
}

func (a *app) exportRuleDeleteCmd() *cobra.Command {
	var dryRun, force bool
	cmd := a.ask("delete NAME", "Delete an export rule; what only it refused is exported again", cobra.ExactArgs(1),
		func(ctx context.Context, agent pb.OperatorClient, args []string) (proto.Message, show, error) {
			r, err := agent.DeleteExportRule(ctx, &pb.DeleteExportRuleRequest{Name: args[0], DryRun: dryRun, Force: force})
			return r, func(p *printer) {
				if !dryRun {
					p.line("export rule %s is deleted", args[0])
				}
				showExports(p, r.GetTakesAway(), r.GetGivesBack())
			}, err
		})
	exportRuleFlags(cmd, &dryRun, &force)
	return cmd
}

func (a *app) exportRuleCheckCmd() *cobra.Command {
	var cluster string
	cmd := &cobra.Command{
		Use: "check NAMESPACE/NAME --cluster CLUSTER", Args: usage(cobra.ExactArgs(1)),
		Short: "Say whether a cluster may export a service, and by which rule; exit code 3 if it may not",
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.call(cmd.Context(), func(ctx context.Context, agent pb.OperatorClient) error {
				r, err := agent.CheckExport(ctx, &pb.CheckExportRequest{Service: args[0], Cluster: cluster})
				if err != nil {
					return err
				}
				if err := a.print(r, func(p *printer) { showExportCheck(p, r) }); err != nil || r.GetAllowed() {
					return err
				}
				return errProblems
			})
		},
	}
	cmd.Flags().StringVar(&cluster, "cluster", "", "the cluster; it need not have joined yet")
	required(cmd, "cluster")
	return cmd
}

func showExportCheck(p *printer, r *pb.CheckExportResponse) {
	naming, allowing := strings.Join(r.GetNaming(), ", "), strings.Join(r.GetAllowing(), ", ")
	switch {
	case naming == "":
		p.line("allowed: no export rule names %s", r.GetService())
	case r.GetAllowed():
		p.line("allowed by %s, of the rules that name %s: %s", allowing, r.GetService(), naming)
	default:
		p.line("REFUSED: none of the rules that name %s allows cluster %s: %s", r.GetService(), r.GetCluster(), naming)
	}
	if r.GetRegion() == "" {
		p.line("cluster %s is not known yet; rules that allow its region are not counted", r.GetCluster())
	}
	if r.GetExported() && !r.GetAllowed() {
		p.line("it exports the service now, in vain: nobody is sent there")
	}
}
