package e2e

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/federator/federator/test/e2e/fleet"
)

// leftWithin is longer than a replica that leaves may go on serving its region's
// Raft, which is 30 s.
const leftWithin = 40 * time.Second

func TestAReplicaThatLeavesIsGoneForGoodAndItsRegionGoesOn(t *testing.T) {
	f := newFleet(t)
	endpoints := f.Endpoints(1)
	f.Serve("west", fleet.ServicesFile(checkout, endpoints...))
	f.Grow(3, "west")
	all := f.Replicas("west")
	leader := f.Voters("west")
	rest := without(all, leader)
	stop := f.Watch(fleet.ServiceName(checkout), rest...)
	leader.CLI("leave").OK(t)
	if code, said, err := leader.Ended(leftWithin); err != nil || code != 0 && !strings.Contains(said, "left") {
		t.Errorf("expected the agent to end and say that it left, found %d, %q, %v", code, said, err)
	}
	for _, r := range rest {
		f.Until(10*time.Second, r.String()+" to forget the one that left", func() error { return membersAre(r, rest[0].String(), rest[1].String()) })
	}
	f.Until(10*time.Second, "a write to succeed", func() error {
		if r := apply(f, rest[0], "default", "west"); r.Code != 0 {
			return errors.New(r.Err)
		}
		return nil
	})
	t.Logf("%d lookups meanwhile", stop())

	leader.Start()
	if code, said, err := leader.Ended(10 * time.Second); err != nil || code != 1 || !strings.Contains(said, "has left") || !strings.Contains(said, "new token") {
		t.Errorf("expected to be told to join anew, found %d, %q, %v", code, said, err)
	}
	again := f.Join(rest[0], "west", leader.Name) // the name is free again
	f.AnswersAll(10*time.Second, []*fleet.Replica{again}, checkout, "west", endpoints...)

	again.Kill() // a dead one is taken out by another, as soon as the third does not seem dead, too
	f.Until(20*time.Second, "the dead one to be taken out", func() error {
		r := rest[0].CLI("leave", again.Name)
		if gone := strings.Contains(r.Err, "does not exist"); r.Code != 0 && !gone { // of a try whose answer was lost
			return errors.New(r.Err)
		}
		return nil
	})
	f.Until(10*time.Second, "the dead one to be forgotten", func() error { return membersAre(rest[1], rest[0].String(), rest[1].String()) })
	rest[0].CLI("leave", "nobody").Fails(t, 1, "nobody")
}

func TestARemovedRegionThatComesBackIsToldToRejoinAndServesItsOwn(t *testing.T) {
	f := newFleet(t)
	west, east, south, endpoints := three(f, 1)
	rest := []*fleet.Replica{west, east}
	before, err := west.RegionStatus("south")
	if err != nil {
		t.Fatal(err)
	}
	east.CLI("region", "remove", "south").Fails(t, 1, "still answer", "--force")
	south.Stop()
	f.Until(20*time.Second, "south to be removed", func() error {
		if r := east.CLI("region", "remove", "south"); r.Code != 0 {
			return errors.New(r.Err)
		}
		return nil
	})
	for _, r := range rest {
		f.Until(10*time.Second, r.String()+" to forget south", func() error {
			if err := membersAre(r, "east/east-0", "west/west-0"); err != nil {
				return err
			}
			return avoids(r, fleet.ServiceName(checkout), fleet.Addresses(endpoints["south"]))
		})
	}

	south.Start()
	f.Until(15*time.Second, "south to be told that it is removed", func() error {
		problems, err := south.Problems()
		if p := problems["region-removed"]; err == nil && (p == nil || p.GetAction() == "") {
			err = fmt.Errorf("found %v", problems)
		}
		return err
	})
	f.AnswersAll(10*time.Second, []*fleet.Replica{south}, checkout, "south", endpoints["south"]...)
	for _, r := range rest {
		if err := avoids(r, fleet.ServiceName(checkout), fleet.Addresses(endpoints["south"])); err != nil {
			t.Error(err)
		}
	}

	south.Stop()
	fresh := f.Join(east, "south", "south-0") // anew, with an empty directory
	f.AnswersAll(15*time.Second, []*fleet.Replica{west, east, fresh}, checkout, "south", endpoints["south"]...)
	for _, r := range []*fleet.Replica{west, east} {
		f.Until(10*time.Second, r.String()+" to see a new epoch", func() error { return newer(r, "south", before.GetEpoch()) })
	}
}

func TestARegionRecoversFromOneReplicaOfThree(t *testing.T) {
	f := newFleet(t)
	endpoints := map[string][]*fleet.Endpoint{"west": f.Endpoints(1), "east": f.Endpoints(2)}
	for region, e := range endpoints {
		f.Serve(region, fleet.ServicesFile(checkout, e...))
	}
	west := f.Init("west")
	east := f.Join(west, "east", "east-0")
	for _, name := range []string{"east-1", "east-2"} {
		f.Join(east, "east", name)
	}
	f.Voters("east")
	f.AnswersAll(10*time.Second, f.Replicas(""), checkout, "east", endpoints["east"]...)
	apply(f, east, "shop/mine", "east").OK(t)
	f.Until(5*time.Second, "west to have the policy", func() error { return policiesAre(west, "shop/mine") })
	before, err := west.RegionStatus("east")
	if err != nil {
		t.Fatal(err)
	}
	f.Run("region", "recover", "--data-dir", east.Dir).Fails(t, 1, "in use by another federator process")
	for _, r := range f.Replicas("east") {
		r.Kill()
	}
	f.Run("region", "recover", "--data-dir", east.Dir).OK(t)
	east.Start()
	east.Ready()
	f.Until(20*time.Second, "west to follow the new epoch", func() error { return newer(west, "east", before.GetEpoch()) })
	f.AnswersAll(10*time.Second, []*fleet.Replica{west, east}, checkout, "east", endpoints["east"]...)
	f.AnswersAll(10*time.Second, []*fleet.Replica{east}, checkout, "west", endpoints["west"]...)
	for _, r := range []*fleet.Replica{west, east} {
		f.Until(10*time.Second, r.String()+" to have the policy", func() error { return policiesAre(r, "shop/mine") })
	}
	f.Serve("east", fleet.ServicesFile(checkout, endpoints["east"][:1]...)) // and changes go on
	f.AnswersAll(10*time.Second, []*fleet.Replica{west, east}, checkout, "east", endpoints["east"][0])
	f.Join(east, "east", "east-3")
	endpoints["east"][0].Fail()
	f.Until(10*time.Second, "west to be without its failed endpoint", func() error {
		return west.Answers(fleet.ServiceName(checkout), fleet.Addresses(endpoints["west"])...)
	})
}

// newer checks that a replica holds a region in a later epoch than given.
func newer(r *fleet.Replica, region string, epoch uint64) error {
	s, err := r.RegionStatus(region)
	if err == nil && (s.GetEpoch() <= epoch || s.GetFreshness() == "stale" || s.GetFreshness() == "lost") {
		err = fmt.Errorf("%s: expected %s in an epoch above %d, found %v", r, region, epoch, s)
	}
	return err
}
