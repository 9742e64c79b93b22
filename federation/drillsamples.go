package federation

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"

	"github.com/federator/federator/dns"
	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/federation/state"
	"github.com/federator/federator/peering/pb"
)

const (
	// sampleStep is how long a bucket is at first, and sampleBefore how much is
	// always kept, so that a drill has something to be compared with.
	sampleStep   = time.Second
	sampleBefore = 120
	// sampleTail is how long samples go on after a drill.
	sampleTail = 30 * time.Second
	// samplesFor is how long a replica keeps the samples of a drill that is over,
	// and how late a leader may still ask for them.
	samplesFor = 10 * time.Minute
	// maxRecordings bounds the drills that are sampled at once.
	maxRecordings = 16
)

// tally is what DNS counts; dns.Server does.
type tally interface {
	Tally() dns.Tally
	Named(catalog.Scope) uint64
}

// sampler keeps what this replica answers: of the last two minutes always, and of
// each drill from before it until after it.
type sampler struct {
	dns     tally
	catalog *catalog.Catalog

	mu     sync.Mutex
	last   dns.Tally
	lastAt time.Time
	before []catalog.SampleBucket // the last sampleBefore seconds
	drills map[string]*recording
}

// recording is the samples of one drill.
type recording struct {
	scope   catalog.Scope
	named   uint64 // answers that name the scope, so far
	samples catalog.DrillSamples
	// filled counts the seconds in the last bucket, when buckets are longer.
	filled int
	ended  time.Time
}

// byRegion reports whether the scope is all of its region, so that what names it
// is known also from before the drill.
func (r *recording) byRegion() bool { return r.scope == catalog.Scope{Region: r.scope.Region} }

func newSampler(d tally, c *catalog.Catalog) *sampler {
	return &sampler{dns: d, catalog: c, drills: map[string]*recording{}}
}

// run takes a sample each second until ctx ends.
func (s *sampler) run(ctx context.Context) error {
	t := time.NewTicker(sampleStep)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-t.C:
			s.sample(now, s.catalog.Drills())
		}
	}
}

// sample counts what was answered since the last one.
func (s *sampler) sample(now time.Time, drills []catalog.DrillView) {
	total := s.dns.Tally()
	s.mu.Lock()
	defer s.mu.Unlock()
	since := total.Since(s.last)
	first := s.lastAt.IsZero()
	s.last, s.lastAt = total, now
	s.follow(now, drills)
	if first {
		return
	}
	b := catalog.SampleBucket{
		Lookups: since.Lookups, Failed: since.Failed, Named: since.Named,
		P50: catalog.Duration(since.Latency.Quantile(0.5)), P99: catalog.Duration(since.Latency.Quantile(0.99)),
	}
	if s.before = append(s.before, b); len(s.before) > sampleBefore {
		s.before = slices.Delete(s.before, 0, 1)
	}
	for _, r := range s.drills {
		if !r.ended.IsZero() && now.Sub(r.ended) > sampleTail {
			continue
		}
		one, named := b, s.dns.Named(r.scope)
		if one.Scope, r.named = named-r.named, named; r.byRegion() {
			one.Scope = b.Named[r.scope.Region]
		}
		r.add(one)
	}
}

// follow begins to record the drills that are new, and forgets old ones. Of the
// time before a drill it is known only how often regions were named, so the
// buckets of then have no count for a narrower scope.
func (s *sampler) follow(now time.Time, drills []catalog.DrillView) {
	for i := range drills {
		v := &drills[i]
		r := s.drills[v.ID]
		switch {
		case r == nil && v.State != catalog.DrillEnded && len(s.drills) < maxRecordings:
			r = &recording{scope: v.Scope, named: s.dns.Named(v.Scope)}
			r.samples = catalog.DrillSamples{Drill: v.ID, Step: catalog.Duration(sampleStep), Start: now.Add(-time.Duration(len(s.before)) * sampleStep).UTC().Round(0)}
			for _, b := range s.before {
				if r.byRegion() {
					b.Scope = b.Named[v.Scope.Region]
				}
				r.add(b)
			}
			s.drills[v.ID] = r
		case r != nil && v.State == catalog.DrillEnded && r.ended.IsZero():
			r.ended = now
		}
	}
	for id, r := range s.drills {
		gone := !slices.ContainsFunc(drills, func(v catalog.DrillView) bool { return v.ID == id })
		if gone || !r.ended.IsZero() && now.Sub(r.ended) > samplesFor {
			delete(s.drills, id)
		}
	}
}

// add appends a second; when there are too many buckets, neighbours are merged
// and buckets become twice as long.
func (r *recording) add(b catalog.SampleBucket) {
	per := int(time.Duration(r.samples.Step) / sampleStep)
	n := len(r.samples.Buckets)
	if n > 0 && r.filled < per {
		r.samples.Buckets[n-1] = mergeBuckets(r.samples.Buckets[n-1], b)
		r.filled++
		return
	}
	if n >= catalog.MaxSampleBuckets {
		r.samples = coarser(r.samples)
		r.filled = 2 * per
		if n%2 == 1 {
			r.filled = per
		}
		r.add(b)
		return
	}
	r.samples.Buckets = append(r.samples.Buckets, b)
	r.filled = 1
}

// coarser is the samples in buckets twice as long.
func coarser(s catalog.DrillSamples) catalog.DrillSamples {
	var half []catalog.SampleBucket
	for pair := range slices.Chunk(s.Buckets, 2) {
		b := pair[0]
		if len(pair) == 2 {
			b = mergeBuckets(b, pair[1])
		}
		half = append(half, b)
	}
	s.Buckets, s.Step = half, 2*s.Step
	return s
}

// mergeBuckets adds two buckets up. Of latencies the greater counts: what is
// asked is whether a drill made answers slow.
func mergeBuckets(a, b catalog.SampleBucket) catalog.SampleBucket {
	named := map[string]uint64{}
	for _, from := range []map[string]uint64{a.Named, b.Named} {
		for region, n := range from {
			named[region] += n
		}
	}
	return catalog.SampleBucket{
		Lookups: a.Lookups + b.Lookups, Failed: a.Failed + b.Failed, Named: named, Scope: a.Scope + b.Scope,
		P50: max(a.P50, b.P50), P99: max(a.P99, b.P99),
	}
}

// samplesOf returns a copy of what was answered around the drill.
func (s *sampler) samplesOf(drill string) (catalog.DrillSamples, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.drills[drill]
	if r == nil || len(r.samples.Buckets) == 0 {
		return catalog.DrillSamples{}, false
	}
	out := r.samples
	out.Buckets = slices.Clone(out.Buckets)
	return out, true
}

// sumSamples adds up what several replicas of a region answered, bucket by bucket
// by their clocks, which within a region are close.
func sumSamples(all []catalog.DrillSamples) (sum catalog.DrillSamples, ok bool) {
	for _, s := range all {
		if s.Step <= 0 || len(s.Buckets) == 0 || len(s.Buckets) > catalog.MaxSampleBuckets {
			continue
		}
		if !ok {
			sum, ok = s, true
			continue
		}
		sum = addSamples(sum, s)
	}
	return sum, ok
}

// publishableSamples are the samples in buckets so long that other regions take them:
// a bucket names every region that answers were of, and there may be many.
func publishableSamples(s catalog.DrillSamples) catalog.DrillSamples {
	for len(s.Buckets) > 1 {
		if b, err := json.Marshal(s); err != nil || len(b) <= catalog.MaxSpec {
			break
		}
		s = coarser(s)
	}
	return s
}

func addSamples(a, b catalog.DrillSamples) catalog.DrillSamples {
	for a.Step < b.Step {
		a = coarser(a)
	}
	for b.Step < a.Step {
		b = coarser(b)
	}
	step := time.Duration(a.Step)
	start, end := a.Start, a.Start.Add(time.Duration(len(a.Buckets))*step)
	if b.Start.Before(start) {
		start = start.Add(-(start.Sub(b.Start) + step - 1).Truncate(step)) // whole steps, so that a stays as it is
	}
	if last := b.Start.Add(time.Duration(len(b.Buckets)) * step); last.After(end) {
		end = last
	}
	n := int((end.Sub(start) + step - 1) / step)
	if n > catalog.MaxSampleBuckets*2 {
		return a // clocks far apart: what the other says cannot be placed
	}
	out := a
	out.Start, out.Buckets = start, make([]catalog.SampleBucket, n)
	for _, s := range []catalog.DrillSamples{a, b} {
		for i, bucket := range s.Buckets {
			at := int((s.Start.Add(time.Duration(i)*step).Sub(start) + step/2) / step)
			at = min(max(at, 0), n-1)
			out.Buckets[at] = mergeBuckets(out.Buckets[at], bucket)
		}
	}
	if n > catalog.MaxSampleBuckets {
		out = coarser(out)
	}
	return out
}

// Samples tells a sibling what this replica answered around a drill.
func (s *siblingsServer) Samples(ctx context.Context, req *pb.SamplesRequest) (*pb.SamplesResponse, error) {
	if err := s.member(ctx); err != nil {
		return nil, err
	}
	return s.r.ownSamples(req.GetDrill())
}

func (r *Replica) ownSamples(drill string) (*pb.SamplesResponse, error) {
	if r.sampler == nil {
		return &pb.SamplesResponse{}, nil
	}
	own, ok := r.sampler.samplesOf(drill)
	if !ok {
		return &pb.SamplesResponse{}, nil
	}
	b, err := json.Marshal(own)
	return &pb.SamplesResponse{Samples: b}, err
}

// collectSamples is the leader's duty to write down what its region answered
// around the drills that ended a while ago.
func (r *Replica) collectSamples(ctx context.Context) error {
	if !r.understandsDrills() {
		return nil
	}
	region := r.card.Replica.Region
	var errs []error
	for _, v := range r.catalog.Drills() {
		b := v.Ballot(region)
		over := overSince(b)
		age := time.Since(over)
		if b == nil || over.IsZero() || v.Begun.IsZero() || age < sampleTail+2*sampleStep || age > samplesFor || r.hasSamples(v.ID) {
			continue
		}
		sum, ok := sumSamples(r.askSamples(ctx, v.ID))
		if !ok {
			continue
		}
		sum.Drill, sum.Region = v.ID, region
		errs = append(errs, r.proposeDrill(ctx, &state.PutSamples{Samples: publishableSamples(sum)}))
	}
	return errors.Join(errs...)
}

// overSince is when the region saw the drill end, by the region's clock; zero if
// it has not.
func overSince(b *catalog.Ballot) time.Time {
	if b != nil {
		for _, a := range b.Acks {
			if a.Phase == catalog.PhaseOver {
				return a.At
			}
		}
	}
	return time.Time{}
}

func (r *Replica) hasSamples(drill string) bool {
	return slices.ContainsFunc(r.catalog.Samples(drill), func(s catalog.DrillSamples) bool { return s.Region == r.card.Replica.Region })
}

// askSamples asks every replica of the region; one that does not answer is left
// out, because its clients were not answered either.
func (r *Replica) askSamples(ctx context.Context, drill string) (out []catalog.DrillSamples) {
	take := func(answer *pb.SamplesResponse, err error) {
		var s catalog.DrillSamples
		if err == nil && len(answer.GetSamples()) > 0 && json.Unmarshal(answer.GetSamples(), &s) == nil {
			out = append(out, s)
		}
	}
	take(r.ownSamples(drill))
	for _, sibling := range r.siblings() {
		take(ask(ctx, r.peers, []catalog.Replica{sibling}, 2*time.Second, func(ctx context.Context, c *grpc.ClientConn) (*pb.SamplesResponse, error) {
			return pb.NewSiblingsClient(c).Samples(ctx, &pb.SamplesRequest{Drill: drill})
		}))
	}
	return out
}
