package drill

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/federator/federator/federation/catalog"
)

// maxColours is how many regions beside the drilled one have a colour of their
// own; the others share one.
const maxColours = 7

func (r *Report) timed() bool { return r.Kind == catalog.DrillEvacuate && r.Objective > 0 }

// palette gives every region its class, the same in all charts.
func palette(r *Report) (classes map[string]string, order []string) {
	names := map[string]bool{}
	for i := range r.Regions {
		g := &r.Regions[i]
		names[g.Region] = true
		if g.Samples == nil {
			continue
		}
		for _, b := range g.Samples.Buckets {
			for name := range b.Named {
				names[name] = true
			}
		}
	}
	classes = map[string]string{}
	next := 0
	for _, name := range slices.Sorted(maps.Keys(names)) {
		order = append(order, name)
		switch {
		case name == r.Region:
			classes[name] = "drilled"
		case next < maxColours:
			classes[name] = fmt.Sprintf("c%d", next)
			next++
		default:
			classes[name] = "rest"
		}
	}
	return classes, order
}

// span is the time that the charts show: what was sampled, or else the drill.
func (r *Report) span() axis {
	a := axis{zero: r.Begun, from: r.Created, to: r.Made}
	if a.zero.IsZero() {
		a.zero = r.Created
	}
	if !r.Ended.IsZero() {
		a.to = r.Ended
	}
	// Clocks differ, but what lies further off than any drill lasts is no time of it.
	near := func(t time.Time) bool { return t.Sub(a.zero).Abs() < 2*catalog.MaxDrill }
	for i := range r.Regions {
		s := r.Regions[i].Samples
		if s == nil || len(s.Buckets) == 0 || !near(s.Start) {
			continue
		}
		if s.Start.Before(a.from) {
			a.from = s.Start
		}
		if end := s.Start.Add(time.Duration(s.Step) * time.Duration(len(s.Buckets))); end.After(a.to) && near(end) {
			a.to = end
		}
	}
	for _, e := range r.Events {
		if e.At.After(a.to) && near(e.At) {
			a.to = e.At
		}
	}
	if !a.to.After(a.from) || !near(a.to) {
		a.to = a.from.Add(time.Second)
	}
	return a
}

// timeline draws when each region shifted.
func (r *Report) timeline(a axis) *chart {
	c := newChart("timeline", "When each region shifted", "One bar per region: when its answers began to shift, had shifted, and returned", float64(max(1, len(r.Regions)))*rowHeight, a)
	for i := range r.Regions {
		g := &r.Regions[i]
		y := c.Top + float64(i)*rowHeight
		c.Rows = append(c.Rows, rowLabel{y + rowHeight/2 + 4, g.Region})
		for j, ack := range g.Acks {
			to := a.to
			if j+1 < len(g.Acks) {
				to = g.Acks[j+1].At
			} else if ack.Phase == catalog.PhaseOver {
				continue
			} else if !r.Ended.IsZero() {
				to = r.Ended
			}
			x := a.x(ack.At)
			c.Bars = append(c.Bars, box{
				X: x, Y: y + 6, W: max(1, round(a.x(to)-x)), H: rowHeight - 12, Class: "phase-" + string(ack.Phase),
				Words: fmt.Sprintf("%s: %s, %s", g.Region, ack.Phase, offset(about(ack.At.Sub(a.zero)))),
			})
		}
	}
	c.moments(r, a)
	return c
}

// answers draws which regions one region's answers named over time.
func (r *Report) answers(g *RegionReport, a axis, classes map[string]string) *chart {
	c := newChart("answers-"+g.Region, "Asked in "+g.Region, "Answers per second in "+g.Region+" by the region that they name", 110, a)
	xs, rates, most := r.series(g.Samples, a)
	s := scaleTo(most, c.Top, c.Bottom)
	c.YTicks = s.ticks(number)
	c.held(r, a)
	names := slices.Sorted(maps.Keys(rates))
	for _, name := range names {
		ys := make([]float64, len(rates[name]))
		for i, v := range rates[name] {
			ys[i] = s.y(v)
		}
		c.line(classes[name], name, xs, ys)
	}
	c.hits(g.Samples, a, func(from, to int) (string, bool) { return nameCounts(g.Samples, from, to, names) })
	c.moments(r, a)
	return c
}

// series returns the middle of each bucket and the answers per second that named
// each region.
func (r *Report) series(s *catalog.DrillSamples, a axis) (xs []float64, rates map[string][]float64, most float64) {
	rates = map[string][]float64{}
	step := time.Duration(s.Step)
	for i := range s.Buckets {
		xs = append(xs, a.x(middle(s, i)))
		for name, n := range s.Buckets[i].Named {
			if rates[name] == nil {
				rates[name] = make([]float64, len(s.Buckets))
			}
			rate := float64(n) / step.Seconds()
			rates[name][i], most = rate, max(most, rate)
		}
	}
	return xs, rates, most
}

func middle(s *catalog.DrillSamples, i int) time.Time {
	return s.Start.Add(time.Duration(s.Step)*time.Duration(i) + time.Duration(s.Step)/2)
}

// maxHits is how many parts of a chart tell their numbers when pointed at.
const maxHits = 80

// hits adds transparent boxes that tell the numbers, and marks those of failures.
func (c *chart) hits(s *catalog.DrillSamples, a axis, words func(from, to int) (string, bool)) {
	n := len(s.Buckets)
	each := max(1, (n+maxHits-1)/maxHits)
	for from := 0; from < n; from += each {
		to := min(n, from+each)
		start := s.Start.Add(time.Duration(s.Step) * time.Duration(from))
		x := a.x(start)
		w := round(a.x(start.Add(time.Duration(s.Step)*time.Duration(to-from))) - x)
		text, failed := words(from, to)
		text = offset(about(start.Sub(a.zero))) + ": " + text
		c.Hits = append(c.Hits, box{X: x, Y: c.Top, W: w, H: c.Bottom - c.Top, Class: "hit", Words: text})
		if failed {
			c.Bars = append(c.Bars, box{X: x, Y: c.Top, W: max(2, w), H: 6, Class: "failure", Words: text})
		}
	}
}

func nameCounts(s *catalog.DrillSamples, from, to int, names []string) (string, bool) {
	var lookups, failed uint64
	named := map[string]uint64{}
	for _, b := range s.Buckets[from:to] {
		lookups, failed = lookups+b.Lookups, failed+b.Failed
		for name, n := range b.Named {
			named[name] += n
		}
	}
	parts := []string{plural(int(lookups), "lookup"), fmt.Sprintf("%d failed", failed)}
	for _, name := range names {
		parts = append(parts, fmt.Sprintf("%s %d", name, named[name]))
	}
	return strings.Join(parts, ", "), failed > 0
}

// metric draws one value of every region's buckets in one chart.
func (r *Report) metric(c *chart, a axis, classes map[string]string, label func(float64) string, values ...metricOf) *chart {
	most := 0.0
	for i := range r.Regions {
		if s := r.Regions[i].Samples; s != nil {
			for j := range s.Buckets {
				for _, v := range values {
					most = max(most, v.of(&s.Buckets[j], time.Duration(s.Step)))
				}
			}
		}
	}
	scale := scaleTo(most, c.Top, c.Bottom)
	c.YTicks = scale.ticks(label)
	c.held(r, a)
	for _, v := range values {
		for i := range r.Regions {
			g := &r.Regions[i]
			if g.Samples == nil {
				continue
			}
			var xs, ys []float64
			for j := range g.Samples.Buckets {
				xs = append(xs, a.x(middle(g.Samples, j)))
				ys = append(ys, scale.y(v.of(&g.Samples.Buckets[j], time.Duration(g.Samples.Step))))
			}
			c.line(classes[g.Region]+v.class, g.Region+v.name, xs, ys)
		}
	}
	c.moments(r, a)
	return c
}

// metricOf is a value of a bucket.
type metricOf struct {
	class, name string
	of          func(*catalog.SampleBucket, time.Duration) float64
}

// named draws the answers that named the scope.
func (r *Report) named(a axis, classes map[string]string) *chart {
	c := newChart("named", "Answers that named "+r.Scope, "Answers per second that named the drilled scope, by the region that was asked", 110, a)
	return r.metric(c, a, classes, number, metricOf{"", "", func(b *catalog.SampleBucket, step time.Duration) float64 {
		return float64(b.Scope) / step.Seconds()
	}})
}

// latencies draws how long answers took.
func (r *Report) latencies(a axis, classes map[string]string) *chart {
	c := newChart("latency", "Time to answer, inside the replica", "The 50th and 99th percentile of the time to answer, by the region that was asked", 110, a)
	in := func(d catalog.Duration) float64 { return float64(d) / float64(time.Microsecond) }
	return r.metric(c, a, classes, micros,
		metricOf{"", " p99", func(b *catalog.SampleBucket, _ time.Duration) float64 { return in(b.P99) }},
		metricOf{" dashed", " p50", func(b *catalog.SampleBucket, _ time.Duration) float64 { return in(b.P50) }})
}
