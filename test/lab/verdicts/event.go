package verdicts

import (
	"fmt"
	"strings"
	"time"
)

// What happened to an agent's view of a region.
type What string

// The verdicts, in the order in which they are reached.
const (
	// Silent: the region's replicas answer nobody any more.
	Silent What = "silent"
	// Out: nor do its endpoints.
	Out What = "out"
	// ControlPlaneLost: but its endpoints do.
	ControlPlaneLost What = "control-plane-lost"
	// Back: the region answers again.
	Back What = "back"
)

// Place is an agent or a member: its region and its name.
type Place struct{ Region, Name string }

// String returns "region/name".
func (p Place) String() string { return p.Region + "/" + p.Name }

// Event is a verdict of an agent on a region.
type Event struct {
	At   time.Time
	By   Place
	Of   string
	What What
}

// String says it in some words.
func (e Event) String() string {
	return fmt.Sprintf("%s %s: %s is %s", e.At.Format("15:04:05.000"), e.By, e.Of, e.What)
}

// parse reads a verdict from a line of an agent's log; false if it is none.
func parse(line string) (e Event, ok bool) {
	at, rest, ok := strings.Cut(strings.TrimPrefix(line, "time="), " ")
	if !ok || !strings.HasPrefix(line, "time=") {
		return Event{}, false
	}
	var err error
	if e.At, err = time.Parse(time.RFC3339, at); err != nil {
		return Event{}, false
	}
	e.Of = attribute(rest, "peer")
	switch {
	case strings.Contains(rest, `msg="the replicas of a region are silent; asking its endpoints"`):
		e.What = Silent
	case strings.Contains(rest, `msg="verdict on a silent region"`):
		e.What = What(attribute(rest, "reach"))
	case strings.Contains(rest, `msg="a region is back"`):
		e.What = Back
	}
	return e, e.What != "" && e.Of != ""
}

// attribute is the last value of a key in a line of log, "" for none.
func attribute(line, key string) string {
	i := strings.LastIndex(line, " "+key+"=")
	if i < 0 {
		return ""
	}
	value, _, _ := strings.Cut(line[i+len(key)+2:], " ")
	return value
}
