package probe

import (
	"container/heap"
	"context"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/federator/federator/federation/catalog"
)

// Flip is a change of one endpoint's health.
type Flip struct {
	Key
	Health catalog.Health
	// Reason says why an endpoint is unhealthy; empty for a healthy one.
	Reason string
}

// Options are what a [Prober] needs.
type Options struct {
	// Once makes one probe; usually [Checker.Once].
	Once func(context.Context, Target) error
	// Flip is told of every change at once, from one goroutine. While it runs no
	// probe is started.
	Flip func(Flip)
	// Concurrency bounds the probes in flight; 0 means 256.
	Concurrency int
	// Rand spreads beginnings and jitters intervals.
	Rand *rand.Rand
	Log  *slog.Logger
	// Metrics is where the prober's metrics are registered; nil for none.
	Metrics prometheus.Registerer
}

// Prober probes a changing set of targets.
type Prober struct {
	opt     Options
	metrics *metrics
	wake    chan struct{}
	results chan result

	mu      sync.Mutex
	targets map[Key]*probed
	queue   queue
}

// probed is a target in the Prober. One that has been replaced or removed is
// dead: results that still come in for it are dropped.
type probed struct {
	Target
	State
	due  time.Time
	dead bool
}

type result struct {
	target  *probed
	started time.Time
	err     error
}

// New returns a Prober without targets; see [Prober.Replace].
func New(opt Options) *Prober {
	if opt.Concurrency == 0 {
		opt.Concurrency = 256
	}
	return &Prober{
		opt:     opt,
		metrics: newMetrics(opt.Metrics),
		wake:    make(chan struct{}, 1),
		results: make(chan result),
		targets: map[Key]*probed{},
	}
}

// Replace makes targets the targets, at run time or before. A target that was
// there already, unchanged, keeps its state and its pace; a new or changed one
// begins from what known says of it (its last published health), so that a
// change of the health owner flips nothing, and from [catalog.Unknown] where
// known is nil.
func (p *Prober) Replace(targets []Target, known func(Key) catalog.Health) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now, next := time.Now(), make(map[Key]*probed, len(targets))
	var q queue
	for _, t := range targets {
		old := p.targets[t.Key]
		if old == nil || old.Target != t {
			spread := time.Duration(p.opt.Rand.Int64N(int64(max(t.Check.Interval, 1))))
			old = &probed{Target: t, State: beginning(t.Key, known), due: now.Add(spread)}
			q = append(q, old)
		} else if !old.due.IsZero() {
			q = append(q, old)
		}
		next[t.Key] = old
	}
	for key, old := range p.targets {
		if next[key] != old {
			old.dead = true
		}
	}
	heap.Init(&q)
	p.targets, p.queue = next, q
	p.metrics.targets.Set(float64(len(next)))
	p.nudge()
}

func beginning(key Key, known func(Key) catalog.Health) State {
	if known == nil {
		return State{}
	}
	switch h := known(key); h {
	case catalog.Healthy, catalog.Unhealthy:
		return State{Health: h}
	}
	return State{}
}

func (p *Prober) nudge() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// Health returns what the Prober knows of an endpoint, and whether it probes it.
func (p *Prober) Health(key Key) (catalog.Health, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	t := p.targets[key]
	if t == nil {
		return catalog.Unknown, false
	}
	return t.Health, true
}

// Run probes until ctx ends, and then waits for the probes in flight, which ctx
// cuts short. It returns nil.
func (p *Prober) Run(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	flying := 0
	for ctx.Err() == nil {
		for flying < p.opt.Concurrency {
			t := p.next(time.Now(), timer)
			if t == nil {
				break
			}
			flying++
			go func() {
				started := time.Now()
				p.results <- result{t, started, p.opt.Once(ctx, t.Target)}
			}()
		}
		select {
		case <-ctx.Done():
		case <-timer.C:
		case <-p.wake:
		case r := <-p.results:
			flying--
			p.fold(ctx, r)
		}
	}
	for ; flying > 0; flying-- {
		<-p.results
	}
	return nil
}

// next takes a target that is due off the queue, or returns nil and sets the
// timer to when one will be.
func (p *Prober) next(now time.Time, timer *time.Timer) *probed {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.queue) == 0 {
		return nil // a result or Replace comes first
	}
	if wait := p.queue[0].due.Sub(now); wait > 0 {
		timer.Reset(wait)
		return nil
	}
	t := heap.Pop(&p.queue).(*probed)
	t.due = time.Time{} // in flight
	return t
}

// fold takes one result in, reports the flip if there is one, and sets when the
// target is next due.
func (p *Prober) fold(ctx context.Context, r result) {
	if ctx.Err() != nil {
		return
	}
	p.metrics.observe(r)
	flip, ok := p.advance(r)
	if !ok {
		return
	}
	p.opt.Log.Info("endpoint health changed", "cluster", flip.Set.Cluster, "service", flip.Set.Service,
		"endpoint", flip.Endpoint, "health", flip.Health, "reason", flip.Reason)
	p.opt.Flip(flip)
}

func (p *Prober) advance(r result) (Flip, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	t := r.target
	if t.dead {
		return Flip{}, false
	}
	interval := t.Check.Interval
	jitter := time.Duration(p.opt.Rand.Int64N(int64(max(interval/5, 1)))) - interval/10
	t.due = r.started.Add(interval + jitter)
	heap.Push(&p.queue, t)
	state, flipped := Fold(t.State, r.err == nil, &t.Check)
	t.State = state
	flip := Flip{Key: t.Key, Health: t.Health}
	if r.err != nil {
		flip.Reason = r.err.Error()
	}
	return flip, flipped
}

// queue orders targets by when they are due.
type queue []*probed

func (q queue) Len() int           { return len(q) }
func (q queue) Less(i, j int) bool { return q[i].due.Before(q[j].due) }
func (q queue) Swap(i, j int)      { q[i], q[j] = q[j], q[i] }
func (q *queue) Push(x any)        { *q = append(*q, x.(*probed)) }

func (q *queue) Pop() any {
	old := *q
	last := old[len(old)-1]
	old[len(old)-1] = nil
	*q = old[:len(old)-1]
	return last
}
