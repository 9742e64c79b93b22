package catalog

import (
	"hash/fnv"
	"maps"
	"slices"
	"strings"
	"time"
)

const (
	// HealthLapse is how long gossiped health counts without being confirmed by
	// the region's own records.
	HealthLapse = 30 * time.Second
	// maxEvacuation bounds how long an evacuation can be remembered.
	maxEvacuation = 8 * 24 * time.Hour
	// maxOverlay is how many unconfirmed changes are kept for one cluster before
	// those of endpoints that nobody knows are refused.
	maxOverlay = 65536
	// healthForgotten is when a lapsed change has lapsed everywhere, so that no
	// late copy can come.
	healthForgotten = 10 * HealthLapse
)

// overlay holds the gossiped health changes of one cluster that its region has
// not confirmed yet.
type overlay struct {
	region    string // whose cluster it is
	confirmed HealthVersion
	newest    HealthVersion // of all that were ever laid over or confirmed
	changes   map[overlayKey]overlayEntry
}

type overlayKey struct {
	service  ServiceName
	endpoint string
}

type overlayEntry struct {
	change   HealthChange
	received time.Time
	// lapsed entries no longer count but keep late copies from coming back.
	lapsed bool
}

func (o *overlay) lookup(s ServiceName, endpoint string) (Health, bool) {
	if o == nil {
		return 0, false
	}
	e, ok := o.changes[overlayKey{s, endpoint}]
	return e.change.Health, ok && !e.lapsed
}

// ApplyHealth lays gossiped flips over the known endpoints and returns those
// that were news, for passing on. Flips of unknown clusters, of an epoch that the
// cluster's region has not begun, and versions already seen or confirmed, are
// ignored.
func (c *Catalog) ApplyHealth(d HealthDelta, now time.Time) (fresh []HealthChange) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = now
	o := c.overlays[d.Cluster]
	if o == nil {
		return nil
	}
	dirty := newDirty()
	for _, ch := range d.Changes {
		if !c.isNews(o, d.Cluster, ch) {
			continue
		}
		o.changes[overlayKey{ch.Service, ch.Endpoint}] = overlayEntry{change: ch, received: now}
		o.note(ch.Version)
		fresh = append(fresh, ch)
		dirty.services[ch.Service] = struct{}{}
	}
	c.settleKnown(dirty)
	return fresh
}

// isNews reports whether a change counts: nothing as new is known, and there is
// room for it. The changes of known endpoints are as bounded as those are.
func (c *Catalog) isNews(o *overlay, cluster string, ch HealthChange) bool {
	if st := c.regions[o.region]; st == nil || ch.Version.Epoch > st.version.Epoch {
		return false
	}
	have, known := o.changes[overlayKey{ch.Service, ch.Endpoint}]
	if ch.Version.Compare(o.confirmed) <= 0 || known && ch.Version.Compare(have.change.Version) <= 0 {
		return false
	}
	return known || len(o.changes) < maxOverlay || c.exports(o.region, cluster, ch.Service, ch.Endpoint)
}

func (o *overlay) note(v HealthVersion) {
	if v.Compare(o.newest) > 0 {
		o.newest = v
	}
}

// settleKnown settles only services that exist: gossip can change endpoints and
// never bring any into being.
func (c *Catalog) settleKnown(d *dirty) {
	for name := range d.services {
		if c.services[name] == nil {
			delete(d.services, name)
		}
	}
	c.settle(d)
}

// confirm drops the changes that the region has folded into its records.
func (c *Catalog) confirm(region string, cl *Cluster, d *dirty) {
	o := c.overlays[cl.Name]
	if o == nil {
		o = &overlay{changes: map[overlayKey]overlayEntry{}}
		c.overlays[cl.Name] = o
	}
	o.region, o.confirmed = region, cl.Confirmed
	o.note(cl.Confirmed)
	for k, e := range o.changes {
		if e.change.Version.Compare(cl.Confirmed) <= 0 {
			delete(o.changes, k)
			d.services[k.service] = struct{}{}
		}
	}
}

// lapse ends what was not confirmed in time.
func (o *overlay) lapse(now time.Time, d *dirty) {
	for k, e := range o.changes {
		switch age := now.Sub(e.received); {
		case age >= HealthLapse && !e.lapsed:
			e.lapsed = true
			o.changes[k] = e
			d.services[k.service] = struct{}{}
		case age >= healthForgotten:
			delete(o.changes, k)
		}
	}
}

// Advance tells the catalog the time: unconfirmed health lapses and evacuations
// end. Call it a few times a second.
func (c *Catalog) Advance(now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = now
	dirty := newDirty()
	for _, o := range c.overlays {
		o.lapse(now, dirty)
	}
	for _, e := range c.cond.Evacuations {
		if !now.Before(e.Until()) {
			dirty.conditions = true
		}
	}
	for id, first := range c.seen {
		if now.Sub(first) > maxEvacuation {
			delete(c.seen, id)
			continue
		}
		if e, ok := c.cond.Evacuations[id.Name]; ok && !now.Before(first.Add(time.Duration(e.Duration))) {
			dirty.conditions = true
		}
	}
	c.settleKnown(dirty)
}

// PendingHealth returns the unconfirmed, unlapsed changes of a cluster, oldest
// version first.
func (c *Catalog) PendingHealth(cluster string) []HealthChange {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.pending(cluster)
}

func (c *Catalog) pending(cluster string) []HealthChange {
	o := c.overlays[cluster]
	if o == nil {
		return nil
	}
	var out []HealthChange
	for _, e := range o.changes {
		if !e.lapsed {
			out = append(out, e.change)
		}
	}
	slices.SortFunc(out, func(a, b HealthChange) int { return a.Version.Compare(b.Version) })
	return out
}

// PendingCount returns how many changes of a cluster are unconfirmed, lapsed ones
// included.
func (c *Catalog) PendingCount(cluster string) int {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if o := c.overlays[cluster]; o != nil {
		return len(o.changes)
	}
	return 0
}

// NewestHealth returns the highest version of a cluster's health that was ever
// seen or confirmed here.
func (c *Catalog) NewestHealth(cluster string) HealthVersion {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if o := c.overlays[cluster]; o != nil {
		return o.newest
	}
	return HealthVersion{}
}

// HealthDigest sums up what is known of a cluster's unconfirmed health; equal
// digests mean equal knowledge.
type HealthDigest struct {
	Cluster   string        `json:"cluster"`
	Confirmed HealthVersion `json:"confirmed"`
	Highest   HealthVersion `json:"highest"`
	// Hash is over the pending changes; 0 when there are none.
	Hash uint64 `json:"hash"`
}

// HealthDigests returns a digest for every known cluster, ordered by name.
func (c *Catalog) HealthDigests() []HealthDigest {
	c.mu.RLock()
	defer c.mu.RUnlock()
	out := make([]HealthDigest, 0, len(c.overlays))
	for _, name := range slices.Sorted(maps.Keys(c.overlays)) {
		d := HealthDigest{Cluster: name, Confirmed: c.overlays[name].confirmed, Highest: c.overlays[name].confirmed}
		if pending := c.pending(name); len(pending) > 0 {
			d.Highest = pending[len(pending)-1].Version
			d.Hash = hashChanges(pending)
		}
		out = append(out, d)
	}
	return out
}

func hashChanges(changes []HealthChange) uint64 {
	h := fnv.New64a()
	for _, ch := range changes {
		h.Write([]byte(strings.Join([]string{ch.Service.String(), ch.Endpoint, ch.Health.String(), ch.Version.String()}, "\x00")))
		h.Write([]byte{0xff})
	}
	return h.Sum64()
}
