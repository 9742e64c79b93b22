package lab

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/federator/federator/peering/pb"
	"github.com/federator/federator/test/e2e/fleet"
	"github.com/federator/federator/test/lab/checker"
)

// The shape of the lab's drills, and how soon things that a drill demands have to
// be seen in every region: by a vote or a word that crosses the WAN, and by what a
// leader looks at twice a second.
const (
	drillRamp      = 2 * time.Second
	drillHold      = 8 * time.Second
	drillReturn    = 2 * time.Second
	drillObjective = 2 * time.Second
	drillLength    = drillRamp + drillHold + drillReturn
	drillAgreed    = 5 * time.Second
	drillEnded     = 2 * time.Second
)

// practice is a drill that runs.
type practice struct {
	*Stage
	id string
	// region is taken away, or cut off; by is whom the command was given to.
	region string
	by     *replica
	of     []string // more arguments
	begun  time.Time
	length time.Duration
}

// evacuation begins a drill that moves all traffic away from a region, and waits
// until every replica sees it run. The services that the checkers write are
// nowhere else, so it does not touch them.
func (s *Stage) evacuation(by *replica, region string) *practice {
	s.Helper()
	return s.begins(&practice{Stage: s, id: s.drillID(region), region: region, by: by})
}

// careful is evacuation of one service, which keeps the protection of its rules.
func (s *Stage) careful(by *replica, region string) *practice {
	s.Helper()
	return s.begins(s.ofOne(by, region, s.drillID(region)))
}

// ofOne is a drill of one service that has not begun.
func (s *Stage) ofOne(by *replica, region, id string) *practice {
	return &practice{Stage: s, id: id, region: region, by: by, of: []string{"--service", everywhere}}
}

func (s *Stage) begins(p *practice) *practice {
	s.Helper()
	by := p.by
	p.length = drillLength
	by.CLI(p.command()...).OK(s)
	s.story.Say("begin: drill %s, by %s", p.id, by)
	p.everywhere(drillAgreed, "to run", s.Live(""), runs)
	d, err := drillOf(by, p.id)
	if err != nil {
		s.Fatal(err)
	}
	p.begun = d.GetBegun().AsTime()
	s.story.Say("  it runs %v after it was created", p.begun.Sub(d.GetCreated().AsTime()).Round(time.Millisecond))
	return p
}

// drillID is a name that no drill has had, however often the scenario is played.
func (s *Stage) drillID(region string) string {
	return fmt.Sprintf("lab-%s-%d", region, time.Since(s.story.began).Milliseconds())
}

// command is how the drill is begun.
func (p *practice) command() []string {
	return append([]string{
		"drill", "start", "--evacuate", p.region, "--id", p.id, "--reason", "the lab",
		"--ramp", drillRamp.String(), "--hold", drillHold.String(), "--return", drillReturn.String(), "--objective", drillObjective.String(),
	}, p.of...)
}

// drillOf asks a replica how a drill stands.
func drillOf(r *replica, id string) (d *pb.DrillInfo, err error) {
	err = r.Call(func(ctx context.Context, agent pb.OperatorClient) error {
		d, err = agent.GetDrill(ctx, &pb.GetDrillRequest{Id: id})
		return err
	})
	return d, err
}

// runs and ended are what a replica may be expected to say of a drill.
func runs(d *pb.DrillInfo) bool  { return d.GetState() == "running" }
func ended(d *pb.DrillInfo) bool { return d.GetState() == "ended" }

func endedAs(outcome string) func(*pb.DrillInfo) bool {
	return func(d *pb.DrillInfo) bool { return ended(d) && d.GetOutcome() == outcome }
}

// everywhere waits until the drill is as expected at all of the replicas; longer
// than within is a violation, and much longer the end of the scenario.
func (p *practice) everywhere(within time.Duration, what string, replicas []*replica, as func(*pb.DrillInfo) bool) time.Duration {
	p.Helper()
	return p.Soon(within, "drill "+p.id+" "+what+" everywhere", func() error {
		for _, r := range replicas {
			d, err := drillOf(r, p.id)
			if err != nil {
				return fmt.Errorf("%s: %w", r, err)
			}
			if !as(d) {
				return fmt.Errorf("%s: it is %s, %s (%s: %s)", r, d.GetState(), d.GetPhase(), d.GetOutcome(), d.GetDetail())
			}
		}
		return nil
	})
}

// untilHeld lasts until the drill has been held for a while.
func (p *practice) untilHeld(d time.Duration) { p.For(time.Until(p.begun.Add(drillRamp + d))) }

// countedDown waits until the drill has ended at all of the replicas by its own
// time, and notes how late the last of them was.
func (p *practice) countedDown(replicas []*replica) {
	p.Helper()
	end := p.begun.Add(p.length)
	p.For(time.Until(end))
	p.everywhere(drillEnded, "to end by itself", replicas, endedAs("succeeded"))
	p.Within(drillEnded, "over, after its time", time.Since(end))
}

// stayedAway expects that no replica of the regions named what is drilled, from the
// objective until a moment.
func (p *practice) stayedAway(until time.Time, regions ...string) {
	from := p.begun.Add(drillRamp + drillObjective)
	counts := func(a checker.Answer) bool { // an answer is as old as its question, or younger
		return a.Asked.After(from) && a.Asked.Add(a.Took).Before(until) && slices.Contains(regions, a.Region)
	}
	asked := 0
	for _, a := range p.Lookups.Answers() {
		if counts(a) {
			asked++
		}
	}
	inScope := func(e checker.Endpoint) bool {
		return e.Region == p.region && (!slices.Contains(p.of, "--service") || e.Name == fleet.ServiceName(everywhere))
	}
	for _, a := range p.Lookups.NamingAfter(inScope, from) {
		if counts(a) {
			p.Wrong(a.Replica+" "+a.Name, fmt.Sprintf("no answer that names %s %v after the drill began", p.region, a.Asked.Sub(p.begun)), strings.Join(a.Addresses, " "))
		}
	}
	p.story.Say("  %d lookups while %s had to be away", asked, p.region)
	if asked == 0 {
		p.Wrong("drill "+p.id, "lookups while it was held", "none")
	}
}

// back waits until the clients of the region are sent to its own workloads again;
// everybody else may be, which the drill's scope has nothing to do with.
func (p *practice) back(within time.Duration) {
	p.Helper()
	p.Note("traffic back within", p.Soon(within, "traffic to be back in "+p.region, func() error { return local(p.Stage, p.region) }))
}

// acked is nil if every region has seen every phase.
func (p *practice) acked() error {
	d, err := drillOf(p.by, p.id)
	if err != nil {
		return err
	}
	if n := len(d.GetBallots()); n != len(p.Regions()) {
		return fmt.Errorf("expected a ballot of each region, found %d", n)
	}
	for _, b := range d.GetBallots() {
		var phases []string
		for _, a := range b.GetAcks() {
			phases = append(phases, a.GetPhase())
		}
		if want := []string{"ramp", "hold", "return", "over"}; b.GetVote() != "granted" || !slices.Equal(phases, want) {
			return fmt.Errorf("region %s (%s): expected the phases %v, found %v", b.GetRegion(), b.GetVote(), want, phases)
		}
	}
	return nil
}
