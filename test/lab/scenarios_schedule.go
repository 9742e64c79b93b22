package lab

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/federator/federator/peering/pb"
)

// SlowVariable turns on what has to wait for the clock: it is no part of the table.
const SlowVariable = "FEDERATOR_LAB_SLOW"

// SlowScenarios are those played on [Wide] when [SlowVariable] is set.
func SlowScenarios() []Scenario {
	return []Scenario{{Name: "drill on schedule", Do: scheduled,
		Says: "The leader of the region that keeps a schedule is killed just before it is due, and the next one after: the drill begins once. An operator's drill interrupts it."}}
}

// dueIn is how much time a schedule leaves at least until it is due.
const dueIn = 12 * time.Second

func scheduled(s *Stage) {
	region, coordinator := s.twoRegions()
	third := s.Others(region, coordinator)[0]
	due := time.Now().UTC().Add(dueIn).Truncate(time.Minute).Add(time.Minute)
	name := fmt.Sprintf("lab-%d", time.Since(s.story.began).Milliseconds())
	s.Pipe(fmt.Sprintf("kind: DrillSchedule\nname: %s\nspec:\n  region: %s\n  at: [%q]\n  kind: evacuate\n  scope: {region: %s, service: %s}\n  shape: {ramp: 2s, hold: 90s, return: 2s}\n",
		name, coordinator, due.Format("15:04"), region, everywhere), "drill", "schedule", "apply", "-f", "-", "--socket", s.Live(third)[0].Sock).OK(s)
	id := name + "-" + due.Format("20060102T1504")
	s.story.Say("begin: schedule %s is due at %s", name, due.Format(time.TimeOnly))

	s.For(time.Until(due) - 2*time.Second)
	p := s.ofOne(s.Live(third)[0], region, id)
	first := Killed{[]*replica{s.Leader(coordinator)}}
	s.Break(first)
	s.For(time.Until(due))
	s.Until(20*time.Second, "the scheduled drill to run", func() error {
		d, err := drillOf(p.by, id)
		if err == nil && !runs(d) {
			err = fmt.Errorf("it is %s: %s", d.GetState(), d.GetDetail())
		}
		return err
	})
	s.Within(10*time.Second, "begins after it is due", time.Since(due))
	s.Mend(first)
	second := Killed{[]*replica{s.Leader(coordinator)}}
	s.Break(second)
	s.For(8 * time.Second) // a new leader looks at schedules every five seconds
	s.Mend(second)
	s.once(name, id)

	manual := s.careful(s.Live(third)[0], region)
	p.everywhere(drillEnded, "to be interrupted", s.Live(""), endedAs("interrupted"))
	if !manual.stop(manual.by) {
		s.Wrong("drill "+manual.id, "to be stopped while it runs", "that it was over by itself")
	}
	manual.everywhere(drillEnded, "to be stopped", s.Live(""), endedAs("stopped"))
	s.once(name, id)
	s.gone(manual.by, []string{"drill", "schedule", "delete", name})
}

// once expects that a schedule has begun this one drill.
func (s *Stage) once(schedule, id string) {
	s.Helper()
	for _, r := range s.Live("") {
		err := r.Call(func(ctx context.Context, agent pb.OperatorClient) error {
			all, err := agent.ListDrills(ctx, &pb.ListDrillsRequest{})
			var begun []string
			for _, d := range all.GetDrills() {
				if d.GetSchedule() == schedule {
					begun = append(begun, d.GetId())
				}
			}
			if err == nil && strings.Join(begun, " ") != id {
				s.Wrong(r.String(), "one drill, "+id, strings.Join(begun, " "))
			}
			return err
		})
		if err != nil {
			s.Errorf("%s: %v", r, err)
		}
	}
}
