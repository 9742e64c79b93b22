package federation

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/source"
)

// maxPrefixes bounds the client networks of a cluster, maxSourceError the text of
// why its sources cannot be read, in bytes; the region's Raft has bounds alike.
const (
	maxPrefixes    = 4096
	maxSourceError = 1000
)

// feed is one source of the cluster and what it said. The desk's lock guards it.
type feed struct {
	origin string // what the source is called in the sets
	source source.Source
	latest *source.Update // its last word, perhaps an error
	good   *source.Update // the last that was none
}

// note takes in a word and returns the sets in which it may tell of a flip. more
// is true if it says anything else that is new.
func (f *feed) note(u *source.Update) (turned []catalog.EndpointSet, more bool) {
	before := f.good
	recovered := f.latest == nil || f.latest.Err != nil
	f.latest = u
	if u.Err != nil {
		return nil, true
	}
	f.good = u
	if recovered {
		return u.Sets, true
	}
	turned, more = touched(before.Sets, u.Sets)
	return turned, more || !slices.Equal(before.Prefixes, u.Prefixes)
}

// touched returns the sets of next that differ from the set of the same service in
// old. more is true if one does in more than health, or is gone. Both are ordered by
// service, and sources keep the slices of endpoints that did not change.
func touched(old, next []catalog.EndpointSet) (out []catalog.EndpointSet, more bool) {
	for i := range next {
		for len(old) > 0 && old[0].Service.Compare(next[i].Service) < 0 {
			old, more = old[1:], true
		}
		difference := source.Membership
		if len(old) > 0 && old[0].Service == next[i].Service {
			difference = source.Compare(&old[0], &next[i])
			old = old[1:]
		}
		if difference != source.Same {
			out = append(out, next[i])
		}
		more = more || difference == source.Membership
	}
	return out, more || len(old) > 0
}

// turns returns what the source says of the health of published endpoints and the
// catalog does not. Where there is a check, the prober has the word instead; what
// is new comes with its health in the set.
func turns(said *catalog.EndpointSet, published *catalog.Backend) []catalog.HealthChange {
	if said.Check != nil || published.Set.Check != nil {
		return nil
	}
	var changes []catalog.HealthChange
	at := placesOf(published.Set.Endpoints)
	for i := range said.Endpoints {
		e := &said.Endpoints[i]
		j := at(i, e)
		if j >= 0 && published.Health[j] != e.Health {
			changes = append(changes, catalog.HealthChange{Service: said.Service, Endpoint: e.ID, Health: e.Health})
		}
	}
	return changes
}

// placesOf finds endpoints by id and address; -1 where there is none such. Most are
// where they were.
func placesOf(endpoints []catalog.Endpoint) func(hint int, e *catalog.Endpoint) int {
	var byID map[string]int
	return func(hint int, e *catalog.Endpoint) int {
		j, ok := hint, hint < len(endpoints) && endpoints[hint].ID == e.ID
		if !ok {
			if byID == nil {
				byID = make(map[string]int, len(endpoints))
				for k := range endpoints {
					byID[endpoints[k].ID] = k
				}
			}
			j, ok = byID[e.ID]
		}
		if !ok || endpoints[j].Address != e.Address {
			return -1
		}
		return j
	}
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

// word is what a feed said last, read under the lock.
type word struct {
	origin       string
	latest, good *source.Update
	refusal      string // what of it cannot be published, and why
}

// description is what is recorded of the sources of a cluster.
type description struct {
	prefixes []catalog.ClientPrefix
	fault    string
	since    time.Time
}

// describe sums up what the sources say of themselves. Networks that a source
// announced stay while it cannot be read.
func describe(cluster catalog.Cluster, words []word) description {
	var d description
	var faults []string
	known := map[netip.Prefix]bool{}
	complete := true
	for _, w := range words {
		if w.latest.Err != nil {
			faults = append(faults, w.latest.Err.Error())
			if d.since.IsZero() || w.latest.StaleSince.Before(d.since) {
				d.since = w.latest.StaleSince
			}
		} else if w.refusal != "" {
			faults = append(faults, w.refusal)
		}
		if w.good == nil {
			complete = false
			continue
		}
		for _, p := range w.good.Prefixes {
			if !known[p.Prefix] && len(d.prefixes) < maxPrefixes {
				known[p.Prefix] = true
				d.prefixes = append(d.prefixes, p)
			}
		}
	}
	if !complete {
		d.prefixes = cluster.Prefixes
	}
	d.fault = strings.Join(faults, "; ")
	if len(d.fault) > maxSourceError {
		d.fault = strings.ToValidUTF8(d.fault[:maxSourceError], "") + "..."
	}
	return d
}

// mine leaves out the services that another source of the cluster owns, and says
// which: one name in dispute must not keep the rest of a source from being
// published.
func mine(origin string, own []catalog.Backend, desired []catalog.EndpointSet) (sets []catalog.EndpointSet, refusal string) {
	others := map[catalog.SetKey]string{}
	for _, b := range own {
		if b.Set.Source != origin {
			others[b.Set.SetKey] = b.Set.Source
		}
	}
	for _, set := range desired {
		switch owner, taken := others[set.SetKey]; {
		case taken:
			refusal = cmp.Or(refusal, fmt.Sprintf("service %s of the %s is owned by source %q in cluster %s; delete it there, or leave it out here", set.Service, origin, owner, set.Cluster))
		case len(set.Endpoints) > maxSetEndpoints:
			refusal = cmp.Or(refusal, fmt.Sprintf("service %s has %d endpoints in cluster %s; expected at most %d", set.Service, len(set.Endpoints), set.Cluster, maxSetEndpoints))
		default:
			sets = append(sets, set)
		}
	}
	return sets, refusal
}
