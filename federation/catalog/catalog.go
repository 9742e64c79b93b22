package catalog

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

// ErrGap means that a delta does not follow the state it was applied to; the
// remedy is a complete snapshot of the region.
var ErrGap = errors.New("delta does not follow the known state of its region")

// Catalog is the merged view of one replica. All methods are safe for
// concurrent use; times are the caller's clock.
type Catalog struct {
	region    string
	authority string

	mu       sync.RWMutex
	regions  map[string]*regionState
	overlays map[string]*overlay // by cluster
	probed   map[SetKey]map[string]Health
	reach    Reachability
	byName   map[ServiceName]map[SetKey]string // the region of each set of a service
	services map[ServiceName]*Service
	refusals refusals
	rules    *ExportRules
	written  map[string]ExportRule // what rules was made of
	places   places
	cond     *Conditions
	seen     map[sighting]time.Time
	drills   drillBook
	policies policyBook
	now      time.Time
	watches  map[*Watch]struct{}
}

// regionState is what one region published last. facts is the small part of
// records that is neither an endpoint set nor a health table, and places counts
// the endpoints and replicas at each locality: both spare a walk over everything.
type regionState struct {
	version Version
	partial bool // see [Snapshot.Partial]
	records map[RecordKey]*Record
	facts   map[RecordKey]*Record
	places  map[Locality]int
}

func newRegionState(v Version) *regionState {
	return &regionState{version: v, records: map[RecordKey]*Record{}, facts: map[RecordKey]*Record{}, places: map[Locality]int{}}
}

// Reachability is what the observers of this replica's region found out about
// the other regions.
type Reachability struct {
	Regions  map[string]Reach
	RTT      map[string]time.Duration
	Isolated bool
}

// New returns an empty catalog of a replica in the given region. authority names
// the region whose registry and trust records count; the others' are ignored.
func New(region, authority string) *Catalog {
	c := &Catalog{
		region:    region,
		authority: authority,
		regions:   map[string]*regionState{},
		overlays:  map[string]*overlay{},
		probed:    map[SetKey]map[string]Health{},
		byName:    map[ServiceName]map[SetKey]string{},
		services:  map[ServiceName]*Service{},
		refusals:  newRefusals(),
		rules:     NewExportRules(nil),
		written:   map[string]ExportRule{},
		places:    places{},
		seen:      map[sighting]time.Time{},
		watches:   map[*Watch]struct{}{},
	}
	c.cond = c.buildConditions()
	return c
}

// Reset replaces everything known of a region with a complete snapshot. A
// snapshot that is not newer than the known state is ignored, see [Snapshot.Replaces].
func (c *Catalog) Reset(s Snapshot, now time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = now
	old := c.regions[s.Region]
	if old != nil && !s.Replaces(old.version, old.partial) {
		return nil
	}
	dirty := newDirty()
	dirty.conditions, dirty.ownership = true, s.Region == c.authority
	next := newRegionState(s.Version)
	next.partial = s.Partial
	if old != nil {
		next.places = old.places
	}
	c.regions[s.Region] = next
	for i := range s.Records {
		r := &s.Records[i]
		c.replace(s.Region, r.Key(), old.take(r.Key()), r, dirty)
	}
	if old != nil {
		for k, r := range old.records {
			c.replace(s.Region, k, r, nil, dirty)
		}
	}
	c.settle(dirty)
	return nil
}

// record returns a record; nil if there is none.
func (st *regionState) record(k RecordKey) *Record {
	if st == nil {
		return nil
	}
	return st.records[k]
}

// take removes and returns a record; nil if there is none.
func (st *regionState) take(k RecordKey) *Record {
	if st == nil {
		return nil
	}
	r := st.records[k]
	delete(st.records, k)
	return r
}

// Apply applies one change to a region. A change that is already contained is
// ignored; one whose predecessor is missing returns [ErrGap] and changes nothing.
func (c *Catalog) Apply(d Delta, now time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = now
	st := c.regions[d.Region]
	if st == nil {
		return ErrGap
	}
	if d.Version.Compare(st.version) <= 0 {
		return nil
	}
	if d.Version.Epoch != st.version.Epoch || d.Version.Seq != st.version.Seq+1 {
		return ErrGap
	}
	dirty := newDirty()
	for _, k := range d.Deletes {
		if old := st.records[k]; old != nil {
			c.replace(d.Region, k, old, nil, dirty)
		}
	}
	for i := range d.Upserts {
		r := &d.Upserts[i]
		c.replace(d.Region, r.Key(), st.records[r.Key()], r, dirty)
	}
	st.version = d.Version
	c.settle(dirty)
	return nil
}

// Forget drops everything known of a region, as when it was removed.
func (c *Catalog) Forget(region string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	st := c.regions[region]
	if st == nil {
		return
	}
	delete(c.reach.Regions, region)
	dirty := newDirty()
	for k, r := range st.records {
		c.replace(region, k, r, nil, dirty)
	}
	delete(c.regions, region)
	dirty.conditions, dirty.ownership = true, region == c.authority
	c.settle(dirty)
}

// SetReachability records a verdict of the observers.
func (c *Catalog) SetReachability(r Reachability, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = now
	old := c.reach
	c.reach = Reachability{Regions: maps.Clone(r.Regions), RTT: maps.Clone(r.RTT), Isolated: r.Isolated}
	dirty := newDirty()
	dirty.conditions = true
	for name := range c.regions {
		if old.Regions[name] != r.Regions[name] || old.Isolated != r.Isolated {
			c.touchRegion(name, dirty)
		}
	}
	c.settle(dirty)
}

// SetProbed records what this replica's own probes of a silent region's
// endpoints found, endpoint by endpoint; an empty map withdraws it.
func (c *Catalog) SetProbed(k SetKey, health map[string]Health) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if maps.Equal(c.probed[k], health) {
		return
	}
	if len(health) == 0 {
		delete(c.probed, k)
	} else {
		c.probed[k] = maps.Clone(health)
	}
	dirty := newDirty()
	dirty.services[k.Service] = struct{}{}
	c.settle(dirty)
}

// Version returns how far the region's state is known; zero if not at all.
func (c *Catalog) Version(region string) Version {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if st := c.regions[region]; st != nil {
		return st.version
	}
	return Version{}
}

// Snapshot returns a copy of everything known of a region.
func (c *Catalog) Snapshot(region string) (Snapshot, bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	st := c.regions[region]
	if st == nil {
		return Snapshot{}, false
	}
	s := Snapshot{Region: region, Version: st.version, Partial: st.partial, Records: make([]Record, 0, len(st.records))}
	for _, k := range slices.Sorted(maps.Keys(st.records)) {
		s.Records = append(s.Records, *st.records[k])
	}
	return s, true
}

// Partial reports whether what is known of a region lacks fields; see
// [Snapshot.Partial].
func (c *Catalog) Partial(region string) bool {
	c.mu.RLock()
	defer c.mu.RUnlock()
	st := c.regions[region]
	return st != nil && st.partial
}

// Service returns the merged service, or nil if no cluster exports it.
func (c *Catalog) Service(name ServiceName) *Service {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.services[name]
}

// Services returns all merged services ordered by name.
func (c *Catalog) Services() []*Service {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return slices.SortedFunc(maps.Values(c.services), func(a, b *Service) int { return a.Name.Compare(b.Name) })
}

// Conditions returns what besides the services decides resolutions now.
func (c *Catalog) Conditions() *Conditions {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.cond
}

// Records calls yield with every record of one kind that the region published,
// in key order, until it returns false.
func (c *Catalog) Records(region string, kind RecordKind, yield func(*Record) bool) {
	c.mu.RLock()
	st := c.regions[region]
	var records []*Record
	if st != nil {
		from := st.facts
		if kind == RecordSet || kind == RecordHealth {
			from = st.records
		}
		for k, r := range from {
			if k.Kind() == kind {
				records = append(records, r)
			}
		}
	}
	c.mu.RUnlock()
	slices.SortFunc(records, func(a, b *Record) int { return strings.Compare(string(a.Key()), string(b.Key())) })
	for _, r := range records {
		if !yield(r) {
			return
		}
	}
}

// Known returns the names of the regions whose state is held, in order.
func (c *Catalog) Known() []string {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return slices.Sorted(maps.Keys(c.regions))
}
