package state

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// maxVoters is the most voters that a region has.
const maxVoters = 5

// Candidate is what [Voters] knows of one Raft server.
type Candidate struct {
	// ID is the Raft server id, Name and Cluster those of the replica.
	ID, Name, Cluster string
	// Member is in the Raft configuration, Voter as a voter, Leader leads.
	Member, Voter, Leader bool
	// Alive answers; Ready may be promoted: it is caught up and can unseal.
	Alive, Ready bool
	// Gone is not registered (any more) or is leaving: it must not stay.
	Gone bool
	// Expired has been dead for so long that it is taken out of the configuration
	// until it is back. Voters are never taken out for that alone.
	Expired bool
	// AddedAt breaks ties: the older member stays.
	AddedAt time.Time
}

// Action is one change of the Raft configuration.
type Action string

// The actions.
const (
	ActNone     Action = ""
	ActAdd      Action = "add"      // as a non-voter
	ActPromote  Action = "promote"  // to a voter
	ActDemote   Action = "demote"   // to a non-voter
	ActRemove   Action = "remove"   // from the configuration
	ActTransfer Action = "transfer" // the lead to it
)

// Plan says who should vote, and the one change to make now.
type Plan struct {
	// Target are the Raft ids of the voters to arrive at, ordered.
	Target []string
	// Action applies to the server ID.
	Action Action
	ID     string
	// Warnings say what keeps the region from surviving a loss, and what to do.
	Warnings []string
}

// Voters is the rule of who votes: the largest odd number up to five, spread so
// that no cluster holds a quorum where three or more live clusters exist; a dead
// voter gives way to a live standby; a healthy voter is not replaced without
// need. It proposes one change at a time and never one that loses the quorum.
func Voters(candidates []Candidate) Plan {
	b := newBallot(candidates)
	p := Plan{}
	target := b.target()
	for _, c := range target {
		p.Target = append(p.Target, c.ID)
	}
	slices.Sort(p.Target)
	p.Action, p.ID = b.step(target)
	p.Warnings = b.warnings()
	return p
}

// ballot is the candidates with what follows from them.
type ballot struct {
	all      []Candidate
	voters   []Candidate
	live     int            // voters that are alive
	eligible map[string]int // by cluster: may vote
	clusters int            // with a live eligible candidate
}

func newBallot(candidates []Candidate) *ballot {
	b := &ballot{all: slices.Clone(candidates), eligible: map[string]int{}}
	slices.SortFunc(b.all, func(a, c Candidate) int {
		return cmp.Or(a.AddedAt.Compare(c.AddedAt), strings.Compare(a.Name, c.Name), strings.Compare(a.ID, c.ID))
	})
	alive := map[string]bool{}
	for _, c := range b.all {
		if c.Voter {
			b.voters = append(b.voters, c)
		}
		if c.Voter && c.Alive {
			b.live++
		}
		if c.rank() < unfit {
			b.eligible[c.Cluster]++
		}
		if c.rank() < unfit && c.Alive {
			alive[c.Cluster] = true
		}
	}
	b.clusters = len(alive)
	return b
}

// The ranks of candidates, best first.
const (
	leading = iota
	voting
	standby
	dead // a voter without which there might be too few
	unfit
)

func (c *Candidate) rank() int {
	switch {
	case c.Gone:
		return unfit
	case c.Voter && c.Alive && c.Leader:
		return leading
	case c.Voter && c.Alive:
		return voting
	case c.Alive && c.Ready && !c.Voter:
		return standby
	case c.Voter:
		return dead
	default:
		return unfit
	}
}

// size returns how many voters there should be.
func (b *ballot) size() int {
	for k := maxVoters; k > 1; k -= 2 {
		room := 0
		for _, n := range b.eligible {
			room += min(n, b.limit(k))
		}
		if room >= k {
			return k
		}
	}
	return 1
}

// limit returns how many of k voters one cluster may have.
func (b *ballot) limit(k int) int {
	if b.clusters < 3 {
		return k
	}
	return max(k/2, 1)
}

// target picks the voters one by one, the best candidate of those whose cluster
// has room; among equals the one whose cluster has the fewest.
func (b *ballot) target() []Candidate {
	k := b.size()
	var picked []Candidate
	used, taken := map[string]int{}, map[string]bool{}
	for len(picked) < k {
		best := -1
		for i := range b.all {
			c := &b.all[i]
			if taken[c.ID] || c.rank() == unfit || used[c.Cluster] >= b.limit(k) {
				continue
			}
			if best < 0 || b.better(c, &b.all[best], used) {
				best = i
			}
		}
		if best < 0 {
			break
		}
		picked = append(picked, b.all[best])
		used[b.all[best].Cluster]++
		taken[b.all[best].ID] = true
	}
	return picked
}

func (b *ballot) better(c, than *Candidate, used map[string]int) bool {
	return cmp.Or(cmp.Compare(c.rank(), than.rank()), cmp.Compare(used[c.Cluster], used[than.Cluster])) < 0
}

func quorum(voters int) int { return voters/2 + 1 }

// step returns the one change to make now.
func (b *ballot) step(target []Candidate) (Action, string) {
	wanted := map[string]bool{}
	for _, c := range target {
		wanted[c.ID] = true
	}
	if b.live < quorum(len(b.voters)) {
		return b.shed(wanted) // nothing else could be agreed on
	}
	if action, id := b.chore(); action != ActNone {
		return action, id
	}
	if len(b.voters) > len(target) {
		if action, id := b.shed(wanted); action != ActNone {
			return action, id
		}
	}
	for _, c := range target {
		if !c.Voter {
			return ActPromote, c.ID
		}
	}
	return b.shed(wanted)
}

// chore returns a change that does not touch the voters.
func (b *ballot) chore() (Action, string) {
	for _, c := range b.all {
		switch {
		case c.Member && !c.Voter && (c.Gone || (c.Expired && !c.Alive)):
			return ActRemove, c.ID
		case !c.Member && !c.Gone && c.Alive:
			return ActAdd, c.ID
		}
	}
	return ActNone, ""
}

// shed returns how to lose one voter that is not wanted: the dead first, the
// leader last and only after it has handed over.
func (b *ballot) shed(wanted map[string]bool) (Action, string) {
	surplus := slices.DeleteFunc(slices.Clone(b.voters), func(c Candidate) bool { return wanted[c.ID] })
	slices.SortStableFunc(surplus, func(a, c Candidate) int {
		return cmp.Compare(order(a), order(c))
	})
	if len(surplus) == 0 {
		return ActNone, ""
	}
	c := surplus[0]
	live := b.live
	if c.Alive {
		live--
	}
	switch {
	case live < quorum(len(b.voters)-1) || len(b.voters) == 1:
		return ActNone, ""
	case c.Leader:
		return b.handOver(wanted)
	case c.Gone:
		return ActRemove, c.ID
	default:
		return ActDemote, c.ID
	}
}

// order sorts surplus voters: dead, leaving, alive, leading.
func order(c Candidate) int {
	switch {
	case !c.Alive:
		return 0
	case c.Leader:
		return 3
	case c.Gone:
		return 1
	default:
		return 2
	}
}

func (b *ballot) handOver(wanted map[string]bool) (Action, string) {
	for _, c := range b.voters {
		if wanted[c.ID] && c.Alive {
			return ActTransfer, c.ID
		}
	}
	return ActNone, ""
}

// warnings say what the region cannot survive.
func (b *ballot) warnings() []string {
	var out []string
	if b.live < quorum(len(b.voters)) && len(b.voters) > 0 {
		out = append(out, fmt.Sprintf("quorum lost: %d of %d voters answer; bring one back, or use federator region recover on a survivor", b.live, len(b.voters)))
	}
	switch registered := b.registered(); registered {
	case 0:
	case 1:
		out = append(out, "one replica only: nothing is durable against its loss; join two more")
	case 2:
		out = append(out, "two replicas are one voter and a standby: if the voter is lost the region needs federator region recover; join a third")
	}
	for _, c := range b.voters {
		if !c.Alive && !c.Gone {
			out = append(out, fmt.Sprintf("voter %s does not answer; bring it back, or remove it with federator leave", c.Name))
		}
	}
	return append(out, b.crowded()...)
}

func (b *ballot) registered() int {
	n := 0
	for _, c := range b.all {
		if !c.Gone {
			n++
		}
	}
	return n
}

// crowded names the cluster whose loss would lose the quorum.
func (b *ballot) crowded() []string {
	per := map[string]int{}
	for _, c := range b.voters {
		per[c.Cluster]++
	}
	var out []string
	for cluster, n := range per {
		if len(b.voters) >= 3 && len(b.voters)-n < quorum(len(b.voters)) && len(b.eligible) > 1 {
			out = append(out, fmt.Sprintf("the loss of cluster %s would lose the quorum: %d of %d voters are there; spread the replicas over three clusters", cluster, n, len(b.voters)))
		}
	}
	slices.Sort(out)
	return out
}
