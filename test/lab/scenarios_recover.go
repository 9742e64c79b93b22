package lab

import (
	"fmt"
	"os"
	"time"

	"github.com/federator/federator/test/e2e/fleet"
)

// recovered grows the spare region, leaves one survivor of it, and grows it again.
func recovered(s *Stage) {
	spare := s.opt.Spare
	survivor := s.spares(1)[0]
	lost := s.guests(survivor, "lost")
	s.story.Say("begin: %s are lost for good", names(lost))
	s.Until(patience, "three voters", func() error { return threeVote(survivor) })
	agreed, late := s.anew("lab/agreed"), s.anew("lab/late")
	s.done("a service in "+spare, func() fleet.Result { return s.applied(survivor, agreed, 2) })
	s.Until(patience, "the survivor to hold it, whoever leads", func() error { return knows(survivor, agreed, "") })
	before := s.epochBy(survivor, spare)
	for _, r := range lost {
		r.Kill()
		if err := os.RemoveAll(r.Dir); err != nil {
			s.Fatal(err)
		}
	}
	s.Until(patience, "the survivor to say so", func() error { return finds(survivor, "quorum-lost") })
	if found := s.addresses(survivor, fleet.ServiceName(agreed)); len(found) != 2 {
		s.Errorf("%s: expected to serve %s meanwhile, found %v", survivor, agreed, found)
	}
	survivor.Stop()
	began := time.Now()
	s.Run("region", "recover", "--data-dir", survivor.Dir).OK(s)
	survivor.Start()
	survivor.Ready()
	s.later(spare, before)
	s.Note("known again in its new epoch", time.Since(began))
	s.guests(survivor, "found")
	s.Until(patience, "three voters again", func() error { return threeVote(survivor) })
	s.Note("three voters again", time.Since(began))
	s.done("a later service in "+spare, func() fleet.Result { return s.applied(survivor, late, 1) })
	for _, r := range append(s.Live(""), survivor) {
		for _, service := range []string{agreed, late} {
			s.Until(patience, r.String()+" to know "+service, func() error { return knows(r, service, "") })
		}
	}
}

// guests has two replicas join the region of another one.
func (s *Stage) guests(host *replica, name string) []*replica {
	s.Helper()
	both, tokens := make([]*replica, 2), make([]string, 2)
	for i := range both {
		both[i] = s.Place(host.Region, fmt.Sprintf("%s-%s-%d", host.Region, name, i))
		tokens[i] = s.token(host)
	}
	s.each(both, func(i int, r *replica) error { return r.JoinBy(tokens[i]) })
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
