package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/federator/federator/peering/pb"
	"github.com/federator/federator/test/e2e/fleet"
)

// drillScenarios are about drills, on one world.
func drillScenarios() []Scenario {
	return []Scenario{
		{Name: "drill", Do: drilled,
			Says: "A region is drilled. No answer anywhere may name it from the objective until the return, every region has to see every phase, and the report has to pass."},
		{Name: "drill, its coordinator lost", Do: coordinatorLost,
			Says: "All replicas of the region that coordinates a drill are killed while it is held: the others end it by their own count, and bring traffic back."},
		{Name: "drill, the drilled region cut off", Do: drilledCutOff,
			Says: "The drilled region is cut from all others while it is away: its own clients are answered from there at once, and each side ends the drill by its own count."},
		{Name: "drill stopped elsewhere", Do: stoppedElsewhere,
			Says: "A drill is stopped in another region than that which coordinates it: it ends everywhere at once."},
		{Name: "drill that meets a failure", Do: drillMeetsFailure,
			Says: "The workloads of another region fail during a drill, so that fewer regions serve than a policy demands: it is aborted everywhere, and traffic comes back to what is well."},
		{Name: "rival drills", Do: rivalDrills,
			Says: "Two drills that overlap begin at the same moment in two regions, three times: one of them runs, and never both, wherever one looks."},
		{Name: "drill, a region isolated", Do: func(s *Stage) { isolation(s, s.opt.Regions[1], s.opt.Regions[2]) },
			Says: "A region is cut off for practice by a command elsewhere: the others call it lost, and name its workloads, stale; it calls itself isolated, serves its clients, and takes writes."},
		{Name: "drill, the authority region isolated", Do: func(s *Stage) { isolation(s, s.opt.Regions[0], s.opt.Regions[0]) },
			Says: "The same with the authority region, by a command given there."},
		{Name: "drill behind a gate", Do: gated,
			Says: "A policy names a gate. Closed, it lets no drill begin; the socket cannot open it, the operator whom it names can, and closing it ends the drill."},
	}
}

// twoRegions draws a region and another one.
func (s *Stage) twoRegions() (region, other string) {
	region = pick(s, s.Regions())
	return region, pick(s, s.Others(region))
}

// exceptIn are the replicas of all regions but one.
func (s *Stage) exceptIn(region string) []*replica {
	var all []*replica
	for _, r := range s.Others(region) {
		all = append(all, s.Live(r)...)
	}
	return all
}

func drilled(s *Stage) {
	region, other := s.twoRegions()
	p := s.evacuation(pick(s, s.Live(other)), region)
	p.countedDown(s.Live(""))
	p.back(drillEnded)
	p.stayedAway(p.begun.Add(drillRamp+drillHold), s.Regions()...)
	s.Soon(5*time.Second, "every region to see every phase", p.acked)
	s.Until(60*time.Second, "every region to tell what it answered", func() error {
		var report struct {
			Verdict string
			Why     []string
			Totals  struct{ Lookups, Failed, Late int }
		}
		said := p.by.CLI("drill", "report", p.id, "-o", "json")
		if err := json.Unmarshal([]byte(said.Out), &report); err != nil {
			return fmt.Errorf("%w: %s", err, said.Err)
		}
		if report.Verdict == "unproven" || report.Verdict == "open" {
			return fmt.Errorf("the report is %s: %v", report.Verdict, report.Why)
		}
		s.story.Say("  the report: %+v", report)
		if report.Verdict != "passed" || report.Totals.Lookups == 0 {
			s.Wrong("drill report", "passed", fmt.Sprintf("%+v", report))
		}
		return nil
	})
}

func coordinatorLost(s *Stage) {
	region, coordinator := s.twoRegions()
	p := s.evacuation(pick(s, s.Live(coordinator)), region)
	p.untilHeld(2 * time.Second)
	f := Killed{s.Live(coordinator)}
	s.Break(f)
	p.countedDown(s.exceptIn(coordinator))
	p.stayedAway(p.begun.Add(drillRamp+drillHold), s.Others(coordinator)...)
	p.back(5 * time.Second)
	s.Mend(f)
	p.everywhere(10*time.Second, "to be written down as over", s.Live(""), func(d *pb.DrillInfo) bool {
		return d.GetOutcome() == "succeeded" && !strings.Contains(d.GetDetail(), "counted down")
	})
}

// local is nil if a region's clients are sent to its own workloads.
func local(s *Stage, region string) error {
	var want []string
	for _, l := range s.Workloads(region) {
		want = append(want, l.Address)
	}
	for _, r := range s.Live(region) {
		if err := s.answers(r, fleet.ServiceName(everywhere), false, want...); err != nil {
			return err
		}
	}
	return nil
}

func drilledCutOff(s *Stage) {
	region, other := s.twoRegions()
	p := s.evacuation(s.Live(other)[0], region)
	p.untilHeld(500 * time.Millisecond)
	f := Isolation(region, s.Others(region)...)
	s.Break(f)
	cut := time.Now()
	s.Until(s.Bounds.DNS.Cut+5*time.Second, "the region to serve its own clients", func() error { return local(s, region) })
	s.Within(s.Bounds.DNS.Cut, "serves its own after", time.Since(cut))
	for _, r := range s.Live(region) {
		if d, err := drillOf(r, p.id); err != nil || !runs(d) {
			s.Wrong(r.String(), "a drill that goes on", fmt.Sprintf("%v, %v", d, err))
		}
	}
	p.countedDown(s.Live(""))
	p.stayedAway(p.begun.Add(drillRamp+drillHold), s.Others(region)...)
	s.Mend(f)
	p.back(10 * time.Second)
}

func stoppedElsewhere(s *Stage) {
	region, coordinator := s.twoRegions()
	third := s.Others(region, coordinator)[0]
	p := s.evacuation(pick(s, s.Live(coordinator)), region)
	p.untilHeld(3 * time.Second)
	by := pick(s, s.Live(third))
	stopped := time.Now()
	if !p.stop(by, "--reason", "enough") {
		s.Wrong("drill "+p.id, "to be stopped while it runs", "that it was over by itself")
		return
	}
	p.everywhere(drillEnded, "to be stopped", s.Live(""), endedAs("stopped"))
	p.back(drillEnded)
	s.Note("stopped everywhere after", time.Since(stopped))
	p.stayedAway(stopped, s.Regions()...)
}

// foundWithin is how long after a fault of workloads their checks find it, at most.
const foundWithin = 1300 * time.Millisecond

func drillMeetsFailure(s *Stage) {
	region, coordinator := s.twoRegions()
	third := s.Others(region, coordinator)[0]
	from := pick(s, s.Live(coordinator))
	defer s.gone(from, []string{"policy", "delete", everywhere})
	s.ruled(from, "{safety: {minRegions: 2}}")
	p := s.careful(from, region)
	p.untilHeld(time.Second)
	var f Together
	for _, l := range s.Workloads(third) {
		f = append(f, Sick{l})
	}
	s.Break(f)
	failed := time.Now()
	p.everywhere(foundWithin+drillEnded, "to be aborted", s.Live(""), endedAs("aborted"))
	s.Within(foundWithin+drillEnded, "aborted after", time.Since(failed))
	p.back(drillEnded)
	d, err := drillOf(from, p.id)
	if err != nil || !strings.Contains(d.GetDetail(), everywhere) {
		s.Wrong("the reason", "one that names "+everywhere, fmt.Sprintf("%q, %v", d.GetDetail(), err))
	}
	s.story.Say("  aborted: %s", d.GetDetail())
	s.Problems.Expect("drill-aborted", "drill "+p.id)
	s.Problems.Named(s.Ctx, 5*time.Second, by(s.Regions(), p.id, "drill-aborted"))
	s.Mend(f)
}

// ruled gives the service that every region has a policy, and waits until all know it.
func (s *Stage) ruled(by *replica, spec string) {
	s.Helper()
	s.done("a policy of "+everywhere, func() fleet.Result {
		return s.Pipe("kind: Policy\nname: "+everywhere+"\nspec: "+spec+"\n", "policy", "apply", "-f", "-", "--socket", by.Sock)
	})
	s.Until(patience, "the policy to be known", func() error { return everyone(s, func(r *replica) error { return has(r, everywhere) }) })
}

// everyone is nil if it is for each replica.
func everyone(s *Stage, ask func(*replica) error) error {
	for _, r := range s.Live("") {
		if err := ask(r); err != nil {
			return fmt.Errorf("%s: %w", r, err)
		}
	}
	return nil
}

// decideWithin is longer than the regions may take to vote, 15 s, and to hear of it.
const decideWithin = 30 * time.Second

func rivalDrills(s *Stage) {
	for range 3 {
		a, b := s.twoRegions()
		third := s.Others(a, b)[0]
		// b drills a while a drills the third: each has its own vote, and the third decides.
		rivals := []*practice{
			s.ofOne(s.Live(b)[0], a, s.drillID(a)+"-1"),
			s.ofOne(s.Live(a)[0], third, s.drillID(third)+"-2"),
		}
		s.story.Say("begin: %s by %s and %s by %s", rivals[0].id, rivals[0].by, rivals[1].id, rivals[1].by)
		began := time.Now()
		said := make([]fleet.Result, len(rivals))
		var wg sync.WaitGroup
		for i, p := range rivals {
			wg.Go(func() { said[i] = p.contend(rivals[1-i].id) })
		}
		var ran map[string]bool
		err := fleet.Await(decideWithin, func() (err error) {
			ran, err = s.decided(rivals)
			return err
		})
		wg.Wait()
		if err != nil {
			s.Fatalf("waiting %v for both drills to be decided: %v", decideWithin, err)
		}
		s.Note("decided within", time.Since(began))
		s.one(rivals, said, ran)
	}
}

// contend begins the drill beside a rival. What refuses it and is not the rival
// passes: votes for a drill before are free when every leader has seen its end.
func (p *practice) contend(rival string) (said fleet.Result) {
	_ = fleet.Await(8*time.Second, func() error { // what is said in the end is the caller's to judge
		if said = p.begin(); said.Code != 0 && !strings.Contains(said.Err, rival) {
			return errors.New(said.Err)
		}
		return nil
	})
	return said
}

// decided returns which of the drills runs anywhere; the error says which replica
// does not know yet what becomes of them. That two run is a violation at any time.
func (s *Stage) decided(rivals []*practice) (map[string]bool, error) {
	ran := map[string]bool{}
	var open error
	known := 0
	for _, r := range s.Live("") {
		here := 0
		for _, p := range rivals {
			d, err := drillOf(r, p.id)
			switch {
			case err != nil: // not heard of; its start may have been refused
			case runs(d):
				here++
				known++
				ran[p.id] = true
			case d.GetState() == "pending":
				open = fmt.Errorf("%s: drill %s is pending", r, p.id)
			}
		}
		if here > 1 {
			s.Wrong(r.String(), "one drill", "two that run")
		}
	}
	if len(ran) > 1 {
		s.Wrong("all replicas", "one drill", "two that run")
	}
	if known < len(s.Live("")) {
		open = errors.Join(open, fmt.Errorf("a drill runs at %d of %d replicas", known, len(s.Live(""))))
	}
	return ran, open
}

// one expects that one of the drills ran, ends it, and waits until both are over and
// the votes for the one that ran are free. Whoever frees those has seen the end of the
// other one before.
func (s *Stage) one(rivals []*practice, said []fleet.Result, ran map[string]bool) {
	s.Helper()
	for i, p := range rivals {
		if ran[p.id] {
			continue
		}
		s.story.Say("  %s lost: %d %s", p.id, said[i].Code, strings.TrimSpace(said[i].Err))
		if said[i].Code == 0 {
			p.everywhere(drillEnded, "to be refused", s.Live(""), endedAs("refused"))
		}
	}
	for _, p := range rivals {
		if !ran[p.id] {
			continue
		}
		as := ended
		if p.stop(p.by) {
			as = endedAs("stopped")
		}
		p.everywhere(drillEnded, "to be over", s.Live(""), as)
		s.Until(patience, "the votes for "+p.id+" to be free", p.free)
	}
}

// free is nil if no region holds a vote for the drill any more. A region frees it when
// it writes down that the drill is over there.
func (p *practice) free() error {
	d, err := drillOf(p.by, p.id)
	if err != nil {
		return err
	}
	for _, b := range d.GetBallots() {
		if over := func(a *pb.DrillAck) bool { return a.GetPhase() == "over" }; !slices.ContainsFunc(b.GetAcks(), over) {
			return fmt.Errorf("region %s (%s) has not written down that it is over: %v", b.GetRegion(), b.GetVote(), b.GetAcks())
		}
	}
	return nil
}

// isolation cuts a region off for practice, by a command in some region.
func isolation(s *Stage, region, where string) {
	from := s.Live(where)[0]
	p := &practice{Stage: s, region: region, by: from, isolates: true, length: 10 * time.Second}
	for _, o := range s.Others(region) {
		s.Strain.BeginCut(region, o)
		s.Strain.BeginCut(o, region)
		defer s.Strain.EndCut(region, o) // also if the scenario ends early
		defer s.Strain.EndCut(o, region)
	}
	p.begins(s.Live(region))
	others := s.Others(region)
	named := s.Problems.Named(s.Ctx, s.Bounds.Named, by([]string{region}, "region "+region, "isolated"), by(others, "region "+region, "region-control-plane-lost"))
	s.Note("named within", named)
	s.Soon(2*time.Second, "writes to go on in "+region, func() error { return accepts(s.Live(region)[1]) })
	lives := s.Workloads(region)
	s.Soon(3*time.Second, "its workloads to stay in the answers of the others, stale", func() error {
		return s.answers(s.Live(others[0])[0], fleet.PinnedName(everywhere, region), true, lives[0].Address, lives[1].Address)
	})
	if err := local(s, region); err != nil {
		s.Wrong("region "+region, "its own workloads", err.Error())
	}
	p.countedDown(s.Live(region))
	p.everywhere(5*time.Second, "to be over", s.Live(""), endedAs("succeeded"))
}

// gated also looks at who opened the gate.
func gated(s *Stage) {
	region, coordinator := s.twoRegions()
	by := s.Live(coordinator)[0]
	p := s.ofOne(by, region, s.drillID(region))
	gate, operator := s.anew("till"), s.anew("ada")
	ada := filepath.Join(s.Dir, operator)
	defer s.gone(by, []string{"policy", "delete", everywhere}, []string{"drill", "gate", "delete", gate}, []string{"operator", "delete", operator})
	answer(func() fleet.Result { return by.CLI("drill", "gate", "create", gate, "--operators", operator) }).OK(s)
	answer(func() fleet.Result {
		return by.CLI("operator", "create", operator, "--role", "operator", "--out", ada)
	}).OK(s)
	s.ruled(by, "{safety: {gates: ["+gate+"]}}")
	answer(func() fleet.Result { return by.CLI(p.command()...) }).Fails(s, 1, "unsafe", "gate "+gate)
	answer(func() fleet.Result { return by.CLI("drill", "gate", "open", gate, "--for", "1h") }).Fails(s, 1)

	far := s.Live(s.Others(region, coordinator)[0])[0]
	asAda := func(args ...string) fleet.Result {
		return far.Near(append(args, "--address", far.Peer, "--identity", ada)...)
	}
	s.done("ada to be known in the third region", func() fleet.Result { return asAda("status") })
	s.done("ada to open the gate", func() fleet.Result { return asAda("drill", "gate", "open", gate, "--for", "10m") })
	s.Until(patience, "the open gate to be known", func() error { return everyone(s, func(r *replica) error { return gateOpen(r, gate) }) })
	p = s.careful(by, region)
	p.untilHeld(time.Second)
	closed := time.Now()
	s.done("ada to close the gate", func() fleet.Result { return asAda("drill", "gate", "close", gate) })
	p.everywhere(drillEnded, "to be aborted", s.Live(""), endedAs("aborted"))
	s.Within(drillEnded, "aborted after", time.Since(closed))
	p.back(drillEnded)
	s.Problems.Expect("drill-aborted", "drill "+p.id)
}

// gateOpen is nil if a replica knows that a gate is open.
func gateOpen(r *replica, gate string) error {
	return r.Call(func(ctx context.Context, agent pb.OperatorClient) error {
		known, err := agent.ListGates(ctx, &pb.ListGatesRequest{})
		for _, g := range known.GetGates() {
			if g.GetName() == gate && g.GetOpen() {
				return nil
			}
		}
		return errors.Join(err, errors.New("expected the gate "+gate+" to be open"))
	})
}
