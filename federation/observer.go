package federation

import (
	"cmp"
	"context"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/source/probe"
)

const (
	// sampleSize is how many endpoints per cluster decide whether a silent region
	// is out.
	sampleSize = 5
	// sweepEvery is the pause between two looks at a silent region's endpoints.
	sweepEvery = time.Second
	// sweepWidth bounds the probes in flight to one silent region, and sweepLimit
	// how many endpoints one sweep looks at; the next sweep goes on from there.
	sweepWidth = 16
	sweepLimit = 500
	// probeTimeout bounds one probe of a silent region's endpoint.
	probeTimeout = time.Second
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

	mu       sync.Mutex
	verdicts map[string]catalog.Reach
	since    map[string]time.Time
	inquests map[string]context.CancelFunc
	told     catalog.Reachability
}

func newObserver(c *catalog.Catalog, p pulse, once func(context.Context, probe.Target) error, log *slog.Logger) *observer {
	return &observer{catalog: c, pulse: p, once: once, log: log,
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
	o.log.Warn("the replicas of a region are silent; asking its endpoints", "region", region)
	inquests.Go(func() { o.inquire(ctx, region) })
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
		o.log.Info("a region is back", "region", region)
	}
}

// tell hands the verdicts to the catalog when they or the distances changed.
func (o *observer) tell(isolated bool, now time.Time) {
	o.mu.Lock()
	r := catalog.Reachability{Regions: maps.Clone(o.verdicts), RTT: o.pulse.RTTs(), Isolated: isolated}
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
	o.log.Warn("verdict on a silent region", "region", region, "reach", r)
}

// inquire asks a sample of the region's endpoints first, for a quick verdict,
// and then goes round all of them to withdraw the dead ones.
func (o *observer) inquire(ctx context.Context, region string) {
	states := map[probe.Key]probe.State{}
	touched := map[catalog.SetKey]struct{}{}
	defer func() {
		for k := range touched {
			o.catalog.SetProbed(k, nil)
		}
	}()
	alive := o.ask(ctx, o.sample(region), states)
	for next := 0; ctx.Err() == nil; {
		if alive {
			o.decide(ctx, region, catalog.ControlPlaneLost)
		} else {
			o.decide(ctx, region, catalog.Out)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(sweepEvery):
		}
		targets := o.targets(region)
		if next >= len(targets) {
			next = 0
		}
		part := targets[next:min(next+sweepLimit, len(targets))]
		next += len(part)
		heard := o.ask(ctx, part, states)
		// A part of a large region may be dead while the rest lives on.
		alive = heard || (len(part) < len(targets) && anyHealthy(states))
		o.withdraw(ctx, targets, states, touched)
	}
}

func anyHealthy(states map[probe.Key]probe.State) bool {
	for _, s := range states {
		if s.Health == catalog.Healthy {
			return true
		}
	}
	return false
}

// backends returns the region's part of every service, by cluster.
func (o *observer) backends(region string) map[string][]catalog.Backend {
	out := map[string][]catalog.Backend{}
	for _, s := range o.catalog.Services() {
		for _, b := range s.Backends {
			if b.Region == region {
				out[b.Set.Cluster] = append(out[b.Set.Cluster], b)
			}
		}
	}
	return out
}

func (o *observer) sample(region string) []probe.Target {
	var out []probe.Target
	for _, backends := range o.backends(region) {
		out = append(out, probe.Sample(backends, sampleSize, rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64())))...)
	}
	return out
}

// targets returns every endpoint of the region that has a check, or a sample
// where none has.
func (o *observer) targets(region string) []probe.Target {
	var out []probe.Target
	for _, backends := range o.backends(region) {
		for _, b := range backends {
			out = append(out, probe.Targets(b.Set)...)
		}
	}
	if len(out) == 0 {
		return o.sample(region)
	}
	slices.SortFunc(out, func(a, b probe.Target) int {
		return cmp.Or(a.Set.Service.Compare(b.Set.Service), strings.Compare(a.Set.Cluster, b.Set.Cluster), strings.Compare(a.Endpoint, b.Endpoint))
	})
	return out
}

// ask probes the targets and folds the results into states; it reports whether
// any answered.
func (o *observer) ask(ctx context.Context, targets []probe.Target, states map[probe.Key]probe.State) bool {
	var mu sync.Mutex
	var wg sync.WaitGroup
	heard := false
	slots := make(chan struct{}, sweepWidth)
	for _, t := range targets {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			t.Check.Timeout = min(t.Check.Timeout, probeTimeout)
			err := o.once(ctx, t)
			if ctx.Err() != nil {
				return
			}
			mu.Lock()
			defer mu.Unlock()
			heard = heard || err == nil
			states[t.Key], _ = probe.Fold(states[t.Key], err == nil, &t.Check)
		})
	}
	wg.Wait()
	return heard
}

// withdraw tells the catalog which endpoints the probes found dead or alive.
func (o *observer) withdraw(ctx context.Context, targets []probe.Target, states map[probe.Key]probe.State, touched map[catalog.SetKey]struct{}) {
	found := map[catalog.SetKey]map[string]catalog.Health{}
	for _, t := range targets {
		s, asked := states[t.Key]
		if !asked || s.Health == catalog.Unknown {
			continue
		}
		if found[t.Set] == nil {
			found[t.Set] = map[string]catalog.Health{}
		}
		found[t.Set][t.Endpoint] = s.Health
	}
	if ctx.Err() != nil {
		return
	}
	for k, health := range found {
		touched[k] = struct{}{}
		o.catalog.SetProbed(k, health)
	}
}
