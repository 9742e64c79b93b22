package gossip

import (
	"context"
	"time"
)

const (
	joinPeriod  = 500 * time.Millisecond
	joinBackoff = time.Second
	maxBackoff  = 30 * time.Second
	// joinAtOnce bounds the attempts of one round, which follow one another.
	joinAtOnce = 3
)

// attempt is what is known of joining one replica.
type attempt struct {
	due     time.Time
	backoff time.Duration
}

// join keeps joining replicas that the directory knows and memberlist does not,
// until ctx is done. One that has just answered an echo is tried at once.
func (g *Gossip) join(ctx context.Context) {
	attempts := map[NodeName]attempt{}
	for sleep(ctx, joinPeriod) {
		tried := 0
		for _, t := range g.strangers(attempts) {
			now := g.cfg.Clock()
			a := attempts[t.NodeName]
			if tried == joinAtOnce || now.Before(a.due) || ctx.Err() != nil {
				continue
			}
			tried++
			a.backoff = min(max(2*a.backoff, joinBackoff), maxBackoff)
			if g.observer.answers(t.NodeName, g.since(now)) {
				a.backoff = joinBackoff
			}
			a.due = now.Add(a.backoff/2 + time.Duration(g.cfg.Rand()%uint64(a.backoff)))
			attempts[t.NodeName] = a
			g.joinOne(t)
		}
	}
}

// strangers returns the replicas to join, and forgets attempts at the others.
func (g *Gossip) strangers(attempts map[NodeName]attempt) []target {
	var list []target
	known := map[NodeName]bool{}
	for _, t := range g.choose(g.directory.size() + maxWanted) {
		if !g.directory.member(t.NodeName) && t.TCP != "" {
			list = append(list, t)
			known[t.NodeName] = true
		}
	}
	for n := range attempts {
		if !known[n] {
			delete(attempts, n)
		}
	}
	return list
}

func (g *Gossip) joinOne(t target) {
	if _, err := g.list.Load().Join([]string{t.joinAddress()}); err != nil {
		g.log.Debug("gossip join failed", "peer", t.NodeName.String(), "error", err)
	}
}
