package devlab

import (
	"context"
	"fmt"
	"slices"
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
			f.err = tooLate(fmt.Sprintf("still there after %v", time.Since(start).Round(time.Second)))
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
			f.err = tooLate(fmt.Sprintf("not at %v after %v", missing, time.Since(start).Round(time.Second)))
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
	var without []lookup
	for _, l := range asked {
		if !l.has(network) {
			without = append(without, l)
		}
	}
	f := figure{what: what, note: fmt.Sprintf("in all of %d answers", len(asked))}
	switch {
	case len(asked) == 0:
		f.err = errNobodyAsked
	case len(without) > 0:
		f.err = fmt.Errorf("%d of %d answers were without them", len(without), len(asked))
		if l := worst(without); slow(l.err) {
			f.err = fmt.Errorf("%w, the worst on %s: %w", f.err, l.replica.Name, l.err)
		}
	}
	return f
}

// unharmed records that no lookup has failed since t.
func (s *Story) unharmed(t time.Time, what string) {
	all := s.watch.since(t, func(*lookup) bool { return true })
	f := figure{what: what, note: fmt.Sprintf("%d, none failed", len(all))}
	if failed := s.watch.failed(t); len(failed) > 0 {
		l := worst(failed)
		f.err = fmt.Errorf("%d of %d failed, the worst on %s: %w", len(failed), len(all), l.replica.Name, l.err)
	}
	if len(all) == 0 {
		f.err = errNobodyAsked
	}
	s.record(f)
}

// worst is the last of some lookups with which more is wrong than that they took too
// long, or the last if there is none. They are in order, the last first.
func worst(lookups []lookup) *lookup {
	return &lookups[max(0, slices.IndexFunc(lookups, func(l lookup) bool { return !slow(l.err) }))]
}

// everywhere waits until the answers of every replica for a name are as they
// must be, and returns how long after start the last of them was.
func (s *Story) everywhere(ctx context.Context, start time.Time, name string, right func(*Replica, []string) bool) (time.Duration, error) {
	ctx, cancel := within(ctx, patience)
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

// healWithin is how long the federation is given until it is whole again. Nobody
// promises that, only the parts of it that have a figure.
const healWithin = 90 * time.Second

// healed waits until every replica is ready, answers for every region and sees every
// other one as it should again. It records if that is not so in time.
func (s *Story) healed(ctx context.Context) bool {
	start := time.Now()
	waiting, cancel := within(ctx, healWithin)
	defer cancel()
	err := s.settled(waiting)
	if err == nil {
		for _, r := range s.Replicas {
			s.expect(r.Name, true)
		}
		// An answer may come from the last known state; the verdicts must be gone too.
		err = s.united(waiting)
	}
	if err != nil && ctx.Err() == nil {
		s.record(figure{what: "the federation is whole again", took: time.Since(start), bound: healWithin, err: s.explain(ctx, err)})
	}
	return err == nil
}

// united waits until every replica sees every other region reachable and fresh.
func (s *Story) united(ctx context.Context) error {
	for _, r := range s.Replicas {
		err := s.await(ctx, r.Name+" to see every region", func() error {
			status, err := s.status(ctx, r)
			if err != nil {
				return err
			}
			if found := len(status.GetRegions()); found != len(sites()) {
				return fmt.Errorf("expected %d regions, found %d", len(sites()), found)
			}
			for _, region := range status.GetRegions() {
				if !region.GetOwn() && (region.GetReach() != "reachable" || region.GetFreshness() != "fresh") {
					return fmt.Errorf("found reach %q and freshness %q of %s", region.GetReach(), region.GetFreshness(), region.GetName())
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}
