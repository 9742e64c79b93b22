//go:build linux

package controlplane

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/federator/federator/test/controlplane/node/order"
)

// StopAPIServer kills the API server, without any warning.
func (c *Cluster) StopAPIServer() error { return c.apiServer.kill() }

// StartAPIServer starts it again on the same port and data, waits until it is
// ready, and starts what ended for want of it.
func (c *Cluster) StartAPIServer(ctx context.Context) error {
	if err := c.apiServer.start(); err != nil {
		return err
	}
	// These two may have ended, which is none of this wait's concern.
	err := Until(ctx, readyTimeout, "the API server to be ready", func(ctx context.Context) error {
		if err := c.apiServer.over(); err != nil {
			return final{err}
		}
		_, err := c.Clients.Core.Discovery().RESTClient().Get().AbsPath("/readyz").DoRaw(ctx)
		return err
	})
	return errors.Join(err, c.controllerManager.start(), c.scheduler.start())
}

// FreezeEtcd stops etcd where it is: it takes connections, and never answers. It has
// stopped when this returns.
func (c *Cluster) FreezeEtcd() error {
	if err := c.etcd.signal(syscall.SIGSTOP); err != nil {
		return err
	}
	return Until(context.Background(), 10*time.Second, "etcd to stop", func(context.Context) error {
		return stopped(c.etcd.pid())
	})
}

// stopped returns an error unless every thread of a process has stopped: one that runs
// when the signal comes goes on for a moment.
func stopped(pid int) error {
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/[0-9]*/stat", pid))
	if err != nil {
		return err
	}
	for _, path := range threads {
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		// The second field is the name, in parentheses, and may hold anything.
		if _, rest, _ := strings.Cut(string(text[bytes.LastIndexByte(text, ')')+1:]), " "); !strings.HasPrefix(rest, "T") {
			return fmt.Errorf("the thread of %s is in state %.1s", path, rest)
		}
	}
	if len(threads) == 0 {
		return fmt.Errorf("process %d has no threads", pid)
	}
	return nil
}

// ThawEtcd lets it go on.
func (c *Cluster) ThawEtcd() error { return c.etcd.signal(syscall.SIGCONT) }

// KillKubelet kills the kubelet; its containers go on. The API server notices
// after 20 to 30 seconds.
func (c *Cluster) KillKubelet() error { return c.node.order(order.Order{Kill: kubelet}) }

// StartKubelet starts it again, and waits until the node is ready.
func (c *Cluster) StartKubelet(ctx context.Context) error {
	if err := c.run(kubelet, c.kubeletArgs()); err != nil {
		return err
	}
	return c.nodeReady(ctx)
}

// SnapshotEtcd writes what etcd has to a file, while it runs.
func (c *Cluster) SnapshotEtcd(ctx context.Context, path string) error {
	return command(ctx, c.world.programs["etcdctl"], "--endpoints="+c.etcdURL(), "snapshot", "save", path)
}

// RestoreEtcd puts a snapshot in the place of what etcd has, as an operator would
// after a loss: what was written since is gone, and resource versions go back. The
// control plane starts anew; the node is not told.
func (c *Cluster) RestoreEtcd(ctx context.Context, path string) error {
	var errs []error
	for _, p := range []*process{c.scheduler, c.controllerManager, c.apiServer, c.etcd} {
		errs = append(errs, p.kill())
	}
	if err := errors.Join(append(errs, os.RemoveAll(c.etcdData()))...); err != nil {
		return err
	}
	err := command(ctx, c.world.programs["etcdutl"], "snapshot", "restore", path,
		"--data-dir="+c.etcdData(), "--name="+c.Name,
		"--initial-cluster="+c.Name+"="+c.etcdPeerURL(), "--initial-advertise-peer-urls="+c.etcdPeerURL())
	if err != nil {
		return err
	}
	if err := c.etcd.start(); err != nil {
		return err
	}
	if err := c.etcdReady(ctx); err != nil {
		return err
	}
	return c.StartAPIServer(ctx)
}

// Rebuild ends the cluster and makes another of the same name in its place: the
// same addresses and ports, nothing else. Its kubeconfigs and clients are new.
func (c *Cluster) Rebuild(ctx context.Context) error {
	if err := errors.Join(c.end(), os.RemoveAll(c.dir())); err != nil {
		return err
	}
	c.node = nil
	if err := c.start(ctx); err != nil {
		return fmt.Errorf("rebuild the cluster %s: %w", c.Name, err)
	}
	return c.world.writeKubeconfig()
}

func command(ctx context.Context, argv ...string) error {
	if out, err := exec.CommandContext(ctx, argv[0], argv[1:]...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", argv[0], err, out)
	}
	return nil
}
