package network_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/federator/federator/test/e2e/fleet"
	"github.com/federator/federator/test/lab/checker"
	"github.com/federator/federator/test/lab/network"
	"github.com/federator/federator/test/lab/network/wan"
	"github.com/federator/federator/test/still"
)

const service = "shop/checkout"

// federation is regions of real agents in a network, with endpoints on a host of
// their own and one that stands for the region's clients.
type federation struct {
	*fleet.Fleet
	net       *network.Network
	endpoints map[string][]*fleet.Endpoint
}

// federate makes a federation whose regions have so many replicas and two
// endpoints each.
func federate(t *testing.T, n *network.Network, binary string, replicas int) *federation {
	t.Helper()
	f := &federation{Fleet: fleet.New(t, binary), net: n, endpoints: map[string][]*fleet.Endpoint{}}
	f.Machines = func(region, name string) (fleet.Machine, error) { return n.Host(region, name) }
	for _, region := range n.Regions() {
		for i := range 2 {
			h := host(t, n, region, fmt.Sprintf("workload-%d", i))
			f.endpoints[region] = append(f.endpoints[region], f.EndpointAt(h.Address(), h.Listen))
		}
		f.Serve(region, fleet.ServicesFile(service, f.endpoints[region]...))
	}
	f.Grow(replicas, n.Regions()...)
	return f
}

// answers waits until a client of every region gets the endpoints of every region
// from each replica of its own.
func (f *federation) answers(within time.Duration) {
	f.Helper()
	ok(f, f.answered(within))
}

func (f *federation) answered(within time.Duration) error {
	for _, r := range f.Replicas("") {
		client, err := f.net.Host(r.Region, "client")
		if err != nil {
			return err
		}
		for _, region := range f.net.Regions() {
			want := fleet.Addresses(f.endpoints[region])
			err := fleet.Await(within, func() error {
				found, err := fleet.LookupFrom(client, r.DNS, fleet.PinnedName(service, region))
				if err == nil && !slices.Equal(found, want) {
					err = fmt.Errorf("found %v", found)
				}
				return err
			})
			if err != nil {
				return fmt.Errorf("waiting %v for %s to answer with the endpoints %v of %s: %w", within, r, want, region, err)
			}
		}
	}
	return nil
}

// sees waits until every replica of a region's status says one of the words of
// another region.
func (f *federation) sees(within time.Duration, from, of string, words ...string) {
	f.Helper()
	ok(f, f.seen(within, from, of, words...))
}

func (f *federation) seen(within time.Duration, from, of string, words ...string) error {
	for _, r := range f.Replicas(from) {
		err := fleet.Await(within, func() error {
			s, err := r.RegionStatus(of)
			if err == nil && !slices.Contains(words, s.GetReach()) {
				err = fmt.Errorf("found %s", s)
			}
			return err
		})
		if err != nil {
			return fmt.Errorf("waiting %v for %s to say that %s is %v: %w", within, r, of, words, err)
		}
	}
	return nil
}

// maxLooks is how often it is looked at most at what has to be so already.
const maxLooks = 5

// already fails the test unless something is so within a second. If it is not, and
// the WAN was late or an agent stood still meanwhile, it is looked again.
func (f *federation) already(look func(within time.Duration) error) {
	f.Helper()
	agents := checker.NewGrowth(checker.GrowthOptions{Targets: f.targets(), Every: 10 * time.Second}) // which is how long it waits for them
	agents.Pauses(f.Context())
	for n := 1; ; n++ {
		f.net.Late()
		err := look(time.Second)
		if err == nil {
			return
		}
		late, pauses := f.net.Late(), agents.Pauses(f.Context())
		if n == maxLooks || late < still.Least && pauses == 0 {
			f.Fatal(err)
		}
		f.Logf("the WAN was late by %v and agents stood still %d times, so it is looked again: %v", late, pauses, err)
	}
}

// targets are the replicas as checkers know them.
func (f *federation) targets() []checker.Target {
	var all []checker.Target
	for _, r := range f.Replicas("") {
		h, err := f.net.Host(r.Region, r.Name)
		ok(f, err)
		all = append(all, checker.Target{Region: r.Region, Name: r.Name, HTTP: r.HTTP, Dial: h.DialContext})
	}
	return all
}

func TestRealAgentsFederateOverTheWANAndACutRegionGoesSilentAndComesBack(t *testing.T) {
	if !network.Wanted() {
		t.Skipf("takes long; set %s=1", network.Variable)
	}
	binary, err := fleet.Binary("../../..", t.TempDir())
	ok(t, err)
	for _, replicas := range []int{1, 3} {
		t.Run(fmt.Sprintf("%d replicas", replicas), func(t *testing.T) {
			n := network.NeedLong(t, 1, "west", "east", "south")
			ok(t, n.Base(wan.Link{Delay: 50 * time.Millisecond, Jitter: 5 * time.Millisecond}))
			f := federate(t, n, binary, replicas)
			f.answers(90 * time.Second)
			f.isFar("west", "east", "south")

			ok(t, n.Isolate("south"))
			for _, other := range []string{"west", "east"} {
				f.sees(90*time.Second, other, "south", "silent", "out")
				f.sees(90*time.Second, "south", other, "silent", "out")
			}
			f.already(func(within time.Duration) error { return f.seen(within, "west", "east", "reachable") })
			ok(t, n.Heal())
			for _, other := range []string{"west", "east"} {
				f.sees(90*time.Second, other, "south", "reachable")
				f.sees(90*time.Second, "south", other, "reachable")
			}
			f.answers(90 * time.Second)
		})
	}
}

// isFar checks that the agents measure the round trip that the WAN has.
func (f *federation) isFar(from string, to ...string) {
	f.Helper()
	for _, region := range to {
		f.Until(90*time.Second, fmt.Sprintf("%s to measure 100 to 110 ms to %s, and the machine's pace", from, region), func() error {
			s, err := f.Replicas(from)[0].RegionStatus(region)
			if err != nil || from == region {
				return err
			}
			if rtt := s.GetRtt().AsDuration(); rtt < 100*time.Millisecond || rtt > 200*time.Millisecond {
				return fmt.Errorf("found %v", rtt)
			}
			return nil
		})
	}
}

func TestARegionWhoseReplicasAloneAreCutKeepsItsEndpointsInTheAnswers(t *testing.T) {
	n := network.NeedLong(t, 1, "west", "east", "south")
	binary, err := fleet.Binary("../../..", t.TempDir())
	ok(t, err)
	ok(t, n.Base(wan.RTT(100*time.Millisecond)))
	f := federate(t, n, binary, 1)
	f.answers(90 * time.Second)
	hosts := map[string]*network.Host{}
	for _, r := range f.Replicas("") {
		hosts[r.Region] = host(t, n, r.Region, r.Name)
	}
	ok(t, hosts["south"].CutFrom(hosts["west"], hosts["east"]))
	for _, other := range []string{"west", "east"} {
		f.sees(90*time.Second, other, "south", "control-plane-lost")
	}
	f.already(f.answered)
	ok(t, n.Heal())
	for _, other := range []string{"west", "east"} {
		f.sees(90*time.Second, other, "south", "reachable")
	}
}
