package main

import (
	"context"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/federator/federator/peering/pb"
)

func (a *app) versionCmd() *cobra.Command {
	var agentToo bool
	cmd := &cobra.Command{
		Use: "version", Short: "What this program is, and with --agent what the agent is", Args: usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !agentToo {
				own := ownVersion()
				return a.print(own, func(p *printer) { showVersion(p, own) })
			}
			return a.call(cmd.Context(), func(ctx context.Context, agent pb.OperatorClient) error {
				v, err := agent.Version(ctx, &pb.VersionRequest{})
				if err != nil {
					return err
				}
				return a.print(v, func(p *printer) { showVersion(p, v) })
			})
		},
	}
	cmd.Flags().BoolVar(&agentToo, "agent", false, "ask the agent what it is")
	return cmd
}

// ownVersion is what the Go toolchain wrote into this program.
func ownVersion() *pb.VersionResponse {
	v := &pb.VersionResponse{Version: "unknown", GoVersion: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return v
	}
	v.Version = info.Main.Version
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			v.Commit = s.Value
		case s.Key == "vcs.modified" && s.Value == "true":
			v.Commit += " (modified)"
		}
	}
	return v
}

func showVersion(p *printer, v *pb.VersionResponse) {
	p.line("federator\t%s", v.GetVersion())
	p.line("commit\t%s", or(v.GetCommit(), "unknown"))
	p.line("built with\t%s for %s", v.GetGoVersion(), v.GetPlatform())
	if v.GetMaxProtocol() > 0 {
		p.line("protocol\t%d, understands %d to %d", v.GetProtocol(), v.GetMinProtocol(), v.GetMaxProtocol())
	}
}
