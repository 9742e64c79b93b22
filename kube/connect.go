package kube

import (
	"fmt"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

const (
	// requestTimeout bounds one request to an API server; watches are bounded by
	// the server and by the keep-alive of their connection.
	requestTimeout = 30 * time.Second
	// queriesPerSecond and queryBurst bound all that one process asks, watches and
	// leases included. What writes much has a bound of its own below these.
	queriesPerSecond = 300
	queryBurst       = 600
)

// Access says how to reach the API server of the own cluster.
type Access struct {
	// Kubeconfig is a kubeconfig file. Empty means the service account of the pod
	// that this process runs in.
	Kubeconfig string `json:"kubeconfig,omitempty"`
	// Context is a context of that file; empty means its current one.
	Context string `json:"context,omitempty"`
}

// Connect returns the configuration of clients for the API server. build is the
// version of this program, for the server's audit log. It does not contact the
// server: one that is away does not keep a replica from starting.
func Connect(a Access, build string) (*rest.Config, error) {
	config, err := a.load()
	if err != nil {
		return nil, err
	}
	config.UserAgent = "federator/" + build
	config.Timeout = requestTimeout
	config.QPS, config.Burst = queriesPerSecond, queryBurst
	config.WarningHandlerWithContext = newWarnings()
	return config, nil
}

func (a Access) load() (*rest.Config, error) {
	if a.Kubeconfig == "" {
		config, err := rest.InClusterConfig()
		if err != nil {
			return nil, fmt.Errorf("kubernetes: expected to run in a pod with a service account: %w; give kubernetes.kubeconfig to run elsewhere", err)
		}
		return config, nil
	}
	rules := &clientcmd.ClientConfigLoadingRules{ExplicitPath: a.Kubeconfig}
	config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &clientcmd.ConfigOverrides{CurrentContext: a.Context}).ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("kubernetes: kubeconfig %s, context %q: %w", a.Kubeconfig, a.Context, err)
	}
	return config, nil
}
