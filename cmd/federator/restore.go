package main

import (
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/federator/federator/federation"
	"github.com/federator/federator/federation/catalog"
)

func (a *app) regionRecoverCmd() *cobra.Command {
	var dataDir string
	cmd := &cobra.Command{
		Use: "recover", Short: "Make a stopped replica the only one of its region, after the quorum is lost for good",
		Long: `Make a stopped replica the only one of its region, after a majority of its voters is
lost for good. It keeps everything that this replica has on its disk. The other
replicas of the region must not run again: empty their data directories and join
them anew. The region gets a new epoch from the authority region at its next start.`,
		Args: usage(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			replica, err := federation.RecoverRegion(dataDir)
			if err != nil {
				return err
			}
			return a.printCarriesOn(replica, dataDir)
		},
	}
	dataDirFlag(cmd.Flags(), &dataDir, a.env)
	return cmd
}

func (a *app) restoreCmd() *cobra.Command {
	var options federation.RestoreOptions
	var keyFile string
	cmd := &cobra.Command{
		Use: "restore FILE", Short: "Carry a region on from a backup, with this replica as its only one",
		Long: `Carry a region on from a backup, with this replica as its only one. On a new machine
give the same flags as for join, and the key of a recipient that the backup was taken
for. In a data directory that kept its replica.json and identity, only --data-dir
counts. The region gets a new epoch from the authority region at its next start.`,
		Args: usage(cobra.ExactArgs(1)),
		RunE: func(_ *cobra.Command, args []string) error {
			archive, err := os.Open(args[0])
			if err != nil {
				return err
			}
			defer archive.Close()
			if options.Key, err = readKey(keyFile); err != nil {
				return err
			}
			options.Archive, options.Build = archive, ownVersion().GetVersion()
			replica, err := federation.Restore(options)
			if err != nil {
				return err
			}
			return a.printCarriesOn(replica, options.DataDir)
		},
	}
	placeFlags(cmd.Flags(), &options.Place, a.env)
	cmd.Flags().StringVar(&keyFile, "key-file", "", "file with the age secret key of a recipient of the backup")
	return cmd
}

// maxKeyFile bounds a key file, in bytes.
const maxKeyFile = 4 << 10

func readKey(path string) (string, error) {
	if path == "" {
		return "", nil
	}
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxKeyFile))
	return string(b), err
}

func (a *app) printCarriesOn(replica catalog.Replica, dataDir string) error {
	if a.output == "json" {
		return a.printJSON(map[string]any{"replica": replica, "dataDir": dataDir})
	}
	_, err := fmt.Fprintf(a.out, `replica %s carries region %s on alone
next: federator agent --data-dir %s
then: join the other replicas anew, with empty data directories and new tokens
`, replica.Name, replica.Region, dataDir)
	return err
}
