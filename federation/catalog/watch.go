package catalog

import "sync"

// maxNoted is how many changed services a watch names before it says "all".
const maxNoted = 4096

// Changes says what changed since the watch was last read.
type Changes struct {
	// All is set when too much changed to list.
	All bool
	// Conditions is set when anything besides the services changed.
	Conditions bool
	Services   []ServiceName
}

// Watch gathers changes until its reader takes them; a slow reader misses
// nothing and holds nobody up.
type Watch struct {
	c       *Catalog
	ready   chan struct{}
	mu      sync.Mutex
	pending map[ServiceName]struct{}
	all     bool
	cond    bool
}

// Watch returns a new watch that at first reports everything as changed.
func (c *Catalog) Watch() *Watch {
	w := &Watch{c: c, ready: make(chan struct{}, 1), pending: map[ServiceName]struct{}{}, all: true, cond: true}
	w.ready <- struct{}{}
	c.mu.Lock()
	c.watches[w] = struct{}{}
	c.mu.Unlock()
	return w
}

// Changed is readable when there is something to take.
func (w *Watch) Changed() <-chan struct{} { return w.ready }

// Take returns what changed since the last call and forgets it.
func (w *Watch) Take() Changes {
	w.mu.Lock()
	defer w.mu.Unlock()
	ch := Changes{All: w.all, Conditions: w.cond}
	for name := range w.pending {
		ch.Services = append(ch.Services, name)
	}
	w.all, w.cond = false, false
	clear(w.pending)
	return ch
}

// Close ends the watch.
func (w *Watch) Close() {
	w.c.mu.Lock()
	delete(w.c.watches, w)
	w.c.mu.Unlock()
}

func (w *Watch) note(d *dirty) {
	w.mu.Lock()
	w.cond = w.cond || d.conditions
	for name := range d.services {
		w.pending[name] = struct{}{}
	}
	if len(w.pending) > maxNoted {
		w.all = true
		clear(w.pending)
	}
	w.mu.Unlock()
	select {
	case w.ready <- struct{}{}:
	default:
	}
}
