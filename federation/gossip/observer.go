package gossip

import (
	"cmp"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/federator/federator/federation/gossip/verdict"
)

const (
	// regionRate is how many echoes a second a region sends to each other one, all
	// its replicas together; siblingRate is what one replica sends each sibling.
	regionRate  = 15.0
	siblingRate = 5.0
	// siblingDead is how long a living sibling can be without evidence.
	siblingDead = 1200 * time.Millisecond
	// A smoothed round-trip time is published when it moved by a fifth, but not
	// more often than every rttPeriod.
	rttPeriod = time.Second
	// maxBurst bounds what one tick sends to a region, after a pause for example.
	maxBurst = 2.0
)

// Reach is the verdict of this replica on the other regions.
type Reach struct {
	// Silent has an entry for every other region: true while it gives no evidence.
	Silent map[string]bool
	// Isolated: all of them are silent, so that the fault is probably here.
	Isolated bool
}

func (r Reach) equal(o Reach) bool { return r.Isolated == o.Isolated && maps.Equal(r.Silent, o.Silent) }

// observer keeps what the echoes show. It does no I/O, and time is an argument:
// moments on the monotonic clock, counted from when the observer began, and wall
// clocks in nanoseconds since the Unix epoch.
type observer struct {
	self  NodeName
	rules verdict.Rules
	nonce func() uint64

	mu       sync.Mutex
	regions  map[string]*region  // the others
	siblings map[string]*sibling // by name
	tick     time.Duration       // the last
	paused   time.Duration       // when the last pause ended
	reach    Reach
}

type region struct {
	name     string
	peers    []*peer // ordered by name
	rotation rotation
	credit   float64 // echoes due
	window   verdict.Window
	known    time.Duration // when it was first heard of
	echoed   time.Duration // the last answered echo of our own
	streamed time.Duration // the last word on our own stream, which may be taken back
	state    verdict.State
	rtt      time.Duration // smoothed
	// published is the round-trip time that consumers know.
	published   time.Duration
	publishedAt time.Duration
}

// evidence is when this replica itself last heard from the region.
func (r *region) evidence() time.Duration { return max(r.echoed, r.streamed) }

type sibling struct {
	*peer
	heard  time.Duration // any evidence: an answer, or a request of its own
	credit float64
}

// dispatch is an echo that is due.
type dispatch struct {
	to      target
	request echoRequest
	lost    bool // an older echo to this peer was given up
}

// rttChange is a round-trip time worth publishing.
type rttChange struct {
	Region string
	RTT    time.Duration
}

func newObserver(self NodeName, rules verdict.Rules, nonce func() uint64) *observer {
	return &observer{
		self:     self,
		rules:    rules,
		nonce:    nonce,
		regions:  map[string]*region{},
		siblings: map[string]*sibling{},
		reach:    Reach{Silent: map[string]bool{}},
	}
}

// direct replaces the set of known replicas, keeping what is known of the ones
// that stay. A replica with a new address is still the same.
func (o *observer) direct(now time.Duration, targets []target) {
	o.mu.Lock()
	defer o.mu.Unlock()
	known := o.takePeers()
	for _, t := range targets {
		if t.NodeName == o.self {
			continue
		}
		p := known[t.NodeName]
		if p == nil {
			p = newPeer(t)
		}
		p.target = t
		o.place(now, p)
	}
	o.prune()
}

// takePeers empties the regions and siblings of their peers.
func (o *observer) takePeers() map[NodeName]*peer {
	known := map[NodeName]*peer{}
	for _, r := range o.regions {
		for _, p := range r.peers {
			known[p.NodeName] = p
		}
		r.peers = nil
	}
	for _, s := range o.siblings {
		known[s.NodeName] = s.peer
		s.peer = nil
	}
	return known
}

func (o *observer) place(now time.Duration, p *peer) {
	if p.Region == o.self.Region {
		s := o.siblings[p.Name]
		if s == nil {
			s = &sibling{heard: verdict.Never}
			o.siblings[p.Name] = s
		}
		s.peer = p
		return
	}
	r := o.regions[p.Region]
	if r == nil {
		r = &region{name: p.Region, known: now, echoed: verdict.Never, streamed: verdict.Never}
		o.regions[p.Region] = r
	}
	r.peers = append(r.peers, p)
}

// prune forgets regions and siblings without peers, and orders the rest.
func (o *observer) prune() {
	maps.DeleteFunc(o.siblings, func(_ string, s *sibling) bool { return s.peer == nil })
	maps.DeleteFunc(o.regions, func(_ string, r *region) bool { return len(r.peers) == 0 })
	for _, r := range o.regions {
		slices.SortFunc(r.peers, func(a, b *peer) int { return cmp.Compare(a.Name, b.Name) })
	}
}

// due returns the echoes that should leave now. It must be called every few
// tens of milliseconds: a long gap is a pause of the observer, and reported.
func (o *observer) due(now time.Duration, clock int64) (list []dispatch, paused bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	passed := now - o.tick
	o.tick = now
	if paused = passed > o.rules.MaxPause; paused {
		o.paused = now
	}
	rate := regionRate / float64(1+o.livingSiblings(now))
	for _, r := range o.regions {
		r.credit = min(r.credit+rate*passed.Seconds(), maxBurst)
		for ; r.credit >= 1; r.credit-- {
			r.window.Send(now)
			list = append(list, o.dispatch(now, clock, r.rotation.pick(now, r.peers), 0))
		}
	}
	room := o.summaryRoom()
	for _, s := range o.siblings {
		s.credit = min(s.credit+siblingRate*passed.Seconds(), maxBurst)
		for ; s.credit >= 1; s.credit-- {
			list = append(list, o.dispatch(now, clock, s.peer, room))
		}
	}
	return list, paused
}

func (o *observer) dispatch(now time.Duration, clock int64, p *peer, room int) dispatch {
	q, lost := p.send(now, clock, o.nonce())
	q.From, q.Room = o.self, room
	return dispatch{to: p.target, request: q, lost: lost}
}

// summaryRoom is what a sibling's summaries take: it knows the same regions.
func (o *observer) summaryRoom() int {
	room := 0
	for name := range o.regions {
		room += summarySize(summary{Region: name})
	}
	return room
}

// livingSiblings counts the siblings that share the work.
func (o *observer) livingSiblings(now time.Duration) int {
	n := 0
	for _, s := range o.siblings {
		if now-s.heard < siblingDead {
			n++
		}
	}
	return n
}

// request notes an authenticated request and prepares the answer to it.
func (o *observer) request(now time.Duration, clock int64, q echoRequest) echoReply {
	o.mu.Lock()
	defer o.mu.Unlock()
	r := echoReply{Seq: q.Seq, Nonce: q.Nonce, From: o.self, Sent: q.Sent, Received: clock, Answered: clock}
	if q.From.Region != o.self.Region {
		return r
	}
	if s := o.siblings[q.From.Name]; s != nil && q.Sent > s.seen {
		s.seen = q.Sent // a replayed request has an older clock
		s.heard = now
	}
	r.Summaries = o.summaries(now)
	return r
}

// summaries are what this replica itself has seen, never hearsay.
func (o *observer) summaries(now time.Duration) []summary {
	list := make([]summary, 0, len(o.regions))
	for _, name := range slices.Sorted(maps.Keys(o.regions)) {
		r := o.regions[name]
		sent, answered := r.window.Sum(now, o.rules.Back)
		list = append(list, summary{Region: name, Age: now - r.evidence(), Sent: uint16(sent), Answered: uint16(answered)})
	}
	return list
}

// reply takes in an answer. It returns the round-trip time, and false for an
// answer that nobody waits for.
func (o *observer) reply(now time.Duration, clock int64, r echoReply) (rtt time.Duration, ok bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if r.From.Region == o.self.Region {
		return o.siblingReply(now, clock, r)
	}
	g := o.regions[r.From.Region]
	if g == nil {
		return 0, false
	}
	i := slices.IndexFunc(g.peers, func(p *peer) bool { return p.Name == r.From.Name })
	if i < 0 {
		return 0, false
	}
	if rtt, ok = g.peers[i].answer(now, clock, r); ok {
		g.echoed = now
		g.window.Answer(now)
		if rtt < staleRTT {
			g.rtt = smooth(g.rtt, rtt)
		}
	}
	return rtt, ok
}

func (o *observer) siblingReply(now time.Duration, clock int64, r echoReply) (rtt time.Duration, ok bool) {
	s := o.siblings[r.From.Name]
	if s == nil {
		return 0, false
	}
	if rtt, ok = s.answer(now, clock, r); ok {
		s.heard = now
		s.summarise(now, r.Summaries)
	}
	return rtt, ok
}

// judge applies the rules. stream tells when a region's replication stream last
// brought bytes, and whether it is synced. changed reports a new verdict.
func (o *observer) judge(now time.Duration, stream func(region string) (last time.Duration, synced bool)) (reach Reach, changed bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	names := slices.Sorted(maps.Keys(o.regions))
	links := make([]verdict.Link, len(names))
	states := make([]verdict.State, len(names))
	for i, name := range names {
		r := o.regions[name]
		last, synced := stream(name)
		r.streamed = min(last, now)
		links[i] = o.link(now, r)
		links[i].Synced = synced
		states[i] = r.state
	}
	next, isolated := o.rules.Judge(o.view(now), links, states)
	reach = Reach{Silent: make(map[string]bool, len(names)), Isolated: isolated}
	for i, name := range names {
		o.regions[name].state = next[i]
		reach.Silent[name] = next[i].Silent
	}
	changed = !reach.equal(o.reach)
	o.reach = reach
	return reach, changed
}

func (o *observer) view(now time.Duration) verdict.Observer {
	v := verdict.Observer{Now: now, Paused: o.paused, Sibling: verdict.Never}
	for _, s := range o.siblings {
		v.Sibling = max(v.Sibling, s.heard)
	}
	return v
}

// link puts the region's evidence together: own, and of siblings that live.
func (o *observer) link(now time.Duration, r *region) verdict.Link {
	l := verdict.Link{Evidence: max(r.evidence(), r.known)}
	for _, s := range o.siblings {
		if seen, ok := s.summaries[r.name]; ok {
			l.Evidence = max(l.Evidence, seen.evidence)
		}
	}
	l.Sent = o.rules.SentSince(&r.window, now, l.Evidence)
	l.BackSent, l.BackAnswered = r.window.Sum(now, o.rules.Back)
	for _, s := range o.siblings {
		if seen, ok := s.summaries[r.name]; ok && now-s.summarised < siblingDead {
			l.Sent += o.rules.ShareSince(seen.backSent, now, l.Evidence)
			l.BackSent += seen.backSent
			l.BackAnswered += seen.backAnswered
		}
	}
	return l
}

// rtts returns the round-trip times that are worth publishing now.
func (o *observer) rtts(now time.Duration) []rttChange {
	o.mu.Lock()
	defer o.mu.Unlock()
	var list []rttChange
	for _, r := range o.regions {
		moved := (r.rtt-r.published).Abs()*5 > r.published
		if r.rtt != 0 && moved && (r.published == 0 || now-r.publishedAt >= rttPeriod) {
			r.published, r.publishedAt = r.rtt, now
			list = append(list, rttChange{Region: r.name, RTT: r.rtt})
		}
	}
	return list
}
