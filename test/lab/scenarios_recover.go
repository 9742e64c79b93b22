package lab

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/federator/federator/test/e2e/fleet"
)

// recovered grows the spare region, leaves one survivor of it, and grows it again.
func recovered(s *Stage) {
	spare := s.opt.Spare
	survivor := s.spares()[0]
	lost := s.guests(survivor, "lost")
	s.story.Say("begin: %s are lost for good", names(lost))
	s.Until(30*time.Second, "three voters", func() error { return threeVote(survivor) })
	s.Pipe(manyEndpoints("lab/agreed", 2), "services", "apply", "-f", "-", "--socket", survivor.Sock).OK(s)
	s.Until(10*time.Second, "the survivor to hold it, whoever leads", func() error { return knows(survivor, "lab/agreed", "") })
	before, err := epoch(survivor, spare)
	if err != nil {
		s.Fatal(err)
	}
	for _, r := range lost {
		r.Kill()
		if err := os.RemoveAll(r.Dir); err != nil {
			s.Fatal(err)
		}
	}
	s.Until(20*time.Second, "the survivor to say so", func() error { return finds(survivor, "quorum-lost") })
	found, _, err := s.lookup(survivor, fleet.ServiceName("lab/agreed"))
	if err != nil || len(found) != 2 {
		s.Errorf("%s: expected to serve lab/agreed meanwhile, found %v, %v", survivor, found, err)
	}
	survivor.Stop()
	began := time.Now()
	s.Run("region", "recover", "--data-dir", survivor.Dir).OK(s)
	survivor.Start()
	survivor.Ready()
	s.later(spare, before)
	s.Note("known again in its new epoch", time.Since(began))
	s.guests(survivor, "found")
	s.Until(30*time.Second, "three voters again", func() error { return threeVote(survivor) })
	s.Note("three voters again", time.Since(began))
	s.Pipe(manyEndpoints("lab/late", 1), "services", "apply", "-f", "-", "--socket", survivor.Sock).OK(s)
	for _, r := range append(s.Live(""), survivor) {
		for _, service := range []string{"lab/agreed", "lab/late"} {
			s.Until(20*time.Second, r.String()+" to know "+service, func() error { return knows(r, service, "") })
		}
	}
}

// guests has two replicas join the region of another one.
func (s *Stage) guests(host *replica, name string) []*replica {
	both, tokens := make([]*replica, 2), make([]string, 2)
	for i := range both {
		both[i] = s.Place(host.Region, fmt.Sprintf("%s-%s-%d", host.Region, name, i))
		tokens[i] = host.Token()
	}
	s.each(both, func(i int, r *replica) error {
		return fleet.Await(20*time.Second, func() error {
			if joined := r.Join(tokens[i]); joined.Code != 0 {
				return errors.New(joined.Err)
			}
			return nil
		})
	})
	for _, r := range both {
		r.Start()
	}
	for _, r := range both {
		r.Ready()
	}
	return both
}

// threeVote is nil if a replica sees three voters and a leader.
func threeVote(asked *replica) error {
	st, err := status(asked)
	if err == nil && (len(st.GetRaft().GetVoters()) != 3 || st.GetRaft().GetLeader() == "") {
		err = fmt.Errorf("%s: expected three voters and a leader, found %v", asked, st.GetRaft())
	}
	return err
}
