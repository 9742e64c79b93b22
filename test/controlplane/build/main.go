//go:build linux

// Command build builds the programs of Kubernetes that the tests run, where they
// are missing, and says where they are.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/federator/federator/test/controlplane"
)

func main() { os.Exit(run()) }

func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	programs, err := controlplane.BuildPrograms(ctx, os.Stdout)
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		return 1
	}
	for _, program := range []string{"etcd", "kube-apiserver"} {
		fmt.Println(filepath.Dir(programs[program]))
	}
	return 0
}
