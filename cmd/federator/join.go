package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/federator/federator/federation"
	"github.com/federator/federator/peering/token"
)

func (a *app) joinCmd() *cobra.Command {
	var options federation.JoinOptions
	var clusters joinFlags
	cmd := &cobra.Command{
		Use: "join TOKEN|FILE|- | join --context CLUSTER --to CLUSTER", Short: "Make this replica, or a Kubernetes cluster, a member of an existing trust domain",
		Long: `With a TOKEN: redeem a token of "federator token create" and fill an empty data
directory. The token is given itself, in a file, or on standard input. A region that
does not exist yet is founded; one that does is joined. Trying again with the same
token and directory is safe.

With --context and --to: join the cluster of one kubeconfig context to the federation
of another's. What is in the way is said first, with what to do; a token is made in
one and put in the other, seen by nobody; then it waits until both have each other's
data. Trying again is safe, and goes on where the last try ended.`,
		Example: `  federator token create | ssh new-host federator join - --region eu-central --cluster central-1
  federator join --context eu-central --to us-west --install`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if a.reach.contexts != nil {
				clusters.values.Region, clusters.values.Cluster = options.Region, options.Cluster
				return a.joinClusters(cmd, clusters)
			}
			var err error
			if options.Token, err = token.Load(args[0], a.in); err != nil {
				return err
			}
			options.Build = ownVersion().GetVersion()
			options.Progress = func(step string) { fmt.Fprintln(a.err, step) }
			options.Log = a.logger(federation.Log{Level: "warn", Format: "text"})
			result, err := federation.Join(cmd.Context(), options)
			if err != nil {
				return err
			}
			return a.printJoined(options.DataDir, result)
		},
	}
	placeFlags(cmd.Flags(), &options.Place, a.env)
	own := []string{"data-dir", "zone", "name", "peer-address", "gossip-address", "dns-address"}
	theirs := clusters.flags(cmd.Flags())
	cmd.Args = func(cmd *cobra.Command, args []string) error { return a.eitherWay(cmd, args, own, theirs) }
	return cmd
}

// eitherWay tells the two ways to join from each other.
func (a *app) eitherWay(cmd *cobra.Command, args, own, theirs []string) error {
	given := func(names []string) string {
		for _, name := range names {
			if cmd.Flags().Changed(name) {
				return name
			}
		}
		return ""
	}
	bad := func(format string, args ...any) error {
		return usageError{fmt.Errorf(format+"; see %s --help", append(args, cmd.CommandPath())...)}
	}
	switch contexts := a.reach.contexts; {
	case len(contexts) > 0 && len(args) > 0:
		return bad("a TOKEN makes this machine a replica, --context joins a Kubernetes cluster: expected one of the two")
	case len(contexts) > 1:
		return bad("expected one --context, found %d", len(contexts))
	case len(contexts) == 1 && !cmd.Flags().Changed("to"):
		return bad("--to is missing: the context of the cluster whose federation %s joins", contexts[0])
	case len(contexts) == 1 && given(own) != "":
		return bad("--%s is for a replica on this machine, and a cluster is joined", given(own))
	case len(contexts) == 1:
		return nil
	case given(theirs) != "":
		return bad("--%s is for joining a Kubernetes cluster: --context is missing", given(theirs))
	}
	if err := usage(cobra.ExactArgs(1))(cmd, args); err != nil {
		return err
	}
	for _, name := range []string{"region", "cluster"} {
		if !cmd.Flags().Changed(name) {
			return bad("--%s is missing", name)
		}
	}
	return nil
}

func (a *app) printJoined(dataDir string, result federation.JoinResult) error {
	r := result.Replica
	if a.output == "json" {
		return a.printJSON(map[string]any{
			"trustDomain": result.TrustDomain, "replica": r, "epoch": result.Epoch,
			"founding": result.Founding, "warnings": result.Warnings,
		})
	}
	for _, w := range result.Warnings {
		fmt.Fprintf(a.out, "warning: %s\n", w)
	}
	how := "joined"
	if result.Founding {
		how = "founded"
	}
	fmt.Fprintf(a.out, "replica %s %s the region %s of %s\nnext: federator agent --data-dir %s\n", r.Name, how, r.Region, result.TrustDomain, dataDir)
	return nil
}
