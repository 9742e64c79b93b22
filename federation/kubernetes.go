package federation

import (
	"context"

	"github.com/federator/federator/federation/state"
	"github.com/federator/federator/kube"
	kubeexports "github.com/federator/federator/kube/exports"
)

// openKubernetes prepares the connection to the API server of the own cluster, and
// the source of what is exported there. The server need not be there.
func (r *Replica) openKubernetes() (*kubeexports.Source, error) {
	k := r.cfg.Kubernetes
	config, err := kube.Connect(kube.Access{Kubeconfig: k.Kubeconfig, Context: k.Context}, r.card.Replica.Build)
	if err != nil {
		return nil, err
	}
	if r.kube, err = kube.New(config); err != nil {
		return nil, err
	}
	if err := r.kube.Register(r.metrics); err != nil {
		return nil, err
	}
	return kubeexports.New(kubeexports.Options{
		Cluster: r.kube, Link: r.kube, Name: r.card.Replica.Cluster,
		Log: r.log.WithGroup("kube"), Metrics: r.metrics,
	})
}

// watchKubernetes keeps the informers going.
func (r *Replica) watchKubernetes(ctx context.Context) error {
	if r.kube != nil {
		r.kube.Run(ctx.Done())
	}
	return nil
}

// understands reports whether every replica of this region understands a protocol
// of the region's Raft.
func (r *Replica) understands(protocol int) (ok bool) {
	r.node.Read(func(s *state.State) { ok = s.CommonProtocol() >= protocol })
	return ok
}
