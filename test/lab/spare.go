package lab

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/federator/federator/test/e2e/fleet"
)

// onSpare plays a scenario about the spare region. If that ends the test, what is
// left of the region goes, so that the world is whole without it.
func onSpare(play func(*Stage)) func(*Stage) {
	return func(s *Stage) {
		played := false
		defer func() {
			if played {
				return
			}
			if err := s.abandon(); err != nil {
				s.story.Say("  region %s is left as it is: %v", s.opt.Spare, err)
			}
		}()
		play(s)
		played = true
	}
}

// spares are the replicas of the spare region, of which there are n: those that the
// scenario before left. If it was not played, or failed, or this one is played again,
// the region is founded anew.
func (s *Stage) spares(n int) []*replica {
	s.Helper()
	spare := s.opt.Spare
	var all []*replica
	for _, r := range s.Replicas(spare) {
		if r.Running() {
			all = append(all, r)
		}
	}
	unsound := s.sound(all, n)
	if unsound == nil {
		return all
	}
	s.story.Say("begin: region %s is founded anew, with %d replicas: %v", spare, n, unsound)
	if err := s.abandon(); err != nil {
		s.Fatal(err)
	}
	all = nil
	issuer := s.Live(s.opt.Tight)[0]
	for i := range n {
		r := s.Place(spare, fmt.Sprintf("%s-%d", spare, i))
		s.joins(r, issuer)
		all, issuer = append(all, r), r
	}
	s.later(spare, 0)
	return all
}

// sound is nil if these are n replicas of one region that is well, and known.
func (s *Stage) sound(all []*replica, n int) error {
	if len(all) != n {
		return fmt.Errorf("%d replicas of it run", len(all))
	}
	return fleet.Await(10*time.Second, func() error {
		leader := ""
		for _, r := range all {
			st, err := status(r)
			if err != nil {
				return err
			}
			if l := st.GetRaft().GetLeader(); l == "" || leader != "" && l != leader {
				return fmt.Errorf("%s says that %q leads", r, l)
			}
			leader = st.GetRaft().GetLeader()
		}
		for _, r := range s.Live("") {
			known, err := knowsRegion(r, s.opt.Spare)
			if err == nil && !known {
				err = fmt.Errorf("%s does not know it", r)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// joins has a replica join by a token of another one, run and get ready.
func (s *Stage) joins(r, issuer *replica) {
	s.Helper()
	if err := r.JoinBy(s.token(issuer)); err != nil {
		s.Fatal(err)
	}
	r.Start()
	r.Ready()
}

// token is a new join token of a replica.
func (s *Stage) token(issuer *replica) (token string) {
	s.Helper()
	s.done("a token of "+issuer.String(), func() fleet.Result {
		said := issuer.CLI("token", "create")
		token = strings.TrimSpace(said.Out)
		return said
	})
	return token
}

// abandon ends all replicas of the spare region, and removes it.
func (s *Stage) abandon() error {
	for _, r := range s.Replicas(s.opt.Spare) {
		if r.Running() {
			r.Kill()
		}
	}
	return fleet.Await(patience, func() error {
		err := s.unknown()
		if err != nil {
			s.For(500 * time.Millisecond) // it takes seconds until the region is missed
		}
		return err
	})
}

// unknown is nil if nobody knows the spare region any more. Who does is told to
// remove it.
func (s *Stage) unknown() error {
	for _, r := range s.Live("") {
		known, err := knowsRegion(r, s.opt.Spare)
		if err != nil {
			return err
		}
		if !known {
			continue
		}
		if err := remove(r, s.opt.Spare); err != nil {
			return err
		}
		return fmt.Errorf("%s knew region %s", r, s.opt.Spare)
	}
	return nil
}

// remove has a replica remove a region, which is refused as long as that seems to
// answer. It is nil as well if that was done by a try whose answer was lost.
func remove(by *replica, region string) error {
	said := by.CLI("region", "remove", region)
	if said.Code == 0 {
		return nil
	}
	if known, err := knowsRegion(by, region); err == nil && !known {
		return nil
	}
	return errors.New(said.Err)
}

// knowsRegion reports whether a replica knows a region that was not removed.
func knowsRegion(asked *replica, region string) (bool, error) {
	st, err := status(asked)
	if err != nil {
		return false, err
	}
	for _, r := range st.GetRegions() {
		if r.GetName() == region && !r.GetRemoved() {
			return true, nil
		}
	}
	return false, nil
}
