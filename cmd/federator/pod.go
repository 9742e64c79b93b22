package main

import (
	"cmp"
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"k8s.io/client-go/kubernetes"
	"k8s.io/klog/v2"

	"github.com/federator/federator/federation"
	"github.com/federator/federator/federation/inpod"
	"github.com/federator/federator/kube"
	"github.com/federator/federator/kube/pod"
)

func (a *app) podCmd() *cobra.Command {
	var agent agentFlags
	var options inpod.Options
	var access kube.Access
	var expose string
	cmd := &cobra.Command{
		Use: "pod", Short: "Run a replica in a pod of a StatefulSet", Args: usage(cobra.NoArgs),
		Long: `Run a replica in a pod of a StatefulSet of Kubernetes. On an empty disk it founds
the trust domain, if it is the first pod and the ConfigMap federator-init says so;
else it joins with the token in the Secret federator-join-POD, for which it waits.
It needs POD_NAME, POD_NAMESPACE, POD_UID, POD_IP, HOST_IP and NODE_NAME of the
downward API in its environment: "federator manifests" prints all of it.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if options.Region == "" || options.Cluster == "" {
				return usageError{errors.New("--region and --cluster (env FEDERATOR_REGION, FEDERATOR_CLUSTER) are missing; see federator pod --help")}
			}
			var err error
			if options.Config, err = agent.config(cmd.Flags()); err != nil {
				return err
			}
			if options.Expose, err = exposure(expose); err != nil {
				return err
			}
			if options.Pod.Self, err = pod.FromEnvironment(a.env); err != nil {
				return usageError{err}
			}
			options.Build = ownVersion().GetVersion()
			config, err := kube.Connect(access, options.Build)
			if err != nil {
				return err
			}
			options.Log = a.logger(options.Config.Log)
			klog.SetSlogLogger(options.Log) // what client-go has to say
			options.Rights = kube.NewRights(options.Log)
			if config, err = options.Rights.Watch(config); err != nil {
				return err
			}
			if options.Pod.Core, err = kubernetes.NewForConfig(config); err != nil {
				return fmt.Errorf("kubernetes: %w", err)
			}
			return inpod.Run(cmd.Context(), options)
		},
	}
	f := cmd.Flags()
	f.StringVar(&options.Region, "region", a.env("FEDERATOR_REGION"), "the replica's region, such as us-west (env FEDERATOR_REGION)")
	f.StringVar(&options.Cluster, "cluster", a.env("FEDERATOR_CLUSTER"), "the cluster that the pod is in, one or two DNS labels (env FEDERATOR_CLUSTER)")
	f.StringVar(&expose, "expose", cmp.Or(a.env("FEDERATOR_EXPOSE"), string(pod.ByPod)), "how replicas outside the cluster reach it: pod, hostport or loadbalancer (env FEDERATOR_EXPOSE)")
	kubeconfigFlags(f, &access)
	agent.flags(f, a.env)
	return cmd
}

// kubeconfigFlags say how the API server of the own cluster is reached.
func kubeconfigFlags(f *pflag.FlagSet, access *kube.Access) {
	f.StringVar(&access.Kubeconfig, "kubeconfig", "", "kubeconfig file of the own cluster (default: the pod's service account)")
	f.StringVar(&access.Context, "context", "", "context of the kubeconfig file (default: its current one)")
}

// exposure reads --expose.
func exposure(text string) (pod.Exposure, error) {
	for _, e := range pod.Exposures() {
		if text == string(e) {
			return e, nil
		}
	}
	return "", usageError{fmt.Errorf("--expose %q: expected one of %v", text, pod.Exposures())}
}

// agentFlags are the flags that say how a replica runs, with or without a pod.
type agentFlags struct {
	file   string
	values federation.Config
}

func (a *agentFlags) flags(f *pflag.FlagSet, env func(string) string) {
	c := &a.values
	f.StringVar(&a.file, "config", "", "config file (YAML)")
	dataDirFlag(f, &c.DataDir, env)
	f.StringVar(&c.Services, "services", "", "static services file, watched")
	f.StringVar(&c.Zone, "zone-name", "clusterset.local", "the DNS zone")
	f.StringSliceVar(&c.Listen.DNS, "dns", nil, "HOST:PORT of the DNS server, repeatable (default: the address given to init or join)")
	f.StringVar(&c.Advertise.Peer, "peer-address", "", "HOST:PORT of its mTLS port as other replicas reach it now (default: as before)")
	f.StringVar(&c.Advertise.Gossip, "gossip-address", "", "HOST:PORT of its gossip port as other replicas reach it now (default: as before)")
	f.StringVar(&c.Advertise.DNS, "dns-address", "", "HOST:PORT of its DNS server, for people (default: as before)")
	f.StringVar(&c.Advertise.Siblings, "siblings", "", "HOST:PORT where the replicas of its cluster are reached besides, with NAME for the replica's name (default: nowhere)")
	f.StringVar(&c.Listen.Peer, "listen-peer", "", "HOST:PORT to listen on for mTLS (default: as others reach it)")
	f.StringVar(&c.Listen.Gossip, "listen-gossip", "", "HOST:PORT to listen on for gossip (default: as others reach it)")
	f.StringVar(&c.Listen.HTTP, "http", "127.0.0.1:7480", "HOST:PORT of /metrics, /healthz and /readyz, or off")
	f.StringVar(&c.Log.Level, "log-level", "info", "debug, info, warn or error")
	f.StringVar(&c.Log.Format, "log-format", "text", "text or json")
}

// config is the effective configuration.
func (a *agentFlags) config(given *pflag.FlagSet) (federation.Config, error) {
	return effectiveConfig(a.file, a.values, given)
}
