package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/federator/federator/kube/laptop"
	"github.com/federator/federator/kube/link"
)

// dnsFlags are those of the commands about a cluster's DNS.
type dnsFlags struct {
	zone        string
	yes, dryRun bool
	within      time.Duration
}

func (d *dnsFlags) flags(f *pflag.FlagSet) {
	f.BoolVar(&d.yes, "yes", false, "do not ask")
	f.BoolVar(&d.dryRun, "dry-run", false, "show what would change, and do nothing")
	f.DurationVar(&d.within, "within", 3*time.Minute, "how long to wait until the cluster's DNS has read it")
}

func (a *app) dnsCmd() *cobra.Command {
	cmd := parent("dns", "The DNS of a Kubernetes cluster: let it ask federator, or no longer")
	cmd.AddCommand(a.dnsInstallCmd(), a.dnsRemoveCmd())
	return cmd
}

func (a *app) dnsInstallCmd() *cobra.Command {
	var d dnsFlags
	cmd := &cobra.Command{
		Use: "install --context CLUSTER", Short: "Let the cluster's DNS ask federator for the federation's names", Args: usage(cobra.NoArgs),
		Long: `Add a block to the Corefile of the cluster's CoreDNS that forwards the federation's
zone to the Service federator-dns. The change is shown first. Between the lines that
mark it nothing else is touched, and a Corefile that is not understood, or in which
somebody else has the zone, not at all. Where the provider owns the Corefile and has it
extended by the ConfigMap coredns-custom, the block goes there.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.changeDNS(cmd.Context(), d, func(ctx context.Context, c *laptop.Cluster, f link.DNSFacts) (link.Change, error) {
				zone := d.zone
				if zone == "" {
					zone = link.ZoneOf(ctx, c)
				}
				return link.PlanDNS(f, zone)
			})
		},
	}
	d.flags(cmd.Flags())
	cmd.Flags().StringVar(&d.zone, "zone", "", "the zone (default: what the replicas there answer, else clusterset.local)")
	a.needsContext(cmd)
	return cmd
}

func (a *app) dnsRemoveCmd() *cobra.Command {
	var d dnsFlags
	cmd := &cobra.Command{
		Use: "remove --context CLUSTER", Short: "Take that out of the cluster's DNS again; every other byte is as it was", Args: usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.changeDNS(cmd.Context(), d, func(_ context.Context, _ *laptop.Cluster, f link.DNSFacts) (link.Change, error) {
				return link.PlanNoDNS(f)
			})
		},
	}
	d.flags(cmd.Flags())
	a.needsContext(cmd)
	return cmd
}

// needsContext makes --context required.
func (a *app) needsContext(cmd *cobra.Command) {
	before(cmd, func() error {
		if len(a.reach.contexts) == 0 {
			return fmt.Errorf("--context is missing: the cluster whose DNS is meant; see %s --help", cmd.CommandPath())
		}
		return nil
	})
}

// changeDNS shows a change, asks, makes it, and waits until it is read.
func (a *app) changeDNS(ctx context.Context, d dnsFlags, plan func(context.Context, *laptop.Cluster, link.DNSFacts) (link.Change, error)) error {
	cluster, err := a.reach.cluster()
	if err != nil {
		return err
	}
	facts := link.LookDNS(ctx, cluster)
	change, err := plan(ctx, cluster, facts)
	if err != nil {
		return fmt.Errorf("context %s: %w", cluster.Context, err)
	}
	for _, w := range change.Warnings {
		fmt.Fprintln(a.err, "warning: "+w)
	}
	answer := dnsChange{Context: cluster.Context, ConfigMap: change.ConfigMap, Key: change.Key, Warnings: append([]string{}, change.Warnings...)}
	if change.None() {
		return a.conclude(answer, "the DNS of "+cluster.Context+" is that way already")
	}
	answer.Diff = change.Diff()
	a.say(strings.TrimRight(answer.Diff, "\n"))
	if d.dryRun {
		return a.conclude(answer, "")
	}
	if err := a.agree(d.yes, "Change that in "+cluster.Context+"?"); err != nil {
		return err
	}
	reading := link.ReadDNS(ctx, cluster, facts)
	if err := link.ChangeDNS(ctx, cluster, change); err != nil {
		return fmt.Errorf("context %s: %w", cluster.Context, err)
	}
	answer.Changed = true
	ctx, cancel := context.WithTimeout(ctx, d.within)
	defer cancel()
	err = link.AwaitDNS(ctx, cluster, reading, a.progress)
	switch answer.Read = err == nil; {
	case errors.Is(err, link.ErrUnseen):
		return a.conclude(answer, "changed; "+err.Error())
	case err != nil:
		return err
	}
	return a.conclude(answer, "changed, and read by the DNS of "+cluster.Context)
}

// dnsChange is what becomes of the DNS of a cluster, for programs.
type dnsChange struct {
	Context   string `json:"context"`
	ConfigMap string `json:"configMap"`
	Key       string `json:"key"`
	// Diff is empty if there is nothing to change.
	Diff    string `json:"diff"`
	Changed bool   `json:"changed"`
	// Read: every pod of the cluster's DNS was seen to read it.
	Read     bool     `json:"read"`
	Warnings []string `json:"warnings"`
}
