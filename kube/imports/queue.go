package imports

import (
	"cmp"
	"container/heap"
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/federator/federator/federation/catalog"
)

const (
	// look is the urgency of services that nobody has looked at since they changed.
	// That costs little, and only then their real urgency is known, so they come
	// before everything else.
	look Urgency = -1
	// firstRetry and lastRetry bound the pause after a failed write; each is twice
	// the one before.
	firstRetry = 50 * time.Millisecond
	lastRetry  = 30 * time.Second
)

// queue holds the services to look at, the most urgent first and the longest
// waiting first among equals. A service is handed out to one worker at a time.
type queue struct {
	wake chan struct{}

	mu    sync.Mutex
	seq   uint64
	items map[catalog.ServiceName]*item
	ready turns
	later turns
	known [Rest + 1]int // the ready items whose urgency is known, by urgency
	other int           // the ready items whose urgency is not
}

// item is one service in a queue: ready or put off, or in the hands of a worker.
type item struct {
	name     catalog.ServiceName
	urgency  Urgency
	seq      uint64
	due      time.Time // zero unless put off
	in       *turns    // nil while a worker has it
	at       int       // where in that
	changed  bool      // while a worker had it
	failures int
	held     bool // changes do not end the wait
}

// turns is a heap of items, by due time, urgency and age.
type turns []*item

func (h turns) Len() int { return len(h) }
func (h turns) Less(i, j int) bool {
	a, b := h[i], h[j]
	return cmp.Or(a.due.Compare(b.due), cmp.Compare(a.urgency, b.urgency), cmp.Compare(a.seq, b.seq)) < 0
}
func (h turns) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].at, h[j].at = i, j
}

// Push is for package heap.
func (h *turns) Push(x any) {
	it := x.(*item)
	it.at = len(*h)
	*h = append(*h, it)
}

// Pop is for package heap.
func (h *turns) Pop() any {
	last := len(*h) - 1
	it := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	return it
}

func newQueue() *queue {
	return &queue{wake: make(chan struct{}, 1), items: map[catalog.ServiceName]*item{}}
}

// add says that a service has changed. One that waits for an API server that did not
// answer waits on; one that was refused something may not need that any more.
func (q *queue) add(name catalog.ServiceName) {
	q.mu.Lock()
	defer q.mu.Unlock()
	it := q.items[name]
	switch {
	case it == nil:
		it = &item{name: name}
		q.items[name] = it
	case it.in == nil:
		it.changed = true
		return
	case it.in == &q.later && it.held:
		return
	case it.in == &q.ready && it.urgency == look:
		return
	}
	q.move(it, look, time.Time{})
}

// retryAll ends all waiting, as when the API server is back.
func (q *queue) retryAll() {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, it := range q.items {
		it.failures, it.held = 0, false
		if it.in == &q.later {
			q.move(it, look, time.Time{})
		}
	}
}

// move puts an item where it belongs: ready with an urgency, or off until due.
func (q *queue) move(it *item, u Urgency, due time.Time) {
	if it.in != nil {
		heap.Remove(it.in, it.at)
		q.count(it, -1)
	}
	q.seq++
	it.urgency, it.seq, it.due, it.in = u, q.seq, due, &q.ready
	if !due.IsZero() {
		it.in = &q.later
	}
	heap.Push(it.in, it)
	q.count(it, 1)
	q.signal()
}

// count counts an item that has come or, if n is -1, goes.
func (q *queue) count(it *item, n int) {
	switch {
	case it.in != &q.ready:
	case it.urgency == look:
		q.other += n
	default:
		q.known[it.urgency] += n
	}
}

// outranks reports whether a service waits that is more urgent, or may be where this
// one can wait.
func (q *queue) outranks(u Urgency) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if u == Rest && q.other > 0 {
		return true
	}
	for more := range u {
		if q.known[more] > 0 {
			return true
		}
	}
	return false
}

func (q *queue) signal() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// next waits for a service and hands it out, until the context ends.
func (q *queue) next(ctx context.Context) (catalog.ServiceName, Urgency, bool) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for ctx.Err() == nil {
		name, urgency, pause, ok := q.take()
		if ok {
			return name, urgency, true
		}
		timer.Reset(pause)
		select {
		case <-ctx.Done():
		case <-q.wake:
		case <-timer.C:
		}
	}
	return catalog.ServiceName{}, 0, false
}

// take hands out a service, or says how long there is none.
func (q *queue) take() (name catalog.ServiceName, u Urgency, pause time.Duration, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	now := time.Now()
	for len(q.later) > 0 && !now.Before(q.later[0].due) {
		q.move(q.later[0], look, time.Time{})
	}
	if len(q.ready) == 0 {
		pause = time.Hour
		if len(q.later) > 0 {
			pause = q.later[0].due.Sub(now)
		}
		return name, 0, pause, false
	}
	it := heap.Pop(&q.ready).(*item)
	q.count(it, -1)
	it.in, it.changed = nil, false
	if len(q.ready) > 0 {
		q.signal() // for the next worker
	}
	return it.name, it.urgency, 0, true
}

// finish takes a service back from a worker that is done with it; a due time that
// is not zero is when it is to be looked at again.
func (q *queue) finish(name catalog.ServiceName, due time.Time) {
	q.mu.Lock()
	defer q.mu.Unlock()
	it := q.items[name]
	it.failures, it.held = 0, false
	switch {
	case it.changed:
		q.move(it, look, time.Time{})
	case !due.IsZero():
		q.move(it, look, due)
	default:
		delete(q.items, name)
	}
}

// urge takes a service back from a worker that has found how urgent it is.
func (q *queue) urge(name catalog.ServiceName, u Urgency) {
	q.mu.Lock()
	defer q.mu.Unlock()
	it := q.items[name]
	if it.changed {
		u = look
	}
	q.move(it, u, time.Time{})
}

// retry takes a service back from a worker that failed, for later, which is when it
// changes unless it is held. It returns how often that happened in a row.
func (q *queue) retry(name catalog.ServiceName, held bool) int {
	q.mu.Lock()
	defer q.mu.Unlock()
	it := q.items[name]
	pause := min(lastRetry, firstRetry<<min(it.failures, 12))
	it.failures++
	it.held = held
	due := time.Time{}
	if held || !it.changed {
		// A quarter by chance, so that what failed together does not come back together.
		due = time.Now().Add(pause*3/4 + rand.N(pause/2))
	}
	q.move(it, look, due)
	return it.failures
}

// depth counts the waiting services whose urgency is known, by urgency.
func (q *queue) depth() [Rest + 1]int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.known
}
