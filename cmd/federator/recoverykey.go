package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/federator/federator/federation"
)

func (a *app) recoveryKeyCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use: "recovery-key FILE", Short: "Make the recovery key of a trust domain before there is one", Args: usage(cobra.ExactArgs(1)),
		Long: `Make a recovery key in a new file (mode 0600) and print its public half, the
recovery recipient. A trust domain that is founded elsewhere with the recipient can
be taken over with the key, which never leaves this machine.`,
		Example: `  federator recovery-key recovery.key
  federator init --recovery-recipient age1... --trust-domain acme.example --region us-west --cluster west-1`,
		RunE: func(_ *cobra.Command, args []string) error {
			recipient, err := saveRecoveryKey(args[0])
			if err != nil {
				return err
			}
			if a.output == "json" {
				return a.printJSON(map[string]any{"recoveryRecipient": recipient, "file": args[0]})
			}
			_, err = fmt.Fprintln(a.out, recipient)
			return err
		},
	}
	return cmd
}

// saveRecoveryKey makes a key in a new file, which is removed again unless it
// holds the whole key.
func saveRecoveryKey(path string) (recipient string, err error) {
	key, recipient, err := federation.NewRecoveryKey()
	if err != nil {
		return "", err
	}
	file, err := newKeyFile(path)
	if err != nil {
		return "", err
	}
	_, err = fmt.Fprintln(file, key)
	if err = errors.Join(err, file.Sync(), file.Close()); err != nil {
		return "", errors.Join(fmt.Errorf("recovery key file: %w", err), os.Remove(path))
	}
	return recipient, nil
}

// newKeyFile makes a file that nobody else may read, and replaces none.
func newKeyFile(path string) (*os.File, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("recovery key file: %w", err)
	}
	return file, nil
}
