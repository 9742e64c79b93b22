//go:build linux

package controlplane

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// kubernetesVersion is that of tools/kubernetes, as the programs tell it.
const kubernetesVersion = "v1.34.4"

// toolset is a module of its own and the programs that are built of it.
type toolset struct {
	module   string            // the directory below tools
	source   string            // its one Go file
	flags    []string          // of go build
	programs map[string]string // file name -> package
}

func toolsets() []toolset {
	const version = "k8s.io/component-base/version."
	return []toolset{
		{
			module: "etcd",
			source: "tools.go",
			flags:  []string{"-trimpath", "-ldflags=-s -w"},
			programs: map[string]string{
				"etcd":    "go.etcd.io/etcd/server/v3",
				"etcdctl": "go.etcd.io/etcd/etcdctl/v3",
				"etcdutl": "go.etcd.io/etcd/etcdutl/v3",
			},
		},
		{
			module: dnsModule,
			source: "main.go",
			flags:  []string{"-trimpath", "-ldflags=-s -w"},
			programs: map[string]string{
				"coredns": ".",
			},
		},
		{
			module: "kubernetes",
			source: "tools.go",
			flags: []string{"-trimpath", "-ldflags=-s -w -X " + version + "gitVersion=" + kubernetesVersion +
				" -X " + version + "gitMajor=1 -X " + version + "gitMinor=34"},
			programs: map[string]string{
				"kube-apiserver":          "k8s.io/kubernetes/cmd/kube-apiserver",
				"kube-controller-manager": "k8s.io/kubernetes/cmd/kube-controller-manager",
				"kube-scheduler":          "k8s.io/kubernetes/cmd/kube-scheduler",
				"kube-proxy":              "k8s.io/kubernetes/cmd/kube-proxy",
				"kubelet":                 "k8s.io/kubernetes/cmd/kubelet",
				"kubectl":                 "k8s.io/kubernetes/cmd/kubectl",
			},
		},
	}
}

// Programs says where the programs of Kubernetes and etcd are.
type Programs map[string]string

// BuildPrograms builds what the cache lacks, and tells progress, which may be nil.
// It takes some ten minutes the first time. Two processes that build at once do it
// one after the other.
func BuildPrograms(ctx context.Context, progress io.Writer) (Programs, error) {
	return buildPrograms(ctx, toolsets(), progress)
}

func buildPrograms(ctx context.Context, sets []toolset, progress io.Writer) (Programs, error) {
	if progress == nil {
		progress = io.Discard
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return nil, fmt.Errorf("where to keep the programs of Kubernetes: %w; set HOME", err)
	}
	root, err := sourceRoot()
	if err != nil {
		return nil, err
	}
	all := Programs{}
	for _, set := range sets {
		dir, err := set.build(ctx, filepath.Join(cache, "federator", "controlplane"), filepath.Join(root, "tools", set.module), progress)
		if err != nil {
			return nil, err
		}
		for program := range set.programs {
			all[program] = filepath.Join(dir, program)
		}
	}
	return all, nil
}

// sourceRoot is the directory of this package's source.
func sourceRoot() (string, error) {
	const path = "github.com/federator/federator/test/controlplane"
	out, err := exec.Command("go", "list", "-f", "{{.Dir}}", path).Output()
	if err != nil {
		return "", fmt.Errorf("find the source of %s: %w; run the tests in a checkout, with Go in PATH", path, withStderr(err))
	}
	return strings.TrimSpace(string(out)), nil
}

// build returns the directory of the set's programs, which it makes if need be.
func (s toolset) build(ctx context.Context, cache, source string, progress io.Writer) (string, error) {
	key, err := s.key(source)
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, s.module+"-"+key)
	if s.complete(dir) {
		return dir, nil
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return "", err
	}
	unlock, err := lock(ctx, dir+".lock")
	if err != nil {
		return "", err
	}
	defer unlock()
	if s.complete(dir) {
		return dir, nil // another process has built it meanwhile
	}
	half := dir + ".half"
	if err := errors.Join(os.RemoveAll(half), os.MkdirAll(half, 0o755)); err != nil {
		return "", err
	}
	// The slowest first: the others are mostly made of the same packages.
	for _, program := range s.order() {
		began := time.Now()
		args := append(append([]string{"build"}, s.flags...), "-o", filepath.Join(half, program), s.programs[program])
		cmd := exec.CommandContext(ctx, "go", args...)
		cmd.Dir = source
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off", "GOFLAGS=-mod=readonly -buildvcs=false")
		if out, err := cmd.CombinedOutput(); err != nil {
			return "", fmt.Errorf("build %s: %w\n%s", program, err, out)
		}
		fmt.Fprintf(progress, "built %s in %s\n", program, time.Since(began).Round(time.Second))
	}
	return dir, os.Rename(half, dir)
}

// order is that in which the programs are built.
func (s toolset) order() []string {
	var all []string
	for _, program := range []string{"etcd", "etcdctl", "etcdutl", "coredns", "kube-apiserver", "kubelet", "kube-controller-manager", "kubectl", "kube-proxy", "kube-scheduler"} {
		if s.programs[program] != "" {
			all = append(all, program)
		}
	}
	return all
}

// key stands for everything that the programs depend on.
func (s toolset) key(source string) (string, error) {
	hash := sha256.New()
	for _, name := range []string{"go.mod", "go.sum", s.source} {
		text, err := os.ReadFile(filepath.Join(source, name))
		if err != nil {
			return "", fmt.Errorf("the module of the programs: %w", err)
		}
		fmt.Fprintf(hash, "%s %d\n%s", name, len(text), text)
	}
	version, err := exec.Command("go", "env", "GOVERSION").Output()
	if err != nil {
		return "", fmt.Errorf("the version of Go: %w", withStderr(err))
	}
	fmt.Fprintf(hash, "%s %s %s %q", version, runtime.GOOS, runtime.GOARCH, s.flags)
	return hex.EncodeToString(hash.Sum(nil))[:16], nil
}

func (s toolset) complete(dir string) bool {
	for program := range s.programs {
		if _, err := os.Stat(filepath.Join(dir, program)); err != nil {
			return false
		}
	}
	return true
}

// lock waits for the lock of that name until ctx ends. The kernel ends it with
// the process.
func lock(ctx context.Context, path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return func() { _ = f.Close() }, nil
		}
		select {
		case <-time.After(200 * time.Millisecond):
		case <-ctx.Done():
			return nil, errors.Join(fmt.Errorf("another process holds %s: %w", path, ctx.Err()), f.Close())
		}
	}
}

// withStderr adds to the error of a command what it said.
func withStderr(err error) error {
	var exit *exec.ExitError
	if errors.As(err, &exit) && len(exit.Stderr) > 0 {
		return fmt.Errorf("%w: %s", err, strings.TrimSpace(string(exit.Stderr)))
	}
	return err
}
