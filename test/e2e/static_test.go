package e2e

import (
	"fmt"
	"testing"
	"time"

	"github.com/federator/federator/test/e2e/fleet"
)

func TestARegionThatStartsCutOffFromAllOthersAnswersForAllOfThem(t *testing.T) {
	f := newFleet(t)
	regions := []string{"west", "east", "south"}
	endpoints := map[string][]*fleet.Endpoint{}
	for _, region := range regions {
		endpoints[region] = f.Endpoints(2)
		f.Serve(region, fleet.ServicesFile(checkout, endpoints[region]...))
	}
	f.Grow(1, regions...)
	west := f.Replicas("west")[0]
	for _, name := range []string{"west-1", "west-2"} {
		f.Join(west, "west", name)
	}
	f.Voters("west")
	answersForAll := func(within time.Duration, replicas ...*fleet.Replica) {
		t.Helper()
		for region, e := range endpoints {
			f.AnswersAll(within, replicas, checkout, region, e...)
		}
	}
	answersForAll(20*time.Second, f.Replicas("")...)
	tok := west.Token()
	for i, r := range f.Replicas("") {
		if i%2 == 0 {
			r.Stop()
		} else {
			r.Kill()
		}
	}

	all := f.Replicas("west")
	for _, r := range all {
		r.Start()
	}
	for _, r := range all {
		r.Ready()
	}
	answersForAll(5*time.Second, all...)
	for _, region := range []string{"east", "south"} {
		f.Until(10*time.Second, region+" to be marked stale", func() error {
			s, err := all[0].RegionStatus(region)
			if err == nil && (s.GetFreshness() == "fresh" || s.GetReach() == "reachable") {
				err = fmt.Errorf("%s is %s and %s", region, s.GetReach(), s.GetFreshness())
			}
			return err
		})
	}
	answersForAll(time.Second, all...)

	added := f.Place("west", "west-3") // it has never seen the others
	added.Join(tok).OK(t)
	added.Start()
	added.Ready()
	answersForAll(10*time.Second, added)

	for _, r := range f.Replicas("west") {
		r.Kill()
	}
	all[1].Start() // no quorum
	all[1].Ready()
	answersForAll(5*time.Second, all[1])
	// The agent gives up long before the command does, and then says why.
	f.Pipe("kind: Policy\nname: default\nspec: {regionOrder: [west]}\n", "policy", "apply", "-f", "-", "--socket", all[1].Sock).Fails(t, 1, "majority of its voters")
	problems, err := all[1].Problems()
	if err != nil || problems["quorum-lost"] == nil {
		t.Errorf("expected check to find quorum-lost, found %v, %v", problems, err)
	}
}
