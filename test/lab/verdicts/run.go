package verdicts

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/memberlist"

	"github.com/federator/federator/test/e2e/fleet"
	"github.com/federator/federator/test/lab/network"
)

const (
	// replicas is how many agents a region has.
	replicas = 3
	// service is what every region serves.
	service = "shop/checkout"
	// patience is how long the run waits for a condition before it begins, and, if
	// the options do not say otherwise, for a loss to be seen and a region to be back
	// before it goes on without.
	patience = 90 * time.Second
	// gone is for how long a region is lost at least.
	gone = 20 * time.Second
	// peerPatience is how long memberlist's members of a region stay lost if the
	// others do not notice, and mendPatience how long memberlist has to know all of
	// them again. Both together are less than the time between two losses.
	peerPatience = 150 * time.Second
	mendPatience = 80 * time.Second
	// sampling is how often counters are read.
	sampling = 10 * time.Second
)

// Options say what to run.
type Options struct {
	// Binary is the federator of the agents.
	Binary string
	World  World
	Seed   uint64
	// Length is for how long each pair of regions lives in the world at least,
	// losses of one of the two not counted.
	Length time.Duration
	// PeersPerRegion is how many members of memberlist with each of its defaults
	// each region has, 0 for none.
	PeersPerRegion int
	// Patience is how long a real loss may go unseen, or a region may take to be back,
	// before the run goes on without; 90 s if it is 0.
	Patience time.Duration
	// UntilFalse ends the run with its first false verdict.
	UntilFalse bool
	// Keep is a directory for the agents' logs, "" for none.
	Keep string
}

// run is one world under way.
type run struct {
	testing.TB
	opt       Options
	net       *network.Network
	fleet     *fleet.Fleet
	endpoints map[string][]*fleet.Endpoint
	agents    []Place
	watch     Watch
	peers     []*Peers
	result    Result
	began     time.Time
	outages   []Outage
	reported  int  // how many false verdicts were logged
	wrong     bool // one of them, and not while the WAN stood still

	mu      sync.Mutex // guards what follows
	tally   tally
	loads   []float64
	stalls  []Stall
	late    time.Duration // the most that the WAN was
	lately  time.Duration // the same since it was asked last
	gaps    gaps
	pouts   map[*Peers][]PeerOutage
	errs    []error
	waiting sync.WaitGroup
}

// Run lives through a world and says what happened. It ends the test if it cannot.
func Run(t testing.TB, o Options) Result {
	t.Helper()
	r := &run{TB: t, opt: o, net: network.NeedLong(t, o.Seed, "west", "east", "south"), pouts: map[*Peers][]PeerOutage{},
		endpoints: map[string][]*fleet.Endpoint{}}
	r.opt.Patience = cmp.Or(o.Patience, patience)
	r.build()
	r.gather()
	r.Cleanup(r.waiting.Wait) // before what is waited for ends
	r.live()
	r.waiting.Wait()
	r.judge()
	if err := errors.Join(r.errs...); err != nil {
		r.Errorf("%s: %v", o.World.Name, err)
	}
	return r.result
}

// build makes the federation, on a WAN that is only far.
func (r *run) build() {
	r.Helper()
	r.must(r.net.Base(r.opt.World.mild()))
	r.fleet = fleet.New(r, r.opt.Binary)
	r.fleet.Machines = func(region, name string) (fleet.Machine, error) { return r.net.Host(region, name) }
	for _, region := range r.net.Regions() {
		for i := range 2 {
			h, err := r.net.Host(region, fmt.Sprintf("workload-%d", i))
			r.must(err)
			r.endpoints[region] = append(r.endpoints[region], r.fleet.EndpointAt(h.Address(), h.Listen))
		}
		r.fleet.Serve(region, fleet.ServicesFile(service, r.endpoints[region]...))
	}
	r.fleet.Grow(replicas, r.net.Regions()...)
	for _, a := range r.fleet.Replicas("") {
		place := Place{a.Region, a.Name}
		r.agents = append(r.agents, place)
		r.watch.logs = append(r.watch.logs, &log{by: place, path: a.LogPath()})
		for _, region := range r.net.Regions() {
			r.fleet.Until(patience, fmt.Sprintf("%s to reach %s", a, region), func() error {
				s, err := a.RegionStatus(region)
				if err == nil && s.GetReach() != "reachable" && region != a.Region {
					err = fmt.Errorf("found %s", s)
				}
				return err
			})
		}
	}
	r.fleet.BeforeRemoval(r.keep)
}

// keep copies the agents' logs.
func (r *run) keep() {
	if r.opt.Keep == "" {
		return
	}
	for _, l := range r.watch.logs {
		name := strings.ReplaceAll(strings.ReplaceAll(r.opt.World.Name, " ", "-"), "%", "percent") + "-" + l.by.Name + ".log"
		b, err := os.ReadFile(l.path)
		if err := errors.Join(err, os.WriteFile(filepath.Join(r.opt.Keep, name), b, 0o600)); err != nil {
			r.Logf("keep the log of %s: %v", l.by, err)
		}
	}
}

// gather makes the members of memberlist.
func (r *run) gather() {
	r.Helper()
	if r.opt.PeersPerRegion == 0 {
		return
	}
	for name, defaults := range map[string]func() *memberlist.Config{"LAN": memberlist.DefaultLANConfig, "WAN": memberlist.DefaultWANConfig} {
		p, err := NewPeers(r.net, name, defaults, r.opt.PeersPerRegion)
		r.must(err)
		r.Cleanup(func() {
			if err := p.Close(); err != nil {
				r.Errorf("end memberlist's members: %v", err)
			}
		})
		r.peers = append(r.peers, p)
	}
	slices.SortFunc(r.peers, func(a, b *Peers) int { return strings.Compare(a.Name, b.Name) })
	for _, p := range r.peers {
		if !p.Mend(patience) {
			r.Fatalf("expected %d members of memberlist %s to know each other within %v", p.Size(), p.Name, patience)
		}
	}
}

// live goes through the plan, makes another loss for each that does not count, and
// goes on until every pair of regions had its time.
func (r *run) live() {
	r.Helper()
	plan := Plan(r.opt.Seed, r.opt.Length, r.net.Regions())
	each := r.opt.Length / time.Duration(len(plan))
	r.must(r.watch.begin())
	r.began = time.Now()
	r.sample()
	done := make(chan struct{})
	r.waiting.Go(func() { every(sampling, done, func(time.Time) { r.sample() }) })
	r.waiting.Go(func() { every(200*time.Millisecond, done, r.glance) })
	defer close(done)
	var again []int // of the plan: the losses that do not count
	for i, l := range plan {
		r.must(r.net.Base(r.weather(i).Link))
		r.pass(r.began.Add(l.At - calmFor))
		r.calm(l.Region)
		if r.enough() {
			return
		}
		if r.lose(l, r.weather(i)).Excused() {
			again = append(again, i)
		}
		r.pass(r.began.Add(time.Duration(i+1) * each))
	}
	rest := 2 * settle
	if len(r.peers) > 0 {
		rest = each // memberlist takes long to be whole again
	}
	for n, begun := 0, time.Now(); n < len(again) && n < maxAgain && time.Since(begun) < againWithin && !r.enough(); n++ {
		i := again[n]
		r.must(r.net.Base(r.weather(i).Link))
		r.pass(time.Now().Add(rest - calmFor))
		r.calm(plan[i].Region)
		if r.lose(plan[i], r.weather(i)).Excused() {
			again = append(again, i)
		}
	}
	for r.quiet() < r.opt.Length && !r.enough() {
		r.pass(time.Now().Add(time.Second))
	}
}

// weather is that of the i-th loss of the plan.
func (r *run) weather(i int) Weather { return r.opt.World.Weathers[i%len(r.opt.World.Weathers)] }

func (r *run) quiet() time.Duration {
	return Quiet(r.net.Regions(), r.outages, r.began, time.Now())
}

// pass lets time pass, and tells of false verdicts when they happen.
func (r *run) pass(until time.Time) {
	r.Helper()
	for {
		_, err := r.watch.await(min(time.Second, time.Until(until)), func([]Event) bool { return false })
		r.must(err)
		r.mu.Lock()
		wrong, ofStalls := False(r.watch.Events(), r.outages, r.stalls)
		r.mu.Unlock()
		if n := len(wrong) + len(ofStalls); n != r.reported {
			r.reported, r.wrong = n, len(wrong) > 0
			all := append(wrong, ofStalls...)
			r.Logf("%s: %d FALSE VERDICTS, and %d while the WAN stood still, at load %.1f: %v",
				r.opt.World.Name, len(wrong), len(ofStalls), load(), all[max(0, len(all)-9):])
		}
		if time.Now().After(until) || r.enough() {
			return
		}
	}
}

// enough reports whether nothing that is still to come matters.
func (r *run) enough() bool { return r.opt.UntilFalse && r.wrong }

func (r *run) must(err error) {
	if err != nil {
		r.Helper()
		r.Fatal(err)
	}
}

func (r *run) fails(err error) {
	if err != nil {
		r.mu.Lock()
		r.errs = append(r.errs, err)
		r.mu.Unlock()
	}
}

// sample reads the agents' counters and the machine's load. Agents that are dead
// say nothing.
func (r *run) sample() {
	for _, a := range r.fleet.Replicas("") {
		h, err := r.net.Host(a.Region, a.Name)
		if err != nil {
			continue
		}
		if c, err := scrape(h, a.HTTP, a.Region); err == nil {
			r.mu.Lock()
			r.tally.add(a.String(), c)
			r.mu.Unlock()
		}
	}
	r.mu.Lock()
	r.loads = append(r.loads, load())
	r.mu.Unlock()
}

// every does something again and again, and once more when done is closed.
func every(period time.Duration, done <-chan struct{}, do func(time.Time)) {
	tick := time.NewTicker(period)
	defer tick.Stop()
	for {
		select {
		case now := <-tick.C:
			do(now)
		case <-done:
			do(time.Now())
			return
		}
	}
}

// glance notes how late the WAN is.
func (r *run) glance(time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	late, now := r.net.Late(), time.Now()
	r.late, r.lately = max(r.late, late), max(r.lately, late)
	if late >= stalled {
		r.stalls = append(r.stalls, Stall{At: now, Late: late})
		r.Logf("%s: the WAN stood still for %v, at load %.1f", r.opt.World.Name, late.Round(time.Millisecond), load())
	}
	for _, gap := range r.gaps.look(r.net, now) {
		r.Logf("%s: %s, at load %.1f", r.opt.World.Name, gap, load())
	}
}

// judge makes the result of the run.
func (r *run) judge() {
	r.Helper()
	now := time.Now()
	r.must(r.watch.Read())
	r.mu.Lock()
	defer r.mu.Unlock()
	res := &r.result
	res.World, res.Seed, res.Date = r.opt.World.Name, r.opt.Seed, r.began.UTC()
	for _, w := range r.opt.World.Weathers {
		res.Weathers = append(res.Weathers, w.Says)
	}
	res.Elapsed, res.Quiet = now.Sub(r.began), Quiet(r.net.Regions(), r.outages, r.began, now)
	res.Agents, res.Counts, res.Cores = len(r.agents), r.tally.sum, runtime.NumCPU()
	res.False, res.OfStalls = False(r.watch.Events(), r.outages, r.stalls)
	res.Stalls, res.Late = len(r.stalls), r.late
	res.Priority = fmt.Sprintf("WAN and memberlist: %s; agents: %s", priority(os.Getpid()), priority(r.fleet.Replicas("")[0].PID()))
	for _, l := range r.loads {
		res.LoadMean += l / float64(len(r.loads))
		res.LoadMost = max(res.LoadMost, l)
	}
	for _, p := range r.peers {
		f := PeerResult{Name: p.Name, Members: p.Size()}
		f.FalseDeaths, f.Reports = FalseDeaths(p.Deaths(), r.pouts[p], r.began)
		for _, o := range r.pouts[p] {
			f.Known = append(f.Known, o.Known)
		}
		res.Peers = append(res.Peers, f)
	}
}
