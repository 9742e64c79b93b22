//go:build linux

package clusters

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/encoding/protojson"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	federator "github.com/federator/federator/federation"
	"github.com/federator/federator/kube/pod"
	"github.com/federator/federator/peering/pb"
	"github.com/federator/federator/test/controlplane"
	"github.com/federator/federator/test/e2e/fleet"
)

// What federator is called in a cluster.
const (
	namespace   = "federator-system"
	statefulSet = "federator"
	firstPod    = "federator-0"
	// replicas are those of deploy/clusters.
	replicas    = 3
	trustDomain = "acme.example"
	zone        = "clusterset.local"
)

// federation is three clusters in which federator runs.
type federation struct {
	// clusters are us-west, which founds the trust domain, eu-central and asia-east.
	clusters []*cluster
	// world is what the clusters are made of; nil if they are somebody else's.
	world *controlplane.World
	// kubeconfig has a context for each of them.
	kubeconfig string
	// binary is federator, as operators have it, in a directory of its own, and image the
	// tar of its image, if the clusters are not somebody else's.
	binary, image string
}

// open finds or makes the clusters, in which there is nothing of ours yet.
func open(ctx context.Context) (*federation, error) {
	dir, err := os.MkdirTemp("", "federator-clusters-")
	if err != nil {
		return nil, err
	}
	f, err := openIn(ctx, dir)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return f, nil
}

func openIn(ctx context.Context, dir string) (*federation, error) {
	names := []string{"us-west", "eu-central", "asia-east"}
	if path := os.Getenv(kubeconfigVariable); path != "" {
		f, err := existing(path, names)
		if err == nil {
			f.binary, err = fleet.Binary(root, dir)
		}
		return f, err
	}
	f := &federation{image: dir + "/federator.tar"}
	var work errgroup.Group
	work.Go(func() (err error) { f.binary, err = fleet.Binary(root, dir); return err })
	work.Go(func() error { return controlplane.BuildFederator(ctx, root, f.image) })
	work.Go(func() (err error) {
		f.world, err = controlplane.Start(ctx, controlplane.Options{
			Clusters: names, Nodes: true, DNS: true, Audit: []string{"system:serviceaccounts:" + namespace}, Progress: os.Stderr,
		})
		return err
	})
	err := work.Wait()
	if err == nil {
		f.kubeconfig = f.world.Kubeconfig
		for _, c := range f.world.Clusters {
			f.clusters = append(f.clusters, &cluster{name: c.Name, context: c.Name, config: c.Config, Cluster: c.Clients, dynamic: c.Dynamic, real: c})
		}
		err = f.each(ctx, func(ctx context.Context, c *cluster) error { return c.real.Load(ctx, f.image) })
	}
	if err != nil && f.world != nil {
		err = errors.Join(err, f.world.Close())
	}
	return f, err
}

func (f *federation) close() error {
	err := os.RemoveAll(filepath.Dir(f.binary))
	if f.world != nil {
		err = errors.Join(err, f.world.Close())
	}
	return err
}

// federator runs the command of an operator, and returns what it printed.
func (f *federation) federator(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, f.binary, append(args, "--kubeconfig", f.kubeconfig)...)
	var errOut bytes.Buffer
	cmd.Stderr = &errOut
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("federator %s: %w\n%s%s", strings.Join(args, " "), err, out, errOut.String())
	}
	return string(out), err
}

// cluster is the one of that name.
func (f *federation) cluster(name string) *cluster {
	for _, c := range f.clusters {
		if c.name == name {
			return c
		}
	}
	panic("there is no cluster " + name)
}

// each does something in all clusters at once.
func (f *federation) each(ctx context.Context, do func(context.Context, *cluster) error) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, c := range f.clusters {
		g.Go(func() error {
			if err := do(ctx, c); err != nil {
				return fmt.Errorf("cluster %s: %w", c.name, err)
			}
			return nil
		})
	}
	return g.Wait()
}

// form installs federator, founds a trust domain, joins the clusters, and waits until
// all replicas are ready and check finds nothing that needs doing.
func (f *federation) form(ctx context.Context) error {
	began := time.Now()
	said := func(what string) {
		fmt.Fprintf(os.Stderr, "%s after %s\n", what, time.Since(began).Round(100*time.Millisecond))
	}
	if err := f.each(ctx, func(ctx context.Context, c *cluster) error { return c.install(ctx) }); err != nil {
		return err
	}
	said("deploy/clusters is applied")
	if err := f.found(ctx); err != nil {
		return err
	}
	said("the trust domain is founded")
	if err := f.each(ctx, f.join); err != nil {
		return err
	}
	said("all clusters have a member")
	err := f.each(ctx, func(ctx context.Context, c *cluster) error {
		err := controlplane.Until(ctx, 3*time.Minute, "all replicas to be ready", func(ctx context.Context) error { return c.areReady(ctx, replicas) })
		if err != nil {
			return err
		}
		return f.equip(ctx, c)
	})
	if err != nil {
		return err
	}
	said("all replicas are ready")
	// Returning capacity takes its share back in a second, for the tests do not look at
	// how.
	policy := filepath.Join(filepath.Dir(f.binary), "policy.yaml")
	if err := os.WriteFile(policy, []byte("kind: Policy\nname: default\nspec: {ramp: 1s}\n"), 0o600); err != nil {
		return err
	}
	if _, err := f.federator(ctx, "policy", "apply", "-f", policy, "--context", f.clusters[0].context); err != nil {
		return err
	}
	if err := f.quiet(ctx); err != nil {
		return err
	}
	said("check finds nothing")
	return nil
}

// found has the first pod of the first cluster found the trust domain. The recovery
// key is nobody's: only its public half goes to the cluster.
func (f *federation) found(ctx context.Context) error {
	_, recipient, err := federator.NewRecoveryKey()
	if err != nil {
		return err
	}
	first := f.clusters[0]
	_, err = first.Core.CoreV1().ConfigMaps(namespace).Create(ctx, &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: pod.InitName},
		Data:       map[string]string{pod.TrustDomainKey: trustDomain, pod.RecipientKey: recipient},
	}, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	return first.podReady(ctx, firstPod)
}

// join has a cluster join the first one, which takes the one command. By hand it is done
// in test/kube.
func (f *federation) join(ctx context.Context, c *cluster) error {
	first := f.clusters[0]
	if c == first {
		return nil
	}
	_, err := f.federator(ctx, "join", "--context", c.context, "--to", first.context)
	return err
}

// equip makes what the tests need in a cluster in which federator runs.
func (f *federation) equip(ctx context.Context, c *cluster) error {
	if _, err := f.federator(ctx, "dns", "install", "--context", c.context, "--yes"); err != nil {
		return err
	}
	return c.startCaller(ctx)
}

// quiet waits until check, asked in every cluster, finds nothing but hints.
func (f *federation) quiet(ctx context.Context) error {
	return f.each(ctx, func(ctx context.Context, c *cluster) error {
		return controlplane.Until(ctx, 90*time.Second, "check to find nothing", func(ctx context.Context) error {
			found, err := c.check(ctx)
			if err != nil {
				return err
			}
			for _, p := range found.GetProblems() {
				if p.GetSeverity() != "info" {
					err = errors.Join(err, fmt.Errorf("%s %s: %s: expected %s, found %s", p.GetSeverity(), p.GetCode(), p.GetSubject(), p.GetExpected(), p.GetFound()))
				}
			}
			return err
		})
	})
}

// check is what the command of the name says in a cluster.
func (c *cluster) check(ctx context.Context) (*pb.CheckResponse, error) {
	out, err := c.exec(ctx, firstPod, "/federator", "check", "-o", "json")
	found := &pb.CheckResponse{}
	if parseErr := protojson.Unmarshal([]byte(out), found); parseErr != nil {
		return nil, errors.Join(err, fmt.Errorf("check said %q: %w", out, parseErr))
	}
	return found, nil // its exit code says that there are problems
}

// members are the replicas of a region, as those of a cluster know them.
func (c *cluster) members(ctx context.Context, region string) ([]*pb.Member, error) {
	out, err := c.exec(ctx, firstPod, "/federator", "members", "-o", "json")
	if err != nil {
		return nil, err
	}
	all := &pb.MembersResponse{}
	if err := protojson.Unmarshal([]byte(out), all); err != nil {
		return nil, fmt.Errorf("members said %q: %w", out, err)
	}
	var of []*pb.Member
	for _, m := range all.GetMembers() {
		if m.GetReplica().GetRegion() == region {
			of = append(of, m)
		}
	}
	return of, nil
}

// logs are what the replicas and, where that can be seen, the programs of the clusters
// said last.
func (f *federation) logs(lines int64) string {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	var out strings.Builder
	for _, c := range f.clusters {
		out.WriteString(c.logs(ctx, lines))
	}
	if f.world != nil {
		out.WriteString(f.world.Tails(5))
	}
	return out.String()
}
