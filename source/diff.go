package source

import (
	"cmp"
	"maps"
	"reflect"
	"slices"
	"time"

	"github.com/federator/federator/federation/catalog"
)

// Changes is the difference between what is published and what is desired.
type Changes struct {
	Upserts []catalog.EndpointSet
	Deletes []catalog.SetKey
}

// Empty reports whether there is nothing to write.
func (c Changes) Empty() bool { return len(c.Upserts) == 0 && len(c.Deletes) == 0 }

// Diff returns the writes that turn previous, the published sets of one source,
// into desired. A desired set without CreatedAt takes that of its predecessor,
// or now if it is new, so that the age which decides conflicts (KEP-1645)
// survives every edit. Both results are ordered by cluster and service, and
// neither argument is changed.
func Diff(previous, desired []catalog.EndpointSet, now time.Time) Changes {
	published := make(map[catalog.SetKey]*catalog.EndpointSet, len(previous))
	for i := range previous {
		published[previous[i].SetKey] = &previous[i]
	}
	var c Changes
	for _, set := range desired {
		old := published[set.SetKey]
		delete(published, set.SetKey)
		set.CreatedAt = created(set, old, now)
		if old == nil || !equal(old, &set) {
			c.Upserts = append(c.Upserts, set)
		}
	}
	for key := range published {
		c.Deletes = append(c.Deletes, key)
	}
	slices.SortFunc(c.Upserts, func(a, b catalog.EndpointSet) int { return compareKeys(a.SetKey, b.SetKey) })
	slices.SortFunc(c.Deletes, compareKeys)
	return c
}

func created(set catalog.EndpointSet, old *catalog.EndpointSet, now time.Time) time.Time {
	switch {
	case !set.CreatedAt.IsZero():
		return set.CreatedAt
	case old != nil:
		return old.CreatedAt
	}
	return now
}

// Difference is in what two states of one set differ.
type Difference int

// The differences.
const (
	Same       Difference = iota
	HealthOnly            // only the health of endpoints
	Membership            // anything else, and perhaps health as well
)

// Compare says in what two sets differ.
func Compare(a, b *catalog.EndpointSet) Difference {
	if !equalBut(a, b) || len(a.Endpoints) != len(b.Endpoints) {
		return Membership
	}
	d := Same
	if len(a.Endpoints) == 0 || &a.Endpoints[0] == &b.Endpoints[0] {
		return d
	}
	for i := range a.Endpoints {
		switch {
		case !equalEndpoint(&a.Endpoints[i], &b.Endpoints[i]):
			return Membership
		case a.Endpoints[i].Health != b.Endpoints[i].Health:
			d = HealthOnly
		}
	}
	return d
}

func equal(a, b *catalog.EndpointSet) bool { return Compare(a, b) == Same }

// equalBut compares two sets by value, but for their endpoints. Times compare as
// instants, because a time that has been through Raft has lost its location; empty
// and nil are the same.
func equalBut(a, b *catalog.EndpointSet) bool {
	return a.SetKey == b.SetKey && a.Source == b.Source && a.Headless == b.Headless && a.AffinitySeconds == b.AffinitySeconds &&
		a.Properties.Equal(b.Properties) && a.CreatedAt.Equal(b.CreatedAt) && slices.Equal(a.Ports, b.Ports) && reflect.DeepEqual(a.Check, b.Check)
}

// equalEndpoint compares two endpoints, but for their health.
func equalEndpoint(a, b *catalog.Endpoint) bool {
	return a.ID == b.ID && a.Address == b.Address && a.Zone == b.Zone && a.Hostname == b.Hostname &&
		a.Weight == b.Weight && maps.Equal(a.Ports, b.Ports)
}

func compareKeys(a, b catalog.SetKey) int {
	return cmp.Or(cmp.Compare(a.Cluster, b.Cluster), a.Service.Compare(b.Service))
}
