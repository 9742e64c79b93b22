package federation

import (
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
	// refused is why services of good cannot be published; of those that cannot. Only
	// the desk's run works with it.
	refused map[catalog.ServiceName]string
}

// news is what is new in a word of a source.
type news struct {
	turned []*catalog.EndpointSet // the sets in which it may tell of a flip
	in     scope                  // the services of which it says anything else than before
	more   bool                   // it says more that is new than health
}

// note takes in a word. After one that was an error, or none, all is news.
func (f *feed) note(u *source.Update) news {
	before := f.good
	recovered := f.latest == nil || f.latest.Err != nil
	f.latest = u
	if u.Err != nil {
		return news{more: true}
	}
	f.good = u
	if recovered {
		return news{turned: u.Sets, in: everything(), more: true}
	}
	n := touched(before.Sets, u.Sets)
	n.more = n.more || !slices.Equal(before.Prefixes, u.Prefixes)
	return n
}

// touched compares two states of a source. Both are ordered by service, and sources
// keep the sets that did not change.
func touched(old, next []*catalog.EndpointSet) (n news) {
	for _, set := range next {
		if len(old) > 0 && old[0] == set {
			old = old[1:]
			continue
		}
		for len(old) > 0 && old[0].Service.Compare(set.Service) < 0 {
			n.gone(old[0])
			old = old[1:]
		}
		difference := source.Membership
		if len(old) > 0 && old[0].Service == set.Service {
			difference = source.Compare(old[0], set)
			old = old[1:]
		}
		if difference != source.Same {
			n.turned = append(n.turned, set)
			n.in.add(some(set.Service))
		}
		n.more = n.more || difference == source.Membership
	}
	for _, set := range old {
		n.gone(set)
	}
	return n
}

func (n *news) gone(set *catalog.EndpointSet) {
	n.in.add(some(set.Service))
	n.more = true
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

// word is what a feed said last, read under the lock.
type word struct {
	*feed
	latest, good *source.Update
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
		} else if refusal := w.refusal(); refusal != "" {
			faults = append(faults, refusal)
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
