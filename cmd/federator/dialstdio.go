package main

import (
	"fmt"
	"net"

	"github.com/spf13/cobra"

	"github.com/federator/federator/kube/laptop"
)

// dialStdioCmd is the far end of --context: an operator's federator runs it in a pod.
func (a *app) dialStdioCmd() *cobra.Command {
	return &cobra.Command{
		Use: "dial-stdio", Short: "Copy between the agent's socket and standard input and output", Hidden: true, Annotations: withLocal(nil), Args: usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			var d net.Dialer
			socket, err := d.DialContext(cmd.Context(), "unix", a.reach.socket)
			if err != nil {
				return fmt.Errorf("%w on %s: %w", errUnreachable, &a.reach, err)
			}
			defer socket.Close()
			return laptop.Greet(a.in, a.out, socket)
		},
	}
}
