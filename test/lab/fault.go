package lab

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/federator/federator/peering/pb"
	"github.com/federator/federator/test/e2e/fleet"
	"github.com/federator/federator/test/lab/checker"
	"github.com/federator/federator/test/lab/network"
	"github.com/federator/federator/test/lab/network/wan"
)

// Fault breaks something and mends it again. Both tell the world's timeline what
// is true from then on. A fault is begun and ended once.
type Fault interface {
	// String says in words what is broken.
	String() string
	// Touches names what it needs for itself; two faults that touch the same do not
	// go together. A region stands for everything in it.
	Touches() []string
	Begin(w *World) error
	// End mends it. Replicas that it starts may not be ready yet: see [World.Awake].
	End(w *World) error
}

// status asks a replica over its socket.
func status(r *fleet.Replica) (s *pb.StatusResponse, err error) {
	err = r.Call(func(ctx context.Context, agent pb.OperatorClient) error {
		s, err = agent.Status(ctx, &pb.StatusRequest{})
		return err
	})
	return s, err
}

// start starts a replica that was down, and notes when it is ready.
func (w *World) start(r *fleet.Replica) {
	r.Start()
	w.wake(r)
}

// wake notes when a replica is ready again.
func (w *World) wake(r *fleet.Replica) {
	w.waking.Go(func() {
		if err := fleet.Await(wakeWithin, r.IsReady); err != nil {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.awaited = append(w.awaited, fmt.Errorf("%s is not ready %v after its start: %w", r, wakeWithin, err))
			return
		}
		w.end(checker.Down, r.String())
		w.story.Say("  %s is ready", r)
	})
}

// wakeWithin bounds how long a replica takes to be ready, once it could be.
const wakeWithin = 45 * time.Second

// Awake waits until every replica that was started is ready.
func (w *World) Awake() error {
	w.waking.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	err := errors.Join(w.awaited...)
	w.awaited = nil
	return err
}

// Killed is that replicas are killed as by a crash, and are started again.
type Killed struct{ Replicas []*fleet.Replica }

func (f Killed) String() string    { return "killed: " + names(f.Replicas) }
func (f Killed) Touches() []string { return touches(f.Replicas) }

// Begin implements [Fault].
func (f Killed) Begin(w *World) error {
	for _, r := range f.Replicas {
		w.begin(checker.Down, r.String())
	}
	var wg sync.WaitGroup
	for _, r := range f.Replicas {
		wg.Go(r.Kill)
	}
	wg.Wait()
	return nil
}

// End implements [Fault].
func (f Killed) End(w *World) error {
	for _, r := range f.Replicas {
		w.start(r)
	}
	return nil
}

// Stopped is that replicas are stopped as by a service manager, one after the
// other, and are started again.
type Stopped struct{ Replicas []*fleet.Replica }

func (f Stopped) String() string    { return "stopped: " + names(f.Replicas) }
func (f Stopped) Touches() []string { return touches(f.Replicas) }

// Begin implements [Fault].
func (f Stopped) Begin(w *World) error {
	for _, r := range f.Replicas {
		w.begin(checker.Down, r.String())
		r.Stop()
	}
	return nil
}

// End implements [Fault].
func (f Stopped) End(w *World) error { return Killed(f).End(w) }

// Frozen is that a replica stands still, as a virtual machine does that is
// suspended, and then goes on as if nothing had been.
type Frozen struct{ Replica *fleet.Replica }

func (f Frozen) String() string    { return "standing still: " + f.Replica.String() }
func (f Frozen) Touches() []string { return []string{f.Replica.String()} }

// Begin implements [Fault].
func (f Frozen) Begin(w *World) error {
	w.begin(checker.Down, f.Replica.String())
	return syscall.Kill(f.Replica.PID(), syscall.SIGSTOP)
}

// End implements [Fault].
func (f Frozen) End(w *World) error {
	err := syscall.Kill(f.Replica.PID(), syscall.SIGCONT)
	w.wake(f.Replica)
	return err
}

// Sick is that a workload says that it is unwell.
type Sick struct{ Workload *Workload }

func (f Sick) String() string    { return "sick: " + f.Workload.String() }
func (f Sick) Touches() []string { return []string{f.Workload.Region + "/" + f.Workload.Address} }

// Begin implements [Fault].
func (f Sick) Begin(w *World) error {
	f.Workload.Fail()
	f.Workload.sick = true
	w.begin(checker.Dead, f.Workload.Address)
	return nil
}

// End implements [Fault].
func (f Sick) End(w *World) error {
	w.end(checker.Dead, f.Workload.Address)
	f.Workload.sick = false
	f.Workload.Recover()
	return nil
}

// RegionLost is that everything of a region is gone at once, replicas and
// workloads, as when its power fails.
type RegionLost struct{ Region string }

func (f RegionLost) String() string    { return "lost with its workloads: region " + f.Region }
func (f RegionLost) Touches() []string { return []string{f.Region} }

// Begin implements [Fault].
func (f RegionLost) Begin(w *World) error {
	err := errors.Join(Killed{w.Live(f.Region)}.Begin(w))
	for _, l := range w.Workloads(f.Region) {
		err = errors.Join(err, l.host.Freeze())
		w.begin(checker.Dead, l.Address)
	}
	return err
}

// End implements [Fault].
func (f RegionLost) End(w *World) error {
	var err error
	for _, l := range w.Workloads(f.Region) {
		w.end(checker.Dead, l.Address)
		err = errors.Join(err, l.host.Thaw())
	}
	return errors.Join(err, Killed{w.Live(f.Region)}.End(w))
}

// Cut is that what regions send to others is lost: of each pair, what the first
// sends to the second. A pair of which one direction is cut can connect in
// neither.
type Cut struct{ Pairs [][2]string }

// Partition is that two regions cannot reach each other.
func Partition(a, b string) Cut { return Cut{[][2]string{{a, b}, {b, a}}} }

// Isolation is that a region can reach none of the others.
func Isolation(region string, others ...string) Cut {
	var f Cut
	for _, o := range others {
		f.Pairs = append(f.Pairs, Partition(region, o).Pairs...)
	}
	return f
}

// OneWay is that nothing of what a region sends arrives at another one.
func OneWay(from, to string) Cut { return Cut{[][2]string{{from, to}}} }

func (f Cut) String() string {
	var words []string
	for _, p := range f.Pairs {
		words = append(words, p[0]+" to "+p[1])
	}
	return "cut: " + strings.Join(words, ", ")
}

// Touches implements [Fault].
func (f Cut) Touches() []string {
	var all []string
	for _, p := range f.Pairs {
		all = append(all, link(p[0], p[1]))
	}
	return all
}

// link names the pair of two regions, whatever their order.
func link(a, b string) string { return min(a, b) + "~" + max(a, b) }

// Begin implements [Fault].
func (f Cut) Begin(w *World) error {
	var err error
	for _, p := range f.Pairs {
		err = errors.Join(err, w.Net.Cut(p[0], p[1]))
	}
	for _, p := range f.Pairs {
		w.beginCut(p[0], p[1])
		w.beginCut(p[1], p[0])
	}
	return err
}

// End implements [Fault].
func (f Cut) End(w *World) error {
	var err error
	for _, p := range f.Pairs {
		w.endCut(p[0], p[1])
		w.endCut(p[1], p[0])
	}
	for _, p := range f.Pairs {
		err = errors.Join(err, w.Net.Mend(p[0], p[1]))
	}
	return err
}

// Apart is that a replica and others cannot reach each other, and everybody else
// reaches all of them.
type Apart struct {
	One    *fleet.Replica
	Others []*fleet.Replica
}

func (f Apart) String() string { return f.One.String() + " cut from " + names(f.Others) }

// Touches implements [Fault].
func (f Apart) Touches() []string { return append(touches(f.Others), f.One.String()) }

// Begin implements [Fault]. Clients reach all of them, so that nothing in the
// timeline changes.
func (f Apart) Begin(w *World) error { return f.with(w, (*network.Host).CutFrom) }

// End implements [Fault].
func (f Apart) End(w *World) error { return f.with(w, (*network.Host).MendWith) }

func (f Apart) with(w *World, do func(*network.Host, ...*network.Host) error) error {
	one, err := w.host(f.One)
	if err != nil {
		return err
	}
	for _, r := range f.Others {
		other, e := w.host(r)
		if err = errors.Join(err, e); e == nil {
			err = errors.Join(err, do(one, other))
		}
	}
	return err
}

// Weather is that links between regions are worse than usual. Change makes the
// bad link from the good one.
type Weather struct {
	Words  string
	Pairs  [][2]string
	Change func(*wan.Link)
	// Strains says that connections may fail by it: a server gives each five seconds
	// to prove who it is.
	Strains bool
	before  map[[2]string]wan.Link
}

// Lossy is that a share of all packets between all regions is lost.
func Lossy(share float64, regions ...string) *Weather {
	return &Weather{Words: fmt.Sprintf("%.0f %% of packets lost", 100*share), Pairs: pairs(regions), Strains: true, Change: func(l *wan.Link) { l.Loss = share }}
}

// Slow is that two regions have so many bytes a second for each other.
func Slow(a, b string, rate int) *Weather {
	return &Weather{Words: fmt.Sprintf("%d kB a second", rate/1000), Pairs: [][2]string{{a, b}, {b, a}}, Strains: true, Change: func(l *wan.Link) { l.Rate = rate }}
}

// pairs are all ordered ones.
func pairs(regions []string) [][2]string {
	var all [][2]string
	for _, a := range regions {
		for _, b := range regions {
			if a != b {
				all = append(all, [2]string{a, b})
			}
		}
	}
	return all
}

func (f *Weather) String() string { return f.Words + " (" + strings.Join(f.Touches(), ", ") + ")" }

// Touches implements [Fault].
func (f *Weather) Touches() []string {
	all := Cut{f.Pairs}.Touches()
	slices.Sort(all)
	return slices.Compact(all)
}

// Begin implements [Fault]. The other end can still be reached: only connections
// may fail.
func (f *Weather) Begin(w *World) error {
	f.before = map[[2]string]wan.Link{}
	var err error
	for _, p := range f.Pairs {
		if f.Strains {
			w.Strain.BeginCut(p[0], p[1])
		}
		l, e := w.Net.Link(p[0], p[1])
		f.before[p] = l
		f.Change(&l)
		err = errors.Join(err, e, w.Net.Set(p[0], p[1], l))
	}
	return err
}

// End implements [Fault].
func (f *Weather) End(w *World) error {
	var err error
	for p, l := range f.before {
		err = errors.Join(err, w.Net.Set(p[0], p[1], l))
		if f.Strains {
			w.Strain.EndCut(p[0], p[1])
		}
	}
	return err
}

// Together are faults that begin and end at the same time.
type Together []Fault

func (f Together) String() string {
	var words []string
	for _, one := range f {
		words = append(words, one.String())
	}
	return strings.Join(words, " and ")
}

// Touches implements [Fault].
func (f Together) Touches() []string {
	var all []string
	for _, one := range f {
		all = append(all, one.Touches()...)
	}
	return all
}

// Begin implements [Fault].
func (f Together) Begin(w *World) error {
	var err error
	for _, one := range f {
		err = errors.Join(err, one.Begin(w))
	}
	return err
}

// End implements [Fault].
func (f Together) End(w *World) error {
	var err error
	for _, one := range f {
		err = errors.Join(err, one.End(w))
	}
	return err
}

func names(all []*fleet.Replica) string { return strings.Join(touches(all), ", ") }

func touches(all []*fleet.Replica) []string {
	var out []string
	for _, r := range all {
		out = append(out, r.String())
	}
	return out
}
