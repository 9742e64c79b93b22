package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/federator/federator/federation"
)

func (a *app) initCmd() *cobra.Command {
	var options federation.InitOptions
	var keyFile string
	cmd := &cobra.Command{
		Use: "init", Short: "Make a trust domain, its first region and this replica", Args: usage(cobra.NoArgs),
		Long: `Make a trust domain, its first region and this replica, in an empty data directory.
It prints the recovery key, once: with it the trust domain can be taken over when
the first region is lost for good. Keep it away from these machines.`,
		Example: "  federator init --trust-domain acme.example --region us-west --cluster west-1 --peer-address 10.0.0.5:7443",
		RunE: func(*cobra.Command, []string) error {
			options.Build = ownVersion().GetVersion()
			return a.found(options, keyFile)
		},
	}
	cmd.Flags().StringVar(&options.TrustDomain, "trust-domain", "", "the name of the whole federation, such as acme.example")
	cmd.Flags().StringVar(&keyFile, "recovery-key-file", "", "the file of its recovery key, which is made (mode 0600) if it is not there, and is not printed")
	cmd.Flags().StringVar(&options.RecoveryRecipient, "recovery-recipient", "", "the public half of a recovery key that \"federator recovery-key\" made elsewhere; none is made here then")
	placeFlags(cmd.Flags(), &options.Place, a.env)
	exclusive(cmd, "recovery-recipient", "recovery-key-file")
	required(cmd, "trust-domain", "region", "cluster")
	return cmd
}

// placeFlags are the flags that say what a new replica is.
func placeFlags(flags *pflag.FlagSet, p *federation.Place, env func(string) string) {
	dataDirFlag(flags, &p.DataDir, env)
	flags.StringVar(&p.Region, "region", "", "the replica's region, such as us-west")
	flags.StringVar(&p.Cluster, "cluster", "", "the cluster whose services it looks after, one or two DNS labels")
	flags.StringVar(&p.Zone, "zone", "", "the replica's zone, such as a")
	flags.StringVar(&p.Name, "name", "", "the replica's name, unique in its region (default: the host's name)")
	flags.StringVar(&p.PeerAddress, "peer-address", "", "HOST:PORT of its mTLS port as other replicas reach it (default: this machine's address, port 7443)")
	flags.StringVar(&p.GossipAddress, "gossip-address", "", "HOST:PORT of its gossip port as other replicas reach it (default: this machine's address, port 7946)")
	flags.StringVar(&p.DNSAddress, "dns-address", "", "HOST:PORT of its DNS server, for people (default: none)")
}

func dataDirFlag(flags *pflag.FlagSet, dir *string, env func(string) string) {
	flags.StringVar(dir, "data-dir", dataDirOf(env), "the replica's data directory (env FEDERATOR_DATA_DIR)")
}

// found makes the trust domain. Its recovery key is on the disk before there is one,
// and stays whatever becomes of the command once there may be one: it cannot be made
// again. The key of an init that was cut short is taken.
func (a *app) found(options federation.InitOptions, keyFile string) error {
	taken, made := federation.HasReplica(options.DataDir), false
	if keyFile != "" {
		recipient, err := recipientIn(keyFile)
		if err == nil && recipient == "" {
			recipient, err = saveRecoveryKey(keyFile)
			made = err == nil
		}
		if err != nil {
			return err
		}
		options.RecoveryRecipient = recipient
	}
	result, err := federation.Init(options)
	if err != nil {
		if made && (taken || !federation.HasReplica(options.DataDir)) {
			err = errors.Join(err, os.Remove(keyFile))
		}
		return err
	}
	err = a.printFounded(options, result, keyFile)
	if err != nil && keyFile == "" && result.RecoveryKey != "" {
		fmt.Fprintf(a.err, "the trust domain is made, and cannot be made again; RECOVERY KEY, shown only now: %s\n", result.RecoveryKey)
	}
	return err
}

func (a *app) printFounded(options federation.InitOptions, result federation.InitResult, keyFile string) error {
	r := result.Replica
	if a.output == "json" {
		answer := map[string]any{"trustDomain": options.TrustDomain, "replica": r, "rootPin": result.RootPin, "recoveryRecipient": result.RecoveryRecipient}
		if keyFile == "" && result.RecoveryKey != "" {
			answer["recoveryKey"] = result.RecoveryKey
		}
		return a.printJSON(answer)
	}
	var key string
	switch {
	case keyFile != "":
		key = fmt.Sprintf("the recovery key is in %s; keep it away from these machines\n", keyFile)
	case result.RecoveryKey == "":
		key = "its recovery key stays where it was made\n"
	default:
		key = fmt.Sprintf("\nRECOVERY KEY, shown only now: %s\nKeep it away from these machines.\n\n", result.RecoveryKey)
	}
	_, err := fmt.Fprintf(a.out, "made the trust domain %s and its first region %s with replica %s\nroot key pin: %s\nrecovery recipient, for federator backup --recipient: %s\n%snext: federator agent --data-dir %s\n",
		options.TrustDomain, r.Region, r.Name, result.RootPin, result.RecoveryRecipient, key, options.DataDir)
	return err
}
