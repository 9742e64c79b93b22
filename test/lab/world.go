package lab

import (
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/federator/federator/test/e2e/fleet"
	"github.com/federator/federator/test/lab/checker"
	"github.com/federator/federator/test/lab/network"
	"github.com/federator/federator/test/lab/network/wan"
)

// Options say which world to make.
type Options struct {
	// Name is a word for files.
	Name string
	// Seed is what all choices follow from.
	Seed uint64
	// Regions have so many Replicas each; the first is the authority region.
	Regions  []string
	Replicas int
	// Tight is a region that has as many on small disks of their own, Single one
	// with a single replica, and Spare one that scenarios may found; "" for none.
	Tight, Single, Spare string
	// Config is the agents' config file.
	Config string
}

// World is a federation in a network of its own. Its methods that return no error
// end the test when they fail; call those from the test's own goroutine only.
type World struct {
	*fleet.Fleet
	Net *network.Network
	// Timeline is what is true of workloads, regions and replicas. Strain is the
	// same, and between which regions so much is lost that connections may fail.
	Timeline, Strain *checker.Timeline
	opt              Options
	regions          []string // that there are from the beginning
	story            *Story
	replicas         map[string]*fleet.Replica // by "region/name": those that should run
	workers          []*Workload
	acked            *checker.Acknowledged
	growth           *growthWatch
	pace             *pace
	waking           sync.WaitGroup // replicas that were started and are not ready yet

	mu      sync.Mutex
	awaited []error // of replicas that did not get ready
}

// workloads is how many each region has.
const workloads = 2

// NewWorld makes the world and waits until it is whole. It ends with the test.
func NewWorld(t *testing.T, binary string, o Options) *World {
	t.Helper()
	places := slices.DeleteFunc(append(slices.Clone(o.Regions), o.Tight, o.Single, o.Spare), func(r string) bool { return r == "" })
	n := network.NeedLong(t, o.Seed, places...)
	w := &World{
		Fleet: fleet.New(t, binary), Net: n, Timeline: &checker.Timeline{}, Strain: &checker.Timeline{}, opt: o, story: NewStory(), replicas: map[string]*fleet.Replica{},
	}
	w.BeforeRemoval(w.tell)
	if testing.Verbose() {
		w.story.Hear(func(line string) { w.Log(line) })
	}
	w.Machines = func(region, name string) (fleet.Machine, error) { return n.Host(region, name) }
	if o.Config != "" {
		w.Config = w.Write("agent.yaml", o.Config)
	}
	w.layWAN()
	w.regions = slices.DeleteFunc(places, func(r string) bool { return r == o.Spare })
	for _, region := range w.regions {
		for i := range workloads {
			w.workers = append(w.workers, w.newWorkload(region, i))
		}
	}
	for _, region := range w.regions {
		w.Serve(region, w.servicesFile(region))
	}
	began := time.Now()
	w.populate()
	w.acked = checker.NewAcknowledged(checker.AcknowledgedOptions{Targets: w.Targets(""), Pace: 150 * time.Millisecond, Tokens: 1})
	w.growth = w.watchGrowth()
	w.pace = watchPace(w, n, w.growth.growth)
	w.story.Say("%d replicas in %d regions, made in %v", len(w.replicas), len(w.regions), time.Since(began).Round(time.Millisecond))
	return w
}

// populate has all replicas join.
func (w *World) populate() {
	w.Helper()
	w.Grow(w.opt.Replicas, w.opt.Regions...)
	first := w.Fleet.Replicas(w.opt.Regions[0])[0]
	if w.opt.Single != "" {
		w.Join(first, w.opt.Single, w.opt.Single+"-0")
	}
	if w.opt.Tight != "" {
		for i := range w.opt.Replicas {
			w.joinTight(first, i)
		}
	}
	for _, r := range w.Fleet.Replicas("") {
		w.replicas[r.String()] = r
	}
	for _, region := range w.regions {
		w.Voters(region)
	}
}

// tightDisk is the size of a small disk in MiB.
const tightDisk = 48

// joinTight has a replica join whose data is on a small disk of its own.
func (w *World) joinTight(issuer *fleet.Replica, n int) {
	w.Helper()
	r := w.Place(w.opt.Tight, fmt.Sprintf("%s-%d", w.opt.Tight, n))
	release, err := smallDisk(r.Dir, tightDisk)
	if err != nil {
		w.Fatal(err)
	}
	w.BeforeRemoval(func() {
		if err := release(); err != nil {
			w.Error(err)
		}
	})
	if err := r.JoinBy(issuer.Token()); err != nil {
		w.Fatal(err)
	}
	r.Start()
	r.Ready()
}

// tell prints what happened, if the test failed, and keeps the agents' logs where
// the results are.
func (w *World) tell() {
	if !w.Failed() {
		return
	}
	w.Logf("seed %d; what happened in world %s:\n%s", w.opt.Seed, w.opt.Name, w.story)
	if Results() == "" {
		w.Logf("%s names a directory in which the whole logs are kept", ResultsVariable)
		return
	}
	dir := filepath.Join(Results(), "logs-"+w.opt.Name)
	err := errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o755))
	for i, r := range w.Fleet.Replicas("") {
		err = errors.Join(err, os.WriteFile(filepath.Join(dir, fmt.Sprintf("%s.%d.log", r.Name, i)), []byte(r.Log(0)), 0o644))
	}
	w.Logf("the agents' logs are in %s (%v)", dir, err)
}

// begin and end, beginCut and endCut note a fact in both timelines.
func (w *World) begin(c checker.Condition, of string) {
	w.Timeline.Begin(c, of)
	w.Strain.Begin(c, of)
}

func (w *World) end(c checker.Condition, of string) {
	w.Timeline.End(c, of)
	w.Strain.End(c, of)
}

func (w *World) beginCut(from, to string) {
	w.Timeline.BeginCut(from, to)
	w.Strain.BeginCut(from, to)
}

func (w *World) endCut(from, to string) {
	w.Timeline.EndCut(from, to)
	w.Strain.EndCut(from, to)
}

// layWAN makes each pair of regions 80 to 150 ms apart, there and back, with a
// jitter of a tenth.
func (w *World) layWAN() {
	rng := w.Rand("wan")
	for i, a := range w.Net.Regions() {
		for _, b := range w.Net.Regions()[i+1:] {
			if err := w.Net.SetBoth(a, b, distance(rng)); err != nil {
				w.Fatal(err)
			}
		}
	}
}

func distance(rng *rand.Rand) wan.Link {
	l := wan.RTT(80*time.Millisecond + time.Duration(rng.IntN(60))*time.Millisecond)
	l.Jitter = 5 * time.Millisecond
	return l
}

// Rand is a source of luck that depends on the seed and the purpose only.
func (w *World) Rand(purpose string) *rand.Rand {
	h := fnv.New64a()
	_, _ = h.Write([]byte(w.opt.Name + "\x00" + purpose)) // never fails
	return rand.New(rand.NewPCG(w.opt.Seed, h.Sum64()))
}

// Live returns the replicas that should run, of a region or of all if it is "",
// ordered by name.
func (w *World) Live(region string) []*fleet.Replica {
	var all []*fleet.Replica
	for _, r := range w.replicas {
		if region == "" || r.Region == region {
			all = append(all, r)
		}
	}
	slices.SortFunc(all, func(a, b *fleet.Replica) int { return strings.Compare(a.String(), b.String()) })
	return all
}

// Adopt counts a replica among those that should run, Forget no longer does.
func (w *World) Adopt(r *fleet.Replica)  { w.replicas[r.String()] = r }
func (w *World) Forget(r *fleet.Replica) { delete(w.replicas, r.String()) }

// Regions are those that have replicas that should run.
func (w *World) Regions() []string {
	var all []string
	for _, r := range w.Live("") {
		if !slices.Contains(all, r.Region) {
			all = append(all, r.Region)
		}
	}
	return all
}

// Others are the regions but these.
func (w *World) Others(regions ...string) []string {
	return slices.DeleteFunc(w.Regions(), func(r string) bool { return slices.Contains(regions, r) })
}

// host is the machine of a replica.
func (w *World) host(r *fleet.Replica) (*network.Host, error) { return w.Net.Host(r.Region, r.Name) }

// Targets are the replicas that should run as checkers see them, from a client in
// the replica's region.
func (w *World) Targets(region string) []checker.Target {
	w.Helper()
	var all []checker.Target
	for _, r := range w.Live(region) {
		all = append(all, w.target(r))
	}
	return all
}

func (w *World) target(r *fleet.Replica) checker.Target {
	client, err := w.Net.Host(r.Region, "client")
	if err != nil {
		w.Fatal(err)
	}
	return checker.Target{Region: r.Region, Name: r.Name, Socket: r.Sock, Peer: r.Peer, DNS: r.DNS, HTTP: r.HTTP, Dial: client.DialContext}
}

// Leader waits until a region has a leader and returns it.
func (w *World) Leader(region string) *fleet.Replica {
	w.Helper()
	var leader *fleet.Replica
	w.Until(20*time.Second, "a leader of "+region, func() (err error) {
		leader, err = w.leader(region)
		return err
	})
	return leader
}

// leader asks each replica of a region who leads, and believes the one itself.
func (w *World) leader(region string) (*fleet.Replica, error) {
	last := fmt.Errorf("region %s has no replica that runs", region)
	for _, r := range w.Live(region) {
		if !r.Running() {
			continue
		}
		s, err := status(r)
		if err == nil && s.GetRaft().GetLeader() == r.Name {
			return r, nil
		}
		last = fmt.Errorf("%s does not lead: %v", r, err)
	}
	return nil, last
}

// Followers are the replicas of a region but its leader.
func (w *World) Followers(region string) []*fleet.Replica { return w.siblings(w.Leader(region)) }

// siblings are the other replicas of a replica's region. Where the leader is known,
// they are its followers: asking again who leads may bring another answer.
func (w *World) siblings(of *fleet.Replica) []*fleet.Replica {
	return slices.DeleteFunc(w.Live(of.Region), func(r *fleet.Replica) bool { return r == of })
}
