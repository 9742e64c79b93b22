package e2e

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/federator/federator/test/e2e/fleet"
)

func TestABadEditOfTheServicesFileKeepsTheLastGoodStateAndIsNamed(t *testing.T) {
	f := quickFleet(t)
	endpoints := f.Endpoints(3)
	good := fleet.ServicesFile(checkout, endpoints[:2]...)
	f.Serve("west", good)
	west := f.Init("west")
	east := f.Join(west, "east", "east-0")
	both := []*fleet.Replica{west, east}
	f.AnswersAll(10*time.Second, both, checkout, "west", endpoints[:2]...)

	f.Serve("west", strings.Replace(good, "endpoints:", "endpionts:", 1))
	for _, r := range both {
		f.Until(10*time.Second, r.String()+" to say what is wrong", func() error { return sourceError(r, "endpionts") })
		f.Until(5*time.Second, "check to find it", func() error {
			problems, err := r.Problems()
			if p := problems["source"]; err == nil && (p == nil || !strings.Contains(p.GetFound(), "endpionts") || p.GetAction() == "") {
				err = fmt.Errorf("found %v", problems)
			}
			return err
		})
	}
	f.AnswersAll(time.Second, both, checkout, "west", endpoints[:2]...)

	west.Stop() // neither does a restart lose it
	west.Start()
	west.Ready()
	f.AnswersAll(10*time.Second, both, checkout, "west", endpoints[:2]...)

	f.Serve("west", fleet.ServicesFile(checkout, endpoints...))
	f.AnswersAll(10*time.Second, both, checkout, "west", endpoints...)
	for _, r := range both {
		f.Until(10*time.Second, r.String()+" to be content again", func() error {
			if sourceError(r, "") == nil {
				return errors.New("status still shows an error")
			}
			return nil
		})
	}
}

// sourceError is nil if status shows an error of cluster west-1 with that word.
func sourceError(r *fleet.Replica, word string) error {
	s, err := r.Status()
	if err != nil {
		return err
	}
	for _, c := range s.GetClusters() {
		if e := c.GetSourceError(); c.GetName() == "west-1" && e != "" && strings.Contains(e, word) {
			return nil
		}
	}
	return fmt.Errorf("expected an error with %q, found %v", word, s.GetClusters())
}
