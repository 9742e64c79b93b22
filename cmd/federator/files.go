package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
)

// maxFile bounds a file that is sent to an agent, in bytes.
const maxFile = 4 << 20

// readFile reads a file, or standard input for "-".
func (a *app) readFile(path string) (b []byte, err error) {
	if path == "-" {
		b, err = io.ReadAll(io.LimitReader(a.in, maxFile+1))
	} else {
		var f *os.File
		if f, err = os.Open(path); err != nil {
			return nil, err
		}
		b, err = io.ReadAll(io.LimitReader(f, maxFile+1))
		err = errors.Join(err, f.Close())
	}
	switch {
	case err != nil:
		return nil, fmt.Errorf("reading %s: %w", path, err)
	case len(b) > maxFile:
		return nil, fmt.Errorf("%s has more than %d bytes", path, maxFile)
	}
	return b, nil
}

// required makes flags of a command required; forgetting one is a usage error.
func required(cmd *cobra.Command, names ...string) {
	for _, name := range names {
		usage := cmd.Flags().Lookup(name).Usage
		cmd.Flags().Lookup(name).Usage = usage + " (required)"
	}
	before := cmd.PreRunE
	cmd.PreRunE = func(cmd *cobra.Command, args []string) error {
		for _, name := range names {
			if !cmd.Flags().Changed(name) {
				return usageError{fmt.Errorf("--%s is missing; see %s --help", name, cmd.CommandPath())}
			}
		}
		if before != nil {
			return before(cmd, args)
		}
		return nil
	}
}
