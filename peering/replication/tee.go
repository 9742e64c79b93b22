package replication

import (
	"errors"
	"time"

	"github.com/federator/federator/federation/catalog"
)

// View is the merged view that imports go to; catalog.Catalog is one.
type View interface {
	State
	Reset(s catalog.Snapshot, now time.Time) error
	Apply(d catalog.Delta, now time.Time) error
	Forget(region string)
	Partial(region string) bool
}

// Tee is the [Sink] of a replica: the view first, because clients read it; then
// the feed, from which siblings are served; then the cache.
type Tee struct {
	View  View
	Feed  *Feed  // nil: none
	Cache *Cache // nil: none
	Now   func() time.Time
}

// Restore fills the view with what the cache held when it was opened, and returns
// the number of regions. It belongs before anything is served.
func (t *Tee) Restore() (int, error) {
	if t.Cache == nil {
		return 0, nil
	}
	all := t.Cache.Load()
	var errs []error
	for _, s := range all {
		errs = append(errs, t.Reset(s))
	}
	return len(all), errors.Join(errs...)
}

// Version implements [Sink].
func (t *Tee) Version(region string) catalog.Version { return t.View.Version(region) }

// Partial implements [Sink].
func (t *Tee) Partial(region string) bool { return t.View.Partial(region) }

// Reset implements [Sink].
func (t *Tee) Reset(s catalog.Snapshot) error {
	if err := t.View.Reset(s, t.Now()); err != nil {
		return err
	}
	if t.Feed != nil {
		t.Feed.Replaced(s.Region, s.Version)
	}
	if t.Cache != nil {
		t.Cache.Reset(s)
	}
	return nil
}

// Apply implements [Sink].
func (t *Tee) Apply(d catalog.Delta) error {
	if err := t.View.Apply(d, t.Now()); err != nil {
		return err
	}
	if t.Feed != nil {
		t.Feed.Publish(d)
	}
	if t.Cache != nil && t.Cache.Apply(d) != nil {
		t.refill(d.Region)
	}
	return nil
}

// refill repairs a cache that has missed something.
func (t *Tee) refill(region string) {
	if s, ok := t.View.Snapshot(region); ok {
		t.Cache.Reset(s)
	}
}

// Forget drops a region everywhere.
func (t *Tee) Forget(region string) {
	t.View.Forget(region)
	if t.Feed != nil {
		t.Feed.Forget(region)
	}
	if t.Cache != nil {
		t.Cache.Forget(region)
	}
}
