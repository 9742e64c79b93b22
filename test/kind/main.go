//go:build linux

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"

	"github.com/federator/federator/test/controlplane"
)

// cluster is a configuration of kind, as far as it matters here.
type cluster struct {
	Name       string `json:"name"`
	Networking struct {
		PodSubnet     string `json:"podSubnet"`
		ServiceSubnet string `json:"serviceSubnet"`
	} `json:"networking"`
	path string
}

// node is the name of the one container that is the cluster.
func (c cluster) node() string { return c.Name + "-control-plane" }

// read returns the configurations of a directory.
func read(dir string) ([]cluster, error) {
	paths, err := filepath.Glob(filepath.Join(dir, "*.yaml"))
	if err != nil {
		return nil, err
	}
	var all []cluster
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		c := cluster{path: path}
		if err := yaml.Unmarshal(text, &c); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		all = append(all, c)
	}
	return all, nil
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	keep := flag.Bool("keep", false, "keep the clusters")
	flag.Parse()
	if err := run(ctx, *keep); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

// run does all of it, in the root of the checkout.
func run(ctx context.Context, keep bool) (err error) {
	for _, program := range []string{"docker", "kind", "go"} {
		if _, err := exec.LookPath(program); err != nil {
			return fmt.Errorf("expected the program %s, found none: see test/kind/README.md", program)
		}
	}
	clusters, err := read("test/kind")
	if err != nil {
		return err
	}
	there, err := exec.CommandContext(ctx, "kind", "get", "clusters").Output() // what it says besides goes to standard error
	if err != nil {
		return fmt.Errorf("kind get clusters: %w", err)
	}
	if err := free(clusters, strings.Fields(string(there))); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "federator-kind-")
	if err != nil {
		return err
	}
	kubeconfig := filepath.Join(dir, "kubeconfig")
	defer func() {
		if keep {
			fmt.Printf("the clusters stay, with the kubeconfig %s; %s ends them\n", kubeconfig, deletion(clusters))
			return
		}
		for _, c := range clusters {
			err = errors.Join(err, do(context.WithoutCancel(ctx), "kind", "delete", "cluster", "--name", c.Name, "--kubeconfig", kubeconfig))
		}
		err = errors.Join(err, os.RemoveAll(dir))
	}()
	archives, err := images(ctx, dir)
	if err != nil {
		return err
	}
	for _, c := range clusters {
		if err := do(ctx, "kind", "create", "cluster", "--config", c.path, "--kubeconfig", kubeconfig, "--wait", "3m"); err != nil {
			return err
		}
		for _, archive := range archives {
			if err := do(ctx, "kind", "load", "image-archive", archive, "--name", c.Name); err != nil {
				return err
			}
		}
	}
	if err := connect(ctx, clusters); err != nil {
		return err
	}
	if err := os.Setenv("FEDERATOR_CLUSTERS_KUBECONFIG", kubeconfig); err != nil {
		return err
	}
	return do(ctx, "go", "test", "-count=1", "-v", "-timeout", "30m", "./test/clusters")
}

// free says which of the clusters are there already. They are somebody's, and all that
// are made here are deleted in the end.
func free(clusters []cluster, there []string) error {
	var taken []cluster
	for _, c := range clusters {
		if slices.Contains(there, c.Name) {
			taken = append(taken, c)
		}
	}
	if len(taken) == 0 {
		return nil
	}
	return fmt.Errorf("expected no cluster of kind with a name of test/kind, found %d; if they are of an earlier run: %s", len(taken), deletion(taken))
}

// deletion is the command that deletes clusters, and no others.
func deletion(clusters []cluster) string {
	command := "kind delete clusters"
	for _, c := range clusters {
		command += " " + c.Name
	}
	return command
}

// images builds the image of make image, and the one that pods of the tests run, for
// this machine, and returns their archives.
func images(ctx context.Context, dir string) ([]string, error) {
	federator, program, workload := filepath.Join(dir, "federator.tar"), filepath.Join(dir, "workload"), filepath.Join(dir, "workload.tar")
	return []string{federator, workload}, errors.Join(
		controlplane.BuildFederator(ctx, ".", federator),
		controlplane.BuildStatic(ctx, "test/controlplane/workload", program),
		controlplane.WriteImage(workload, controlplane.Image{Names: []string{controlplane.WorkloadImage}, Program: program}),
	)
}

// connect has the node of each cluster send what is for pods of another to its node.
func connect(ctx context.Context, clusters []cluster) error {
	for _, to := range clusters {
		out, err := exec.CommandContext(ctx, "docker", "inspect", "--format", "{{.NetworkSettings.Networks.kind.IPAddress}}", to.node()).Output()
		if err != nil {
			return fmt.Errorf("the address of %s: %w", to.node(), err)
		}
		for _, from := range clusters {
			if from.Name == to.Name {
				continue
			}
			if err := do(ctx, "docker", "exec", from.node(), "ip", "route", "replace", to.Networking.PodSubnet, "via", strings.TrimSpace(string(out))); err != nil {
				return err
			}
		}
	}
	return nil
}

// do runs a command, whose output is seen.
func do(ctx context.Context, argv ...string) error {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w", strings.Join(argv, " "), err)
	}
	return nil
}
