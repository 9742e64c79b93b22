package source

import (
	"context"
	"slices"
	"time"

	"github.com/federator/federator/federation/catalog"
)

// Source hands over what one cluster exports.
type Source interface {
	// Run calls out with an Update at the start and after every change until ctx
	// ends, from one goroutine, never two calls at once. It returns nil when ctx
	// ended, and an error only when it can never deliver anything; whatever may
	// heal is reported through an Update with Err set. out must not retain its
	// caller for long: while it runs, changes coalesce.
	Run(ctx context.Context, out func(Update)) error
}

// Update is the complete desired state of one cluster from one source, or, when
// Err is set, the news that the state cannot be read now.
type Update struct {
	// Sets are all endpoint sets of the source, ordered by service. Source and
	// Cluster are filled in. CreatedAt is zero where the source does not know it;
	// see [Diff]. What was handed over is never changed. A source that knows a set
	// to be as it was hands over the same pointer again: then it costs its reader
	// nothing. Sets that differ in their pointers alone are compared, and equal.
	Sets []*catalog.EndpointSet
	// Prefixes are the networks whose DNS clients belong to this cluster.
	Prefixes []catalog.ClientPrefix
	// Err says, for an operator, why the source cannot be read. When it is set
	// Sets and Prefixes are nil and mean nothing: what is published stays.
	Err error
	// StaleSince is when the source could first not be read; zero without Err.
	StaleSince time.Time
}

// Find returns where the set of a service is, or would be, among sets that are
// ordered by service, and whether it is there.
func Find(sets []*catalog.EndpointSet, name catalog.ServiceName) (int, bool) {
	return slices.BinarySearchFunc(sets, name, func(s *catalog.EndpointSet, name catalog.ServiceName) int { return s.Service.Compare(name) })
}
