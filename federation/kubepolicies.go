package federation

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/federation/state"
	"github.com/federator/federator/kube"
	kubeimports "github.com/federator/federator/kube/imports"
	"github.com/federator/federator/kube/intents"
)

// openIntents prepares what takes the ResolutionPolicies and Drills of the own Kubernetes cluster
// to the federation, whenever it is the turn of the replica to write imports.
func (r *Replica) openIntents(cluster *kube.Cluster, writer *kubeimports.Writer) (*intents.Registrar, error) {
	return intents.New(intents.Config{
		Kube: cluster, Link: cluster, Cluster: r.card.Replica.Cluster, Region: r.card.Replica.Region,
		Catalog: r.catalog, Federation: intentions{r}, Leading: writer.Leading,
		Tell:   func(on *corev1.ObjectReference, n intents.Notice) { writer.Tell(on, n.Warning, n.Reason, n.Message) },
		Logger: r.log.WithGroup("kube"), Metrics: r.metrics,
	})
}

// keepIntents takes intents to the federation whenever it is this replica's turn.
func (r *Replica) keepIntents(ctx context.Context) error {
	if r.kube == nil {
		return nil
	}
	for !r.isLoaded() { // who knows nothing of the own region would begin what has begun
		if !sleep(ctx, 100*time.Millisecond) {
			return nil
		}
	}
	return r.kube.intents.Run(ctx)
}

// intentions writes what the users of the own cluster want into the region's Raft.
type intentions struct{ r *Replica }

// Policies implements [intents.Federation].
func (i intentions) Policies() []*catalog.Object {
	best := map[catalog.ObjectKey]*catalog.Object{}
	keep := func(list []*catalog.Object) {
		for _, o := range list {
			if have := best[o.ObjectKey]; o.Kind == catalog.KindClusterPolicy && (have == nil || o.Version.Compare(have.Version) > 0) {
				best[o.ObjectKey] = o
			}
		}
	}
	keep(i.r.catalog.Objects())
	i.r.node.Read(func(s *state.State) { keep(s.Objects()) })
	out := make([]*catalog.Object, 0, len(best))
	for _, o := range best {
		out = append(out, o)
	}
	return out
}

// PutPolicy implements [intents.Federation].
func (i intentions) PutPolicy(ctx context.Context, origin catalog.PolicyOrigin, p *catalog.ClusterPolicy, seen catalog.ObjectVersion) error {
	key := origin.Key()
	cmd := &state.PutObject{ObjectKey: key, Deleted: p == nil, Seen: &seen}
	if p != nil {
		spec, err := json.Marshal(p)
		if err != nil {
			return err
		}
		cmd.Spec = spec
	}
	if err := i.adopt(ctx, key, seen); err != nil {
		return err
	}
	_, err := i.r.proposer.Propose(ctx, i.r.systemMeta(), cmd)
	return err
}

// adopt has the region take over the version that was seen, if only others hold it: a
// region that was restored has forgotten what it wrote.
func (i intentions) adopt(ctx context.Context, key catalog.ObjectKey, seen catalog.ObjectVersion) error {
	var held catalog.ObjectVersion
	i.r.node.Read(func(s *state.State) {
		if o := s.Object(key); o != nil {
			held = o.Version
		}
	})
	if held.Compare(seen) >= 0 {
		return nil
	}
	objects := i.r.catalog.Objects()
	at := slices.IndexFunc(objects, func(o *catalog.Object) bool { return o.ObjectKey == key && o.Version == seen })
	if at < 0 {
		return nil // it is another by now; the command says so
	}
	_, err := i.r.proposer.Propose(ctx, i.r.systemMeta(), &state.MergeObjects{Objects: []catalog.Object{*objects[at]}})
	return err
}

// retirePolicies deletes the policies of clusters that are no more: those that this
// region wrote, and, in the authority region, those of regions that were removed.
func (r *Replica) retirePolicies(ctx context.Context) error {
	about := r.about()
	if about.ObjectsSuspect || about.NeedsEpoch {
		return nil
	}
	members := append(r.otherRegions(), r.card.Replica.Region)
	clusters := map[string]bool{}
	r.node.Read(func(s *state.State) {
		for _, c := range s.Clusters() {
			clusters[c.Name] = true
		}
	})
	for _, s := range r.catalog.ClusterPolicies() {
		gone := s.Region == r.card.Replica.Region && !clusters[s.Cluster] || about.Authority && !slices.Contains(members, s.Region)
		if s.Standing != catalog.StandsForeign || !gone {
			continue
		}
		_, err := r.proposer.Propose(ctx, r.systemMeta(), &state.PutObject{ObjectKey: s.Key(), Deleted: true})
		if err != nil {
			return err
		}
		r.log.Info("deleted a policy of a cluster that is no more", "policy", s.PolicyOrigin)
	}
	return nil
}
