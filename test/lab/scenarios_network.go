package lab

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/federator/federator/peering/pb"
	"github.com/federator/federator/test/e2e/fleet"
	"github.com/federator/federator/test/lab/checker"
)

// pick takes one of several by the scenario's luck.
func pick[T any](s *Stage, from []T) T { return from[s.Luck.IntN(len(from))] }

// silence are the codes by which check names a region that does not answer.
var silence = [...]string{"region-silent", "region-control-plane-lost", "region-out"}

// networkScenarios are about the network, on one world.
func networkScenarios() []Scenario {
	return []Scenario{
		{Name: "nothing broken", Do: func(s *Stage) { s.never(8*time.Second, silence[:]...) },
			Says: "Eight seconds in which nothing is broken: what the other rows are to be compared with."},
		{Name: "5 % loss", Do: loss(0.05), Bounds: Bounds{Handshake: 20 * time.Second},
			Says: "A twentieth of all packets between all regions is lost. No region may be called silent."},
		{Name: "20 % loss", Do: loss(0.20), Bounds: Bounds{Handshake: 20 * time.Second},
			Says: "A fifth of all packets between all regions is lost. No region may be called silent."},
		{Name: "30 % loss", Do: heavyLoss, Bounds: Bounds{Handshake: 30 * time.Second},
			Says: "Three in ten packets are lost. No verdict is promised any more, but that lookups and writes go on is."},
		{Name: "slow link", Do: slowLink, Bounds: Bounds{Handshake: 20 * time.Second},
			Says: "Two regions have 40 kB a second for each other, and one of them takes a services file of 3,000 endpoints meanwhile."},
		{Name: "isolated region", Do: isolated,
			Says: "A region is cut from all others, both ways. It has to call itself isolated and to serve its own clients; the others have to leave it out."},
		// The end that hears nothing says so after two seconds. Where that is lost too, the
		// other waits two more since the last byte, and then asks the endpoints.
		{Name: "one way", Do: oneWay, Bounds: Bounds{DNS: checker.Bounds{Cut: 6500 * time.Millisecond}},
			Says: "What one region sends to another is lost; the other direction works. Neither can connect, so each has to leave the other out, also the one that still hears the other."},
		{Name: "partial partition", Do: partial,
			Says: "Two regions cannot reach each other, and the third reaches both. Each of the two has to leave the other out, though the third knows it to be well; what is written in one arrives in the other."},
		{Name: "leader cut from its followers", Do: leaderApart,
			Says: "A leader reaches everybody but its own followers. They have to elect another, and what the old one answers must not be old."},
		{Name: "flapping endpoints", Do: flapping,
			Says: "Every workload of every region goes ill and well again at random, up to five times a second, and ends well."},
	}
}

// never lets time pass, and expects check to name none of the codes meanwhile.
func (s *Stage) never(last time.Duration, codes ...string) {
	s.Helper()
	began := time.Now()
	for time.Since(began) < last {
		s.For(500 * time.Millisecond)
		for _, r := range s.Live("") {
			found, err := problems(s.Ctx, r)
			if err != nil {
				s.Wrong(r.String(), "an answer to check", err.Error())
				continue
			}
			for _, p := range found {
				for _, code := range codes {
					if p.GetCode() == code {
						s.Wrong(r.String(), "that "+code+" is not said", p.GetSubject()+": "+p.GetFound())
					}
				}
			}
		}
	}
}

func loss(share float64) func(*Stage) {
	return func(s *Stage) {
		f := Lossy(share, s.Regions()...)
		s.Break(f)
		s.never(10*time.Second, silence[:]...)
		s.Mend(f)
	}
}

func heavyLoss(s *Stage) { s.During(Lossy(0.30, s.Regions()...), 10*time.Second) }

func slowLink(s *Stage) {
	regions := s.Regions()
	s.Luck.Shuffle(len(regions), func(i, j int) { regions[i], regions[j] = regions[j], regions[i] })
	f := Slow(regions[0], regions[1], 40_000)
	s.Break(f)
	by, large := s.Live(regions[0])[0], s.anew("lab/large")
	s.done("a large service in "+regions[0], func() fleet.Result { return s.applied(by, large, 3000) })
	s.For(8 * time.Second)
	s.Mend(f)
	s.gone(by, []string{"services", "delete", large})
}

func isolated(s *Stage) {
	region := pick(s, s.Regions())
	s.During(Isolation(region, s.Others(region)...), 10*time.Second,
		by([]string{region}, "region "+region, "isolated"), by(s.Others(region), "region "+region, silence[:]...))
}

func oneWay(s *Stage) {
	from := pick(s, s.Regions())
	to := pick(s, s.Others(from))
	s.During(OneWay(from, to), 12*time.Second, by([]string{from}, "region "+to, silence[:]...), by([]string{to}, "region "+from, silence[:]...))
}

func partial(s *Stage) {
	middle := pick(s, s.Regions())
	ends := s.Others(middle)
	f := Partition(ends[0], ends[1])
	s.Break(f)
	took := s.Problems.Named(s.Ctx, s.Bounds.Named, by(ends[:1], "region "+ends[1], silence[:]...), by(ends[1:], "region "+ends[0], silence[:]...))
	s.Note("named within", took)
	began := time.Now()
	name := s.anew("lab/through-the-middle")
	writer, reader := s.Live(ends[0])[0], s.Live(ends[1])[0]
	s.done("a write in "+ends[0], func() fleet.Result { return s.ruledAs(writer, name) })
	s.Until(s.Bounds.Whole, "what "+ends[0]+" writes to arrive in "+ends[1], func() error { return has(reader, name) })
	s.Note("a write through the middle", time.Since(began))
	s.For(7*time.Second - time.Since(began))
	s.Mend(f)
	s.gone(writer, []string{"policy", "delete", name})
}

func leaderApart(s *Stage) {
	region := pick(s, s.Regions())
	leader := s.Leader(region)
	followers := s.siblings(leader)
	f := Apart{leader, followers}
	s.Break(f)
	began := time.Now()
	s.Until(patience, "the followers to elect another leader", func() error {
		st, err := status(followers[0])
		if l := st.GetRaft().GetLeader(); err == nil && (l == "" || l == leader.Name) {
			err = fmt.Errorf("%s says that %q leads", followers[0], l)
		}
		return err
	})
	s.Note("another leader", time.Since(began))
	s.Problems.Named(s.Ctx, s.Bounds.Named, but(by([]string{region}, leader.Name, "replica-dead"), leader.String()))
	s.For(8*time.Second - time.Since(began))
	s.Mend(f)
}

func flapping(s *Stage) {
	ctx, cancel := context.WithTimeout(s.Ctx, 10*time.Second)
	defer cancel()
	s.story.Say("begin: every workload flaps")
	var wg sync.WaitGroup
	for _, l := range s.Workloads("") {
		seed := s.World.Rand("flapping " + l.Address)
		wg.Go(func() {
			for f := (Sick{l}); ctx.Err() == nil; {
				for _, turn := range []func(*World) error{f.Begin, f.End} {
					_ = turn(s.World) // it cannot fail
					pause := time.NewTimer(200*time.Millisecond + time.Duration(seed.IntN(800))*time.Millisecond)
					select {
					case <-pause.C:
					case <-ctx.Done():
					}
				}
			}
		})
	}
	wg.Wait()
	s.story.Say("end: every workload is well")
}

// problems asks a replica for all that check finds.
func problems(ctx context.Context, r *replica) ([]*pb.Problem, error) {
	var found []*pb.Problem
	err := r.Call(func(_ context.Context, agent pb.OperatorClient) error {
		said, err := agent.Check(ctx, &pb.CheckRequest{})
		found = said.GetProblems()
		return err
	})
	return found, err
}
