package source

import (
	"cmp"
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

// equal compares two sets by value. Times compare as instants, because a time
// that has been through Raft has lost its location; empty and nil are the same.
func equal(a, b *catalog.EndpointSet) bool {
	return a.SetKey == b.SetKey && a.Source == b.Source && a.Headless == b.Headless && a.AffinitySeconds == b.AffinitySeconds &&
		a.CreatedAt.Equal(b.CreatedAt) && slices.Equal(a.Ports, b.Ports) &&
		reflect.DeepEqual(a.Check, b.Check) && slices.EqualFunc(a.Endpoints, b.Endpoints, equalEndpoint)
}

func equalEndpoint(a, b catalog.Endpoint) bool {
	samePorts := len(a.Ports) == len(b.Ports)
	for name, number := range a.Ports {
		other, ok := b.Ports[name]
		samePorts = samePorts && ok && other == number
	}
	return samePorts && a.ID == b.ID && a.Address == b.Address && a.Zone == b.Zone &&
		a.Hostname == b.Hostname && a.Weight == b.Weight && a.Health == b.Health
}

func compareKeys(a, b catalog.SetKey) int {
	return cmp.Or(cmp.Compare(a.Cluster, b.Cluster), a.Service.Compare(b.Service))
}
