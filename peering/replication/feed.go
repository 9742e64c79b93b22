package replication

import (
	"slices"
	"sync"

	"github.com/federator/federator/federation/catalog"
)

// Exports is what a [Server] serves: the state of regions, own and imported.
type Exports interface {
	// Version is the version held of a region, zero if none.
	Version(region string) catalog.Version
	// Snapshot returns the complete state of a region, and false if none is held.
	Snapshot(region string) (catalog.Snapshot, bool)
	// DeltasSince returns changes after v, oldest first and without a gap, and
	// none if v is not older than what is held. There may be more after them.
	// False means that the next change is not remembered, so that only a
	// snapshot helps.
	DeltasSince(region string, v catalog.Version) ([]catalog.Delta, bool)
	// Changed returns a channel that is closed at the next change of a region.
	Changed(region string) <-chan struct{}
}

// State is the complete state that a [Feed] adds a memory of changes to;
// catalog.Catalog is one.
type State interface {
	Version(region string) catalog.Version
	Snapshot(region string) (catalog.Snapshot, bool)
}

// The bounds of what a feed remembers of each region, and returns at once.
const (
	feedDeltas  = 2048
	feedRecords = 32768
	feedBatch   = 64
)

// Feed remembers the last changes of each region, and tells who waits for the
// next. It is safe for concurrent use. The state must always be changed before
// the feed is told.
type Feed struct {
	State
	mu      sync.Mutex
	regions map[string]*history
}

// history is what a feed remembers of one region: deltas that lead up to version.
type history struct {
	version catalog.Version
	deltas  []catalog.Delta
	records int
	changed chan struct{}
}

// NewFeed returns a feed next to the given state.
func NewFeed(state State) *Feed {
	return &Feed{State: state, regions: map[string]*history{}}
}

// Publish tells that a delta was applied to the state. One that is already known
// is ignored; after a gap, the memory begins anew.
func (f *Feed) Publish(d catalog.Delta) {
	f.mu.Lock()
	defer f.mu.Unlock()
	h := f.history(d.Region)
	if d.Version.Compare(h.version) <= 0 {
		return
	}
	if !follows(d.Version, h.version) {
		h.forget()
	}
	h.version = d.Version
	h.deltas = append(h.deltas, d)
	h.records += size(d)
	for len(h.deltas) > feedDeltas || h.records > feedRecords {
		h.records -= size(h.deltas[0])
		h.deltas[0] = catalog.Delta{}
		h.deltas = h.deltas[1:]
	}
	h.wake()
}

// Replaced tells that the state of a region was replaced as a whole.
func (f *Feed) Replaced(region string, v catalog.Version) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if h := f.history(region); v.Compare(h.version) > 0 {
		h.forget()
		h.version = v
		h.wake()
	}
}

// Forget drops what is remembered of a region.
func (f *Feed) Forget(region string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if h, ok := f.regions[region]; ok {
		delete(f.regions, region)
		h.wake()
	}
}

// DeltasSince implements [Exports].
func (f *Feed) DeltasSince(region string, v catalog.Version) ([]catalog.Delta, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	h := f.history(region)
	if v.Compare(h.version) >= 0 {
		return nil, true
	}
	if len(h.deltas) == 0 || v.Epoch != h.version.Epoch || v.Seq+1 < h.deltas[0].Version.Seq {
		return nil, false
	}
	rest := h.deltas[v.Seq+1-h.deltas[0].Version.Seq:]
	return slices.Clone(rest[:min(len(rest), feedBatch)]), true
}

// Changed implements [Exports].
func (f *Feed) Changed(region string) <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.history(region).changed
}

// history returns the memory of a region; a new one begins at the state.
func (f *Feed) history(region string) *history {
	h, ok := f.regions[region]
	if !ok {
		h = &history{version: f.State.Version(region), changed: make(chan struct{})}
		f.regions[region] = h
	}
	return h
}

func (h *history) forget() { h.deltas, h.records = nil, 0 }

func (h *history) wake() {
	close(h.changed)
	h.changed = make(chan struct{})
}

// size counts what a delta holds on to.
func size(d catalog.Delta) int { return 1 + len(d.Upserts) + len(d.Deletes) }

// follows reports whether next is the version right after v.
func follows(next, v catalog.Version) bool {
	return next.Epoch == v.Epoch && next.Seq == v.Seq+1
}
