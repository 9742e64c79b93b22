package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"
	"sigs.k8s.io/yaml"

	"github.com/federator/federator/locality/policyfile"
	"github.com/federator/federator/peering/pb"
)

func (a *app) policyCmd() *cobra.Command {
	cmd := parent("policy", "What operators say about resolution: apply, list, get and delete")
	cmd.AddCommand(a.policyApplyCmd(), a.policyListCmd(), a.policyGetCmd(), a.policyDeleteCmd())
	return cmd
}

func (a *app) policyApplyCmd() *cobra.Command {
	var path string
	var dryRun bool
	cmd := &cobra.Command{
		Use: "apply -f FILE", Short: "Write the policies of a file", Args: usage(cobra.NoArgs),
		Example: `  federator policy apply -f - <<END
  kind: Policy
  name: shop/checkout        # or default
  spec: {regionOrder: [us-west, eu-central]}
  END`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			data, err := a.readFile(path)
			if err != nil {
				return err
			}
			policies, err := policyfile.ParsePolicies(data)
			if err != nil {
				return fmt.Errorf("%s: %w", path, err)
			}
			return a.call(cmd.Context(), func(ctx context.Context, agent pb.OperatorClient) error {
				return a.applyPolicies(ctx, agent, policies, dryRun)
			})
		},
	}
	cmd.Flags().StringVarP(&path, "file", "f", "", "the file, - for standard input")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "only say what would change")
	required(cmd, "file")
	return cmd
}

// applied is what became of one document of a file.
type applied struct {
	Name     string   `json:"name"`
	Action   string   `json:"action"`
	Warnings []string `json:"warnings,omitempty"`
}

// applyPolicies writes policies one by one and prints what became of each, also
// of those before one that failed.
func (a *app) applyPolicies(ctx context.Context, agent pb.OperatorClient, policies []policyfile.NamedPolicy, dryRun bool) error {
	var done []applied
	var failed error
	for _, p := range policies {
		spec, err := json.Marshal(p.Spec)
		if err != nil {
			return err
		}
		r, err := agent.ApplyPolicy(ctx, &pb.ApplyPolicyRequest{Name: p.Name, Spec: spec, DryRun: dryRun})
		if err != nil {
			failed = fmt.Errorf("policy %s: %w", p.Name, a.reach.ofFile(err))
			break
		}
		done = append(done, applied{p.Name, r.GetAction(), r.GetWarnings()})
	}
	if a.output == "json" {
		if err := a.printJSON(map[string]any{"policies": done}); err != nil {
			return err
		}
		return failed
	}
	a.printApplied("policy", done)
	return failed
}

func (a *app) printApplied(kind string, done []applied) {
	for _, one := range done {
		fmt.Fprintf(a.out, "%s %s %s\n", kind, one.Name, one.Action)
		for _, w := range one.Warnings {
			fmt.Fprintf(a.out, "  warning: %s\n", w)
		}
	}
}

func (a *app) policyListCmd() *cobra.Command {
	var consistent bool
	cmd := a.ask("list", "List the policies", cobra.NoArgs,
		func(ctx context.Context, agent pb.OperatorClient, _ []string) (proto.Message, show, error) {
			r, err := agent.ListPolicies(ctx, &pb.ListPoliciesRequest{Consistent: consistent})
			return r, func(p *printer) {
				p.row("POLICY", "GENERATION", "WRITTEN", "IN", "BY", "SPEC")
				for _, policy := range r.GetPolicies() {
					m := policy.GetMeta()
					p.row(policy.GetName(), m.GetGeneration(), moment(m.GetWritten()), m.GetRegion(), m.GetActor(), string(policy.GetSpec()))
				}
				printClusterPolicies(p, r.GetClusterPolicies())
				if n := r.GetClusterPoliciesLeftOut(); n > 0 {
					p.line("and %d more; kubectl get resolutionpolicies -A lists those of a cluster", n)
				}
			}, err
		})
	consistently(cmd, &consistent)
	return cmd
}

// printClusterPolicies prints those that come from clusters, if there are any.
func printClusterPolicies(p *printer, policies []*pb.ClusterPolicyInfo) {
	if len(policies) == 0 {
		return
	}
	p.gap()
	p.row("OF CLUSTER", "RESOLUTIONPOLICY", "SERVICE", "CREATED", "STANDING", "SPEC")
	for _, c := range policies {
		standing := c.GetStanding()
		if because := c.GetWinner() + strings.Join(c.GetRules(), ", "); because != "" {
			standing += ": " + because
		}
		p.row(c.GetCluster(), c.GetNamespace()+"/"+c.GetName(), c.GetService(), moment(c.GetCreated()), standing, or(string(c.GetSpec()), "(long: see kubectl)"))
	}
}

// consistently adds the flag of reads that must not be stale.
func consistently(cmd *cobra.Command, consistent *bool) {
	cmd.Flags().BoolVar(consistent, "consistent", false, "answer with every change that the region has acknowledged, or fail")
}

// policyGetCmd prints a policy as a file that apply takes.
func (a *app) policyGetCmd() *cobra.Command {
	var consistent bool
	cmd := &cobra.Command{
		Use: "get NAME", Short: "Print a policy in the form that apply takes", Args: usage(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.call(cmd.Context(), func(ctx context.Context, agent pb.OperatorClient) error {
				r, err := agent.GetPolicy(ctx, &pb.GetPolicyRequest{Name: args[0], Consistent: consistent})
				if err != nil {
					return err
				}
				return a.printDocument("Policy", r.GetName(), r.GetSpec())
			})
		},
	}
	consistently(cmd, &consistent)
	return cmd
}

// printDocument prints an object in the form of the files that apply takes.
func (a *app) printDocument(kind, name string, spec []byte) error {
	document := map[string]any{"kind": kind, "name": name, "spec": json.RawMessage(spec)}
	if a.output == "json" {
		return a.printJSON(document)
	}
	b, err := yaml.Marshal(document)
	if err != nil {
		return err
	}
	_, err = a.out.Write(b)
	return err
}

func (a *app) policyDeleteCmd() *cobra.Command {
	return a.ask("delete NAME", "Delete a policy", cobra.ExactArgs(1),
		func(ctx context.Context, agent pb.OperatorClient, args []string) (proto.Message, show, error) {
			r, err := agent.DeletePolicy(ctx, &pb.DeletePolicyRequest{Name: args[0]})
			return r, said("policy %s is deleted", args[0]), err
		})
}
