package devlab

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"
)

// patience is how much longer than its bound the story waits for something, so
// that it can say how late it came.
const patience = 30 * time.Second

// outside is true of the replicas of every other region.
func (s *Story) outside(region string) func(*Replica) bool {
	return func(r *Replica) bool { return r.Region != region }
}

// sightings are the lookups by replicas since t whose answer shows the victim.
func (s *Story) sightings(t time.Time, by func(*Replica) bool) []lookup {
	network := networkOf(victimK)
	return s.watch.since(t, func(l *lookup) bool { return by(l.replica) && l.has(network) })
}

// gone records how long after start the last answer by replicas showed an
// address of the victim.
func (s *Story) gone(ctx context.Context, what string, start time.Time, bound time.Duration, by func(*Replica) bool) error {
	for {
		if err := sleep(ctx, 50*time.Millisecond); err != nil {
			return err
		}
		last := start
		for _, l := range s.sightings(start, by) {
			if l.answered.After(last) {
				last = l.answered
			}
		}
		f := figure{what: what, took: last.Sub(start), bound: bound}
		if time.Since(last) < quiet && time.Since(start) < bound+patience {
			continue
		}
		if time.Since(last) < quiet {
			f.err = fmt.Errorf("still there after %v", time.Since(start).Round(time.Second))
		}
		s.record(f)
		return nil
	}
}

// seen records how long after start every replica's answers for a service showed
// the victim.
func (s *Story) seen(ctx context.Context, what string, start time.Time, bound time.Duration, service string, by func(*Replica) bool) error {
	wanted := name(service, s.Lab)
	for {
		if err := sleep(ctx, 50*time.Millisecond); err != nil {
			return err
		}
		first := map[string]time.Time{}
		for _, l := range s.sightings(start, by) {
			if l.name == wanted {
				first[l.replica.Name] = l.answered // newest first: the oldest stays
			}
		}
		f := figure{what: what, bound: bound}
		var missing []string
		for _, r := range s.Replicas {
			at, ok := first[r.Name]
			switch {
			case !by(r):
			case !ok:
				missing = append(missing, r.Name)
			default:
				f.took = max(f.took, at.Sub(start))
			}
		}
		if len(missing) > 0 && time.Since(start) < bound+patience {
			continue
		}
		if len(missing) > 0 {
			f.err = fmt.Errorf("not at %v after %v", missing, time.Since(start).Round(time.Second))
		}
		s.record(f)
		return nil
	}
}

// stillSeen is the figure of whether every other replica's answers for
// shop/catalog, since t, each show the victim.
func (s *Story) stillSeen(t time.Time, what string) figure {
	network, wanted, outside := networkOf(victimK), name("catalog", s.Lab), s.outside(victim)
	asked := s.watch.since(t, func(l *lookup) bool { return outside(l.replica) && l.name == wanted })
	without := 0
	for _, l := range asked {
		if !l.has(network) {
			without++
		}
	}
	f := figure{what: what, note: fmt.Sprintf("in all of %d answers", len(asked))}
	if without > 0 || len(asked) == 0 {
		f.err = fmt.Errorf("%d of %d answers were without them", without, len(asked))
	}
	return f
}

// unharmed records that no lookup has failed since t.
func (s *Story) unharmed(t time.Time, what string) {
	all := s.watch.since(t, func(*lookup) bool { return true })
	f := figure{what: what, note: fmt.Sprintf("%d, none failed", len(all))}
	if failed := s.watch.failed(t); len(failed) > 0 {
		last := failed[0]
		f.err = fmt.Errorf("%d of %d failed, the last on %s: %w", len(failed), len(all), last.replica.Name, last.err)
	}
	if len(all) == 0 {
		f.err = errors.New("nothing was looked up")
	}
	s.record(f)
}

// everywhere waits until the answers of every replica for a name are as they
// must be, and returns how long after start the last of them was.
func (s *Story) everywhere(ctx context.Context, start time.Time, name string, right func(*Replica, []string) bool) (time.Duration, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("%v have passed", patience))
	defer cancel()
	for _, r := range s.Replicas {
		err := s.await(ctx, r.Name+" to answer "+name+" otherwise", func() error {
			addresses, err := ask(ctx, r.DNS, name)
			if err == nil && !right(r, addresses) {
				err = fmt.Errorf("it answers %v", addresses)
			}
			return err
		})
		if err != nil {
			return time.Since(start), err
		}
	}
	return time.Since(start), nil
}

// kill sends SIGKILL to replicas, and to their region's endpoints if asked, all
// at once, and returns when that was.
func (s *Story) kill(replicas []*Replica, endpoints bool) time.Time {
	var doomed []*process
	for _, r := range replicas {
		s.expect(r.Name, false)
		doomed = append(doomed, s.process(r.Name))
	}
	if endpoints {
		doomed = append(doomed, s.process(replicas[0].Region))
	}
	for _, p := range doomed {
		s.Say("$ kill -KILL %d   # %s", p.pid(), p.name)
	}
	start := time.Now()
	for _, p := range doomed {
		_ = p.cmd.Process.Signal(syscall.SIGKILL)
	}
	for _, p := range doomed {
		<-p.gone
	}
	return start
}

// revive runs the same commands again.
func (s *Story) revive(replicas []*Replica, endpoints bool) error {
	if endpoints {
		if err := s.startEndpoints(replicas[0].Region); err != nil {
			return err
		}
	}
	for _, r := range replicas {
		if err := s.startAgent(r, true); err != nil {
			return err
		}
	}
	return s.writeManifest()
}

// healed waits until every replica is ready and answers for every region again.
func (s *Story) healed(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("%v have passed", patience))
	defer cancel()
	if err := s.settled(ctx); err != nil {
		return s.explain(ctx, err)
	}
	for _, r := range s.Replicas {
		s.expect(r.Name, true)
	}
	// An answer may come from the last known state; the verdict must be gone too.
	for _, site := range sites() {
		if site.region == victim {
			continue
		}
		for _, r := range s.in(site.region) {
			if _, err := s.freshAt(ctx, r, time.Now()); err != nil {
				return err
			}
		}
	}
	return nil
}
