package lab

import (
	"fmt"
	"strings"
	"sync"
	"time"
)

// Story is what was done and when, in words. It is safe for concurrent use.
type Story struct {
	mu    sync.Mutex
	began time.Time
	lines []string
	still time.Duration // the longest that this process stood still
	hear  func(string)
}

// NewStory begins one now.
func NewStory() *Story { return &Story{began: time.Now()} }

// stoodStill is how long the lab itself must have stood still for it to be told, as
// long as agents wait out themselves before they judge others:
// what is measured meanwhile says more about the machine than about federator.
const stoodStill = 250 * time.Millisecond

// WatchSelf tells when this process stood still, until the returned function is
// called.
func (s *Story) WatchSelf() (stop func()) {
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
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
			if gap := now.Sub(last) - every; gap > stoodStill {
				s.Say("the lab itself stood still for %v: is the machine busy with something else?", gap.Round(time.Millisecond))
				s.mu.Lock()
				s.still = max(s.still, gap)
				s.mu.Unlock()
			}
			last = now
		}
	})
	return sync.OnceFunc(func() {
		close(done)
		wg.Wait()
	})
}

// Still returns the longest that this process stood still since it was asked
// last, 0 if it did not.
func (s *Story) Still() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	longest := s.still
	s.still = 0
	return longest
}

// Hear has every line told as it is written, too.
func (s *Story) Hear(hear func(string)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hear = hear
}

// Say adds a line.
func (s *Story) Say(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	line := fmt.Sprintf("%s %8.3fs  %s", now.Format("15:04:05.000"), now.Sub(s.began).Seconds(), fmt.Sprintf(format, args...))
	s.lines = append(s.lines, line)
	if s.hear != nil {
		s.hear(line)
	}
}

// String is all of it.
func (s *Story) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.lines, "\n")
}
