package network_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/federator/federator/test/e2e/fleet"
	"github.com/federator/federator/test/lab/network"
	"github.com/federator/federator/test/lab/network/wan"
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
	for _, r := range f.Replicas("") {
		client, err := f.net.Host(r.Region, "client")
		if err != nil {
			f.Fatal(err)
		}
		for _, region := range f.net.Regions() {
			want := fleet.Addresses(f.endpoints[region])
			f.Until(within, fmt.Sprintf("%s to answer with the endpoints %v of %s", r, want, region), func() error {
				found, err := fleet.LookupFrom(client, r.DNS, fleet.PinnedName(service, region))
				if err == nil && !slices.Equal(found, want) {
					err = fmt.Errorf("found %v", found)
				}
				return err
			})
		}
	}
}

// sees waits until every replica of a region's status says one of the words of
// another region.
func (f *federation) sees(within time.Duration, from, of string, words ...string) {
	f.Helper()
	for _, r := range f.Replicas(from) {
		f.Until(within, fmt.Sprintf("%s to say that %s is %v", r, of, words), func() error {
			s, err := r.RegionStatus(of)
			if err == nil && !slices.Contains(words, s.GetReach()) {
				err = fmt.Errorf("found %s", s)
			}
			return err
		})
	}
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
			f.answers(30 * time.Second)
			f.isFar("west", "east", "south")

			ok(t, n.Isolate("south"))
			for _, other := range []string{"west", "east"} {
				f.sees(30*time.Second, other, "south", "silent", "out")
				f.sees(30*time.Second, "south", other, "silent", "out")
			}
			f.sees(time.Second, "west", "east", "reachable")
			ok(t, n.Heal())
			for _, other := range []string{"west", "east"} {
				f.sees(60*time.Second, other, "south", "reachable")
				f.sees(60*time.Second, "south", other, "reachable")
			}
			f.answers(60 * time.Second)
		})
	}
}

// isFar checks that the agents measure the round trip that the WAN has.
func (f *federation) isFar(from string, to ...string) {
	f.Helper()
	for _, region := range to {
		f.Until(30*time.Second, fmt.Sprintf("%s to measure 100 to 110 ms to %s, and the machine's pace", from, region), func() error {
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
	f.answers(30 * time.Second)
	hosts := map[string]*network.Host{}
	for _, r := range f.Replicas("") {
		hosts[r.Region] = host(t, n, r.Region, r.Name)
	}
	ok(t, hosts["south"].CutFrom(hosts["west"], hosts["east"]))
	for _, other := range []string{"west", "east"} {
		f.sees(30*time.Second, other, "south", "control-plane-lost")
	}
	f.answers(time.Second)
	ok(t, n.Heal())
	for _, other := range []string{"west", "east"} {
		f.sees(60*time.Second, other, "south", "reachable")
	}
}
