package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/federator/federator/federation"
	"github.com/federator/federator/peering/token"
)

func (a *app) joinCmd() *cobra.Command {
	var options federation.JoinOptions
	cmd := &cobra.Command{
		Use: "join TOKEN|FILE|-", Short: "Make this replica a member of an existing trust domain", Args: usage(cobra.ExactArgs(1)),
		Long: `Redeem a token of "federator token create" and fill an empty data directory. The
token is given itself, in a file, or on standard input. A region that does not
exist yet is founded; one that does is joined. Trying again with the same token
and directory is safe.`,
		Example: `  federator token create | ssh new-host federator join - --region eu-central --cluster central-1`,
		RunE: func(cmd *cobra.Command, args []string) error {
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
	required(cmd, "region", "cluster")
	return cmd
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
