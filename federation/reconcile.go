package federation

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/federation/state"
	"github.com/federator/federator/source"
)

// scope is which services of the own cluster are meant; the zero value is none.
type scope struct {
	all   bool
	names map[catalog.ServiceName]struct{}
}

// everything is all services, also those that are gone.
func everything() scope { return scope{all: true} }

func some(names ...catalog.ServiceName) (s scope) {
	for _, name := range names {
		if s.names == nil {
			s.names = make(map[catalog.ServiceName]struct{}, len(names))
		}
		s.names[name] = struct{}{}
	}
	return s
}

func (s scope) empty() bool { return !s.all && len(s.names) == 0 }

// add widens the scope. It does not keep the other's names.
func (s *scope) add(other scope) {
	if s.all || other.all {
		*s = everything()
		return
	}
	if s.names == nil && len(other.names) > 0 {
		s.names = make(map[catalog.ServiceName]struct{}, len(other.names))
	}
	maps.Copy(s.names, other.names)
}

// of returns the sets in scope of those that a source says.
func (s scope) of(sets []*catalog.EndpointSet) (in []*catalog.EndpointSet) {
	if s.all {
		return sets
	}
	for name := range s.names {
		if at, ok := source.Find(sets, name); ok {
			in = append(in, sets[at])
		}
	}
	return in
}

// extent is what of a set all replicas of the region understand; the rest is left out
// until they do.
type extent struct{ affinities, properties bool }

// owe has reconcile compare what is in scope.
func (d *desk) owe(in scope) {
	d.mu.Lock()
	d.backlog.add(in)
	d.mu.Unlock()
}

// reconcile brings what the sources say into Raft, as far as it may have changed, or
// what is published may have. What cannot be written now stays in the backlog.
func (d *desk) reconcile(ctx context.Context) {
	knows := extent{d.understands(state.AffinityProtocol), d.understands(state.PropertiesProtocol)}
	d.mu.Lock()
	if knows != d.knows {
		d.knows, d.backlog = knows, everything()
	}
	office, owner := d.owned, d.owns
	words := make([]word, 0, len(d.feeds))
	for _, f := range d.feeds {
		if f.latest != nil {
			words = append(words, word{feed: f, latest: f.latest, good: f.good})
		}
	}
	in := d.backlog
	d.backlog = scope{} // a new owner, and the first word of a source, fill it again
	d.mu.Unlock()
	if !owner || len(words) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if !d.write(ctx, office.term, words, in) {
		d.owe(in)
	}
}

// write writes what in scope is not published as the sources say it, and reports
// whether all of it is written.
func (d *desk) write(ctx context.Context, term uint64, words []word, in scope) bool {
	own := d.published(in)
	desired := make([][]catalog.EndpointSet, len(words))
	for i, w := range words {
		if w.latest.Err == nil {
			desired[i] = w.mine(own, in)
		}
	}
	if len(words) == len(d.feeds) && !d.describe(ctx, term, words) {
		return false
	}
	done := true
	for i, w := range words {
		if w.latest.Err == nil {
			done = d.publish(ctx, term, w.origin, own, desired[i]) && done
		}
	}
	return done
}

// published returns the cluster's sets in scope, whichever source they are of.
func (d *desk) published(in scope) map[catalog.ServiceName]*catalog.EndpointSet {
	sets := make(map[catalog.ServiceName]*catalog.EndpointSet, len(in.names))
	if in.all {
		for _, b := range d.own() {
			sets[b.Set.Service] = b.Set
		}
		return sets
	}
	for name := range in.names {
		if set := d.set(name); set != nil {
			sets[name] = set
		}
	}
	return sets
}

// mine returns the sets in scope, without the services that another source of the
// cluster owns: one name in dispute must not keep the rest of a source from being
// published.
func (w word) mine(own map[catalog.ServiceName]*catalog.EndpointSet, in scope) (mine []catalog.EndpointSet) {
	if in.all || w.refused == nil {
		w.feed.refused = map[catalog.ServiceName]string{}
	}
	for name := range in.names {
		delete(w.refused, name)
	}
	for _, set := range in.of(w.latest.Sets) {
		switch other := own[set.Service]; {
		case other != nil && other.Source != w.origin:
			w.refused[set.Service] = fmt.Sprintf("service %s of the %s is owned by source %q in cluster %s; delete it there, or leave it out here", set.Service, w.origin, other.Source, set.Cluster)
		case len(set.Endpoints) > maxSetEndpoints:
			w.refused[set.Service] = fmt.Sprintf("service %s has %d endpoints in cluster %s; expected at most %d", set.Service, len(set.Endpoints), set.Cluster, maxSetEndpoints)
		default:
			mine = append(mine, *set)
		}
	}
	return mine
}

// refusal says why the first service that cannot be published cannot be, "" if there
// is none.
func (f *feed) refusal() string {
	if len(f.refused) == 0 {
		return ""
	}
	return f.refused[slices.MinFunc(slices.Collect(maps.Keys(f.refused)), catalog.ServiceName.Compare)]
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

// publish writes what of one source differs from what is published, and reports
// whether it is written.
func (d *desk) publish(ctx context.Context, term uint64, origin string, own map[catalog.ServiceName]*catalog.EndpointSet, desired []catalog.EndpointSet) bool {
	var published []catalog.EndpointSet
	for _, set := range own {
		if set.Source == origin {
			published = append(published, *set)
		}
	}
	for i := range desired {
		desired[i] = asPublished(desired[i], own[desired[i].Service])
		if !d.knows.affinities {
			desired[i].AffinitySeconds = 0
		}
		if !d.knows.properties {
			desired[i].Properties = nil
		}
	}
	changes := source.Diff(published, desired, time.Now().UTC())
	if changes.Empty() {
		return true
	}
	if err := d.ledger.PutSets(ctx, d.self.Cluster, origin, term, changes); err != nil {
		d.log.Warn("could not publish the services; trying again", "cluster", d.self.Cluster, "source", origin, "error", err)
		return false
	}
	return true
}

// asPublished returns the set as it is to be published: an endpoint that is published
// keeps the health that it was published with, because flips say what it is now,
// and a write for every flip is what they are there to spare.
func asPublished(said catalog.EndpointSet, published *catalog.EndpointSet) catalog.EndpointSet {
	if published == nil || said.Check != nil || published.Check != nil {
		return said
	}
	at := placesOf(published.Endpoints)
	copied := false
	for i := range said.Endpoints {
		j := at(i, &said.Endpoints[i])
		if j < 0 || published.Endpoints[j].Health == said.Endpoints[i].Health {
			continue
		}
		if !copied {
			copied, said.Endpoints = true, slices.Clone(said.Endpoints)
		}
		said.Endpoints[i].Health = published.Endpoints[j].Health
	}
	return said
}
