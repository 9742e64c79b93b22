package federation

import (
	"slices"
	"strings"

	"github.com/federator/federator/federation/catalog"
)

// termStep is the distance between the terms of two leases of a cluster's
// health. The terms between are for takeovers without a Raft leader.
const termStep = 256

// ownership says who speaks for the health of a cluster, and in which term.
type ownership struct {
	owner string
	term  uint64
}

// owns applies the rule: the lease in Raft counts. While the region has no leader
// to move the lease and its holder is dead, the first living replica of the
// cluster by name takes over, with a term between this lease and the next one,
// higher for later names, so that two that act at once are still told apart.
func owns(lease catalog.Cluster, replicas []catalog.Replica, alive func(name string) bool, haveLeader bool) ownership {
	agreed := ownership{lease.HealthOwner, lease.HealthTerm}
	if haveLeader || alive(lease.HealthOwner) {
		return agreed
	}
	for rank, name := range candidates(lease.Name, replicas) {
		if alive(name) && rank < termStep-1 {
			return ownership{name, lease.HealthTerm + 1 + uint64(rank)}
		}
	}
	return agreed
}

// successor is who the leader gives the lease of a cluster to: the holder while
// it lives, else the first living replica of the cluster by name, else nobody.
func successor(lease catalog.Cluster, replicas []catalog.Replica, alive func(name string) bool) string {
	names := candidates(lease.Name, replicas)
	if slices.Contains(names, lease.HealthOwner) && alive(lease.HealthOwner) {
		return lease.HealthOwner
	}
	for _, name := range names {
		if alive(name) {
			return name
		}
	}
	return ""
}

// candidates are the names of a cluster's replicas in order.
func candidates(cluster string, replicas []catalog.Replica) []string {
	var names []string
	for i := range replicas {
		if replicas[i].Cluster == cluster {
			names = append(names, replicas[i].Name)
		}
	}
	slices.SortFunc(names, strings.Compare)
	return names
}
