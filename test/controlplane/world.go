//go:build linux

package controlplane

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"
)

// Variable names the environment variable that says that worlds are meant to run.
const Variable = "FEDERATOR_CONTROLPLANE"

// Wanted reports whether worlds are meant to run.
func Wanted() bool { return os.Getenv(Variable) == "1" }

// startTimeout bounds what Start does once the programs are built. On an idle
// machine it takes some ten seconds.
const startTimeout = 4 * time.Minute

// Options say what a world is made of.
type Options struct {
	// Clusters are the names of one to six clusters, which are also their regions.
	Clusters []string
	// Nodes gives each cluster a node that runs pods. Without, there is none, and
	// pods stay Pending.
	Nodes bool
	// DNS runs CoreDNS in each cluster, which takes nodes.
	DNS bool
	// Audit names groups of users whose requests the API servers log, as metadata,
	// to [Cluster.AuditLog].
	Audit []string
	// Progress is told what is built; it may be nil.
	Progress io.Writer
}

func (o Options) validate() error {
	if len(o.Clusters) == 0 || len(o.Clusters) > maxClusters {
		return fmt.Errorf("expected 1 to %d clusters, found %d", maxClusters, len(o.Clusters))
	}
	for i, name := range o.Clusters {
		if name == "" || slices.Contains(o.Clusters[:i], name) {
			return fmt.Errorf("expected clusters with names that differ, found %q", o.Clusters)
		}
	}
	if o.DNS && !o.Nodes {
		return errors.New("expected Nodes with DNS, which is pods")
	}
	if os.Geteuid() != 0 {
		return fmt.Errorf("expected to be root, found user %d: run the tests as root, or without %s", os.Geteuid(), Variable)
	}
	return nil
}

// World is clusters that belong together.
type World struct {
	// Kubeconfig is a file with a context for each cluster, named like it.
	Kubeconfig string
	// Clusters are in the order of the options.
	Clusters []*Cluster

	options  Options
	dir      string
	programs Programs
	record   *record
	spawner  *spawner
	network  *network // nil without nodes
	node     string   // the program that is a node's first process
	workload string   // an image
	dns      string   // an image
	closed   bool
}

// Need returns a world that ends with the test, and shows what its programs said
// last if the test failed. Unless worlds are meant to run, it skips the test.
func Need(t testing.TB, o Options) *World {
	t.Helper()
	if !Wanted() {
		t.Skipf("real control planes take root, minutes and memory; set %s=1", Variable)
	}
	w, err := Start(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(w.Tails(25))
		}
		if err := w.Close(); err != nil {
			t.Errorf("remove the world: %v", err)
		}
	})
	return w
}

// Start makes a world, whose clusters are ready when it returns. The caller closes
// it. ctx bounds the start only.
func Start(ctx context.Context, o Options) (*World, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	sets := slices.DeleteFunc(toolsets(), func(s toolset) bool { return s.module == dnsModule && !o.DNS })
	programs, err := buildPrograms(ctx, sets, o.Progress)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	record, err := claim()
	if err != nil {
		return nil, err
	}
	w := &World{options: o, programs: programs, record: record, spawner: newSpawner()}
	if err := w.start(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("start the world: %w\n%s", err, w.Tails(10)), w.Close())
	}
	return w, nil
}

func (w *World) start(ctx context.Context) error {
	// Short, because paths of sockets are.
	w.dir = filepath.Join(os.TempDir(), fmt.Sprintf("fedcp%d-%d", w.record.number, os.Getpid()))
	w.Kubeconfig = filepath.Join(w.dir, "kubeconfig")
	if err := w.record.note(recordDirectory, w.dir); err != nil {
		return err
	}
	if err := os.Mkdir(w.dir, 0o755); err != nil {
		return err
	}
	for i, name := range w.options.Clusters {
		w.Clusters = append(w.Clusters, newCluster(w, i, name))
	}
	if w.options.Nodes {
		if err := w.prepareNodes(ctx); err != nil {
			return err
		}
	}
	if w.options.DNS {
		if err := w.prepareDNS(); err != nil {
			return err
		}
	}
	all, ctx := errgroup.WithContext(ctx)
	for _, c := range w.Clusters {
		all.Go(func() error {
			if err := c.start(ctx); err != nil {
				return fmt.Errorf("cluster %s: %w", c.Name, err)
			}
			return nil
		})
	}
	if err := all.Wait(); err != nil {
		return err
	}
	return w.writeKubeconfig()
}

// writeKubeconfig writes the contexts of all clusters into one file.
func (w *World) writeKubeconfig() error {
	all := api.NewConfig()
	for _, c := range w.Clusters {
		one, err := clientcmd.LoadFromFile(c.Kubeconfig)
		if err != nil {
			return fmt.Errorf("the kubeconfig of %s: %w", c.Name, err)
		}
		all.Clusters[c.Name], all.AuthInfos[c.Name], all.Contexts[c.Name] = one.Clusters[c.Name], one.AuthInfos[c.Name], one.Contexts[c.Name]
	}
	all.CurrentContext = w.Clusters[0].Name
	return clientcmd.WriteToFile(*all, w.Kubeconfig)
}

// Cluster is the cluster of that name, which has to be one of the options'.
func (w *World) Cluster(name string) *Cluster {
	for _, c := range w.Clusters {
		if c.Name == name {
			return c
		}
	}
	panic(fmt.Sprintf("controlplane: there is no cluster %q among %q", name, w.options.Clusters))
}

// Program is the path of kubectl, or of another program that was built.
func (w *World) Program(name string) string { return w.programs[name] }

// Kubectl runs kubectl against a cluster and returns what it wrote.
func (w *World) Kubectl(ctx context.Context, cluster string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, w.programs["kubectl"], append([]string{"--kubeconfig=" + w.Kubeconfig, "--context=" + cluster}, args...)...)
	cmd.Env = append(os.Environ(), "HOME="+w.dir) // where it keeps what it discovered
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("kubectl %s in %s: %w", strings.Join(args, " "), cluster, withStderr(err))
	}
	return string(out), nil
}

// Tails is the last lines of each program's log.
func (w *World) Tails(lines int) string {
	var all []byte
	for _, c := range w.Clusters {
		logs, err := filepath.Glob(c.path("*.log"))
		if err != nil {
			return err.Error()
		}
		for _, path := range logs {
			if path != c.AuditLog() {
				all = fmt.Appendf(all, "--- %s %s\n%s\n", c.Name, filepath.Base(path), tail(path, lines))
			}
		}
	}
	return string(all)
}

// Close ends everything and removes all that the world made. It may be called more
// than once.
func (w *World) Close() error {
	if w.closed {
		return nil
	}
	w.closed = true
	var errs []error
	for _, c := range w.Clusters {
		errs = append(errs, c.end())
	}
	if w.network != nil {
		errs = append(errs, w.network.close())
	}
	w.spawner.close()
	return errors.Join(append(errs, w.record.end())...)
}

// final is an error that waiting longer does not end.
type final struct{ error }

func (f final) Unwrap() error { return f.error }

// Until tries until there is no error, or a final one, for at most so long, and
// says what was waited for if it stays.
func Until(ctx context.Context, within time.Duration, what string, try func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	for began := time.Now(); ; {
		err := try(ctx)
		if err == nil {
			return nil
		}
		if errors.As(err, new(final)) {
			return fmt.Errorf("waited for %s: %w", what, err)
		}
		// A wait that is long already can be a little longer.
		pause := time.NewTimer(min(max(20*time.Millisecond, time.Since(began)/20), time.Second/2))
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
			return fmt.Errorf("waited for %s for %s: %w", within, what, err)
		}
	}
}
