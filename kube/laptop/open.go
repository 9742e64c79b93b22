package laptop

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"time"

	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	mcs "sigs.k8s.io/mcs-api/pkg/client/clientset/versioned"
)

// DefaultNamespace is where federator is installed unless somebody says otherwise.
const DefaultNamespace = "federator-system"

const (
	// requestTimeout bounds one request to an API server.
	requestTimeout = 30 * time.Second
	// queriesPerSecond and queryBurst bound what a command asks of one.
	queriesPerSecond = 50
	queryBurst       = 100
)

// Access says which cluster is meant.
type Access struct {
	// Kubeconfig is a kubeconfig file. Empty means those that KUBECONFIG lists, else
	// the one in the home directory, as kubectl has it.
	Kubeconfig string
	// Context is a context of it. It has to be said: what is current there is a state
	// that another window may have changed.
	Context string
	// Namespace is where federator is in that cluster. Empty means DefaultNamespace.
	Namespace string
	// Build is the version of this program, for the server's audit log.
	Build string
}

// Cluster is a cluster that is reached by a context.
type Cluster struct {
	Context, Namespace string
	// Server is the URL of its API server.
	Server  string
	Core    kubernetes.Interface
	MCS     mcs.Interface
	Dynamic dynamic.Interface
	Config  *rest.Config
	// Exec runs a program in the container of federator in a pod, and returns when it
	// has ended. It is a field for tests that have no nodes.
	Exec func(ctx context.Context, pod string, argv []string, stdio Stdio) error
}

// Stdio are the streams of a program that runs in a pod.
type Stdio struct {
	In       io.Reader
	Out, Err io.Writer
}

// Open makes the clients of a cluster. It does not contact the API server.
func Open(a Access) (*Cluster, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = a.Kubeconfig
	file, err := rules.Load()
	where := "KUBECONFIG or ~/.kube/config"
	if a.Kubeconfig != "" {
		where = a.Kubeconfig
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("there is no kubeconfig file %s; give another with --kubeconfig", where)
	}
	if err != nil {
		return nil, fmt.Errorf("kubeconfig %s: %w", where, err)
	}
	if _, ok := file.Contexts[a.Context]; !ok {
		known := slices.Sorted(maps.Keys(file.Contexts))
		return nil, fmt.Errorf("the kubeconfig (%s) has no context %q; it has %s", where, a.Context, cmp.Or(strings.Join(known, ", "), "none"))
	}
	config, err := clientcmd.NewNonInteractiveClientConfig(*file, a.Context, &clientcmd.ConfigOverrides{}, rules).ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("context %s: %w", a.Context, err)
	}
	config.UserAgent = "federator/" + cmp.Or(a.Build, "unknown")
	config.Timeout = requestTimeout
	config.QPS, config.Burst = queriesPerSecond, queryBurst
	config.WarningHandler = rest.NoWarnings{} // they would stand between a command's own lines
	return New(config, a)
}

// New is Open for a configuration that is there already.
func New(config *rest.Config, a Access) (*Cluster, error) {
	c := &Cluster{Context: a.Context, Namespace: cmp.Or(a.Namespace, DefaultNamespace), Server: config.Host, Config: config}
	var errs [3]error
	c.Core, errs[0] = kubernetes.NewForConfig(config)
	c.MCS, errs[1] = mcs.NewForConfig(config)
	c.Dynamic, errs[2] = dynamic.NewForConfig(config)
	if err := errors.Join(errs[:]...); err != nil {
		return nil, fmt.Errorf("context %s: %w", a.Context, err)
	}
	c.Exec = c.exec
	return c, nil
}
