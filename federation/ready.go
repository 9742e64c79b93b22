package federation

import (
	"context"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/federation/state"
)

// firstImports is how long DNS waits for what it can do without: a leader of the
// own region, the other regions' catalogs on a replica that holds none yet, and the
// clusterset IPs of the own cluster.
const firstImports = 3 * time.Second

// answer opens DNS once the first catalog is there. It waits for the own region,
// and for a bounded time for the others: a replica must start while remotes are
// down.
func (r *Replica) answer(ctx context.Context) error {
	if r.dns == nil {
		return nil
	}
	t := time.NewTicker(50 * time.Millisecond)
	defer t.Stop()
	var since time.Time
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
		if !r.isLoaded() {
			continue
		}
		if since.IsZero() {
			since = time.Now()
		}
		if r.importsKnown() && r.sourceKnown() && r.vipsKnown() && r.ownCurrent() || time.Since(since) > firstImports {
			break
		}
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return r.dns.Run(ctx) })
	g.Go(func() error { return r.sampler.run(ctx) })
	return g.Wait()
}

// opened reports whether the replica takes questions: on every socket, and not
// merely from now on, because who waits for a ready replica asks it at once.
func (r *Replica) opened() bool {
	if r.dns == nil {
		return true
	}
	select {
	case <-r.dns.Ready():
		return true
	default:
		return false
	}
}

func (r *Replica) isLoaded() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.loaded
}

func (r *Replica) importsKnown() bool {
	for _, region := range r.otherRegions() {
		if r.catalog.Version(region) == (catalog.Version{}) {
			return false
		}
	}
	return true
}

// ownCurrent reports whether the own region is as its Raft has it, and not as it
// was cached before a crash.
func (r *Replica) ownCurrent() bool {
	_, led := r.node.Leader()
	var version catalog.Version
	r.node.Read(func(s *state.State) { version = s.Version() })
	return led && version != (catalog.Version{}) && version.Compare(r.catalog.Version(r.card.Replica.Region)) >= 0
}

// sourceKnown reports whether the services of the own cluster are there, on a
// replica that is to have some.
func (r *Replica) sourceKnown() bool {
	return r.desk.isEmpty() || len(r.desk.own()) > 0
}

// vipsKnown reports whether the clusterset IPs of the own cluster are there, if it is
// one of Kubernetes.
func (r *Replica) vipsKnown() bool { return r.kube == nil || r.kube.vips.Complete() }

// waitingFor says what keeps the replica from being ready; nothing of it is in
// another region.
func (r *Replica) waitingFor() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var list []string
	if r.halted != nil {
		list = append(list, r.halted.Error())
	}
	if r.unknown {
		list = append(list, "this replica was removed from its region: empty its data directory and join with a new token")
	}
	if !r.loaded {
		list = append(list, "the region's own state: the replica was just admitted, or its region has no leader")
	}
	if !r.opened() {
		list = append(list, "the first catalog, before DNS opens")
	}
	return list
}
