package e2e

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/federator/federator/peering/pb"
	"github.com/federator/federator/test/e2e/fleet"
)

// three founds three regions of one replica, each with so many endpoints of
// shop/checkout, and waits until all answer for all.
func three(f *fleet.Fleet, n int) (west, east, south *fleet.Replica, endpoints map[string][]*fleet.Endpoint) {
	f.Helper()
	regions := []string{"west", "east", "south"}
	endpoints = map[string][]*fleet.Endpoint{}
	for _, region := range regions {
		endpoints[region] = f.Endpoints(n)
		f.Serve(region, fleet.ServicesFile(checkout, endpoints[region]...))
	}
	f.Grow(1, regions...)
	for region, e := range endpoints {
		f.AnswersAll(20*time.Second, f.Replicas(""), checkout, region, e...)
	}
	return f.Replicas("west")[0], f.Replicas("east")[0], f.Replicas("south")[0], endpoints
}

// policyIs checks the JSON of a policy as a replica has it.
func policyIs(r *fleet.Replica, name, spec string) error {
	return r.Call(func(ctx context.Context, c pb.OperatorClient) error {
		found, err := c.GetPolicy(ctx, &pb.GetPolicyRequest{Name: name})
		if err == nil && string(found.GetSpec()) != spec {
			err = fmt.Errorf("%s: expected the policy %s, found %s", r, spec, found.GetSpec())
		}
		return err
	})
}

func TestTheLastWriterOfAPolicyWinsInEveryRegionAndADeleteReachesAll(t *testing.T) {
	f := newFleet(t)
	west, east, south, _ := three(f, 1)
	all := f.Replicas("")
	agree := func(spec string) {
		t.Helper()
		for _, r := range all {
			f.Until(10*time.Second, r.String()+" to have "+spec, func() error { return policyIs(r, "default", spec) })
		}
	}
	apply(f, west, "default", "east", "south").OK(t)
	agree(`{"regionOrder":["east","south"]}`)
	apply(f, south, "default", "south", "east").OK(t)
	agree(`{"regionOrder":["south","east"]}`)

	// Two at once: whichever wins, all agree on it.
	done := make(chan fleet.Result, 2)
	go func() { done <- apply(f, west, "default", "west") }()
	go func() { done <- apply(f, east, "default", "east") }()
	for range 2 {
		(<-done).OK(t)
	}
	f.Until(10*time.Second, "all regions to agree", func() error {
		var errs []error
		for _, winner := range []string{"west", "east"} {
			spec := fmt.Sprintf(`{"regionOrder":[%q]}`, winner)
			err := errors.Join(policyIs(west, "default", spec), policyIs(east, "default", spec), policyIs(south, "default", spec))
			if err == nil {
				return nil
			}
			errs = append(errs, err)
		}
		return errors.Join(errs...)
	})

	south.CLI("policy", "delete", "default").OK(t)
	for _, r := range all {
		f.Until(10*time.Second, r.String()+" to forget the policy", func() error { return policiesAre(r) })
	}
	south.CLI("policy", "get", "default").Fails(t, 1, "default")
	apply(f, east, "default", "west").OK(t) // a deleted one can be written again
	agree(`{"regionOrder":["west"]}`)
}

func TestAnEvacuatedRegionLeavesAllAnswersUntilItIsStoppedElsewhereOrEnds(t *testing.T) {
	f := newFleet(t)
	west, east, south, endpoints := three(f, 1)
	name := fleet.ServiceName(checkout)
	own := func(region string) []string { return fleet.Addresses(endpoints[region]) }
	f.Until(5*time.Second, "west to prefer its own", func() error { return west.Answers(name, own("west")...) })

	east.CLI("evacuate", "west", "--for", "10m", "--reason", "power work").OK(t)
	for _, r := range []*fleet.Replica{west, east, south} {
		f.Until(5*time.Second, r.String()+" to avoid west", func() error { return avoids(r, name, own("west")) })
	}
	var list pb.ListEvacuationsResponse
	if err := south.Ask(&list, "evacuate"); err != nil || len(list.GetEvacuations()) != 1 || list.GetEvacuations()[0].GetReason() != "power work" {
		t.Errorf("expected the evacuation to be listed, found %v, %v", &list, err)
	}

	south.CLI("evacuate", "west", "--stop").OK(t)
	f.Until(15*time.Second, "west to be back", func() error { return west.Answers(name, own("west")...) })

	began := time.Now() // before the answer, which a slow disk may delay
	west.CLI("evacuate", "west", "--for", "3s").OK(t)
	f.Until(5*time.Second, "west to avoid itself", func() error { return avoids(west, name, own("west")) })
	f.Until(20*time.Second, "the evacuation to end by itself", func() error { return west.Answers(name, own("west")...) })
	if took := time.Since(began); took < 2500*time.Millisecond {
		t.Errorf("the evacuation ended after %v, expected 3s", took)
	}
	west.CLI("evacuate", "mars", "--for", "1m").Fails(t, 1, "mars")
	west.CLI("evacuate", "west", "--for", "25h").Fails(t, 2, "24h")
	west.CLI("evacuate", "west").Fails(t, 2, "--for")
}

// avoids checks that a replica answers, but with none of the addresses.
func avoids(r *fleet.Replica, name string, addresses []string) error {
	found, err := r.Lookup(name)
	if err != nil {
		return err
	}
	if len(found) == 0 {
		return errors.New("no address at all")
	}
	for _, a := range found {
		if slices.Contains(addresses, a) {
			return fmt.Errorf("%s: expected none of %v, found %v", r, addresses, found)
		}
	}
	return nil
}
