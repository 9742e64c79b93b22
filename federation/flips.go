package federation

import (
	"context"
	"time"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/source/probe"
)

const (
	// foldEvery is how often pending health changes are folded into Raft.
	foldEvery = 2 * time.Second
	// foldTimeout bounds one fold.
	foldTimeout = 5 * time.Second
	// reemitEvery is how often pending changes are gossiped anew while they cannot
	// be folded, so that they do not lapse at the readers.
	reemitEvery = 10 * time.Second
	// maxPending is how many pending changes gossip carries; above it readers are
	// told to ask for all of them, at most every resyncEvery.
	maxPending  = 500
	resyncEvery = 200 * time.Millisecond
)

// voice is what a desk remembers of what it told others.
type voice struct {
	said     time.Time             // when all that was pending was last gossiped or folded
	resynced time.Time             // when readers were last told to ask
	behind   catalog.HealthVersion // what they are still to be told to ask for; zero if nothing
}

// firstSeq is where the count of flips begins. An owner that restarts within its
// term has to go on above everything it ever said, of which others may know more
// than its disk does; the clock in microseconds is ahead of any count that began
// with it. Should it have been set back, number goes on above what others say.
func firstSeq() uint64 { return uint64(time.Now().UnixMicro()) }

// flip is told by the prober of every change.
func (d *desk) flip(f probe.Flip) {
	d.emit([]catalog.HealthChange{{Service: f.Set.Service, Endpoint: f.Endpoint, Health: f.Health}})
}

// emit gives changes their versions and spreads them: to the own catalog first,
// then to everybody.
func (d *desk) emit(changes []catalog.HealthChange) {
	d.mu.Lock()
	said := d.number(changes)
	d.mu.Unlock()
	if said {
		d.spread(changes)
	}
}

// number gives changes their versions and lays them over the own catalog, if
// this replica may speak. The caller holds the lock: a fold must see either all
// of it or nothing.
func (d *desk) number(changes []catalog.HealthChange) bool {
	if !d.owns || len(changes) == 0 {
		return false
	}
	d.seq = d.upTo().Seq
	for i := range changes {
		d.seq++
		changes[i].Version = catalog.HealthVersion{Epoch: d.epoch, Term: d.owned.term, Seq: d.seq}
	}
	d.catalog.ApplyHealth(catalog.HealthDelta{Cluster: d.self.Cluster, Changes: changes}, time.Now())
	return true
}

// upTo is the highest version of this office: its own, or one that it gave before
// a restart and that others still knew. The caller holds the lock.
func (d *desk) upTo() catalog.HealthVersion {
	v := catalog.HealthVersion{Epoch: d.epoch, Term: d.owned.term, Seq: d.seq}
	if seen := d.catalog.NewestHealth(d.self.Cluster); seen.Epoch == v.Epoch && seen.Term == v.Term {
		v.Seq = max(v.Seq, seen.Seq)
	}
	return v
}

// spread tells everybody of numbered changes.
func (d *desk) spread(changes []catalog.HealthChange) {
	if d.catalog.PendingCount(d.self.Cluster) <= maxPending {
		d.herald.BroadcastHealth(catalog.HealthDelta{Cluster: d.self.Cluster, Changes: changes})
		return
	}
	d.mu.Lock()
	d.voice.behind = changes[len(changes)-1].Version
	d.mu.Unlock()
	d.resync()
}

// resync tells readers that are behind to ask, unless they were told a moment ago.
func (d *desk) resync() {
	d.mu.Lock()
	behind, now := d.voice.behind, time.Now()
	due := behind != (catalog.HealthVersion{}) && now.Sub(d.voice.resynced) >= resyncEvery
	if due {
		d.voice.behind, d.voice.resynced = catalog.HealthVersion{}, now
	}
	d.mu.Unlock()
	if due {
		d.herald.BroadcastResync(d.self.Cluster, behind)
	}
}

// catchUp sees to it that the last resync is not left out.
func (d *desk) catchUp(ctx context.Context) {
	for sleep(ctx, resyncEvery) {
		d.resync()
	}
}

// assert says again what the sources and the prober know of the services in scope
// and the catalog does not: a new owner speaks in a new term for what it found out
// before.
func (d *desk) assert(in scope) {
	if _, owner := d.office(); !owner {
		return
	}
	d.assertSources(in)
	var changes []catalog.HealthChange
	for _, b := range d.ownOf(in) {
		if b.Set.Check == nil {
			continue
		}
		for i := range b.Set.Endpoints {
			id := b.Set.Endpoints[i].ID
			h, probed := d.prober.Health(probe.Key{Set: b.Set.SetKey, Endpoint: id})
			if probed && h != catalog.Unknown && h != b.Health[i] && b.Health[i] != catalog.Draining {
				changes = append(changes, catalog.HealthChange{Service: b.Set.Service, Endpoint: id, Health: h})
			}
		}
	}
	d.emit(changes)
}

// assertSources does so for the sources that can be read now.
func (d *desk) assertSources(in scope) {
	d.mu.Lock()
	var changes []catalog.HealthChange
	for _, f := range d.feeds {
		if d.owns && f.latest != nil {
			changes = append(changes, d.turned(f, in.of(f.latest.Sets))...) // none with an error
		}
	}
	said := d.number(changes)
	d.mu.Unlock()
	if said {
		d.spread(changes)
	}
}

// fold makes what is pending durable; while that fails it is gossiped anew.
func (d *desk) fold(ctx context.Context) {
	d.mu.Lock()
	pending, upTo := d.catalog.PendingHealth(d.self.Cluster), d.upTo()
	idle := !d.owns || len(pending) == 0
	if idle {
		d.voice.said = time.Now()
	}
	d.mu.Unlock()
	if idle {
		return
	}
	short, cancel := context.WithTimeout(ctx, foldTimeout)
	defer cancel()
	if err := d.ledger.FoldHealth(short, d.self.Cluster, upTo, pending); err != nil {
		if ctx.Err() == nil && err.Error() != d.unfolded {
			d.log.Warn("could not fold health into Raft; trying again", "cluster", d.self.Cluster, "error", err)
		}
		d.unfolded = err.Error()
		d.reemit()
		return
	}
	d.unfolded = ""
	d.mu.Lock()
	d.voice.said = time.Now()
	d.mu.Unlock()
}

// reemit gossips what is pending anew when that is due. It reads and numbers it
// in one step: a flip meanwhile must not be undone by its old value.
func (d *desk) reemit() {
	d.mu.Lock()
	now := time.Now()
	var again []catalog.HealthChange
	if now.Sub(d.voice.said) >= reemitEvery {
		d.voice.said = now
		again = d.catalog.PendingHealth(d.self.Cluster)
	}
	said := d.number(again)
	d.mu.Unlock()
	if said {
		d.spread(again)
	}
}
