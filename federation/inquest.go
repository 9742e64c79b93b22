package federation

import (
	"cmp"
	"context"
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
	// is out, and sampleSets of how many of its services they are chosen.
	sampleSize = 5
	sampleSets = 256
	// sweepEvery is the pause between two looks at a silent region's endpoints.
	sweepEvery = time.Second
	// sweepWidth bounds the probes in flight to one silent region, and sweepLimit
	// how many endpoints one sweep looks at; the next sweep goes on from there.
	sweepWidth = 128
	sweepLimit = 500
	// maxWitnesses is how many endpoints that answered are asked first the next
	// time.
	maxWitnesses = 32
	// probeTimeout bounds what is taken of a check's own timeout, which is meant for
	// probes from nearby. On top of it comes the way there and back, wayTrips times:
	// to connect, for TLS, and for the answer; unknownWay where it was never
	// measured, and maxWay in all.
	probeTimeout = time.Second
	wayTrips     = 3
	unknownWay   = 250 * time.Millisecond
	maxWay       = time.Second
	// A look during which this process stood still for more than stoodStill shows
	// nothing when no endpoint answered in time, and another is taken: maxLooks in a row
	// at most, of which the last counts however it went. watchEvery is how often it looks
	// whether it stands still.
	stoodStill = 250 * time.Millisecond
	watchEvery = 50 * time.Millisecond
	maxLooks   = 3
)

// inquest is one look into a silent region.
type inquest struct {
	*observer
	region string
	// states is what the probes found so far, set by set; the catalog was told of it.
	states map[catalog.SetKey]map[string]probe.State
	// witnesses answered in the last sweep, which began at the endpoint before next.
	witnesses []probe.Target
	next      int
}

// inquire asks a sample of the region's endpoints for a quick verdict, over and
// over, and between goes round all of them to withdraw the dead ones.
func (o *observer) inquire(ctx context.Context, region string) {
	q := &inquest{observer: o, region: region, states: map[catalog.SetKey]map[string]probe.State{}}
	defer func() {
		for k := range q.states {
			o.catalog.SetProbed(k, nil)
		}
	}()
	for {
		o.decide(ctx, region, q.look(ctx))
		if !sleep(ctx, sweepEvery) {
			return
		}
		q.sweep(ctx)
	}
}

// look asks a sample of the region's endpoints whether it is out. Like the silence of
// replicas, that of workloads counts only for one who listened all the time.
func (q *inquest) look(ctx context.Context) catalog.Reach {
	for range maxLooks {
		stop := watch(q.clock)
		answers := q.anyAnswers(ctx, append(q.witnesses, q.sample()...))
		still := stop()
		if answers {
			return catalog.ControlPlaneLost
		}
		if still <= stoodStill {
			break
		}
	}
	return catalog.Out
}

// watch returns a function that ends the watch and tells for how long at most this
// process stood still meanwhile.
func watch(clock func() time.Time) (stop func() time.Duration) {
	done, longest := make(chan struct{}), make(chan time.Duration)
	last := clock()
	go func() {
		tick := time.NewTicker(watchEvery)
		defer tick.Stop()
		var most time.Duration
		for {
			ended := false
			select {
			case <-tick.C:
			case <-done:
				ended = true
			}
			now := clock() // at the end too: it may have stood still just now
			most, last = max(most, now.Sub(last)), now
			if ended {
				longest <- most
				return
			}
		}
	}()
	return func() time.Duration { close(done); return <-longest }
}

// sample chooses endpoints of each of the region's clusters.
func (q *inquest) sample() []probe.Target {
	var out []probe.Target
	r := rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64()))
	for _, cluster := range q.catalog.Exporting(q.region) {
		backends := q.catalog.Backends(q.region, cluster)
		r.Shuffle(len(backends), func(i, j int) { backends[i], backends[j] = backends[j], backends[i] })
		slices.SortStableFunc(backends, func(a, b catalog.Backend) int { return cmp.Compare(isUnchecked(a), isUnchecked(b)) })
		out = append(out, probe.Sample(backends[:min(len(backends), sampleSets)], sampleSize, r)...)
	}
	return out
}

// isUnchecked is 1 for a set whose endpoints nobody checks, else 0.
func isUnchecked(b catalog.Backend) int {
	if b.Set.Check == nil {
		return 1
	}
	return 0
}

// sweep probes the next part of the region's endpoints and tells the catalog
// which it found dead or alive.
func (q *inquest) sweep(ctx context.Context) {
	part := q.part()
	q.witnesses = nil
	var mu sync.Mutex
	q.ask(ctx, part, func(t probe.Target, ok bool) {
		mu.Lock()
		defer mu.Unlock()
		if ok && len(q.witnesses) < maxWitnesses {
			q.witnesses = append(q.witnesses, t)
		}
		if q.states[t.Set] == nil {
			q.states[t.Set] = map[string]probe.State{}
		}
		q.states[t.Set][t.Endpoint], _ = probe.Fold(q.states[t.Set][t.Endpoint], ok, &t.Check)
	})
	if ctx.Err() == nil {
		q.tellOf(part)
	}
}

// part returns the endpoints with a check that are next, in order, or a sample
// where none has one.
func (q *inquest) part() []probe.Target {
	out, total := q.window(q.next)
	if len(out) == 0 && q.next > 0 { // once round
		q.next = 0
		out, total = q.window(0)
	}
	if total == 0 {
		return q.sample()
	}
	q.next += len(out)
	return out
}

// window returns up to sweepLimit of the region's checked endpoints from one on,
// and how many there are.
func (q *inquest) window(from int) (out []probe.Target, total int) {
	for _, set := range q.checked() {
		n := len(set.Endpoints)
		if total+n > from && len(out) < sweepLimit {
			targets := probe.Targets(set)
			targets = targets[min(max(from-total, 0), len(targets)):]
			out = append(out, targets[:min(len(targets), sweepLimit-len(out))]...)
		}
		total += n
	}
	return out, total
}

// checked returns the region's sets whose check can be made, in order.
func (q *inquest) checked() []*catalog.EndpointSet {
	var sets []*catalog.EndpointSet
	for _, cluster := range q.catalog.Exporting(q.region) {
		for _, b := range q.catalog.Backends(q.region, cluster) {
			if isProbed(b.Set) {
				sets = append(sets, b.Set)
			}
		}
	}
	slices.SortFunc(sets, func(a, b *catalog.EndpointSet) int {
		return cmp.Or(a.Service.Compare(b.Service), strings.Compare(a.Cluster, b.Cluster))
	})
	return sets
}

// isProbed reports whether a set's endpoints can be probed; all of them can, or none.
func isProbed(set *catalog.EndpointSet) bool {
	one := *set
	one.Endpoints = set.Endpoints[:min(len(set.Endpoints), 1)]
	return len(probe.Targets(&one)) > 0
}

// anyAnswers reports whether any target answers; it waits for no other then.
func (q *inquest) anyAnswers(ctx context.Context, targets []probe.Target) bool {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	answered := make(chan struct{}, 1)
	q.ask(ctx, targets, func(_ probe.Target, ok bool) {
		if ok {
			select {
			case answered <- struct{}{}:
			default:
			}
			cancel()
		}
	})
	return len(answered) > 0
}

// ask probes the targets and tells of each result until ctx ends; tell is called
// from many goroutines.
func (q *inquest) ask(ctx context.Context, targets []probe.Target, tell func(probe.Target, bool)) {
	var wg sync.WaitGroup
	defer wg.Wait()
	slots := make(chan struct{}, sweepWidth)
	way := q.way()
	for _, t := range targets {
		select {
		case <-ctx.Done():
			return
		case slots <- struct{}{}:
		}
		wg.Go(func() {
			defer func() { <-slots }()
			t.Check.Timeout = min(t.Check.Timeout, probeTimeout) + way
			if err := q.once(ctx, t); ctx.Err() == nil {
				tell(t, err == nil)
			}
		})
	}
}

// way is how much longer an endpoint of the region may take to answer here than
// nearby.
func (q *inquest) way() time.Duration {
	return min(wayTrips*cmp.Or(q.pulse.RTTs()[q.region], unknownWay), maxWay)
}

// tellOf tells the catalog what is known of the sets of some targets.
func (q *inquest) tellOf(part []probe.Target) {
	told := map[catalog.SetKey]bool{}
	for _, t := range part {
		if told[t.Set] {
			continue
		}
		told[t.Set] = true
		health := map[string]catalog.Health{}
		for endpoint, s := range q.states[t.Set] {
			if s.Health != catalog.Unknown {
				health[endpoint] = s.Health
			}
		}
		q.catalog.SetProbed(t.Set, health)
	}
}
