package lab

import (
	"context"
	"errors"
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
	// isolates: the region is cut off for length, else it is evacuated.
	isolates bool
	of       []string // more arguments
	begun    time.Time
	length   time.Duration
}

// evacuation begins a drill that moves all traffic away from a region, and waits
// until every replica sees it run. The services that the checkers write are
// nowhere else, so it does not touch them.
func (s *Stage) evacuation(by *replica, region string) *practice {
	s.Helper()
	return (&practice{Stage: s, region: region, by: by, length: drillLength}).begins(s.Live(""))
}

// careful is evacuation of one service, which keeps the protection of its rules.
func (s *Stage) careful(by *replica, region string) *practice {
	s.Helper()
	return s.ofOne(by, region, "").begins(s.Live(""))
}

// ofOne is a drill of one service that has not begun.
func (s *Stage) ofOne(by *replica, region, id string) *practice {
	return &practice{Stage: s, id: id, region: region, by: by, of: []string{"--service", everywhere}, length: drillLength}
}

// most is how often a drill is begun: a region that has yet to hear that the last one
// is over, or to which another seems silent for a moment, refuses one for good.
const most = 3

// begins begins the drill and waits until replicas see it run. One that the regions
// refuse is begun again under another name.
func (p *practice) begins(seenBy []*replica) *practice {
	p.Helper()
	for try := 1; ; try++ {
		p.id = p.drillID(p.region)
		p.start()
		p.story.Say("begin: drill %s, by %s", p.id, p.by)
		why := ""
		p.Soon(drillAgreed, "drill "+p.id+" to run everywhere", func() error {
			d, err := drillOf(p.by, p.id)
			if err == nil && try < most && endedAs("refused")(d) {
				why = d.GetDetail()
				return nil
			}
			return p.at(seenBy, runs)
		})
		if why == "" {
			break
		}
		p.story.Say("  it was refused: %s; once more", why)
	}
	d, err := drillOf(seenBy[0], p.id)
	if err != nil {
		p.Fatal(err)
	}
	p.begun = d.GetBegun().AsTime()
	p.story.Say("  it runs %v after it was created", p.begun.Sub(d.GetCreated().AsTime()).Round(time.Millisecond))
	return p
}

// start gives the command until the drill is created: a plan that seems unsafe for a
// moment is refused, and so is one while the vote of the own region is not free yet.
func (p *practice) start() {
	p.Helper()
	p.Until(patience, "drill "+p.id+" to be created", func() error {
		if said := p.begin(); said.Code != 0 {
			return errors.New(said.Err)
		}
		return nil
	})
}

// begin gives the command once. That the drill is there from a try whose answer was
// lost is success as well.
func (p *practice) begin() fleet.Result {
	said := p.by.CLI(p.command()...)
	if said.Code != 0 {
		if _, err := drillOf(p.by, p.id); err == nil {
			said.Code = 0
		}
	}
	return said
}

// stop ends the drill, and reports whether that was in time: a drill that a busy
// machine leaves too little time for is over by itself.
func (p *practice) stop(by *replica, args ...string) (inTime bool) {
	p.Helper()
	p.Until(patience, "drill "+p.id+" to be stopped", func() error {
		said := by.CLI(append([]string{"drill", "stop", p.id}, args...)...)
		if inTime = said.Code == 0; inTime {
			return nil
		}
		if d, err := drillOf(by, p.id); err == nil && ended(d) {
			inTime = d.GetOutcome() == "stopped" // by a try whose answer was lost
			return nil
		}
		return errors.New(said.Err)
	})
	return inTime
}

// drillID is a name that no drill has had, however often the scenario is played.
func (s *Stage) drillID(region string) string { return s.anew("lab-" + region) }

// command is how the drill is begun.
func (p *practice) command() []string {
	if p.isolates {
		return []string{"drill", "start", "--isolate", p.region, "--id", p.id, "--hold", p.length.String()}
	}
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
	return p.Soon(within, "drill "+p.id+" "+what+" everywhere", func() error { return p.at(replicas, as) })
}

// at is nil if the drill is as expected at all of the replicas.
func (p *practice) at(replicas []*replica, as func(*pb.DrillInfo) bool) error {
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
