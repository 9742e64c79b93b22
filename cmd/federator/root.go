package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// app is what the commands share.
type app struct {
	stdio
	env func(string) string

	output  string
	timeout time.Duration
	reach   reach
}

// run runs one command line and returns its exit code.
func run(ctx context.Context, args []string, env func(string) string, io stdio) int {
	a := &app{stdio: io, env: env}
	root := a.root()
	root.SetArgs(args)
	root.SetIn(io.in)
	root.SetOut(io.out)
	root.SetErr(io.err)
	err := root.ExecuteContext(ctx)
	if err != nil && err.Error() != "" {
		fmt.Fprintf(io.err, "federator: %v\n", err)
	}
	return exitCode(err)
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "federator",
		Short: "One name per service, answered by the nearest healthy place",
		Long: `federator links clusters and regions: one name per service that resolves to the
nearest healthy place, failover by itself in seconds, one trust domain.

Begin with "federator dev", which runs a whole federation on this machine.

Exit codes: 0 all is well; 1 the command failed; 2 the command line is wrong;
3 check found problems; 4 no agent could be reached.`,
		SilenceUsage:  true,
		SilenceErrors: true,
		// Without arguments the help is the answer; with an unknown one it is not.
		Args: usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			known := []string{"text", "json"}
			if own := cmd.Annotations[formats]; own != "" {
				known = strings.Fields(own)
			}
			if !slices.Contains(known, a.output) {
				return usageError{fmt.Errorf("--output %q: expected %s", a.output, strings.Join(known, " or "))}
			}
			return a.reach.consistent(cmd)
		},
	}
	root.CompletionOptions.HiddenDefaultCmd = true
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usageError{fmt.Errorf("%w; see %s --help", err, cmd.CommandPath())}
	})
	flags := root.PersistentFlags()
	flags.StringVarP(&a.output, "output", "o", "text", "how to print: text or json")
	flags.DurationVar(&a.timeout, "timeout", 30*time.Second, "how long to wait for an agent")
	a.reach.flags(flags, a.env)
	root.AddGroup(
		&cobra.Group{ID: "make", Title: "Make and run replicas:"},
		&cobra.Group{ID: "look", Title: "Look:"},
		&cobra.Group{ID: "change", Title: "Change:"},
	)
	add := func(group string, commands ...*cobra.Command) {
		for _, c := range commands {
			c.GroupID = group
			root.AddCommand(c)
		}
	}
	add("make", a.makeCommands()...)
	add("look", a.statusCmd(), a.checkCmd(), a.membersCmd(), a.servicesCmd(), a.endpointsCmd(), a.resolveCmd(), a.auditCmd(), a.versionCmd())
	add("change", a.exportCmd(), a.dnsCmd(), a.policyCmd(), a.exportRuleCmd(), a.drillCmd(), a.evacuateCmd(), a.tokenCmd(), a.operatorCmd(), a.regionCmd(), a.keyringCmd(), a.leaveCmd(), a.backupCmd())
	root.AddCommand(a.devEndpointsCmd(), a.dialStdioCmd())
	return root
}

// formats annotates a command with the values of --output that it takes, if they
// are not text and json.
const formats = "formats"

// local annotates a command that works on this machine and asks no agent.
const local = "local"

// instead annotates a command with the flag that takes the place of --context where the
// cluster is gone; which of the kubeconfig is meant, another flag says.
const instead = "instead"

// The exit codes of federator.
const (
	exitOK = iota
	exitFailed
	exitUsage
	exitProblems
	exitUnreachable
)

// usageError is a mistake in the command line.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// errProblems says that check found something; what it found is printed already.
var errProblems = errors.New("")

func exitCode(err error) int {
	var usage usageError
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &usage):
		return exitUsage
	case errors.Is(err, errProblems):
		return exitProblems
	case errors.Is(err, errUnreachable):
		return exitUnreachable
	}
	return exitFailed
}

// usage makes the mistakes that check finds usage errors.
func usage(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return usageError{fmt.Errorf("%s; see %s --help", strings.TrimRight(firstLine(err), "."), cmd.CommandPath())}
		}
		return nil
	}
}

func firstLine(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return line
}
