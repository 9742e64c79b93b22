//go:build linux

package controlplane

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"

	"github.com/federator/federator/kube"
)

// readyTimeout bounds the wait for one thing of a cluster to become ready. Seven API servers
// that start beside each other on two busy cores have taken more than two minutes.
const readyTimeout = 5 * time.Minute

// Cluster is one Kubernetes cluster. [Cluster.Rebuild] changes its clients and its
// kubeconfig; nothing else does, after Start.
type Cluster struct {
	Name string
	// Region and Zone are the labels of its node.
	Region, Zone string
	// Kubeconfig is a file with the credentials of an administrator; its one context
	// is named like the cluster.
	Kubeconfig string
	// Config, Clients and Dynamic are that administrator's. Informers of Clients
	// belong to the test that asks for them.
	Config  *rest.Config
	Clients *kube.Cluster
	Dynamic dynamic.Interface
	// NodeName is the name of its node, if it has one.
	NodeName string

	world     *World
	number    int
	plan      plan
	address   netip.Addr // of its API server
	authority *authority

	etcd, apiServer, controllerManager, scheduler *process
	node                                          *node // nil without nodes
}

func newCluster(w *World, number int, name string) *Cluster {
	c := &Cluster{
		Name: name, Region: name, Zone: name + "-a", NodeName: name + "-1",
		world: w, number: number, plan: planOf(w.record.number, number),
		address: netip.AddrFrom4([4]byte{127, 0, 0, 1}),
	}
	if w.options.Nodes {
		c.address = hostPrefix(w.record.number).Addr()
	}
	return c
}

// Pods is where the addresses of the cluster's pods are. No two clusters of this
// machine overlap.
func (c *Cluster) Pods() netip.Prefix { return c.plan.pods }

// Services is where the cluster's services have their IPv4 addresses. No two
// clusters of a world overlap.
func (c *Cluster) Services() netip.Prefix { return c.plan.services }

// Services6 is where the cluster's services have their IPv6 addresses. Nodes and
// pods have none.
func (c *Cluster) Services6() netip.Prefix { return c.plan.services6 }

// DNS is the service address that pods ask for names: the tenth, as usual.
func (c *Cluster) DNS() netip.Addr { return nth(c.plan.services, 10) }

// NodeAddress is the address of the cluster's node.
func (c *Cluster) NodeAddress() netip.Addr { return c.plan.node }

// AuditLog is the file of the requests that Options.Audit asks for: one JSON
// object of audit.k8s.io/v1 a line.
func (c *Cluster) AuditLog() string { return c.path("audit.log") }

// Log is the file that a program of the cluster writes: etcd, kube-apiserver,
// kube-controller-manager, kube-scheduler, containerd, kubelet, kube-proxy.
func (c *Cluster) Log(program string) string { return c.path(program + ".log") }

// PID is the process id of a program of the control plane, by its name; 0 if it
// does not run.
func (c *Cluster) PID(program string) int {
	for _, p := range c.processes() {
		if p.name == program {
			return p.pid()
		}
	}
	return 0
}

func (c *Cluster) dir() string             { return filepath.Join(c.world.dir, c.Name) }
func (c *Cluster) path(name string) string { return filepath.Join(c.dir(), name) }
func (c *Cluster) etcdData() string        { return c.path("etcd") }

// processes are those of the control plane, in the order of their start.
func (c *Cluster) processes() []*process {
	var all []*process
	for _, p := range []*process{c.etcd, c.apiServer, c.controllerManager, c.scheduler} {
		if p != nil {
			all = append(all, p)
		}
	}
	return all
}

func (c *Cluster) process(name string, argv []string) *process {
	return &process{name: name, argv: argv, log: c.Log(name), spawner: c.world.spawner, record: c.world.record}
}

// start makes the cluster from nothing, and returns when it is ready.
func (c *Cluster) start(ctx context.Context) error {
	if err := os.MkdirAll(c.dir(), 0o755); err != nil {
		return err
	}
	if err := c.identify(); err != nil {
		return err
	}
	if err := c.etcd.start(); err != nil {
		return err
	}
	if err := c.etcdReady(ctx); err != nil {
		return err
	}
	if err := c.StartAPIServer(ctx); err != nil {
		return err
	}
	if err := InstallCRDs(ctx, c.Config); err != nil {
		return err
	}
	// The service account controller's work says that the controllers run.
	err := c.until(ctx, "a service account in the namespace default", func(ctx context.Context) error {
		_, err := c.Clients.Core.CoreV1().ServiceAccounts("default").Get(ctx, "default", metav1.GetOptions{})
		return err
	})
	if err != nil || !c.world.options.Nodes {
		return err
	}
	return c.startNode(ctx)
}

// identify makes the cluster's keys, its clients and what is to be run.
func (c *Cluster) identify() (err error) {
	if c.authority, err = newAuthority(c.dir(), c.Name); err != nil {
		return err
	}
	var addresses []net.IP
	for _, a := range []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), c.address, nth(c.plan.services, 1), nth(c.plan.services6, 1)} {
		addresses = append(addresses, a.AsSlice())
	}
	err = errors.Join(
		c.authority.server("apiserver", addresses),
		c.authority.client("kubelet-client", "kube-apiserver-kubelet-client", "system:masters"),
		c.writeAuditPolicy(),
	)
	if err != nil {
		return err
	}
	var manager, scheduler string
	for _, k := range []struct {
		path         *string
		name, user   string
		organization []string
	}{
		{&c.Kubeconfig, "admin", "admin", []string{"system:masters"}},
		{&manager, "controller-manager", "system:kube-controller-manager", nil},
		{&scheduler, "scheduler", "system:kube-scheduler", nil},
	} {
		if *k.path, err = c.authority.kubeconfig(k.name, c.Name, c.server(), k.user, k.organization...); err != nil {
			return err
		}
	}
	c.etcd = c.process("etcd", c.etcdArgs())
	c.apiServer = c.process("kube-apiserver", c.apiServerArgs())
	c.controllerManager = c.process("kube-controller-manager", c.controllerManagerArgs(manager))
	c.scheduler = c.process("kube-scheduler", c.schedulerArgs(scheduler))
	return c.connect()
}

func (c *Cluster) connect() (err error) {
	if c.Config, err = kube.Connect(kube.Access{Kubeconfig: c.Kubeconfig, Context: c.Name}, "controlplane"); err != nil {
		return err
	}
	if c.Clients, err = kube.New(c.Config); err != nil {
		return err
	}
	c.Dynamic, err = dynamic.NewForConfig(c.Config)
	return err
}

// until waits for something of the cluster, and gives up early if one of its
// programs ended.
func (c *Cluster) until(ctx context.Context, what string, try func(context.Context) error) error {
	return Until(ctx, readyTimeout, what, func(ctx context.Context) error {
		for _, p := range c.processes() {
			if err := p.over(); err != nil {
				return final{err}
			}
		}
		return try(ctx)
	})
}

func (c *Cluster) etcdReady(ctx context.Context) error {
	return c.until(ctx, "etcd to be healthy", func(ctx context.Context) error {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, c.etcdURL()+"/health", nil)
		if err != nil {
			return err
		}
		client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
		response, err := client.Do(request)
		if err != nil {
			return err
		}
		defer response.Body.Close()
		text, err := io.ReadAll(io.LimitReader(response.Body, 1<<10))
		if err == nil && response.StatusCode != http.StatusOK {
			err = fmt.Errorf("it says %s: %s", response.Status, text)
		}
		return err
	})
}

// end kills all of the cluster.
func (c *Cluster) end() error {
	var errs []error
	if c.node != nil {
		errs = append(errs, c.node.end())
	}
	for _, p := range c.processes() {
		errs = append(errs, p.kill())
	}
	return errors.Join(errs...)
}
