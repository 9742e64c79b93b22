//go:build linux

// Command up starts real Kubernetes clusters on this machine, each with a node that
// has federator's image, writes a kubeconfig with a context for each, and removes
// everything when it is interrupted. It is for trying federator by hand; package
// controlplane says what it needs.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"golang.org/x/sync/errgroup"

	"github.com/federator/federator/test/controlplane"
)

func main() { os.Exit(run()) }

func run() int {
	kubeconfig := flag.String("kubeconfig", "bin/clusters.kubeconfig", "where the kubeconfig goes; overwritten")
	flag.Usage = func() {
		fmt.Fprintf(flag.CommandLine.Output(), "usage: go run ./test/controlplane/up [--kubeconfig FILE] [CLUSTER...], from the root of the checkout\n")
		flag.PrintDefaults()
	}
	flag.Parse()
	names := flag.Args()
	if len(names) == 0 {
		names = []string{"us-west", "eu-central", "asia-east"}
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := up(ctx, names, *kubeconfig); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		return 1
	}
	return 0
}

// up holds the clusters until ctx ends.
func up(ctx context.Context, names []string, kubeconfig string) (err error) {
	dir, err := os.MkdirTemp("", "federator-up-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	var (
		world *controlplane.World
		image = filepath.Join(dir, "federator.tar")
		work  errgroup.Group
	)
	work.Go(func() error { return controlplane.BuildFederator(ctx, ".", image) })
	work.Go(func() (err error) {
		world, err = controlplane.Start(ctx, controlplane.Options{Clusters: names, Nodes: true, DNS: true, Progress: os.Stderr})
		return err
	})
	err = work.Wait()
	if world != nil {
		defer func() { err = errors.Join(err, world.Close(), os.RemoveAll(kubeconfig)) }()
	}
	if err != nil {
		return err
	}
	load, loading := errgroup.WithContext(ctx)
	for _, c := range world.Clusters {
		load.Go(func() error { return c.Load(loading, image) })
	}
	if err := load.Wait(); err != nil {
		return err
	}
	if kubeconfig, err = filepath.Abs(kubeconfig); err != nil {
		return err
	}
	if err := handOver(world.Kubeconfig, kubeconfig); err != nil {
		return err
	}
	fmt.Printf("%d clusters are up, with contexts of their names, until Ctrl-C:\n  export KUBECONFIG=%s\n", len(names), kubeconfig)
	if p := world.Program("kubectl"); p != "" {
		fmt.Printf("  alias kubectl=%s\n", p)
	}
	fmt.Printf("pods can run the image %s, too, which serves HTTP on port 8080 with the argument serve\n", controlplane.WorkloadImage)
	<-ctx.Done()
	fmt.Println("removing them")
	return nil
}

// handOver copies the kubeconfig of the world, which is an administrator's, for its
// owner only.
func handOver(from, to string) error {
	content, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	if err := os.RemoveAll(to); err != nil { // what is there may have other rights
		return err
	}
	return os.WriteFile(to, content, 0o600)
}
