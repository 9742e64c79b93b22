package lab

import (
	"errors"
	"strings"
	"testing"

	"github.com/federator/federator/test/e2e/fleet"
)

// told is a fault that only tells.
type told struct {
	name  string
	tells *[]string
}

func (f told) String() string     { return f.name }
func (f told) Touches() []string  { return nil }
func (f told) Begin(*World) error { *f.tells = append(*f.tells, "begin "+f.name); return nil }
func (f told) End(*World) error {
	*f.tells = append(*f.tells, "end "+f.name)
	return errors.New("it stays " + f.name)
}

func TestAScenarioThatCannotGoOnIsAViolationOfItsBoundsAndWhatItBrokeIsMended(t *testing.T) {
	s := &Stage{World: &World{Fleet: &fleet.Fleet{TB: t}, story: NewStory()}}
	var tells []string
	s.act(func(s *Stage) {
		s.Break(told{"wet", &tells})
		s.Break(told{"dark", &tells})
		s.Until(0, "the impossible", func() error { return errors.New("it is not") })
		t.Error("expected the scenario to end when it cannot go on")
	})
	if found := strings.Join(tells, ", "); found != "begin wet, begin dark, end dark, end wet" {
		t.Errorf("expected both faults to be mended, the later first, found %s", found)
	}
	own := s.own()
	if len(own) != 1 || own[0].Total != 1 || own[0].OK() || own[0].Timeless() || !strings.Contains(own[0].String(), "the impossible: it is not") {
		t.Errorf("expected one violation that tells what did not come, found %v", own)
	}
	if s.World.TB != testing.TB(t) {
		t.Error("expected the test to be the world's again")
	}
	if story := s.story.String(); !strings.Contains(story, "it stays wet") {
		t.Errorf("expected to be told what could not be mended, found\n%s", story)
	}
}

func TestAScenarioThatGoesToItsEndBreaksNoBound(t *testing.T) {
	s := &Stage{World: &World{Fleet: &fleet.Fleet{TB: t}, story: NewStory()}}
	ended := false
	s.act(func(*Stage) { ended = true })
	if own := s.own(); !ended || len(own) != 0 {
		t.Errorf("expected it to go to its end, found %t, %v", ended, own)
	}
}
