package state

import "sync"

// leadership wakes whoever waits for this replica to begin or cease to lead.
type leadership struct {
	mu   sync.Mutex
	wake map[chan struct{}]struct{}
}

func newLeadership() *leadership { return &leadership{wake: map[chan struct{}]struct{}{}} }

func (l *leadership) subscribe() (<-chan struct{}, func()) {
	ch := make(chan struct{}, 1)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.wake[ch] = struct{}{}
	return ch, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.wake, ch)
	}
}

// follow drains what Raft says until done is closed; Raft blocks otherwise.
func (l *leadership) follow(changes <-chan bool, done <-chan struct{}) {
	for {
		select {
		case <-changes:
			l.signal()
		case <-done:
			return
		}
	}
}

func (l *leadership) signal() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for ch := range l.wake {
		select {
		case ch <- struct{}{}:
		default:
		}
	}
}
