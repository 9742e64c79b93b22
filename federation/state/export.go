package state

import (
	"maps"
	"slices"

	"github.com/federator/federator/federation/catalog"
)

// Export returns what the region publishes to others. It is false while there
// is nothing to publish: before founding, and from a recovery or restore until
// the region has its new epoch.
func (s *State) Export() (catalog.Snapshot, bool) {
	if !s.Publishes() {
		return catalog.Snapshot{}, false
	}
	return s.Own(), true
}

// Publishes reports whether the region may publish to others.
func (s *State) Publishes() bool { return s.about.Epoch != 0 && !s.about.NeedsEpoch }

// Own returns the same as [State.Export] for the region's own replicas, which
// serve it even while it may not be published.
func (s *State) Own() catalog.Snapshot {
	snap := catalog.Snapshot{Region: s.about.Region, Version: s.Version()}
	for _, kind := range slices.Sorted(maps.Keys(s.facts)) {
		snap.Records = append(snap.Records, collect(s, kind, func(r catalog.Record) catalog.Record { return r })...)
	}
	return snap
}

// DeltasSince returns the deltas that lead from version v to now. It is false
// when they are not all at hand; the reader then needs a complete snapshot.
func (s *State) DeltasSince(v catalog.Version) ([]catalog.Delta, bool) {
	now := s.Version()
	if v.Epoch != now.Epoch || v.Seq > now.Seq {
		return nil, false
	}
	missing := now.Seq - v.Seq
	if missing == 0 {
		return nil, true
	}
	if missing > uint64(len(s.ring)) {
		return nil, false
	}
	return slices.Clone(s.ring[uint64(len(s.ring))-missing:]), true
}

// remember keeps a delta for streams to resume from.
func (s *State) remember(d catalog.Delta) {
	s.ring = append(s.ring, d)
	s.ringLen += weightOf(d)
	for len(s.ring) > ringDeltas || (s.ringLen > ringRecords && len(s.ring) > 1) {
		s.ringLen -= weightOf(s.ring[0])
		s.ring[0] = catalog.Delta{}
		s.ring = s.ring[1:]
	}
}

func weightOf(d catalog.Delta) int { return len(d.Upserts) + len(d.Deletes) }

// restart begins an epoch: the sequence starts over and streams cannot resume.
func (s *State) restart(epoch uint64) {
	s.about.Epoch, s.seq = epoch, 0
	s.ring, s.ringLen = nil, 0
}
