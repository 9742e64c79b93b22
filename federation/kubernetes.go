package federation

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/federation/operator"
	"github.com/federator/federator/federation/state"
	"github.com/federator/federator/kube"
	kubeexports "github.com/federator/federator/kube/exports"
	kubeimports "github.com/federator/federator/kube/imports"
	"github.com/federator/federator/kube/intents"
)

// kubernetes is what this replica has of the Kubernetes cluster that it belongs to.
type kubernetes struct {
	self    catalog.Replica
	catalog *catalog.Catalog
	cluster *kube.Cluster
	exports *kubeexports.Source
	writer  *kubeimports.Writer
	intents *intents.Registrar
	vips    *kubeimports.VIPs
	notices chan kubeimports.Notice
	zones   atomic.Pointer[map[string]int]
	rights  *kube.Rights // nil where somebody else runs them
}

// defaultNamespace holds the Lease of the writer where no other is configured.
const defaultNamespace = "federator-system"

// zonesEvery is how often the zones of the cluster's nodes are counted, and
// verdictsAfter how long a change of the verdicts on exports waits for its like.
const (
	zonesEvery    = 2 * time.Second
	verdictsAfter = 20 * time.Millisecond
)

// openKubernetes prepares what is read from the API server of the own cluster, and
// what is written to it. The server need not be there.
func (r *Replica) openKubernetes() error {
	c := r.cfg.Kubernetes
	if !c.Enabled {
		return nil
	}
	var ownRights *kube.Rights
	config, err := kube.Connect(kube.Access{Kubeconfig: c.Kubeconfig, Context: c.Context}, r.card.Replica.Build)
	if err != nil {
		return err
	}
	if r.rights == nil {
		r.rights = kube.NewRights(r.log.WithGroup("kube"))
		ownRights = r.rights
	}
	if config, err = r.rights.Watch(config); err != nil {
		return err
	}
	k := &kubernetes{rights: ownRights, self: r.card.Replica, catalog: r.catalog, notices: make(chan kubeimports.Notice)}
	if k.cluster, err = kube.New(config); err != nil {
		return err
	}
	if err := k.cluster.Register(r.metrics); err != nil {
		return err
	}
	log := r.log.WithGroup("kube")
	k.exports, err = kubeexports.New(kubeexports.Options{Cluster: k.cluster, Link: k.cluster, Name: k.self.Cluster, Log: log, Metrics: r.metrics})
	if err != nil {
		return err
	}
	if k.vips, err = kubeimports.NewVIPs(k.cluster); err != nil {
		return err
	}
	k.writer, err = kubeimports.New(kubeimports.Config{
		Kube: k.cluster, Catalog: r.catalog, Cluster: k.self.Cluster, Region: k.self.Region, Replica: k.self.Name,
		Namespace: cmp.Or(c.Namespace, defaultNamespace), Federation: r.foundation,
		Removed: func(region string) bool { return r.removed(region, 0) },
		Zones:   k.countedZones,
		May:     r.mayWrite,
		Settled: func() bool { return k.countedZones() != nil && placed(r.catalog.Conditions(), r.otherRegions()) },
		Verdict: k.verdict, Notices: k.notices, Logger: log, Metrics: r.metrics,
	})
	if err != nil {
		return err
	}
	r.kube = k
	k.intents, err = r.openIntents(k.cluster, k.writer)
	return err
}

// foundation identifies the federation as the own region knows it: by its trust
// domain and by who founded the region in it, which no rotation, recovery or restore
// changes. It is "" until the region's state is there.
func (r *Replica) foundation() string {
	var about state.About
	r.node.Read(func(s *state.State) { about = s.About() })
	if about.Epoch == 0 {
		return ""
	}
	return fmt.Sprintf("%s/%.16s", about.TrustDomain, about.Founder)
}

// verdict says what has become of a ServiceExport of the own cluster: whether its
// Service can be exported, and what refuses it if it can. nil: there is none.
func (k *kubernetes) verdict(name catalog.ServiceName) *kubeimports.Verdict {
	found, ok := k.exports.Verdict(name)
	if !ok {
		return nil
	}
	v := &kubeimports.Verdict{Valid: found.Valid, Reason: found.Reason, Message: found.Message}
	if v.Valid {
		v.Refused = refusal(k.catalog, k.self, name)
	}
	return v
}

// refusal says why an export of the own cluster does not count although its Service
// can be exported, "" if it does.
func refusal(c *catalog.Catalog, self catalog.Replica, name catalog.ServiceName) string {
	key := catalog.SetKey{Cluster: self.Cluster, Service: name}
	if set := c.Set(self.Region, key); set != nil && set.Source != kubeexports.Origin {
		return fmt.Sprintf("the %s source of cluster %s has a service of this name, which came first; delete it there, and this one is exported", set.Source, self.Cluster)
	}
	for _, r := range c.RefusalsOf(name) {
		if r.Region == self.Region && r.Cluster == self.Cluster {
			return fmt.Sprintf("no export rule of the federation allows cluster %s to export %s; it is named by %s", self.Cluster, name, strings.Join(r.Rules, ", "))
		}
	}
	return ""
}

// countedZones is how many nodes every zone of the cluster had when they were last
// counted; nil: they are not known yet.
func (k *kubernetes) countedZones() map[string]int {
	z := k.zones.Load()
	if z == nil {
		k.countZones()
		z = k.zones.Load()
	}
	if z == nil {
		return nil
	}
	return *z
}

// placed reports whether is known of all other regions how far away they are, or that
// they do not answer. Until then they count as reachable, and as equally far.
func placed(cond *catalog.Conditions, others []string) bool {
	return cond.Isolated || !slices.ContainsFunc(others, func(region string) bool {
		_, measured := cond.RTT[region]
		return !measured && cond.Reach[region] < catalog.ControlPlaneLost
	})
}

// watchKubernetes keeps the informers going, and the clusterset IPs in DNS.
func (r *Replica) watchKubernetes(ctx context.Context) error {
	if r.kube == nil {
		return nil
	}
	var reviews sync.WaitGroup
	reviews.Go(func() { r.kube.rights.Run(ctx) })
	r.kube.cluster.Run(ctx.Done())
	reviews.Wait()
	return nil
}

// missingRights is what the API server does not allow to this replica.
func (r *Replica) missingRights() []operator.MissingRight {
	var out []operator.MissingRight
	for _, d := range r.rights.Denied() {
		out = append(out, operator.MissingRight{Right: d.Right(), Where: strings.Trim(d.Namespace+"/"+d.Name, "/"), Role: d.Role(), Since: d.Since})
	}
	return out
}

// writeImports writes the imports of the cluster whenever it is this replica's turn.
// It begins once the own region is known: who knows nothing of it cannot tell what
// the objects that are there were planned from.
func (r *Replica) writeImports(ctx context.Context) error {
	if r.kube == nil {
		return nil
	}
	for !r.isLoaded() || r.foundation() == "" {
		if !sleep(ctx, 100*time.Millisecond) {
			return nil
		}
	}
	if err := r.kube.writer.Run(ctx); ctx.Err() == nil {
		return err
	}
	return nil
}

// mayWrite reports whether this replica may write for its cluster, which one does for
// all: imports, the status of exports, policies and drills, and Events. One that was
// removed from its region, or has halted, hears nothing more of that and can write
// nothing into it, and would keep the Lease from those that can.
func (r *Replica) mayWrite() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return !r.unknown && r.halted == nil
}

// tellWriter tells the writer what it cannot see by itself: changes of the verdicts
// on exports, and of the zones of the cluster.
func (r *Replica) tellWriter(ctx context.Context) error {
	if r.kube == nil {
		return nil
	}
	k := r.kube
	zones := time.NewTicker(zonesEvery)
	defer zones.Stop()
	for {
		changed := k.exports.Changed()
		for name := range k.exports.Turned() {
			k.writer.Look(name)
		}
		for waiting := true; waiting; {
			select {
			case <-ctx.Done():
				return nil
			case <-changed:
				waiting = false
			case <-zones.C:
				k.countZones()
			}
		}
		if !sleep(ctx, verdictsAfter) {
			return nil
		}
	}
}

func (k *kubernetes) countZones() {
	now := k.exports.Zones()
	if now == nil {
		return
	}
	if old := k.zones.Load(); old == nil || !maps.Equal(*old, now) {
		k.zones.Store(&now)
		k.writer.LookAll()
	}
}

// understands reports whether every replica of this region understands a protocol
// of the region's Raft.
func (r *Replica) understands(protocol int) (ok bool) {
	r.node.Read(func(s *state.State) { ok = s.CommonProtocol() >= protocol })
	return ok
}
