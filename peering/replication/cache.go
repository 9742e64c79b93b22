package replication

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/federator/federator/federation/catalog"
)

// Cache is the checkpoint of the imported regions on disk. Changes are gathered
// and written together: per region the version and the records change in one
// transaction, so that a crash loses at most what a stream brings again. It is
// safe for concurrent use.
type Cache struct {
	path     string
	log      *slog.Logger
	now      func() time.Time
	interval time.Duration
	dirty    chan struct{}

	writing sync.Mutex // held while a transaction runs
	db      *bolt.DB

	mu       sync.Mutex
	loaded   []catalog.Snapshot
	versions map[string]catalog.Version
	partial  map[string]bool // see [catalog.Snapshot.Partial]
	pending  map[string]*change
	err      error
}

// CacheConfig has the optional settings of a [Cache].
type CacheConfig struct {
	Logger *slog.Logger     // default: discard
	Now    func() time.Time // default: time.Now
	// Interval is the least time between two writes (default 500 ms).
	Interval time.Duration
}

// change is what has yet to be written of one region. It holds at most one entry
// for each record of the region, however many changes it gathers.
type change struct {
	version catalog.Version
	replace bool                                  // the records are all there are
	partial bool                                  // of records that replace: they may lack fields
	forget  bool                                  // the region is to go
	records map[catalog.RecordKey]*catalog.Record // nil: deleted
}

// OpenCache opens the cache file, and creates it if there is none. A file that
// is damaged, or of another schema, is set aside under another name with a
// warning; what can be proven whole is taken over. An error means that the file
// cannot be used now: another process has it, or the disk refuses.
func OpenCache(path string, cfg CacheConfig) (*Cache, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	orDefault(&cfg.Interval, 500*time.Millisecond)
	c := &Cache{
		path:     path,
		log:      cfg.Logger,
		now:      cfg.Now,
		interval: cfg.Interval,
		dirty:    make(chan struct{}, 1),
		versions: map[string]catalog.Version{},
		partial:  map[string]bool{},
		pending:  map[string]*change{},
	}
	if err := c.open(); err != nil {
		return nil, fmt.Errorf("opening the cache of imported regions %s: %w", path, err)
	}
	for _, s := range c.loaded {
		c.versions[s.Region], c.partial[s.Region] = s.Version, s.Partial
	}
	return c, nil
}

// Load returns, once, what the cache held when it was opened.
func (c *Cache) Load() []catalog.Snapshot {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.loaded
	c.loaded = nil
	return s
}

// Reset replaces a region with a complete snapshot, unless it is not newer.
func (c *Cache) Reset(s catalog.Snapshot) {
	ch := &change{version: s.Version, replace: true, partial: s.Partial, records: make(map[catalog.RecordKey]*catalog.Record, len(s.Records))}
	for i := range s.Records {
		ch.records[s.Records[i].Key()] = &s.Records[i]
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.Replaces(c.versions[s.Region], c.partial[s.Region]) {
		c.partial[s.Region] = s.Partial
		c.add(s.Region, ch)
	}
}

// Apply adds one change of a region. One that is contained already is ignored;
// one whose predecessor is missing returns catalog.ErrGap.
func (c *Cache) Apply(d catalog.Delta) error {
	ch := &change{version: d.Version, records: make(map[catalog.RecordKey]*catalog.Record, len(d.Upserts)+len(d.Deletes))}
	for _, k := range d.Deletes {
		ch.records[k] = nil
	}
	for i := range d.Upserts {
		ch.records[d.Upserts[i].Key()] = &d.Upserts[i]
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	held := c.versions[d.Region]
	switch {
	case d.Version.Compare(held) <= 0:
		return nil
	case !follows(d.Version, held):
		return catalog.ErrGap
	}
	c.add(d.Region, ch)
	return nil
}

// Forget removes a region.
func (c *Cache) Forget(region string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.add(region, &change{forget: true})
}

// add gathers a change; the lock is held.
func (c *Cache) add(region string, ch *change) {
	c.versions[region] = ch.version
	if ch.forget {
		delete(c.versions, region)
		delete(c.partial, region)
	}
	c.pending[region] = c.pending[region].then(ch)
	select {
	case c.dirty <- struct{}{}:
	default:
	}
}

// then returns both changes as one.
func (ch *change) then(next *change) *change {
	if ch == nil || next.replace || next.forget {
		return next
	}
	for k, r := range next.records {
		ch.records[k] = r
	}
	ch.version = next.version
	return ch
}

// Run writes what changes until the context ends, and then what is left.
func (c *Cache) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return c.Flush()
		case <-c.dirty:
			_ = c.Flush() // what failed is kept, logged and tried again
		}
		select {
		case <-ctx.Done():
		case <-time.After(c.interval):
		}
	}
}

// Flush writes what has changed. What cannot be written is kept for the next time.
func (c *Cache) Flush() error {
	c.writing.Lock()
	defer c.writing.Unlock()
	c.mu.Lock()
	batch := c.pending
	c.pending = map[string]*change{}
	c.mu.Unlock()
	if len(batch) == 0 {
		return c.Err()
	}
	err := c.write(batch)
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		c.keep(batch)
		if c.err == nil {
			c.log.Warn("imported regions cannot be written to the cache: a restart would have to fetch them again",
				"path", c.path, "error", err)
		}
	}
	c.err = err
	return err
}

// keep puts back what was not written, before what came meanwhile.
func (c *Cache) keep(batch map[string]*change) {
	for region, ch := range batch {
		if later, ok := c.pending[region]; ok {
			ch = ch.then(later)
		}
		c.pending[region] = ch
	}
	select {
	case c.dirty <- struct{}{}:
	default:
	}
}

// Err is why the last write failed, nil if it did not.
func (c *Cache) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Close writes what is left and closes the file.
func (c *Cache) Close() error {
	err := c.Flush()
	c.writing.Lock()
	defer c.writing.Unlock()
	return errors.Join(err, c.db.Close())
}
