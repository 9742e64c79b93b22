package lab

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/federator/federator/peering/pb"
	"github.com/federator/federator/test/e2e/fleet"
	"github.com/federator/federator/test/lab/checker"
)

// replica is a shorter name for what is spoken of most.
type replica = fleet.Replica

// crashScenarios are about replicas and regions that die, on one world.
func crashScenarios() []Scenario {
	return []Scenario{
		{Name: "follower killed", Do: followerKilled, Says: "A follower is killed, and comes back."},
		{Name: "leader killed", Do: leaderKilled,
			Says: "A leader is killed. The others have to accept writes again within two seconds."},
		{Name: "leader that stood still", Do: leaderFrozen,
			Says: "A leader stands still (SIGSTOP) until another one is elected, and wakes up believing that it leads. What it answers then must not be old."},
		{Name: "one, a majority, all restarted", Do: restarts,
			Says: "Of one region first one replica is restarted, then two are killed at once, then all three."},
		{Name: "replicas of a region lost", Do: replicasLost,
			Says: "All replicas of a region are killed, its workloads live: the others have to keep naming them, marked stale, and to withdraw the one that dies meanwhile."},
		{Name: "region lost", Do: func(s *Stage) { lost(s, pick(s, s.Others(s.opt.Regions[0]))) }, Bounds: lostBounds(),
			Says: "All of a region is gone at once, replicas and workloads. The others have to leave it out within five seconds."},
		{Name: "authority region lost", Do: func(s *Stage) { lost(s, s.opt.Regions[0]) }, Bounds: lostBounds(),
			Says: "The same with the region that owns the list of regions and the trust list: everything but those goes on."},
		{Name: "rolling restart of everything", Do: rolling,
			Says: "Every replica of every region is restarted, one after the other in each region, all regions at once, under load."},
	}
}

// dead expects the siblings of a dead replica to name it. Replicas of other
// regions may take ten seconds to miss one of several.
func (s *Stage) dead(r *replica) checker.Expectation {
	return but(by([]string{r.Region}, r.Name, "replica-dead"), r.String())
}

func followerKilled(s *Stage) {
	r := pick(s, s.Followers(pick(s, s.Regions())))
	s.During(Killed{[]*replica{r}}, 6*time.Second, s.dead(r))
}

func leaderKilled(s *Stage) {
	region := pick(s, s.Regions())
	leader := s.Leader(region)
	other := s.siblings(leader)[0]
	f := Killed{[]*replica{leader}}
	s.Break(f)
	began := time.Now()
	s.Until(patience, "a write to succeed again", func() error { return accepts(other) })
	s.Within(2*time.Second, "writes back", time.Since(began))
	s.Problems.Named(s.Ctx, s.Bounds.Named, s.dead(leader))
	s.Mend(f)
}

func leaderFrozen(s *Stage) {
	region := pick(s, s.Regions())
	leader := s.Leader(region)
	others := s.siblings(leader)
	f := Frozen{leader}
	s.Break(f)
	began := time.Now()
	s.Until(patience, "another leader", func() error {
		st, err := status(others[0])
		if l := st.GetRaft().GetLeader(); err == nil && (l == "" || l == leader.Name) {
			err = fmt.Errorf("%s says that %q leads", others[0], l)
		}
		return err
	})
	s.Note("another leader", time.Since(began))
	s.For(6*time.Second - time.Since(began))
	s.Mend(f)
}

func restarts(s *Stage) {
	all := s.Live(pick(s, s.Regions()))
	s.Luck.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	for _, f := range []Fault{Stopped{all[:1]}, Killed{all[:2]}, Killed{all}} {
		s.Break(f)
		s.Mend(f)
		s.For(time.Second)
	}
}

// replicasLost also looks at what the pinned name of the region is answered with:
// nothing but its own workloads may be, as long as they live.
func replicasLost(s *Stage) {
	region := pick(s, s.Others(s.opt.Regions[0]))
	f := Killed{s.Live(region)}
	s.Break(f)
	others := s.Others(region)
	began := time.Now()
	s.Note("named within", s.Problems.Named(s.Ctx, s.Bounds.Named, by(others, "region "+region, "region-control-plane-lost")))
	ask := s.Live(others[0])[0]
	lives := s.Workloads(region)
	stays := func(want ...string) error { return s.answers(ask, fleet.PinnedName(everywhere, region), true, want...) }
	s.Soon(5*time.Second, "the workloads to stay in the answers, marked stale", func() error { return stays(lives[0].Address, lives[1].Address) })
	sick := Sick{lives[1]}
	s.Break(sick)
	fell := time.Now()
	s.Until(patience, "the workload that died meanwhile to be withdrawn", func() error { return stays(lives[0].Address) })
	s.Note("a death found by probes", time.Since(fell))
	s.Mend(sick)
	s.For(8*time.Second - time.Since(began))
	s.Mend(f)
}

// lostBounds are those of DESIGN.md for a region that is lost as a whole.
func lostBounds() Bounds { return Bounds{DNS: checker.Bounds{Dead: 5 * time.Second}} }

func lost(s *Stage, region string) {
	s.During(RegionLost{region}, 9*time.Second, by(s.Others(region), "region "+region, silence[:]...))
}

func rolling(s *Stage) {
	var turns [][]*replica
	for _, region := range s.Regions() {
		for i, r := range s.Live(region) {
			if i == len(turns) {
				turns = append(turns, nil)
			}
			turns[i] = append(turns[i], r)
		}
	}
	for _, turn := range turns {
		f := Stopped{turn}
		s.Break(f)
		s.Mend(f)
	}
}

// policy is a policy in words; it changes nothing.
func policy(name string) string { return "kind: Policy\nname: " + name + "\nspec: {ramp: 1s}\n" }

// ruledAs has a replica apply that policy.
func (s *Stage) ruledAs(by *replica, name string) fleet.Result {
	return s.Pipe(policy(name), "policy", "apply", "-f", "-", "--socket", by.Sock)
}

// accepts is nil if a replica has a write done.
func accepts(r *replica) error {
	return r.Call(func(ctx context.Context, agent pb.OperatorClient) error {
		_, err := agent.ApplyPolicy(ctx, &pb.ApplyPolicyRequest{Name: "lab/accepts", Spec: []byte(`{"ramp":"1s"}`)})
		return err
	})
}

// has is nil if a replica knows a policy.
func has(r *replica, name string) error {
	return r.Call(func(ctx context.Context, agent pb.OperatorClient) error {
		_, err := agent.GetPolicy(ctx, &pb.GetPolicyRequest{Name: name})
		return err
	})
}

// manyEndpoints is a services file with one large service.
func manyEndpoints(service string, n int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "services:\n  - name: %s\n    ports: [{name: http, port: 80}]\n    endpoints:\n", service)
	for i := range n {
		fmt.Fprintf(&b, "      - {address: 10.200.%d.%d}\n", i/256, i%256)
	}
	return b.String()
}
