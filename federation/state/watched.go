package state

import (
	"fmt"
	"maps"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// lingering is how long a trouble shows after its last failure, at least. On a
// full disk what is small still finds room where what is large does not, so one
// success says little; half a minute in which nothing failed says more. Waiting
// for a success as large as what failed would not do: it may never come.
const lingering = 30 * time.Second

// troubles remembers what went wrong with the disk, by what was being done. A
// trouble is over when the same thing has succeeded since and has not failed for
// [lingering].
type troubles struct {
	clock func() time.Time

	mu  sync.Mutex
	now map[string]trouble
}

// trouble is one kind of write that fails.
type trouble struct {
	err  error // of the last failure,
	at   time.Time
	past bool // and whether a write succeeded since
}

func newTroubles(clock func() time.Time) *troubles {
	return &troubles{clock: clock, now: map[string]trouble{}}
}

func (t *troubles) note(doing string, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err != nil {
		t.now[doing] = trouble{err: fmt.Errorf("%s: %w", doing, err), at: t.clock()}
		return
	}
	if last, ok := t.now[doing]; ok {
		last.past = true
		t.now[doing] = last
	}
}

// list returns the troubles of now, by what was being done.
func (t *troubles) list() []error {
	t.mu.Lock()
	defer t.mu.Unlock()
	var out []error
	for _, doing := range slices.Sorted(maps.Keys(t.now)) {
		last := t.now[doing]
		if last.past && t.clock().Sub(last.at) >= lingering {
			delete(t.now, doing)
			continue
		}
		out = append(out, last.err)
	}
	return out
}

// watchedLog notes failed writes of the log; Raft handles them (a leader steps
// down, a follower refuses the entries).
type watchedLog struct {
	raft.LogStore
	troubles *troubles
}

// StoreLog stores one entry.
func (w *watchedLog) StoreLog(entry *raft.Log) error { return w.StoreLogs([]*raft.Log{entry}) }

// StoreLogs stores entries.
func (w *watchedLog) StoreLogs(entries []*raft.Log) error {
	err := w.LogStore.StoreLogs(entries)
	w.troubles.note("write the Raft log", err)
	return err
}

// IsMonotonic passes on what the store says; see raft.MonotonicLogStore.
func (w *watchedLog) IsMonotonic() bool {
	m, ok := w.LogStore.(raft.MonotonicLogStore)
	return ok && m.IsMonotonic()
}

// savingSnapshot is what a failed snapshot is noted as.
const savingSnapshot = "write a snapshot"

// watchedSnapshots notes snapshots that cannot even be begun; what fails later
// the machine notes.
type watchedSnapshots struct {
	raft.SnapshotStore
	troubles *troubles
}

// Create begins a snapshot.
func (w *watchedSnapshots) Create(v raft.SnapshotVersion, index, term uint64, c raft.Configuration, at uint64, t raft.Transport) (raft.SnapshotSink, error) {
	sink, err := w.SnapshotStore.Create(v, index, term, c, at, t)
	if err != nil {
		w.troubles.note(savingSnapshot, err)
	}
	return sink, err
}

// stableRetry is how long a failed write of the term or vote waits.
const stableRetry = 200 * time.Millisecond

// watchedStable writes the term and the vote. Raft panics when that fails, so on
// a full disk it waits for room instead: this replica neither votes nor leads
// meanwhile, and the others go on.
type watchedStable struct {
	raft.StableStore
	troubles *troubles
	closed   <-chan struct{}
}

// Set stores a value.
func (w *watchedStable) Set(key, value []byte) error {
	return w.insist(func() error { return w.StableStore.Set(key, value) })
}

// SetUint64 stores a number.
func (w *watchedStable) SetUint64(key []byte, value uint64) error {
	return w.insist(func() error { return w.StableStore.SetUint64(key, value) })
}

func (w *watchedStable) insist(write func() error) error {
	for {
		err := write()
		w.troubles.note("write the Raft term or vote", err)
		if err == nil {
			return nil
		}
		select {
		case <-w.closed:
			// Returning the error would make Raft panic while it is being shut down;
			// its goroutine ends here instead, and its deferred functions run.
			runtime.Goexit()
		case <-time.After(stableRetry):
		}
	}
}
