package lab

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"testing"

	"github.com/federator/federator/peering/pb"
)

// actor is the test while a scenario acts. What would end the test ends the scenario,
// and is a violation of its own bounds: [World.Play] judges it as it does whatever else
// was not as it has to be.
type actor struct {
	testing.TB
	stage *Stage
}

func (a *actor) Fatal(args ...any)                 { a.end(fmt.Sprint(args...)) }
func (a *actor) Fatalf(format string, args ...any) { a.end(fmt.Sprintf(format, args...)) }
func (a *actor) FailNow()                          { a.end("that it cannot go on") }

func (a *actor) end(why string) {
	a.stage.Wrong("the scenario", "that it is played to its end", why)
	a.stage.cut = true
	runtime.Goexit()
}

// act has the scenario act. If it ends early, what it broke is mended.
func (s *Stage) act(do func(*Stage)) {
	outer := s.World.TB
	s.World.TB = &actor{outer, s}
	done := make(chan struct{})
	go func() { // which it may end
		defer close(done)
		do(s)
	}()
	<-done
	s.World.TB = outer
	if s.cut {
		s.story.Say("the scenario ended early; what it broke is mended")
		s.mendAll()
	}
}

// mendAll ends what a scenario that ended early left broken. What cannot be mended
// shows when the world does not get whole.
func (s *Stage) mendAll() {
	for _, f := range slices.Backward(s.broken) {
		s.story.Say("end %s", f)
		if err := f.End(s.World); err != nil {
			s.story.Say("  %v", err)
		}
	}
	s.broken = nil
	if err := s.Awake(); err != nil {
		s.story.Say("  %v", err)
	}
	if live := s.Live(""); len(live) > 0 {
		s.stopDrills(live[0])
	}
}

// stopDrills has a replica stop every drill that has not ended.
func (s *Stage) stopDrills(by *replica) {
	var all []*pb.DrillInfo
	err := by.Call(func(ctx context.Context, agent pb.OperatorClient) error {
		list, err := agent.ListDrills(ctx, &pb.ListDrillsRequest{})
		all = list.GetDrills()
		return err
	})
	if err != nil {
		s.story.Say("  %v", err)
	}
	for _, d := range all {
		if !ended(d) {
			s.story.Say("  drill stop %s ends with %d", d.GetId(), by.CLI("drill", "stop", d.GetId()).Code)
		}
	}
}
