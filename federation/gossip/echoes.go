package gossip

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/federator/federator/federation/gossip/verdict"
)

const (
	// tickPeriod is how often echoes are sent; it must be well below the pause
	// that spoils a verdict.
	tickPeriod = 40 * time.Millisecond
	// judgePeriod is how often verdicts are reached.
	judgePeriod = 120 * time.Millisecond
	// maxSources and maxPerSource bound the echoes answered within a second, in
	// distinct senders and for each.
	maxSources   = 4096
	maxPerSource = 64
)

// observe sends echoes and judges until ctx is done.
func (g *Gossip) observe(ctx context.Context) {
	tick := time.NewTicker(tickPeriod)
	defer tick.Stop()
	var judged time.Duration
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		now, clock := g.moment()
		g.sendEchoes(now, clock)
		if now-judged >= judgePeriod {
			judged = now
			g.judge(now)
		}
	}
}

func (g *Gossip) sendEchoes(now time.Duration, clock int64) {
	due, paused := g.observer.due(now, clock)
	if paused {
		g.metrics.pauses.Inc()
	}
	for _, d := range due {
		g.metrics.echo(d.to.Region, "sent")
		if d.lost {
			g.metrics.echo(d.to.Region, "lost")
		}
		if err := g.transport.send(kindEcho, encodeRequest(d.request), net.UDPAddrFromAddrPort(d.to.UDP)); err != nil {
			g.log.Debug("echo not sent", "peer", d.to.NodeName.String(), "error", err)
		}
	}
}

// judge reaches verdicts and tells the consumers what is new.
func (g *Gossip) judge(now time.Duration) {
	reach, changed := g.observer.judge(now, g.streamEvidence)
	if changed {
		g.metrics.reach(reach)
		g.cfg.OnReach(reach)
	}
	for _, c := range g.observer.rtts(now) {
		g.metrics.setRTT(c.Region, c.RTT)
		g.cfg.OnRTT(c.Region, c.RTT)
	}
	for region, skew := range g.observer.skews() {
		g.metrics.setSkew(region, skew)
	}
}

func (g *Gossip) streamEvidence(region string) (time.Duration, bool) {
	last := verdict.Never
	if t := g.cfg.StreamEvidence(region); !t.IsZero() {
		last = g.since(t)
	}
	return last, g.cfg.Synced(region)
}

// handleEcho takes in one echo, request or reply.
func (g *Gossip) handleEcho(plain []byte, from netip.AddrPort) {
	now, clock := g.moment()
	if len(plain) < 2 {
		g.metrics.drop(dropUndecodable)
		return
	}
	switch plain[1] {
	case kindRequest:
		g.answerEcho(now, clock, plain, from)
	case kindReply:
		r, err := decodeReply(plain)
		if err != nil {
			g.metrics.drop(dropUndecodable)
			return
		}
		if _, ok := g.observer.reply(now, clock, r); !ok {
			g.metrics.drop(dropUnknown)
			return
		}
		g.metrics.echo(r.From.Region, "answered")
	default:
		g.metrics.drop(dropUndecodable)
	}
}

// answerEcho answers a request with at most as many bytes as it had.
func (g *Gossip) answerEcho(now time.Duration, clock int64, plain []byte, from netip.AddrPort) {
	if !g.limiter.allow(now, from) {
		g.metrics.drop(dropRate)
		return
	}
	q, err := decodeRequest(plain)
	if err != nil {
		g.metrics.drop(dropUndecodable)
		return
	}
	reply := g.observer.request(now, clock, q)
	reply.Answered = g.cfg.Clock().UnixNano()
	if err := g.transport.send(kindEcho, encodeReply(reply, len(plain)), net.UDPAddrFromAddrPort(from)); err != nil {
		g.log.Debug("echo not answered", "peer", q.From.String(), "error", err)
	}
}

// sourceLimiter bounds the echoes answered per sender and second.
type sourceLimiter struct {
	mu     sync.Mutex
	second int64
	count  map[netip.AddrPort]int
}

func (l *sourceLimiter) allow(now time.Duration, from netip.AddrPort) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if s := int64(now / time.Second); s != l.second || l.count == nil {
		l.second, l.count = s, map[netip.AddrPort]int{}
	}
	n, known := l.count[from]
	if n >= maxPerSource || !known && len(l.count) >= maxSources {
		return false
	}
	l.count[from] = n + 1
	return true
}

// randomNonce cannot be guessed by somebody who does not see our packets.
func randomNonce() uint64 {
	var b [8]byte
	rand.Read(b[:])
	return binary.BigEndian.Uint64(b[:])
}
