package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/federator/federator/deploy"
	"github.com/federator/federator/identity"
	"github.com/federator/federator/kube/laptop"
	"github.com/federator/federator/kube/link"
)

// installFlags are those of install.
type installFlags struct {
	values  deploy.Values
	keyFile string
	dryRun  bool
	within  time.Duration
	// scaled: the number of replicas was said, whoever else has set it.
	scaled bool
}

func (a *app) installCmd() *cobra.Command {
	var i installFlags
	cmd := &cobra.Command{
		Use: "install --context CLUSTER", Short: "Install federator in a Kubernetes cluster", Args: usage(cobra.NoArgs),
		Long: `Apply what "federator manifests" prints, and the CustomResourceDefinitions of the
Multi-Cluster Services API if they are missing, to the cluster of a kubeconfig
context, and wait until it runs. With --trust-domain the cluster founds the federation;
else it waits until "federator join" lets it in. Doing it again changes what is said
and nothing else: a flag that is left out means what is installed.

The recovery key of a trust domain is made on this machine, in the file that
--recovery-key-file names, and never reaches the cluster: only its public half does.`,
		Example: `  federator install --context us-west --trust-domain acme.example --recovery-key-file recovery.key
  federator join --context eu-central --to us-west --install`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.install(cmd.Context(), i, cmd.Flags().Changed)
		},
	}
	f := cmd.Flags()
	f.StringVar(&i.values.Region, "region", "", "the region, such as us-west (default: what is installed, else the context's name)")
	f.StringVar(&i.values.Cluster, "cluster", "", "the cluster, one or two DNS labels (default: what is installed, else the region)")
	f.StringVar(&i.values.TrustDomain, "trust-domain", "", "found this trust domain, the name of the whole federation, such as acme.example")
	f.StringVar(&i.keyFile, "recovery-key-file", "", "with --trust-domain: the file of its recovery key, which is made (mode 0600) if it is not there")
	f.StringVar(&i.values.RecoveryRecipient, "recovery-recipient", "", "with --trust-domain: the public half of a recovery key that is elsewhere")
	f.BoolVar(&i.values.ServiceMonitor, "service-monitor", false, "a ServiceMonitor for the Prometheus operator too")
	f.BoolVar(&i.dryRun, "dry-run", false, "say what is in the way and what would be applied, and do nothing")
	f.DurationVar(&i.within, "within", 10*time.Minute, "how long the whole may take")
	podFlags(f, &i.values)
	exclusive(cmd, "recovery-recipient", "recovery-key-file")
	before(cmd, func() error {
		keyed := i.keyFile != "" || i.values.RecoveryRecipient != ""
		i.scaled = cmd.Flags().Changed("replicas")
		switch {
		case len(a.reach.contexts) == 0:
			return errors.New("--context is missing: the cluster to install in; see federator install --help")
		case i.scaled && i.values.Replicas == 0:
			return fmt.Errorf("--replicas: expected 1 to 9, found 0; to pause it: kubectl --context %s -n %s scale statefulset federator --replicas=0", a.reach.contexts[0], a.reach.namespace)
		case i.values.TrustDomain != "" && !keyed:
			return errors.New("a trust domain has a recovery key: say --recovery-key-file FILE, and keep that file safe, or --recovery-recipient; see federator install --help")
		case i.values.TrustDomain == "" && keyed:
			return errors.New("--trust-domain is missing: only a cluster that founds one needs a recovery key; see federator install --help")
		}
		return nil
	})
	return cmd
}

// install installs federator in a cluster.
func (a *app) install(ctx context.Context, i installFlags, given func(flag string) bool) error {
	cluster, err := a.reach.cluster()
	if err != nil {
		return err
	}
	i.values.Namespace = cluster.Namespace
	if err := i.plausible(); err != nil {
		return usageError{err}
	}
	facts := link.Look(ctx, cluster, link.ToInstall)
	if err := a.hindrances(link.Obstacles(&facts)); err != nil {
		return err
	}
	v := asInstalled(i.values, &facts, given)
	if v.Region, err = regionOf(v.Region, cluster); err != nil {
		return err
	}
	v.Cluster = cmp.Or(v.Cluster, v.Region)
	if i.keyFile != "" {
		if v.RecoveryRecipient, err = recipientIn(i.keyFile); err != nil {
			return err
		}
	}
	if err := link.MayInstall(&facts, v.Region, v.Cluster, v.TrustDomain, v.RecoveryRecipient); err != nil {
		return err
	}
	if i.keyFile != "" && v.RecoveryRecipient == "" {
		v.RecoveryRecipient = toBeMade
		if !i.dryRun {
			if v.RecoveryRecipient, err = saveRecoveryKey(i.keyFile); err != nil {
				return err
			}
		}
	}
	return a.applyTo(ctx, cluster, v, i)
}

// toBeMade stands for the public half of a key that is not there yet.
const toBeMade = "to be made"

// plausible says what is wrong with the flags, before a cluster is looked at and a key
// is made.
func (i *installFlags) plausible() error {
	v := i.values
	v.Region, v.Cluster = cmp.Or(v.Region, "region"), cmp.Or(v.Cluster, "cluster")
	if i.keyFile != "" {
		v.RecoveryRecipient = toBeMade
	}
	if _, err := deploy.Render(v); err != nil {
		return err
	}
	return foundable(v.TrustDomain, i.values.RecoveryRecipient)
}

// foundable says what is wrong with a trust domain that is to be founded, and with the
// public half of its recovery key; either may be empty. A pod would say so, too, over
// and over.
func foundable(trustDomain, recipient string) error {
	if trustDomain != "" {
		if err := identity.ValidateTrustDomain(trustDomain); err != nil {
			return fmt.Errorf("--trust-domain: %w", err)
		}
	}
	if recipient != "" {
		if err := identity.ValidateRecipient(recipient); err != nil {
			return fmt.Errorf("--recovery-recipient: %w", err)
		}
	}
	return nil
}

// asInstalled has what was not said be as it is installed: to install again changes
// what is said and nothing else.
func asInstalled(v deploy.Values, f *link.Facts, given func(flag string) bool) deploy.Values {
	if !f.Installed {
		return v
	}
	for flag, field := range map[string]struct {
		value *string
		is    string
	}{
		"region": {&v.Region, f.Region}, "cluster": {&v.Cluster, f.Cluster}, "image": {&v.Image, f.Image},
		"expose": {&v.Expose, f.Expose}, "storage-class": {&v.StorageClass, f.StorageClass},
	} {
		if !given(flag) && field.is != "" {
			*field.value = field.is
		}
	}
	if !given("replicas") {
		v.Replicas, v.Paused = f.Replicas, f.Replicas == 0
	}
	if !given("ephemeral") {
		v.Ephemeral = f.Ephemeral
	}
	if !given("service-monitor") {
		v.ServiceMonitor = f.Monitored
	}
	return v
}

// applyTo applies the manifests, or says what they are.
func (a *app) applyTo(ctx context.Context, cluster *laptop.Cluster, v deploy.Values, i installFlags) error {
	manifests, err := deploy.Render(v)
	if err != nil {
		return usageError{err}
	}
	definitions, err := deploy.Definitions()
	if err != nil {
		return err
	}
	if v.Paused {
		a.progress(cluster.Context + " is paused, its StatefulSet scaled to none, and stays so; " + link.Command(cluster, "install", "--replicas 3") + " starts it")
	}
	if i.dryRun {
		objects, err := link.Objects(manifests)
		if err != nil {
			return err
		}
		would := plan(cluster.Context, nil, false)
		for _, o := range objects {
			would.Steps = append(would.Steps, "apply "+o.GetKind()+" "+o.GetName())
			a.say("would apply " + o.GetKind() + " " + o.GetName())
		}
		return a.conclude(would, "")
	}
	ctx, cancel := context.WithTimeout(ctx, i.within)
	defer cancel()
	var taken []string
	if i.scaled {
		taken = append(taken, link.Scale)
	}
	if err := link.Install(ctx, cluster, definitions, manifests, a.progress, taken...); err != nil {
		return err
	}
	facts, err := link.AwaitInstalled(ctx, cluster, a.progress)
	if err != nil {
		return err
	}
	return a.printInstalled(cluster, v, i, facts)
}

func (a *app) printInstalled(cluster *laptop.Cluster, v deploy.Values, i installFlags, facts link.Facts) error {
	trustDomain, paused := facts.Agent.GetTrustDomain(), facts.Installed && facts.Replicas == 0
	switch {
	case a.output == "json":
		return a.printJSON(map[string]any{"context": cluster.Context, "region": v.Region, "cluster": v.Cluster, "trustDomain": trustDomain, "recoveryKeyFile": i.keyFile, "paused": paused})
	case paused:
		fmt.Fprintf(a.out, "%s is installed as region %s, and paused: its StatefulSet is scaled to none\nnext: %s, which starts it; if unlink took the region out, its disks are of that time, and this comes first: %s\n",
			cluster.Context, v.Region, link.Command(cluster, "install", "--replicas 3"), link.Command(cluster, "unlink", "--from CLUSTER --uninstall"))
		return nil
	case trustDomain == "":
		fmt.Fprintf(a.out, "%s is installed as region %s, and waits to be let in\nnext: %s\n", cluster.Context, v.Region, link.Command(cluster, "join", "--to CLUSTER"))
		return nil
	}
	fmt.Fprintf(a.out, "%s runs as region %s of %s\n", cluster.Context, v.Region, trustDomain)
	if i.keyFile != "" {
		fmt.Fprintf(a.out, "the recovery key is in %s; keep it away from the clusters, and do not lose it\n", i.keyFile)
	}
	fmt.Fprintf(a.out, "next: federator join --context CLUSTER --to %s --install\n", cluster.Context)
	return nil
}

// recipientIn is the public half of the recovery key in a file; "" if it is not there.
func recipientIn(path string) (string, error) {
	text, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", nil
	case err != nil:
		return "", fmt.Errorf("recovery key file: %w", err)
	}
	key, err := identity.ParseSealKey(strings.TrimSpace(string(text)))
	if err != nil {
		return "", fmt.Errorf("recovery key file %s: expected a key of federator recovery-key: %w", path, err)
	}
	return key.Recipient(), nil
}
