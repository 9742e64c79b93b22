package federation

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/federator/federator/federation/catalog"
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
	// wholeEvery is how often everything is compared, whatever is known to have
	// changed. That takes some 30 ms for 3,000 services of 10 endpoints; a change of
	// one of them takes a thousandth of it.
	wholeEvery = 30 * time.Second
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
	// the last fold failed; knows is what the region's Raft could last hold. Only run
	// works with them.
	due      ownership
	dueSince time.Time
	unfolded string
	knows    extent

	mu      sync.Mutex
	owned   ownership
	owns    bool
	epoch   uint64
	seq     uint64
	probing map[catalog.SetKey]*catalog.EndpointSet // what the prober was last given
	backlog scope                                   // what may not be published as the sources say it
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
	whole := time.NewTicker(wholeEvery)
	defer whole.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-watch.Changed():
			if in := d.concerned(watch.Take()); !in.empty() {
				d.compare(ctx, in)
			}
		case <-d.wake:
			d.reconcile(ctx)
		case <-tick.C:
			if d.claim() {
				d.compare(ctx, everything())
			}
		case <-fold.C:
			d.fold(ctx)
			d.reconcile(ctx) // what could not be written before
		case <-whole.C:
			d.compare(ctx, everything())
		}
	}
}

// compare compares what the sources and the prober say of the services in scope with
// what is published: of what just was, something may have turned since it was
// written.
func (d *desk) compare(ctx context.Context, in scope) {
	d.retarget(in)
	d.assert(in)
	d.owe(in)
	d.reconcile(ctx)
}

// concerned returns the own cluster's services whose sets a change of the catalog
// touches, so that flips and the rest of the world cost nothing here. A set that is
// said and not there may have been written and deleted since the last look.
func (d *desk) concerned(ch catalog.Changes) scope {
	d.mu.Lock()
	owner, probing := d.owns, d.probing
	var said []*source.Update
	for _, f := range d.feeds {
		if f.latest != nil {
			said = append(said, f.latest)
		}
	}
	d.mu.Unlock()
	switch {
	case !owner:
		return scope{}
	case ch.All:
		return everything()
	}
	var in scope
	for _, name := range ch.Services {
		set := d.set(name)
		missing := set == nil && slices.ContainsFunc(said, func(u *source.Update) bool {
			_, ok := source.Find(u.Sets, name)
			return ok
		})
		if missing || set != probing[d.key(name)] {
			in.add(some(name))
		}
	}
	return in
}

func (d *desk) key(name catalog.ServiceName) catalog.SetKey {
	return catalog.SetKey{Cluster: d.self.Cluster, Service: name}
}

// set returns the own cluster's part of a service; nil if it has none.
func (d *desk) set(name catalog.ServiceName) *catalog.EndpointSet {
	return d.catalog.Set(d.self.Region, d.key(name))
}

// take keeps the newest word of a source, and spreads at once what it says anew of
// the health of published endpoints: that must not wait for Raft, which may be
// without a leader. reconcile acts on the rest.
func (d *desk) take(f *feed, u source.Update) {
	d.mu.Lock()
	n := f.note(&u)
	d.backlog.add(n.in)
	changes := d.turned(f, n.turned)
	said := d.number(changes)
	d.mu.Unlock()
	if said {
		d.spread(changes)
	}
	if !n.more {
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
func (d *desk) turned(f *feed, sets []*catalog.EndpointSet) []catalog.HealthChange {
	var changes []catalog.HealthChange
	for _, said := range sets {
		if b, ok := d.catalog.Part(d.self.Region, said.SetKey); ok && b.Set.Source == f.origin {
			changes = append(changes, turns(said, &b)...)
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

// ownOf is the part of own that is in scope.
func (d *desk) ownOf(in scope) []catalog.Backend {
	if in.all {
		return d.own()
	}
	var own []catalog.Backend
	for name := range in.names {
		if b, ok := d.catalog.Part(d.self.Region, d.key(name)); ok {
			own = append(own, b)
		}
	}
	return own
}

// retarget gives the prober the endpoints to probe, of which those in scope may be
// others: all of the cluster's while this replica owns it, else none.
func (d *desk) retarget(in scope) {
	var own []catalog.Backend
	if _, owner := d.office(); owner {
		own = d.ownOf(in)
	}
	sets := make(map[catalog.SetKey]*catalog.EndpointSet, len(own))
	for _, b := range own {
		sets[b.Set.SetKey] = b.Set
	}
	if !d.aim(in, sets) {
		return
	}
	if !in.all {
		own = d.own()
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

// aim remembers the sets in scope as probed and reports whether one with a check is
// another, gone or new: the others have nothing to probe.
func (d *desk) aim(in scope, sets map[catalog.SetKey]*catalog.EndpointSet) (changed bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	probes := func(s *catalog.EndpointSet) bool { return s != nil && s.Check != nil }
	compare := func(k catalog.SetKey) {
		if old, next := d.probing[k], sets[k]; old != next {
			changed = changed || probes(old) || probes(next)
		}
	}
	if in.all {
		for k := range d.probing {
			compare(k)
		}
		for k := range sets {
			compare(k)
		}
		d.probing = sets
		return changed
	}
	for name := range in.names {
		k := d.key(name)
		if compare(k); sets[k] == nil {
			delete(d.probing, k)
		} else {
			d.probing[k] = sets[k]
		}
	}
	return changed
}
