// Package still notices when a process stood still. What was timed meanwhile says
// more about the machine than about federator, whose agents stood still as well: a
// test whose bound of time was broken then, and nothing else, is done again.
package still

import (
	"sync"
	"time"
)

// Least is how long a process must have stood still for it to be told, as long as
// agents wait out themselves before they judge others.
const Least = 250 * time.Millisecond

// Watch notices when this process stands still. It is safe for concurrent use.
type Watch struct {
	mu      sync.Mutex
	longest time.Duration
	end     func()
}

// Begin watches until [Watch.End]. Each time is told as it is noticed; tell may be
// nil.
func Begin(tell func(gap time.Duration)) *Watch {
	done := make(chan struct{})
	w := &Watch{}
	var wg sync.WaitGroup
	w.end = sync.OnceFunc(func() {
		close(done)
		wg.Wait()
	})
	wg.Go(func() { w.look(done, tell) })
	return w
}

// look wakes up often, and sees how late it is.
func (w *Watch) look(done <-chan struct{}, tell func(time.Duration)) {
	const every = 50 * time.Millisecond
	tick := time.NewTicker(every)
	defer tick.Stop()
	for last := time.Now(); ; {
		select {
		case <-done:
			return
		case <-tick.C:
		}
		now := time.Now()
		if gap := now.Sub(last) - every; gap > Least {
			w.mu.Lock()
			w.longest = max(w.longest, gap)
			w.mu.Unlock()
			if tell != nil {
				tell(gap)
			}
		}
		last = now
	}
}

// Longest is the longest that this process stood still since it was asked last, 0
// if it did not.
func (w *Watch) Longest() time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	longest := w.longest
	w.longest = 0
	return longest
}

// End ends the watch.
func (w *Watch) End() { w.end() }
