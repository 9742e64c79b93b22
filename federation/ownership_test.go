package federation

import (
	"testing"

	"github.com/federator/federator/federation/catalog"
)

func replicasOf(cluster string, names ...string) []catalog.Replica {
	var out []catalog.Replica
	for _, n := range names {
		out = append(out, catalog.Replica{Name: n, Cluster: cluster})
	}
	return out
}

func TestOwnershipFollowsTheLeaseAndDegradesInAFixedOrder(t *testing.T) {
	lease := catalog.Cluster{Name: "w1", HealthOwner: "b", HealthTerm: 512}
	replicas := append(replicasOf("w1", "c", "a", "b"), replicasOf("w2", "0")...)
	for _, c := range []struct {
		name   string
		alive  string
		leader bool
		want   ownership
	}{
		{"the living holder owns", "abc", true, ownership{"b", 512}},
		{"a dead holder keeps it while a leader can move the lease", "ac", true, ownership{"b", 512}},
		{"a living holder keeps it without a leader", "b", false, ownership{"b", 512}},
		{"without a leader the first living name takes over", "ac", false, ownership{"a", 513}},
		{"a later name takes over with a higher term", "c", false, ownership{"c", 515}},
		{"a replica of another cluster never takes over", "0", false, ownership{"b", 512}},
	} {
		alive := func(name string) bool { return len(name) == 1 && contains(c.alive, name) }
		if got := owns(lease, replicas, alive, c.leader); got != c.want {
			t.Errorf("%s: expected %v, found %v", c.name, c.want, got)
		}
	}
}

func TestTheLeaseGoesToALivingReplicaOfTheCluster(t *testing.T) {
	replicas := append(replicasOf("w1", "c", "a", "b"), replicasOf("w2", "0")...)
	for _, c := range []struct{ holder, alive, want string }{
		{"b", "abc", "b"}, {"b", "ac", "a"}, {"", "c", "c"}, {"gone", "gone", ""}, {"b", "0", ""},
	} {
		alive := func(name string) bool { return contains(c.alive, name) }
		if got := successor(catalog.Cluster{Name: "w1", HealthOwner: c.holder}, replicas, alive); got != c.want {
			t.Errorf("holder %q, alive %q: expected %q, found %q", c.holder, c.alive, c.want, got)
		}
	}
}

func contains(set, name string) bool {
	for i := range len(set) {
		if set[i:i+1] == name {
			return true
		}
	}
	return set == name
}
