package main

import (
	"fmt"

	"github.com/spf13/cobra"
)

// required makes flags of a command required; to forget one is a usage error.
func required(cmd *cobra.Command, names ...string) {
	for _, name := range names {
		cmd.Flags().Lookup(name).Usage += " (required)"
	}
	before(cmd, func() error {
		for _, name := range names {
			if !cmd.Flags().Changed(name) {
				return fmt.Errorf("--%s is missing; see %s --help", name, cmd.CommandPath())
			}
		}
		return nil
	})
}

// exclusive makes it a usage error to give both of two flags.
func exclusive(cmd *cobra.Command, one, other string) {
	before(cmd, func() error {
		if cmd.Flags().Changed(one) && cmd.Flags().Changed(other) {
			return fmt.Errorf("--%s and --%s exclude each other; see %s --help", one, other, cmd.CommandPath())
		}
		return nil
	})
}

// before checks a command line before the command runs, after the checks that it
// has already.
func before(cmd *cobra.Command, check func() error) {
	earlier := cmd.PreRunE
	cmd.PreRunE = func(cmd *cobra.Command, args []string) error {
		if earlier != nil {
			if err := earlier(cmd, args); err != nil {
				return err
			}
		}
		if err := check(); err != nil {
			return usageError{err}
		}
		return nil
	}
}
