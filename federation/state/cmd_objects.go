package state

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/federator/federator/federation/catalog"
)

// MaxObjects bounds the objects in one [MergeObjects] command.
const MaxObjects = 10_000

// tombstoneGrace is how long a tombstone that every region has acknowledged
// stays published, so that each of them learns that all have.
const tombstoneGrace = time.Minute

// Overwritten is a version of an object that lost, or was replaced.
type Overwritten struct {
	Object catalog.Object `json:"object"`
	At     time.Time      `json:"at"`
	// Conflict: another region wrote at the same time, so this write was lost.
	Conflict bool `json:"conflict,omitempty"`
}

// History returns the overwritten versions of an object, oldest first.
func (s *State) History(key catalog.ObjectKey) []Overwritten { return slices.Clone(s.history[key]) }

// Conflicts returns the lost concurrent writes of all objects, by object.
func (s *State) Conflicts() map[catalog.ObjectKey][]Overwritten {
	out := map[catalog.ObjectKey][]Overwritten{}
	for key, lost := range s.history {
		for _, o := range lost {
			if o.Conflict {
				out[key] = append(out[key], o)
			}
		}
	}
	return out
}

// PutObject is an operator's write of a last-writer-wins object in this region.
// Its generation is one above what the region has seen; the version is the
// result, a [catalog.ObjectVersion].
type PutObject struct {
	catalog.ObjectKey
	Spec    json.RawMessage `json:"spec,omitempty"`
	Deleted bool            `json:"deleted,omitempty"`
	// Seen, when set, is the version the writer has seen (zero: none); another
	// gives [ErrConflict].
	Seen *catalog.ObjectVersion `json:"seen,omitempty"`
}

func (*PutObject) kind() Type { return TypePutObject }

func (p *PutObject) audit() (string, string) {
	if p.Deleted {
		return p.ObjectKey.String(), "deleted"
	}
	return p.ObjectKey.String(), string(p.Spec)
}

func (p *PutObject) validate() error { return checkObject(p.ObjectKey, p.Spec, p.Deleted) }

func (p *PutObject) spec() (string, int) { return p.ObjectKey.String(), len(p.Spec) }

func (p *PutObject) apply(c *change) (any, error) {
	var seen catalog.ObjectVersion
	old := c.Object(p.ObjectKey)
	if old != nil {
		seen = old.Version
	}
	if p.Seen != nil && *p.Seen != seen {
		return nil, ErrConflict.withf("%s was changed meanwhile in region %s; read it again and retry", p.ObjectKey, seen.Region)
	}
	if p.Deleted && (old == nil || old.Deleted) {
		return nil, ErrNotFound.withf("%s does not exist", p.ObjectKey)
	}
	if buried, ok := c.graves.get(p.ObjectKey); ok && buried.Compare(seen) > 0 {
		seen = buried
	}
	now := c.meta.Time.UnixNano()
	if ahead := time.Duration(seen.HLC - now); ahead > MaxClockSkew {
		return nil, ErrClock.withf("%s was last written %s ahead of this region's clock (the bound is %s): set the clock of this region, or of region %s", p.ObjectKey, ahead.Round(time.Second), MaxClockSkew, seen.Region)
	}
	next := catalog.Object{
		ObjectKey: p.ObjectKey, Spec: p.Spec, Deleted: p.Deleted, Actor: c.meta.Actor,
		Version: catalog.ObjectVersion{Generation: seen.Generation + 1, HLC: max(now, seen.HLC+1), Region: c.about.Region},
	}
	if next.Deleted {
		next.Acks = []string{c.about.Region}
	}
	c.replaceObject(old, next, false)
	return next.Version, nil
}

// MergeObjects adopts what other regions hold of the last-writer-wins objects.
// [MergeReport] is the result. See [State.Adoptable] for what is worth sending.
type MergeObjects struct {
	Objects []catalog.Object `json:"objects,omitempty"`
	// Regions are all registered regions; a tombstone that all of them have
	// acknowledged is dropped. Empty: not known, nothing is dropped.
	Regions []string `json:"regions,omitempty"`
	// Replace drops every object that is not listed: the refill after a restore.
	Replace bool `json:"replace,omitempty"`
	// Trusted keeps the objects as they are and no longer suspect: after a restore
	// of the only region, nobody can have newer ones.
	Trusted bool `json:"trusted,omitempty"`
}

// MergeReport is the result of [MergeObjects].
type MergeReport struct {
	Adopted []catalog.ObjectKey `json:"adopted,omitempty"`
	Dropped []catalog.ObjectKey `json:"dropped,omitempty"`
	// Refused objects are out of bounds, or carry a clock more than
	// [MaxClockSkew] ahead.
	Refused []RefusedObject `json:"refused,omitempty"`
}

// RefusedObject is an object that is never adopted as it is.
type RefusedObject struct {
	catalog.ObjectKey
	// Region wrote it.
	Region string `json:"region"`
	Reason string `json:"reason"`
	// Skew is how far ahead of the command's time it is, if that is the reason.
	Skew catalog.Duration `json:"skew,omitempty"`
}

func (*MergeObjects) kind() Type { return TypeMergeObjects }

func (*MergeObjects) audit() (string, string) { return "", "" }

func (m *MergeObjects) validate() error {
	if len(m.Objects) > MaxObjects || len(m.Regions) > maxRegions {
		return ErrInvalid.withf("%d objects and %d regions exceed the bounds of %d and %d", len(m.Objects), len(m.Regions), MaxObjects, maxRegions)
	}
	return nil
}

// refusal says why an object is never adopted; nil if it may be.
func refusal(o *catalog.Object, now time.Time) *RefusedObject {
	no := RefusedObject{ObjectKey: o.ObjectKey, Region: clip(o.Version.Region, 64)}
	skew := time.Duration(o.Version.HLC - now.UnixNano())
	err := checkObject(o.ObjectKey, o.Spec, o.Deleted)
	switch {
	case err != nil:
		no.Reason = err.Error()
		no.ObjectKey = catalog.ObjectKey{Kind: catalog.ObjectKind(clip(string(o.Kind), 63)), Name: clip(o.Name, 64)}
	case len(o.Acks) > maxRegions || len(o.Actor) > maxActorBytes:
		no.Reason = "acknowledgements or actor out of bounds"
	case o.Version.Generation == 0 || o.Version.Generation > maxGeneration || o.Version.HLC < 0 || label("region", o.Version.Region) != nil:
		no.Reason = "impossible version"
	case skew > MaxClockSkew:
		no.Skew = catalog.Duration(skew)
		no.Reason = fmt.Sprintf("the clock of region %s is %s ahead (the bound is %s): set it right and write the object again", o.Version.Region, skew.Round(time.Second), MaxClockSkew)
	default:
		return nil
	}
	return &no
}

func (m *MergeObjects) apply(c *change) (any, error) {
	report := MergeReport{}
	if m.Replace {
		c.keepOnly(m.Objects)
	}
	if m.Replace || m.Trusted {
		c.then(func() { c.about.ObjectsSuspect = false })
	}
	for _, o := range m.Objects {
		if no := refusal(&o, c.meta.Time); no != nil {
			report.Refused = append(report.Refused, *no)
			continue
		}
		if c.adopt(o, m.Regions) {
			report.Adopted = append(report.Adopted, o.ObjectKey)
		}
	}
	report.Dropped = c.bury(m.Regions)
	return report, nil
}

// keepOnly drops every object whose key is not listed.
func (c *change) keepOnly(listed []catalog.Object) {
	keys := make(map[catalog.ObjectKey]bool, len(listed))
	for _, o := range listed {
		keys[o.ObjectKey] = true
	}
	for _, o := range c.Objects() {
		if !keys[o.ObjectKey] {
			c.drop(objectKey(o.ObjectKey))
			c.then(func() { delete(c.acked, o.ObjectKey) })
		}
	}
}

// adopt merges one object of another region and reports whether that changed
// anything.
func (c *change) adopt(o catalog.Object, regions []string) bool {
	var old *catalog.Object
	if r, ok := c.get(objectKey(o.ObjectKey)); ok {
		old = r.Object
	}
	next, changed := adopted(old, o, c.about.Region, regions, c.buried(o))
	switch {
	case changed:
		c.replaceObject(old, next, old != nil && old.Version.Generation == o.Version.Generation)
	case old != nil && c.lostAlready(old, o):
		c.then(func() { c.lose(o, true) })
	}
	return changed
}

// buried reports whether this version is a tombstone that was dropped here.
func (s *State) buried(o catalog.Object) bool {
	v, ok := s.graves.get(o.ObjectKey)
	return ok && v.Compare(o.Version) >= 0
}

// adopted is the rule of last writer wins: what the region holds after it saw o,
// and whether that differs from what it held (nil: nothing).
func adopted(old *catalog.Object, o catalog.Object, self string, regions []string, buried bool) (catalog.Object, bool) {
	o.Acks = sortedUnion(o.Acks)
	order := 1
	if old != nil {
		order = o.Version.Compare(old.Version)
	}
	switch {
	case order < 0:
		return catalog.Object{}, false
	case order == 0:
		return acknowledged(*old, o.Acks)
	case !o.Deleted:
		o.Acks = nil
		return o, old != nil || !buried
	case old == nil && covers(o.Acks, regions):
		return catalog.Object{}, false // all have seen it, and it is gone here
	case old == nil && buried:
		// Dropped here because all had acknowledged it; the sender does not know yet.
		o.Acks = sortedUnion(o.Acks, regions, []string{self})
		return o, len(regions) > 0
	}
	o.Acks = sortedUnion(o.Acks, []string{self})
	return o, true
}

// acknowledged adds acknowledgements to a tombstone.
func acknowledged(old catalog.Object, acks []string) (catalog.Object, bool) {
	union := sortedUnion(old.Acks, acks)
	if !old.Deleted || len(union) == len(old.Acks) {
		return old, false
	}
	old.Acks = union
	return old, true
}

// Adoptable returns which of the objects a [MergeObjects] command at that time
// would do something with, so that the leader proposes only then, and which it
// would refuse.
func (s *State) Adoptable(objects []catalog.Object, regions []string, now time.Time) (adopt []catalog.Object, refused []RefusedObject) {
	for _, o := range objects {
		if no := refusal(&o, now); no != nil {
			refused = append(refused, *no)
			continue
		}
		old := s.Object(o.ObjectKey)
		_, changed := adopted(old, o, s.about.Region, regions, s.buried(o))
		news := old != nil && len(s.history[o.ObjectKey]) < historyLimit && s.lostAlready(old, o)
		if changed || news {
			adopt = append(adopt, o)
		}
	}
	return adopt, refused
}

// SweepDue reports whether a [MergeObjects] command with these regions, even an
// empty one, would drop a tombstone at the time, or note that it may be soon.
func (s *State) SweepDue(regions []string, now time.Time) bool {
	for _, r := range s.facts[catalog.RecordObject] {
		o := r.Object
		if !o.Deleted || !covers(o.Acks, regions) {
			continue
		}
		if since, ok := s.acked[o.ObjectKey]; !ok || now.Sub(since) >= tombstoneGrace {
			return true
		}
	}
	return false
}

// bury drops the tombstones that all regions have acknowledged for a while.
func (c *change) bury(regions []string) []catalog.ObjectKey {
	var dropped []catalog.ObjectKey
	for _, o := range c.Objects() {
		r, ok := c.get(objectKey(o.ObjectKey))
		if !ok || !r.Object.Deleted {
			continue
		}
		o, key := r.Object, o.ObjectKey
		since, noted := c.acked[key]
		if !covers(o.Acks, regions) {
			if noted && len(regions) > 0 { // a region came since
				c.then(func() { delete(c.acked, key) })
			}
			continue
		}
		if !noted || c.writes[objectKey(key)] != nil {
			c.then(func() { c.acked[key] = c.meta.Time })
			continue
		}
		if c.meta.Time.Sub(since) < tombstoneGrace {
			continue
		}
		c.drop(objectKey(key))
		dropped = append(dropped, key)
		c.then(func() {
			delete(c.acked, key)
			delete(c.history, key)
			c.graves.remove(key)
			c.graves.put(key, o.Version)
		})
	}
	return dropped
}

// replaceObject writes next; what it replaces goes into the history.
func (c *change) replaceObject(old *catalog.Object, next catalog.Object, conflict bool) {
	c.put(catalog.Record{Object: &next})
	c.then(func() {
		if old != nil && old.Version != next.Version {
			c.lose(*old, conflict)
			delete(c.acked, next.ObjectKey)
		}
	})
}

// lostAlready reports whether o is a concurrent write that lost and is not in
// the history yet.
func (s *State) lostAlready(winner *catalog.Object, o catalog.Object) bool {
	if o.Version == winner.Version {
		return false
	}
	rival := o.Version.Generation == winner.Version.Generation
	for _, h := range s.history[o.ObjectKey] {
		if h.Object.Version == o.Version {
			return false
		}
		rival = rival || h.Object.Version.Generation == o.Version.Generation
	}
	return rival
}

func (c *change) lose(o catalog.Object, conflict bool) {
	lost := append(slices.Clone(c.history[o.ObjectKey]), Overwritten{Object: o, At: c.meta.Time, Conflict: conflict})
	if over := len(lost) - historyLimit; over > 0 {
		lost = lost[over:]
	}
	c.history[o.ObjectKey] = lost
}

// covers reports whether every region has acknowledged. No regions means that
// they are not known, so nobody knows that all have.
func covers(acks, regions []string) bool {
	for _, r := range regions {
		if !slices.Contains(acks, r) {
			return false
		}
	}
	return len(regions) > 0
}

// sortedUnion returns the union of the lists, ordered; nil when empty.
func sortedUnion(lists ...[]string) []string {
	all := slices.Concat(lists...)
	slices.Sort(all)
	return slices.Compact(all)
}
