package lab

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/federator/federator/test/e2e/fleet"
)

// patience bounds what a scenario asks or wants done, and of which nothing is said
// but that it has to be possible: a busy machine, or a region that is between two
// leaders, may take long.
const patience = 60 * time.Second

// unreachable is the exit code of a command that no agent answered.
const unreachable = 4

// unanswered reports whether a command ended without anybody's decision: nobody was
// reached, or who was could not decide for now.
func unanswered(r fleet.Result) bool {
	if r.Code < 0 || r.Code == unreachable {
		return true
	}
	return r.Code != 0 && slices.ContainsFunc([]string{
		"no answer from", "cannot be reached", "could not be reached", "cannot be made now", "did not take the command in time",
		"too many requests", "deadline exceeded", "is not the region's Raft leader", "retry with the same command id",
	}, func(words string) bool { return strings.Contains(r.Err, words) })
}

// answer runs a command again until somebody has decided, whatever that is.
func answer(run func() fleet.Result) (said fleet.Result) {
	_ = fleet.Await(patience, func() error { // what is said in the end is the caller's to judge
		if said = run(); unanswered(said) {
			return errors.New(said.Err)
		}
		return nil
	})
	return said
}

// done runs a command until it succeeds. It may have been done by a try whose answer
// was lost: commands for which that makes a difference are not for this.
func (s *Stage) done(what string, run func() fleet.Result) {
	s.Helper()
	s.Until(patience, what, func() error {
		if said := run(); said.Code != 0 {
			return errors.New(said.Err)
		}
		return nil
	})
}

// gone runs commands that delete until what they delete does not exist. That one
// still does in the end is a violation; it ends no test, so that it may be deferred.
func (s *Stage) gone(by *replica, commands ...[]string) {
	for _, args := range commands {
		err := fleet.Await(patience, func() error {
			if said := by.CLI(args...); said.Code != 0 && !strings.Contains(said.Err, "does not exist") {
				return errors.New(said.Err)
			}
			return nil
		})
		if err != nil {
			s.Wrong(by.String(), "that "+strings.Join(args, " ")+" is done", err.Error())
		}
	}
}

// addresses looks a name up until there is an answer, which may name none.
func (s *Stage) addresses(r *replica, name string) (found []string) {
	s.Helper()
	s.Until(patience, fmt.Sprintf("%s to answer %s", r, name), func() (err error) {
		found, _, err = s.lookup(r, name)
		return err
	})
	return found
}

// anew is a name that nothing had before, however often the scenario is played.
func (s *Stage) anew(name string) string {
	return fmt.Sprintf("%s-%d", name, time.Since(s.story.began).Milliseconds())
}
