// Package still notices when a process stood still, or processes that it started had
// no CPU. What was timed meanwhile says more about the machine than about federator,
// whose agents stood still as well: a test whose bound of time was broken then, and
// nothing else, is done again.
package still

import (
	"sync"
	"time"
)

// Least is how long a process must have stood still for it to be told, as long as
// agents wait out themselves before they judge others.
const Least = 250 * time.Millisecond

// How often it is looked whether this process stands still, and for how long its
// children waited for a CPU: one of their threads waited more than half of the time if
// it was [Least].
const (
	selfEvery     = 50 * time.Millisecond
	childrenEvery = 2 * Least
)

// Watch notices when this process stands still, and when one that it started waits for
// a CPU. It is safe for concurrent use.
type Watch struct {
	mu      sync.Mutex
	longest time.Duration
	end     func()
	tell    func(gap time.Duration)
}

// Begin watches until [Watch.End]. Each time that this process stood still is told as
// it is noticed; tell may be nil.
func Begin(tell func(gap time.Duration)) *Watch {
	done := make(chan struct{})
	w := &Watch{tell: tell}
	var wg sync.WaitGroup
	w.end = sync.OnceFunc(func() {
		close(done)
		wg.Wait()
	})
	wg.Go(func() { w.lookAtSelf(done) })
	wg.Go(func() { w.lookAtChildren(done) })
	return w
}

// lookAtSelf wakes up often, and sees how late it is.
func (w *Watch) lookAtSelf(done <-chan struct{}) {
	tick := time.NewTicker(selfEvery)
	defer tick.Stop()
	for last := time.Now(); ; {
		select {
		case <-done:
			return
		case <-tick.C:
		}
		now := time.Now()
		if gap := now.Sub(last) - selfEvery; w.note(gap) && w.tell != nil {
			w.tell(gap)
		}
		last = now
	}
}

// lookAtChildren sees how much longer they have waited each time.
func (w *Watch) lookAtChildren(done <-chan struct{}) {
	tick := time.NewTicker(childrenEvery)
	defer tick.Stop()
	for before := ofChildren(); ; {
		select {
		case <-done:
			return
		case <-tick.C:
		}
		now := ofChildren()
		w.note(now.since(before))
		before = now
	}
}

// note keeps a time that is long enough, and reports whether it is.
func (w *Watch) note(gap time.Duration) bool {
	if gap <= Least {
		return false
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.longest = max(w.longest, gap)
	return true
}

// Longest is the longest of those times since it was asked last, 0 if there was none.
func (w *Watch) Longest() time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	longest := w.longest
	w.longest = 0
	return longest
}

// End ends the watch.
func (w *Watch) End() { w.end() }
