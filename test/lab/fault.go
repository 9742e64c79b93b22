package lab

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/federator/federator/peering/pb"
	"github.com/federator/federator/test/e2e/fleet"
	"github.com/federator/federator/test/lab/checker"
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
