package checker

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// GrowthOptions say how often to look, and what is too much. Zero numbers mean
// the defaults.
type GrowthOptions struct {
	Targets []Target
	// Every is how often the metrics are read; 2 s.
	Every time.Duration
	// WarmUp is how long after an agent's start nothing is judged; 30 s.
	WarmUp time.Duration
	// Least is how long an agent must have been watched after that; 20 s.
	Least  time.Duration
	Bounds GrowthBounds
}

// GrowthBounds say what growth is too much: both the slope and the growth by it
// over the time watched have to be over their bounds, since little is only noise;
// and so has the slope of the later half, since what grew once and then stopped, as a
// heap does that gets warm, has grown steeply on the whole as well.
type GrowthBounds struct {
	GoroutinesPerMinute, Goroutines float64 // 6 a minute, 25
	BytesPerMinute, Bytes           float64 // 1 MiB a minute, 32 MiB
}

func (o GrowthOptions) withDefaults() GrowthOptions {
	for n, d := range map[*time.Duration]time.Duration{&o.Every: 2 * time.Second, &o.WarmUp: 30 * time.Second, &o.Least: 20 * time.Second} {
		if *n == 0 {
			*n = d
		}
	}
	b := &o.Bounds
	for n, d := range map[*float64]float64{&b.GoroutinesPerMinute: 6, &b.Goroutines: 25, &b.BytesPerMinute: 1 << 20, &b.Bytes: 32 << 20} {
		if *n == 0 {
			*n = d
		}
	}
	return o
}

// maxSamples bounds what is kept of one life of an agent; above it every other
// sample goes.
const maxSamples = 600

// sample is what an agent said of itself.
type sample struct {
	at                  time.Time
	goroutines, resides float64 // resident memory in bytes
	started             float64 // of the process, in Unix seconds: another one is another life
	pauses              float64 // how often it stood still in its life
}

// life is an agent from its start to its end.
type life struct {
	who     string
	samples []sample
	every   int // of the samples one is kept
	skipped int
	pauses  float64 // as of the last look
}

func (l *life) add(s sample) {
	if l.skipped++; l.skipped < max(1, l.every) {
		return
	}
	l.skipped = 0
	l.samples = append(l.samples, s)
	if len(l.samples) < maxSamples {
		return
	}
	for i := range maxSamples / 2 {
		l.samples[i] = l.samples[2*i]
	}
	l.samples, l.every = l.samples[:maxSamples/2], 2*max(1, l.every)
}

// Growth checks that agents do not use ever more goroutines and memory.
type Growth struct {
	opt GrowthOptions

	mu     sync.Mutex
	lives  map[string]*life // by target and start
	reads  int
	pauses int // since they were asked for last
}

// NewGrowth returns the checker.
func NewGrowth(o GrowthOptions) *Growth {
	return &Growth{opt: o.withDefaults(), lives: map[string]*life{}}
}

// Run implements [Checker].
func (g *Growth) Run(ctx context.Context) {
	for sleep(ctx, g.opt.Every) {
		g.lookAtAll(ctx)
	}
}

func (g *Growth) lookAtAll(ctx context.Context) {
	var wg sync.WaitGroup
	for _, t := range g.opt.Targets {
		wg.Go(func() { g.look(ctx, t) })
	}
	wg.Wait()
}

// Pauses is how often agents stood still since it was asked last, as they count it
// themselves: a test that stops one counts, too. It looks at them once more.
func (g *Growth) Pauses(ctx context.Context) int {
	g.lookAtAll(ctx)
	g.mu.Lock()
	defer g.mu.Unlock()
	n := g.pauses
	g.pauses = 0
	return n
}

// look reads one agent's metrics. One that does not answer is not growing.
func (g *Growth) look(ctx context.Context, t Target) {
	ctx, cancel := context.WithTimeout(ctx, g.opt.Every)
	defer cancel()
	s, err := scrape(ctx, t)
	if err != nil {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	key := fmt.Sprintf("%s started at %.2f", t, s.started)
	if g.lives[key] == nil {
		g.lives[key] = &life{who: t.String()}
	}
	l := g.lives[key]
	if more := s.pauses - l.pauses; more > 0 { // else another look was faster
		g.pauses += int(more)
		l.pauses = s.pauses
	}
	l.add(s)
	g.reads++
}

// scrape reads /metrics from where the replica is: it listens on loopback there.
func scrape(ctx context.Context, t Target) (sample, error) {
	client := http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			return t.dial(ctx, network, address)
		},
	}}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+t.HTTP+"/metrics", nil)
	if err != nil {
		return sample{}, err
	}
	answer, err := client.Do(request)
	if err != nil {
		return sample{}, err
	}
	defer answer.Body.Close()
	return parseMetrics(io.LimitReader(answer.Body, 8<<20), time.Now())
}

// parseMetrics reads what is in a sample from the Prometheus text format.
func parseMetrics(r io.Reader, now time.Time) (sample, error) {
	s := sample{at: now}
	missing := map[string]*float64{
		"go_goroutines": &s.goroutines, "process_resident_memory_bytes": &s.resides, "process_start_time_seconds": &s.started,
		"federator_gossip_pauses_total": &s.pauses,
	}
	for lines := bufio.NewScanner(r); lines.Scan(); {
		name, value, _ := strings.Cut(lines.Text(), " ")
		if into := missing[name]; into != nil {
			n, err := strconv.ParseFloat(value, 64)
			if err != nil {
				return s, fmt.Errorf("metric %s: expected a number, found %.40q", name, value)
			}
			*into = n
			delete(missing, name)
		}
	}
	if len(missing) > 0 {
		return s, fmt.Errorf("expected all of the metrics of Go, the process and its pauses, %d are missing", len(missing))
	}
	return s, nil
}

// point is a value at a time, in minutes.
type point struct{ x, y float64 }

// slope is the Theil-Sen estimate: the median of the slopes of all pairs, which
// bursts and garbage collections do not move as they move a mean. It is 0 for
// fewer than two moments.
func slope(points []point) float64 {
	var all []float64
	for i, a := range points {
		for _, b := range points[i+1:] {
			if b.x != a.x {
				all = append(all, (b.y-a.y)/(b.x-a.x))
			}
		}
	}
	if len(all) == 0 {
		return 0
	}
	slices.Sort(all)
	middle := len(all) / 2
	if len(all)%2 == 1 {
		return all[middle]
	}
	return (all[middle-1] + all[middle]) / 2
}

// trend is how a life grew, per minute.
type trend struct {
	who               string
	watched           time.Duration
	goroutines, bytes float64
	later             struct{ goroutines, bytes float64 } // in the later half of the time watched
}

// trendOf judges a life after its warm-up; false if it was too short.
func trendOf(l *life, warmUp, least time.Duration) (trend, bool) {
	var goroutines, bytes []point
	var from, to time.Time
	for _, s := range l.samples {
		if age := s.at.Sub(time.UnixMilli(int64(s.started * 1000))); age < warmUp {
			continue
		}
		if from.IsZero() {
			from = s.at
		}
		to = s.at
		x := s.at.Sub(from).Minutes()
		goroutines, bytes = append(goroutines, point{x, s.goroutines}), append(bytes, point{x, s.resides})
	}
	t := trend{who: l.who, watched: to.Sub(from), goroutines: slope(goroutines), bytes: slope(bytes)}
	t.later.goroutines, t.later.bytes = slope(laterHalf(goroutines)), slope(laterHalf(bytes))
	return t, len(goroutines) > 2 && t.watched >= least
}

// laterHalf are the points of the later half of the time, of points in its order.
func laterHalf(points []point) []point {
	if len(points) == 0 {
		return nil
	}
	middle := (points[0].x + points[len(points)-1].x) / 2
	return points[slices.IndexFunc(points, func(p point) bool { return p.x >= middle }):]
}

// judgeTrend says what of a trend is too much.
func judgeTrend(t trend, b GrowthBounds, now time.Time) []Violation {
	var out []Violation
	tooMuch := func(rate, later, maxRate, most float64, unit string) {
		if rate > maxRate && later > maxRate && rate*t.watched.Minutes() > most {
			out = append(out, Violation{At: now, Where: t.who, Expected: fmt.Sprintf("at most %.4g %s more a minute", maxRate, unit),
				Found: fmt.Sprintf("%.4g over %v, %.4g in the later half of it", rate, t.watched.Round(time.Second), later)})
		}
	}
	tooMuch(t.goroutines, t.later.goroutines, b.GoroutinesPerMinute, b.Goroutines, "goroutines")
	tooMuch(t.bytes, t.later.bytes, b.BytesPerMinute, b.Bytes, "bytes")
	return out
}

// Report implements [Checker].
func (g *Growth) Report() Report {
	g.mu.Lock()
	defer g.mu.Unlock()
	var l ledger
	judged := 0
	worst := trend{}
	for _, life := range g.lives {
		t, ok := trendOf(life, g.opt.WarmUp, g.opt.Least)
		if !ok {
			continue
		}
		judged++
		l.add(judgeTrend(t, g.opt.Bounds, time.Now())...)
		worst.goroutines, worst.bytes, worst.watched = max(worst.goroutines, t.goroutines), max(worst.bytes, t.bytes), max(worst.watched, t.watched)
	}
	return l.into(Report{
		Checker: "growth", Checked: count("agents judged", judged),
		Worst: Figure{"memory", worst.bytes / (1 << 20), "MiB a minute"},
		More:  []Figure{{"goroutines", worst.goroutines, "a minute"}, count("samples", g.reads), seconds("longest watched", worst.watched)},
	})
}
