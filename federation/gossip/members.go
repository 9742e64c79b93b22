package gossip

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/federator/federator/federation/gossip/verdict"
)

// MemberState is what the echoes of this replica say of another one.
type MemberState string

// The states of a member.
const (
	MemberAlive   MemberState = "alive"   // answered an echo lately
	MemberSilent  MemberState = "silent"  // did not
	MemberUnknown MemberState = "unknown" // never has
)

// memberSilent is how long a living replica can be without an answer: in a
// federation of large regions a pair of replicas exchanges few echoes.
const memberSilent = 10 * time.Second

// Member is one other replica, as this replica sees it.
type Member struct {
	Region, Name string
	// Address is where its gossip is reached.
	Address string
	State   MemberState
	// Gossiping: memberlist counts it among the living.
	Gossiping bool
	// RTT is the smoothed round-trip time, 0 before the first answer, and Skew how
	// far its clock is ahead of ours.
	RTT, Skew time.Duration
	// LastEvidence is when it last answered an echo, zero if never.
	LastEvidence time.Time
}

// Members returns all other known replicas in order of region and name.
func (g *Gossip) Members() []Member {
	now, _ := g.moment()
	list := g.observer.members(now)
	for i := range list {
		m := &list[i]
		m.Gossiping = g.directory.member(NodeName{m.Region, m.Name})
		if age := m.age; age < neverAge {
			m.LastEvidence = g.began.Add(now - age)
		}
	}
	out := make([]Member, len(list))
	for i := range list {
		out[i] = list[i].Member
	}
	return out
}

// Alive reports whether a replica of the own region gave evidence within about
// a second. The replica itself always is alive.
func (g *Gossip) Alive(name string) bool {
	now, _ := g.moment()
	return name == g.self.Name || g.observer.alive(name, now)
}

// Reach returns the present verdicts: whether each other region is silent, and
// whether all are, so that this replica counts as isolated.
func (g *Gossip) Reach() (silent map[string]bool, isolated bool) {
	r := g.observer.verdicts()
	return r.Silent, r.Isolated
}

// RTT returns the published round-trip time to a region, 0 if not measured.
func (g *Gossip) RTT(region string) time.Duration { return g.observer.regionRTT(region) }

// Skew returns how far the clock of each other replica ("region/name") is ahead
// of ours, for those that have answered.
func (g *Gossip) Skew() map[string]time.Duration {
	skew := map[string]time.Duration{}
	for _, m := range g.Members() {
		if !m.LastEvidence.IsZero() {
			skew[m.Region+"/"+m.Name] = m.Skew
		}
	}
	return skew
}

// observed is a member with the age of its evidence.
type observed struct {
	Member
	age time.Duration
}

func (o *observer) members(now time.Duration) []observed {
	o.mu.Lock()
	defer o.mu.Unlock()
	var list []observed
	for _, p := range o.peersLocked() {
		m := observed{age: neverAge, Member: Member{
			Region: p.Region, Name: p.Name, Address: p.UDP.String(),
			State: MemberUnknown, RTT: p.rtt, Skew: p.skew.estimate(),
		}}
		if p.evidence != verdict.Never {
			m.age = now - p.evidence
			m.State = MemberSilent
			if m.age < memberSilent {
				m.State = MemberAlive
			}
		}
		list = append(list, m)
	}
	slices.SortFunc(list, func(a, b observed) int {
		return strings.Compare(a.Region+"/"+a.Name, b.Region+"/"+b.Name)
	})
	return list
}

func (o *observer) peersLocked() []*peer {
	var list []*peer
	for _, r := range o.regions {
		list = append(list, r.peers...)
	}
	for _, s := range o.siblings {
		list = append(list, s.peer)
	}
	return list
}

// answers reports whether a replica answered an echo within the last second.
func (o *observer) answers(n NodeName, now time.Duration) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.ContainsFunc(o.peersLocked(), func(p *peer) bool {
		return p.NodeName == n && now-p.evidence < time.Second
	})
}

func (o *observer) alive(name string, now time.Duration) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	s := o.siblings[name]
	return s != nil && now-s.heard < siblingDead
}

func (o *observer) verdicts() Reach {
	o.mu.Lock()
	defer o.mu.Unlock()
	return Reach{Silent: maps.Clone(o.reach.Silent), Isolated: o.reach.Isolated}
}

func (o *observer) regionRTT(name string) time.Duration {
	o.mu.Lock()
	defer o.mu.Unlock()
	if r := o.regions[name]; r != nil {
		return r.published
	}
	return 0
}

// skews returns, per region, the skew of the clock that is furthest from ours.
func (o *observer) skews() map[string]time.Duration {
	o.mu.Lock()
	defer o.mu.Unlock()
	worst := map[string]time.Duration{}
	for _, p := range o.peersLocked() {
		if s := p.skew.estimate(); s.Abs() >= worst[p.Region].Abs() {
			worst[p.Region] = s
		}
	}
	return worst
}
