package federation

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/source/probe"
)

// pulse is what gossip measures: which regions are silent, whether all are, and
// how far away they are.
type pulse interface {
	Reach() (silent map[string]bool, isolated bool)
	RTTs() map[string]time.Duration
}

// observer turns the silence of a region's replicas into a verdict on the region:
// silence of replicas is not death of workloads, so it asks the workloads.
type observer struct {
	catalog *catalog.Catalog
	pulse   pulse
	once    func(context.Context, probe.Target) error
	log     *slog.Logger
	clock   func() time.Time // by which an inquest sees whether this process stands still

	mu       sync.Mutex
	verdicts map[string]catalog.Reach
	since    map[string]time.Time
	inquests map[string]context.CancelFunc
	told     catalog.Reachability
}

func newObserver(c *catalog.Catalog, p pulse, once func(context.Context, probe.Target) error, log *slog.Logger) *observer {
	return &observer{catalog: c, pulse: p, once: once, log: log, clock: time.Now,
		verdicts: map[string]catalog.Reach{}, since: map[string]time.Time{}, inquests: map[string]context.CancelFunc{}}
}

// run watches the pulse until ctx ends, and waits for the inquests it opened.
func (o *observer) run(ctx context.Context) error {
	var inquests sync.WaitGroup
	defer inquests.Wait()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		o.catalog.Tick(time.Now())
		silent, isolated := o.pulse.Reach()
		for region, is := range silent {
			if is {
				o.open(ctx, region, &inquests)
			}
		}
		o.closeAnswered(silent)
		o.tell(isolated, time.Now())
	}
}

// open begins an inquest into a silent region unless one is under way.
func (o *observer) open(ctx context.Context, region string, inquests *sync.WaitGroup) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.inquests[region] != nil {
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	o.inquests[region] = cancel
	o.verdicts[region] = catalog.Silent
	o.since[region] = time.Now()
	o.log.Warn("the replicas of a region are silent; asking its endpoints", "peer", region)
	inquests.Go(func() { o.inquire(ctx, region) })
}

// silent reports whether nothing arrives from a region.
func (o *observer) silent(region string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.inquests[region] != nil
}

// closeAnswered ends the inquests into regions that are back.
func (o *observer) closeAnswered(silent map[string]bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for region, cancel := range o.inquests {
		if silent[region] {
			continue
		}
		cancel()
		delete(o.inquests, region)
		delete(o.verdicts, region)
		o.since[region] = time.Now()
		o.log.Info("a region is back", "peer", region)
	}
}

// tell hands the verdicts to the catalog when they or the distances changed.
func (o *observer) tell(isolated bool, now time.Time) {
	o.mu.Lock()
	// A silent region whose workloads answer shows that the network is there.
	isolated = isolated && !slices.Contains(slices.Collect(maps.Values(o.verdicts)), catalog.ControlPlaneLost)
	r := catalog.Reachability{Regions: maps.Clone(o.verdicts), RTT: steady(o.told.RTT, o.pulse.RTTs()), Isolated: isolated}
	same := r.Isolated == o.told.Isolated && maps.Equal(r.Regions, o.told.Regions) && maps.Equal(r.RTT, o.told.RTT)
	o.told = r
	o.mu.Unlock()
	if !same {
		o.catalog.SetReachability(r, now)
	}
}

// reachSince tells since when a region has been in its present state.
func (o *observer) reachSince(region string) time.Time {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.since[region]
}

func (o *observer) decide(ctx context.Context, region string, r catalog.Reach) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if ctx.Err() != nil || o.verdicts[region] == r {
		return
	}
	o.verdicts[region] = r
	o.since[region] = time.Now()
	o.log.Warn("verdict on a silent region", "peer", region, "reach", r)
}
