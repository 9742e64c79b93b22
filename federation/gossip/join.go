package gossip

import (
	"context"
	"math"
	"sync"
	"time"
)

const (
	joinPeriod  = 500 * time.Millisecond
	joinBackoff = time.Second
	maxBackoff  = 30 * time.Second
	// joinAtOnce bounds the attempts of one round.
	joinAtOnce = 3
)

// attempt is what is known of joining one replica.
type attempt struct {
	tried, due time.Time
	backoff    time.Duration
}

// isDue reports whether to try again now. A replica that was away for long is not due
// for long, but answers as soon as it is back.
func (a attempt) isDue(now time.Time, answers bool) bool {
	return !now.Before(a.due) || answers && now.Sub(a.tried) >= joinBackoff
}

// join keeps joining replicas that the directory knows and memberlist does not,
// until ctx is done. One that has just answered an echo is tried at once.
func (g *Gossip) join(ctx context.Context) {
	attempts := map[NodeName]attempt{}
	for sleep(ctx, joinPeriod) {
		var round sync.WaitGroup
		for _, t := range g.dueJoins(attempts) {
			round.Go(func() { g.joinOne(t) })
		}
		round.Wait()
	}
}

// dueJoins returns the replicas to join now, and when to try them again.
func (g *Gossip) dueJoins(attempts map[NodeName]attempt) []target {
	now := g.cfg.Clock()
	var due []target
	for _, t := range g.strangers(attempts) {
		a := attempts[t.NodeName]
		answers := g.observer.answers(t.NodeName, g.since(now))
		if len(due) == joinAtOnce || !a.isDue(now, answers) {
			continue
		}
		a.backoff = min(max(2*a.backoff, joinBackoff), maxBackoff)
		if answers {
			a.backoff = joinBackoff
		}
		a.tried = now
		a.due = now.Add(a.backoff/2 + time.Duration(g.cfg.Rand()%uint64(a.backoff)))
		attempts[t.NodeName] = a
		due = append(due, t)
	}
	return due
}

// strangers returns the replicas to join, and forgets attempts at the others.
func (g *Gossip) strangers(attempts map[NodeName]attempt) []target {
	var list []target
	known := map[NodeName]bool{}
	for _, t := range g.choose(math.MaxInt) {
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
