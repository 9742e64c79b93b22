package gossip

import (
	"net/netip"
	"time"

	"github.com/federator/federator/federation/gossip/verdict"
)

const (
	// outstanding is how many unanswered echoes to one peer are remembered; an
	// answer to an older one is too late to count.
	outstanding = 64
	// staleRTT: an answer later than this says nothing about the path, because it
	// lay in a buffer while somebody stood still.
	staleRTT = 3 * time.Second
	// answering is how recently a peer must have answered to be asked by turns.
	answering = 3 * time.Second
	// retryTurn: every so many turns go to a peer that does not answer.
	retryTurn = 8
)

// target is where a replica can be reached.
type target struct {
	NodeName
	UDP netip.AddrPort
	TCP string
	// Named: UDP is where a host name led when it was last looked up.
	Named bool
}

// peer is another replica as the echoes know it.
type peer struct {
	target
	evidence time.Duration // of an answered echo; verdict.Never before the first
	rtt      time.Duration // smoothed; 0 before the first
	skew     skewFilter
	seq      uint32
	sent     [outstanding]sentEcho
	seen     int64 // the latest clock in a request of this peer
	// summaries are a sibling's, by region, and came at summarised.
	summaries  map[string]seenRegion
	summarised time.Duration
}

type sentEcho struct {
	seq     uint32
	nonce   uint64
	at      time.Duration
	clock   int64
	waiting bool
}

// seenRegion is a summary on this replica's clock.
type seenRegion struct {
	evidence               time.Duration
	backSent, backAnswered int
}

func newPeer(t target) *peer {
	return &peer{target: t, evidence: verdict.Never, summarised: verdict.Never}
}

// send remembers an echo that leaves now. lost reports that an older one is
// given up for it.
func (p *peer) send(now time.Duration, clock int64, nonce uint64) (q echoRequest, lost bool) {
	p.seq++
	slot := &p.sent[p.seq%outstanding]
	lost = slot.waiting
	*slot = sentEcho{seq: p.seq, nonce: nonce, at: now, clock: clock, waiting: true}
	return echoRequest{Seq: p.seq, Nonce: nonce, Sent: clock}, lost
}

// answer matches a reply with what was sent. It returns the round-trip time,
// and false for a reply that nobody waits for.
func (p *peer) answer(now time.Duration, clock int64, r echoReply) (rtt time.Duration, ok bool) {
	slot := &p.sent[r.Seq%outstanding]
	if !slot.waiting || slot.seq != r.Seq || slot.nonce != r.Nonce || slot.clock != r.Sent {
		return 0, false
	}
	slot.waiting = false
	rtt = max(now-slot.at, 0)
	p.evidence = now
	if rtt < staleRTT {
		p.rtt = smooth(p.rtt, rtt)
		p.skew.add(r.Sent, r.Received, r.Answered, clock)
	}
	return rtt, true
}

// summarise takes over what a sibling has seen.
func (p *peer) summarise(now time.Duration, list []summary) {
	p.summarised = now
	p.summaries = make(map[string]seenRegion, len(list))
	for _, s := range list {
		seen := seenRegion{
			evidence:     verdict.Never,
			backSent:     int(s.Sent),
			backAnswered: int(s.Answered),
		}
		if s.Age < neverAge {
			seen.evidence = now - s.Age
		}
		p.summaries[s.Region] = seen
	}
}

// smooth is the smoothed round-trip time of RFC 6298: an eighth of each sample.
func smooth(old, sample time.Duration) time.Duration {
	if old == 0 {
		return sample
	}
	return old + (sample-old)/8
}

// skewFilter estimates how far a peer's clock is ahead, as NTP does (RFC 5905,
// section 8), and believes the sample with the shortest round trip of the last
// eight.
type skewFilter struct {
	samples [8]skewSample
	n       int
}

type skewSample struct {
	ahead, delay time.Duration
}

// add takes the four moments of an echo: sent here, received and answered there,
// back here.
func (f *skewFilter) add(t1, t2, t3, t4 int64) {
	f.samples[f.n%len(f.samples)] = skewSample{
		ahead: time.Duration((t2-t1)/2 + (t3-t4)/2),
		delay: time.Duration((t4 - t1) - (t3 - t2)),
	}
	f.n++
}

// estimate returns how far the peer's clock is ahead; negative is behind.
func (f *skewFilter) estimate() time.Duration {
	if f.n == 0 {
		return 0
	}
	best := f.samples[0]
	for _, s := range f.samples[1:min(f.n, len(f.samples))] {
		if s.delay < best.delay {
			best = s
		}
	}
	return best.ahead
}

// rotation chooses which peer of a region is asked next: by turns, but those
// that do not answer while others do only now and then, so that a replica that
// is down does not thin out the evidence from the rest.
type rotation struct {
	turn, next int
}

func (r *rotation) pick(now time.Duration, peers []*peer) *peer {
	answers := func(p *peer) bool { return now-p.evidence < answering }
	some := false
	for _, p := range peers {
		some = some || answers(p)
	}
	r.turn++
	want := r.turn%retryTurn != 0
	for range peers {
		r.next = (r.next + 1) % len(peers)
		if p := peers[r.next]; !some || answers(p) == want {
			return p
		}
	}
	r.next = (r.next + 1) % len(peers)
	return peers[r.next]
}
