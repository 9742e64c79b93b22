package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/federator/federator/cmd/federator/internal/devlab"
)

func (a *app) devCmd() *cobra.Command {
	var dir string
	var story bool
	cmd := &cobra.Command{
		Use: "dev", Short: "Run a whole federation on this machine: three regions of three replicas", Args: usage(cobra.NoArgs),
		Long: `Run a whole federation on this machine, through the same init, token create and
join that production uses, each printed as it runs. Region k (us-west 1,
eu-central 2, asia-east 3) has its demo endpoints on 127.10.k.n, and the DNS of
its replica r (from 0) on 127.0.0.1:(8600+10k+r). Ctrl-C ends everything.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			binary, err := os.Executable()
			if err != nil {
				return err
			}
			ctx, cancel := context.WithCancel(cmd.Context())
			defer cancel()
			go endWithGoRun(ctx, cancel)
			return a.dev(ctx, devlab.Options{Dir: dir, Binary: binary, Out: a.out}, story)
		},
	}
	cmd.Flags().StringVar(&dir, "dir", "", "keep the state, dev.json and the logs here (default: a temporary folder, removed at the end)")
	cmd.Flags().BoolVar(&story, "story", false, "tell the whole tale unattended: break, mend and measure; exit 0 only if all of it went as it must")
	return cmd
}

func (a *app) dev(ctx context.Context, options devlab.Options, story bool) error {
	lab, err := devlab.Open(options)
	if err != nil {
		return err
	}
	defer lab.Close()
	if err := lab.Start(ctx); err != nil {
		if ctx.Err() != nil && !story {
			return nil // Ctrl-C while it starts
		}
		return err
	}
	if story {
		return devlab.Tell(ctx, lab)
	}
	lab.Say("%s", lab.Guide())
	lab.Attend(ctx)
	lab.Say("\nending everything")
	return nil
}

// endWithGoRun ends dev when "go run" that started it is gone: it passes on
// Ctrl-C, but no other signal.
func endWithGoRun(ctx context.Context, end func()) {
	parent := os.Getppid()
	comm, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", parent))
	if err != nil || strings.TrimSpace(string(comm)) != "go" {
		return
	}
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for os.Getppid() == parent {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
	end()
}

// devEndpointsCmd serves the demo endpoints of one region. It is part of dev.
func (a *app) devEndpointsCmd() *cobra.Command {
	return &cobra.Command{
		Use: "dev-endpoints SERVICE@REGION/ZONE=IP:PORT...", Short: "Serve demo endpoints", Hidden: true, Args: usage(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error { return devlab.ServeDemo(cmd.Context(), args, a.out) },
	}
}
