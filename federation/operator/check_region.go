package operator

import (
	"fmt"
	"maps"
	"slices"

	"github.com/federator/federator/federation/state"
)

func (v *view) checkReady() []problem {
	var out []problem
	for _, what := range v.waitingFor {
		out = append(out, problem{warning, "not-ready", v.me(), "ready to serve", "waiting for " + what,
			"wait a few seconds after a start; if it stays, look at the other problems and at the agent's log", v.started})
	}
	return out
}

// me and us are how problems name this replica and its region.
func (v *view) me() string { return "replica " + v.self.Name }
func (v *view) us() string { return "region " + v.self.Region }

// checkRaft reports a halt, and a region that cannot agree on anything.
func (v *view) checkRaft() []problem {
	var out []problem
	for _, err := range v.health {
		switch state.CodeOf(err) {
		case state.ErrHalted.Code:
			return []problem{{severe, "raft-halted", v.me(), "a state machine that runs every command", err.Error(),
				"run a build that knows the command; nothing is lost, and the others go on", v.started}}
		case "disk", "disk-low", "needs-epoch", state.ErrNotLeader.Code: // looked at elsewhere
		default:
			out = append(out, problem{severity: severe, code: "raft", subject: v.me(), expected: "a Raft that is well", found: err.Error(), action: "see the agent's log"})
		}
	}
	if v.stats.Leader == "" {
		return append(out, v.leaderless())
	}
	return append(out, v.checkLag()...)
}

func (v *view) leaderless() problem {
	voters, alive := v.votes()
	p := problem{severity: severe, code: "no-leader", subject: v.us(), expected: "a leader",
		found:  fmt.Sprintf("none; %d of %d voters answer", alive, voters),
		action: "an election takes well under a second; if it stays, look at the voters' logs", since: v.stats.LastContact}
	if alive < quorum(voters) {
		p.code, p.expected = "quorum-lost", fmt.Sprintf("%d of %d voters", quorum(voters), voters)
		p.action = "start the dead voters again; if they are lost for good, stop the survivors and run federator region recover on the one with the newest state. Lookups go on meanwhile, changes wait"
	}
	return p
}

// lagging is how many entries a replica may be behind without being named.
const lagging = 1000

func (v *view) checkLag() []problem {
	if behind := int64(v.stats.CommitIndex) - int64(v.stats.Applied); behind > lagging {
		return []problem{{severity: warning, code: "raft-lag", subject: v.me(), expected: "every committed change applied",
			found: fmt.Sprintf("%d changes behind", behind), action: "give it time after a start; if it grows, look at its disk and CPU"}}
	}
	return nil
}

func quorum(voters int) int { return voters/2 + 1 }

// votes counts the voters, and those of them that answer.
func (v *view) votes() (voters, alive int) {
	for _, server := range v.stats.Servers {
		if !server.Voter {
			continue
		}
		voters++
		if m := v.sibling(nameOf(server.ID)); m != nil && m.state == "alive" {
			alive++
		}
	}
	return voters, alive
}

// sibling returns a replica of the own region, or nil.
func (v *view) sibling(name string) *memberView {
	for i := range v.members {
		if m := &v.members[i]; m.Replica.Region == v.self.Region && m.Replica.Name == name {
			return m
		}
	}
	return nil
}

// checkVoters applies the voter rule of the region: any replica can, not only
// the leader.
func (v *view) checkVoters() []problem {
	var out []problem
	for i := range v.members {
		m := &v.members[i]
		if m.Replica.Region == v.self.Region && (m.state == "dead" || m.state == "suspect" || m.state == "unknown") {
			out = append(out, v.deadSibling(m))
		}
	}
	if p := v.fewReplicas(); p != nil {
		out = append(out, *p)
	}
	return append(out, v.crowdedClusters()...)
}

func (v *view) deadSibling(m *memberView) problem {
	p := problem{warning, "replica-dead", "replica " + m.Replica.Name, "an answer to gossip every 200 ms", "it is " + m.state,
		"start it again; if it is gone for good: federator leave " + m.Replica.Name, m.LastEvidence}
	if m.role == "voter" || m.role == "leader" {
		p.found += ", and it votes"
	}
	if v.pods != (Pods{}) && m.Cluster == v.self.Cluster {
		p.action = "see why its pod does not run: " + v.pods.kubectl("describe pod "+m.Replica.Name) + "; one that is scaled away, or has lost its disk, is taken out by the others"
	}
	return p
}

func (v *view) fewReplicas() *problem {
	p := problem{severity: warning, code: "few-replicas", subject: v.us(), expected: "three replicas or more"}
	switch own := v.region(v.self.Region); {
	case own == nil || own.replicas > 2:
		return nil
	case own.replicas == 2:
		p.found = "two: one voter and a standby, so that the loss of the voter needs federator region recover"
		p.action = "join a third: federator token create, then federator join there"
	default:
		p.found = "one: the loss of its disk loses the region's own data"
		p.action = "join two more: federator token create, then federator join there"
	}
	if v.pods != (Pods{}) {
		p.action = v.pods.kubectl("scale statefulset "+v.pods.StatefulSet+" --replicas=3") + "; behind load balancers federator install --replicas 3, which makes their Services too"
	}
	return &p
}

// crowdedClusters names the clusters whose loss would take the quorum with them,
// where the voters could be spread better.
func (v *view) crowdedClusters() []problem {
	voters, _ := v.votes()
	votes, clusters := map[string]int{}, map[string]bool{}
	for i := range v.members {
		m := &v.members[i]
		if m.Replica.Region != v.self.Region {
			continue
		}
		clusters[m.Cluster] = true
		if m.role == "voter" || m.role == "leader" {
			votes[m.Cluster]++
		}
	}
	var out []problem
	for _, cluster := range slices.Sorted(maps.Keys(votes)) {
		if n := votes[cluster]; voters >= 3 && len(clusters) > 1 && voters-n < quorum(voters) {
			out = append(out, problem{severity: warning, code: "cluster-holds-quorum", subject: "cluster " + cluster,
				expected: fmt.Sprintf("at most %d of %d voters in one cluster", voters-quorum(voters), voters),
				found:    fmt.Sprintf("%d: the loss of this cluster stops all changes in the region", n),
				action:   "spread the region's replicas over three clusters"})
		}
	}
	return out
}

func (v *view) checkDisks() []problem {
	var out []problem
	for _, err := range v.health {
		switch state.CodeOf(err) {
		case "disk":
			out = append(out, problem{severity: severe, code: "disk", subject: v.me(), expected: "writes to the data directory succeed", found: err.Error(),
				action: "free space on the disk, or replace it; nothing that was acknowledged is lost"})
		case "disk-low":
			out = append(out, problem{severity: warning, code: "disk-low", subject: v.me(), expected: "a tenth of the disk free, or 1 GiB", found: err.Error(),
				action: "free space on the disk, or enlarge it, before writes fail"})
		}
	}
	if v.cacheErr != nil {
		out = append(out, problem{severity: warning, code: "import-cache", subject: v.me(), expected: "the other regions' catalogs saved to disk", found: v.cacheErr.Error(),
			action: "free space on the disk; until then a restart of this replica while cut off knows less of the other regions"})
	}
	return out
}

// rejoining is how a region that was removed for good comes back: with empty disks.
func (v *view) rejoining() string {
	if v.pods != (Pods{}) {
		return "rejoin with new disks, with CLUSTER one that remains: federator unlink --from CLUSTER --uninstall, then federator join --to CLUSTER --install"
	}
	return "rejoin: take a token from a member (federator token create), empty the data directories and run federator join"
}

// checkEpoch reports whatever keeps the region from being a member in full.
func (v *view) checkEpoch() []problem {
	var out []problem
	if by, epoch := v.removedBy(); by != "" {
		out = append(out, problem{severity: severe, code: "region-removed", subject: v.us(), expected: "a member of the federation",
			found:  fmt.Sprintf("region %s says that epoch %d of it was removed for good; it serves its own clients only", by, epoch),
			action: v.rejoining()})
	} else if own := v.region(v.self.Region); own != nil && own.removed() {
		out = append(out, problem{severity: severe, code: "region-removed", subject: v.us(), expected: "a member of the federation",
			found:  fmt.Sprintf("the registry says that epoch %d was removed for good", own.record.Epoch),
			action: v.rejoining(), since: own.record.Since})
	}
	if v.about.NeedsEpoch {
		out = append(out, problem{severity: severe, code: "needs-epoch", subject: v.us(), expected: "an epoch issued by the authority region",
			found:  "the region was recovered or restored and publishes nothing yet",
			action: "nothing while the authority region answers: it is asked every second; else restore the link to it"})
	}
	if v.about.ObjectsSuspect {
		out = append(out, problem{severity: warning, code: "objects-suspect", subject: v.us(), expected: "policies, evacuations and operators as the other regions have them",
			found:  "they come from before a recovery or restore and may be old",
			action: "nothing while all other regions answer: they are refilled from there; else bring those back, or remove them"})
	}
	return out
}
