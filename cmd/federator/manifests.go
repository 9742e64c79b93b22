package main

import (
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/federator/federator/deploy"
)

func (a *app) manifestsCmd() *cobra.Command {
	var v deploy.Values
	cmd := &cobra.Command{
		Use: "manifests", Short: "Print what is applied to a Kubernetes cluster", Args: usage(cobra.NoArgs),
		Long: `Print the manifests of a cluster: what "kubectl apply -k deploy/clusters/REGION"
applies, for the values that are given. They hold no secret.`,
		Example: `  federator recovery-key recovery.key
  federator manifests --region us-west --cluster west-1 --trust-domain acme.example --recovery-recipient age1... | kubectl apply -f -`,
		RunE: func(*cobra.Command, []string) error {
			text, err := deploy.Render(v)
			if err == nil {
				err = foundable(v.TrustDomain, v.RecoveryRecipient)
			}
			if err != nil {
				return usageError{err}
			}
			_, err = a.out.Write(text)
			return err
		},
	}
	f := cmd.Flags()
	f.StringVar(&v.Region, "region", "", "the region, such as us-west")
	f.StringVar(&v.Cluster, "cluster", "", "the cluster, one or two DNS labels")
	f.StringVar(&v.Namespace, "namespace", "federator-system", "the namespace")
	f.BoolVar(&v.ServiceMonitor, "service-monitor", false, "a ServiceMonitor for the Prometheus operator too")
	podFlags(f, &v)
	f.StringVar(&v.TrustDomain, "trust-domain", "", "let the first pod found this trust domain; with --recovery-recipient")
	f.StringVar(&v.RecoveryRecipient, "recovery-recipient", "", "the public half of the recovery key, from \"federator recovery-key\"")
	required(cmd, "region", "cluster")
	return cmd
}

// podFlags say what the pods of a cluster are.
func podFlags(f *pflag.FlagSet, v *deploy.Values) {
	f.IntVar(&v.Replicas, "replicas", 3, "how many replicas, 1 to 9")
	f.StringVar(&v.Image, "image", "federator.dev/federator:dev", "the container image")
	f.StringVar(&v.StorageClass, "storage-class", "", "the storage class of their disks (default: the cluster's)")
	f.BoolVar(&v.Ephemeral, "ephemeral", false, "no disks: a region whose pods are all deleted is lost; for tests")
	f.StringVar(&v.Expose, "expose", "pod", "how replicas of other clusters reach a pod: pod (its own address), hostport (its node's) or loadbalancer (one a pod)")
}
