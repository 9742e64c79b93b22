package federation

import (
	"context"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/federation/state"
	"github.com/federator/federator/source"
	"github.com/federator/federator/source/probe"
)

const (
	// maxSetEndpoints bounds the endpoints of one service in one cluster.
	maxSetEndpoints = 10_000
	// takeoverAfter is how long a region must be without a leader, and the owner of
	// the health silent, before another replica speaks for it.
	takeoverAfter = 2 * time.Second
	// deskTick is how often ownership is looked at.
	deskTick = 200 * time.Millisecond
)

// ledger is where the desk writes what is to be durable: the region's Raft.
type ledger interface {
	// PutSets replaces sets of the cluster that came from a source, as its owner
	// in the given term.
	PutSets(ctx context.Context, cluster, origin string, term uint64, c source.Changes) error
	// FoldHealth makes health changes up to a version durable.
	FoldHealth(ctx context.Context, cluster string, upTo catalog.HealthVersion, changes []catalog.HealthChange) error
	// DescribeCluster records the client networks and the state of the source.
	DescribeCluster(ctx context.Context, cluster string, term uint64, prefixes []catalog.ClientPrefix, sourceError string, staleSince time.Time) error
}

// herald spreads health by gossip.
type herald interface {
	BroadcastHealth(catalog.HealthDelta)
	BroadcastResync(cluster string, upTo catalog.HealthVersion)
}

// desk looks after the replica's cluster while this replica owns it: it brings
// what the source says into Raft, probes the endpoints, and spreads every flip.
type desk struct {
	deskConfig
	prober *probe.Prober
	wake   chan struct{}
	// due is the takeover that may have to happen, and since when; unfolded is why
	// the last fold failed. Only run works with them.
	due      ownership
	dueSince time.Time
	unfolded string

	mu      sync.Mutex
	owned   ownership
	owns    bool
	epoch   uint64
	seq     uint64
	probing map[catalog.SetKey]*catalog.EndpointSet // what the prober was last given
	voice   voice
}

// deskConfig is what a desk works with.
type deskConfig struct {
	self    catalog.Replica
	catalog *catalog.Catalog
	ledger  ledger
	herald  herald
	feeds   []*feed // the sources of the cluster, none twice
	// alive tells living siblings, haveLeader whether Raft can move the lease.
	alive      func(name string) bool
	haveLeader func() bool
	// understands reports whether the region's Raft can hold what came with a protocol:
	// all its replicas know it. Until then it is left out.
	understands func(protocol int) bool
	log         *slog.Logger
}

func newDesk(c deskConfig, once func(context.Context, probe.Target) error, metrics prometheus.Registerer) *desk {
	d := &desk{deskConfig: c, wake: make(chan struct{}, 1)}
	d.prober = probe.New(probe.Options{
		Once: once, Flip: d.flip, Log: d.log, Metrics: metrics,
		Rand: rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64())),
	})
	return d
}

// run works until ctx ends.
func (d *desk) run(ctx context.Context) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	for _, f := range d.feeds {
		wg.Go(func() {
			if err := f.source.Run(ctx, func(u source.Update) { d.take(f, u) }); err != nil {
				d.log.Error("a source can never be read", "cluster", d.self.Cluster, "source", f.origin, "error", err)
			}
		})
	}
	wg.Go(func() { _ = d.prober.Run(ctx) })
	wg.Go(func() { d.catchUp(ctx) })
	watch := d.catalog.Watch()
	defer watch.Close()
	tick := time.NewTicker(deskTick)
	defer tick.Stop()
	fold := time.NewTicker(foldEvery)
	defer fold.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-watch.Changed():
			if d.concerned(watch.Take()) {
				d.retarget()
				d.assert() // of what was just published, and has turned since it was written
				d.reconcile(ctx)
			}
		case <-d.wake:
			d.reconcile(ctx)
		case <-tick.C:
			if d.claim() {
				d.retarget()
				d.assert()
				d.reconcile(ctx)
			}
		case <-fold.C:
			d.assert()
			d.fold(ctx)
			d.reconcile(ctx)
		}
	}
}

// concerned reports whether a change of the catalog touches the sets of the own
// cluster, so that flips and the rest of the world cost nothing here.
func (d *desk) concerned(ch catalog.Changes) bool {
	d.mu.Lock()
	owner, probing := d.owns, d.probing
	d.mu.Unlock()
	return owner && (ch.All || slices.ContainsFunc(ch.Services, func(name catalog.ServiceName) bool {
		return d.set(name) != probing[catalog.SetKey{Cluster: d.self.Cluster, Service: name}]
	}))
}

// set returns the own cluster's part of a service; nil if it has none.
func (d *desk) set(name catalog.ServiceName) *catalog.EndpointSet {
	return d.catalog.Set(d.self.Region, catalog.SetKey{Cluster: d.self.Cluster, Service: name})
}

// backend is set with the effective health; nil also if an export rule refuses it.
func (d *desk) backend(name catalog.ServiceName) *catalog.Backend {
	if s := d.catalog.Service(name); s != nil {
		for i := range s.Backends {
			if b := &s.Backends[i]; b.Region == d.self.Region && b.Set.Cluster == d.self.Cluster {
				return b
			}
		}
	}
	return nil
}

// take keeps the newest word of a source, and spreads at once what it says anew of
// the health of published endpoints: that must not wait for Raft, which may be
// without a leader. reconcile acts on the rest.
func (d *desk) take(f *feed, u source.Update) {
	d.mu.Lock()
	turned, more := f.note(&u)
	changes := d.turned(f, turned)
	said := d.number(changes)
	d.mu.Unlock()
	if said {
		d.spread(changes)
	}
	if !more {
		return
	}
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// turned returns the flips in what a source says of these sets. The caller holds
// the lock, also until they are numbered: else a newer word could come between,
// and be undone.
func (d *desk) turned(f *feed, sets []catalog.EndpointSet) []catalog.HealthChange {
	var changes []catalog.HealthChange
	for i := range sets {
		if b := d.backend(sets[i].Service); b != nil && b.Set.Source == f.origin {
			changes = append(changes, turns(&sets[i], b)...)
		}
	}
	return changes
}

// isEmpty reports whether all sources were read and have no services.
func (d *desk) isEmpty() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return !slices.ContainsFunc(d.feeds, func(f *feed) bool { return f.latest == nil || len(f.latest.Sets) > 0 })
}

// claim finds out who owns the cluster now, and reports whether that changed.
func (d *desk) claim() bool {
	cluster, replicas := d.lease()
	now := owns(cluster, replicas, d.alive, d.haveLeader())
	if !d.steady(now, cluster) {
		return false
	}
	epoch := d.catalog.Version(d.self.Region).Epoch
	d.mu.Lock()
	defer d.mu.Unlock()
	if now == d.owned && epoch == d.epoch {
		return false
	}
	d.owned, d.epoch, d.seq = now, epoch, firstSeq()
	d.owns = now.owner == d.self.Name
	if d.owns {
		d.log.Info("this replica speaks for the health of its cluster now", "cluster", d.self.Cluster, "term", now.term)
	}
	return true
}

// steady reports whether a takeover without a leader has been due for a while: a
// busy machine loses sight of its siblings for a moment. A lease counts at once.
func (d *desk) steady(now ownership, lease catalog.Cluster) bool {
	agreed := now.term == lease.HealthTerm
	if agreed || now != d.due {
		d.due, d.dueSince = now, time.Now()
	}
	return agreed || time.Since(d.dueSince) >= takeoverAfter
}

// lease returns the cluster's record and the region's replicas.
func (d *desk) lease() (catalog.Cluster, []catalog.Replica) {
	cluster := catalog.Cluster{Name: d.self.Cluster}
	d.catalog.Records(d.self.Region, catalog.RecordCluster, func(r *catalog.Record) bool {
		if r.Cluster.Name == d.self.Cluster {
			cluster = *r.Cluster
		}
		return true
	})
	var replicas []catalog.Replica
	d.catalog.Records(d.self.Region, catalog.RecordReplica, func(r *catalog.Record) bool {
		replicas = append(replicas, *r.Replica)
		return true
	})
	return cluster, replicas
}

func (d *desk) office() (ownership, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.owned, d.owns
}

// own returns the cluster's sets and their effective health as the catalog has
// them, also those that an export rule refuses: they are published all the same.
func (d *desk) own() []catalog.Backend { return d.catalog.Published(d.self.Region, d.self.Cluster) }

// retarget gives the prober the endpoints to probe: all of the cluster's while
// this replica owns it, else none.
func (d *desk) retarget() {
	var own []catalog.Backend
	if _, owner := d.office(); owner {
		own = d.own()
	}
	sets := make(map[catalog.SetKey]*catalog.EndpointSet, len(own))
	for _, b := range own {
		sets[b.Set.SetKey] = b.Set
	}
	d.mu.Lock()
	same := maps.Equal(sets, d.probing)
	d.probing = sets
	d.mu.Unlock()
	if same {
		return
	}
	var targets []probe.Target
	known := map[probe.Key]catalog.Health{}
	for _, b := range own {
		targets = append(targets, probe.Targets(b.Set)...)
		for i := range b.Set.Endpoints {
			known[probe.Key{Set: b.Set.SetKey, Endpoint: b.Set.Endpoints[i].ID}] = b.Health[i]
		}
	}
	d.prober.Replace(targets, func(k probe.Key) catalog.Health { return known[k] })
}

// reconcile brings what the sources say into Raft.
func (d *desk) reconcile(ctx context.Context) {
	d.mu.Lock()
	office, owner := d.owned, d.owns
	words := make([]word, 0, len(d.feeds))
	for _, f := range d.feeds {
		if f.latest != nil {
			words = append(words, word{origin: f.origin, latest: f.latest, good: f.good})
		}
	}
	d.mu.Unlock()
	if !owner || len(words) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	own := d.own()
	desired := make([][]catalog.EndpointSet, len(words))
	for i, w := range words {
		desired[i], words[i].refusal = mine(w.origin, own, w.latest.Sets)
	}
	if len(words) == len(d.feeds) && !d.describe(ctx, office.term, words) {
		return
	}
	for i, w := range words {
		if w.latest.Err == nil {
			d.publish(ctx, office.term, w.origin, own, desired[i])
		}
	}
}

// describe records the state of the sources once all have spoken, and reports
// whether it is recorded.
func (d *desk) describe(ctx context.Context, term uint64, words []word) bool {
	cluster, _ := d.lease()
	now := describe(cluster, words)
	if cluster.SourceError == now.fault && slices.Equal(cluster.Prefixes, now.prefixes) {
		return true
	}
	if err := d.ledger.DescribeCluster(ctx, d.self.Cluster, term, now.prefixes, now.fault, now.since); err != nil {
		d.log.Warn("could not record the state of the source; trying again", "cluster", d.self.Cluster, "error", err)
		return false
	}
	return true
}

// publish writes what of one source differs from what is published.
func (d *desk) publish(ctx context.Context, term uint64, origin string, own []catalog.Backend, desired []catalog.EndpointSet) {
	var published []catalog.EndpointSet
	byKey := map[catalog.SetKey]*catalog.EndpointSet{}
	for _, b := range own {
		if b.Set.Source == origin {
			published = append(published, *b.Set)
			byKey[b.Set.SetKey] = b.Set
		}
	}
	affine, propertied := d.understands(state.AffinityProtocol), d.understands(state.PropertiesProtocol)
	for i := range desired {
		desired[i] = asPublished(desired[i], byKey[desired[i].SetKey])
		if !affine {
			desired[i].AffinitySeconds = 0
		}
		if !propertied {
			desired[i].Properties = nil
		}
	}
	changes := source.Diff(published, desired, time.Now().UTC())
	if changes.Empty() {
		return
	}
	if err := d.ledger.PutSets(ctx, d.self.Cluster, origin, term, changes); err != nil {
		d.log.Warn("could not publish the services; trying again", "cluster", d.self.Cluster, "source", origin, "error", err)
	}
}
