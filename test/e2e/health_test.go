package e2e

import (
	"errors"
	"testing"
	"time"

	"github.com/federator/federator/test/e2e/fleet"
)

const checkout = "shop/checkout"

func TestAFailedEndpointLeavesTheAnswersOfEveryRegionAndComesBack(t *testing.T) {
	f := newFleet(t)
	west := f.Endpoints(3)
	f.Serve("west", fleet.ServicesFile(checkout, west...))
	f.Grow(1, "west", "east", "south")
	all := f.Replicas("")
	f.AnswersAll(20*time.Second, all, checkout, "west", west...)

	west[1].Fail()
	f.AnswersAll(5*time.Second, all, checkout, "west", west[0], west[2])
	west[1].Recover()
	f.AnswersAll(5*time.Second, all, checkout, "west", west...)
}

func TestHealthSpreadsWhenItsOwnerDiesAndWhenTheRegionHasNoLeader(t *testing.T) {
	f := newFleet(t)
	west := f.Endpoints(3)
	f.Serve("west", fleet.ServicesFile(checkout, west...))
	f.Grow(3, "west")
	east := f.Join(f.Replicas("west")[0], "east", "east-0")
	f.Voters("west")
	f.AnswersAll(20*time.Second, append(f.Replicas("west"), east), checkout, "west", west...)

	owner := healthOwner(f)
	owner.Kill()
	west[0].Fail()
	rest := without(f.Replicas("west"), owner)
	f.AnswersAll(15*time.Second, append(rest, east), checkout, "west", west[1:]...)
	west[0].Recover()
	f.AnswersAll(5*time.Second, append(rest, east), checkout, "west", west...)

	rest[0].Kill() // one of three is left: no leader
	west[1].Fail()
	left := []*fleet.Replica{rest[1], east}
	f.AnswersAll(15*time.Second, left, checkout, "west", west[0], west[2])
	west[1].Recover()
	f.AnswersAll(5*time.Second, left, checkout, "west", west...)
	west[2].Fail()
	f.AnswersAll(5*time.Second, left, checkout, "west", west[:2]...)

	owner.Start() // the quorum is back, and so is what happened meanwhile
	owner.Ready()
	f.AnswersAll(15*time.Second, append(left, owner), checkout, "west", west[:2]...)
	west[2].Recover()
	f.AnswersAll(10*time.Second, append(left, owner), checkout, "west", west...)
}

// healthOwner waits until a replica speaks for the health of west's cluster.
func healthOwner(f *fleet.Fleet) *fleet.Replica {
	f.Helper()
	all := f.Replicas("west")
	var owner *fleet.Replica
	f.Until(10*time.Second, "a health owner", func() error {
		s, err := all[0].Status()
		if err != nil {
			return err
		}
		for _, c := range s.GetClusters() {
			for _, r := range all {
				if c.GetName() == r.Cluster && c.GetHealthOwner() == r.Name {
					owner = r
					return nil
				}
			}
		}
		return errors.New("status names none")
	})
	return owner
}

func TestAnOwnerThatRestartsIsHeardAtOnce(t *testing.T) {
	f := newFleet(t)
	west := f.Endpoints(2)
	f.Serve("west", fleet.ServicesFile(checkout, west...))
	one := f.Init("west")
	east := f.Join(one, "east", "east-0")
	both := []*fleet.Replica{one, east}
	f.AnswersAll(10*time.Second, both, checkout, "west", west...)
	for range 3 { // flips, so that versions rise
		west[0].Fail()
		f.AnswersAll(5*time.Second, both, checkout, "west", west[1])
		west[0].Recover()
		f.AnswersAll(5*time.Second, both, checkout, "west", west...)
	}
	for _, end := range []func(){one.Kill, one.Stop} {
		end()
		one.Start()
		one.Ready()
		west[1].Fail()
		f.AnswersAll(5*time.Second, both, checkout, "west", west[0])
		west[1].Recover()
		f.AnswersAll(5*time.Second, both, checkout, "west", west...)
	}
}
