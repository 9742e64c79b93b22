package federation

import (
	"context"
	"slices"
	"time"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/federation/state"
)

// adoptObjects brings the objects that other regions wrote into the own Raft, so
// that each region holds all of them and passes them on.
func (r *Replica) adoptObjects(ctx context.Context) error {
	foreign := r.foreignObjects()
	members := append(r.otherRegions(), r.card.Replica.Region)
	slices.Sort(members)
	now := time.Now()
	merge := &state.MergeObjects{Regions: members}
	var refused []state.RefusedObject
	var due, suspect bool
	r.node.Read(func(s *state.State) {
		merge.Objects, refused = s.Adoptable(foreign, members, now)
		due, suspect = s.SweepDue(members, now), s.About().ObjectsSuspect
	})
	r.mu.Lock()
	r.refused = refused
	r.mu.Unlock()
	switch {
	case suspect && len(members) == 1:
		merge.Trusted = true
	case suspect && r.allSynced():
		merge.Objects, merge.Replace = newestObjects(foreign), true
	case len(merge.Objects) == 0 && !due:
		return nil
	default:
		merge.Objects = firstObjects(merge.Objects) // the others next time
	}
	_, err := r.proposer.Propose(ctx, r.systemMeta(), merge)
	return err
}

// foreignObjects are the objects that the other regions hold, each as often as
// there are regions that hold it.
func (r *Replica) foreignObjects() (out []catalog.Object) {
	for _, region := range r.otherRegions() {
		r.catalog.Records(region, catalog.RecordObject, func(rec *catalog.Record) bool {
			out = append(out, *rec.Object)
			return true
		})
	}
	return out
}

// allSynced reports whether all that the other regions announced since this
// replica started is held. What was cached before is not enough.
func (r *Replica) allSynced() bool {
	return !slices.ContainsFunc(r.otherRegions(), func(region string) bool { return !r.importer.Synced(region) })
}

// newestObjects keeps the highest version of each object.
func newestObjects(objects []catalog.Object) []catalog.Object {
	at := map[catalog.ObjectKey]int{}
	var out []catalog.Object
	for _, o := range objects {
		i, known := at[o.ObjectKey]
		switch {
		case !known:
			at[o.ObjectKey] = len(out)
			out = append(out, o)
		case o.Version.Compare(out[i].Version) > 0:
			out[i] = o
		}
	}
	return out
}

// firstObjects is what one command can hold of the objects.
func firstObjects(objects []catalog.Object) []catalog.Object {
	const limit = state.MaxCommandBytes / 4 // JSON and base64 need room
	size := 0
	for i, o := range objects {
		if size += len(o.Spec) + 256; i > 0 && size > limit {
			return objects[:i]
		}
	}
	return objects[:min(len(objects), state.MaxObjects)]
}
