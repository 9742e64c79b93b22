package verdicts

import (
	"maps"
	"slices"
	"time"
)

// settle is how long after a lost region is back with everybody its own verdicts,
// and those on it, are not judged yet.
const settle = 5 * time.Second

// Outage is a loss as it came to pass.
type Outage struct {
	Loss
	// Began and Ended are when the region was taken and given back. Gone is when it
	// really was away: it takes a moment until every agent and endpoint of it is dead.
	Began, Gone, Ended time.Time
	// Back is when every agent of the other regions took it for back, and, if it was
	// isolated, its own took the others for back. Zero before.
	Back time.Time
}

// Explains reports whether, at a moment, one region may take another for lost.
func (o Outage) Explains(by, of string, at time.Time) bool {
	if by != o.Region && of != o.Region || at.Before(o.Began) {
		return false
	}
	return o.Back.IsZero() || at.Before(o.Back.Add(settle))
}

// span is how much of the time from began to now the outage takes from its pairs
// of regions.
func (o Outage) span(began, now time.Time) time.Duration {
	end := now
	if !o.Back.IsZero() && o.Back.Add(settle).Before(now) {
		end = o.Back.Add(settle)
	}
	if o.Began.After(began) {
		began = o.Began
	}
	return max(0, end.Sub(began))
}

// Stall is that the WAN itself stood still, as its process had no CPU: an outage
// between all regions that was not ordered.
type Stall struct {
	At   time.Time // when it was noticed, within a second of its end
	Late time.Duration
}

// stalled is the least lateness that makes a stall.
const stalled = time.Second

// explains reports whether a verdict may come from the stall: it began before,
// and ended 3 s before at most.
func (s Stall) explains(at time.Time) bool {
	return !at.Before(s.At.Add(-s.Late-time.Second)) && at.Before(s.At.Add(3*time.Second))
}

// False are the verdicts that a region is silent which no outage explains. Those
// that a stall explains are apart.
func False(events []Event, outages []Outage, stalls []Stall) (wrong, ofStalls []Event) {
	for _, e := range events {
		switch {
		case e.What != Silent || slices.ContainsFunc(outages, func(o Outage) bool { return o.Explains(e.By.Region, e.Of, e.At) }):
		case slices.ContainsFunc(stalls, func(s Stall) bool { return s.explains(e.At) }):
			ofStalls = append(ofStalls, e)
		default:
			wrong = append(wrong, e)
		}
	}
	return wrong, ofStalls
}

// Seen is when the last agent of the other regions reached a verdict on the lost
// region; false while there is one that has not.
func Seen(events []Event, agents []Place, o Outage, what What) (time.Time, bool) {
	first := map[Place]time.Time{}
	for _, e := range events {
		if e.What == what && e.Of == o.Region && e.At.After(o.Began) && first[e.By].IsZero() {
			first[e.By] = e.At
		}
	}
	for _, a := range agents {
		if a.Region != o.Region && first[a].IsZero() {
			return time.Time{}, false
		}
	}
	return slices.MaxFunc(slices.Collect(maps.Values(first)), time.Time.Compare), true
}

// after is how long after the region was gone the last agent of the other regions
// reached a verdict on it; 0 if one has not.
func (o Outage) after(events []Event, agents []Place, what What) time.Duration {
	at, ok := Seen(events, agents, o, what)
	if !ok {
		return 0
	}
	return max(at.Sub(o.Gone), 1)
}

// ReturnedBy is when everybody who had taken a region for silent because of the
// outage took it for back; false while there is somebody who has not. A killed
// agent has no verdicts any more.
func ReturnedBy(events []Event, o Outage) (time.Time, bool) {
	type pair struct {
		by Place
		of string
	}
	open := map[pair]bool{}
	last := o.Ended
	for _, e := range events {
		concerned := e.By.Region == o.Region || e.Of == o.Region
		if !concerned || e.At.Before(o.Began) || o.Kind == Killed && e.By.Region == o.Region && e.At.Before(o.Ended) {
			continue
		}
		switch e.What {
		case Silent:
			open[pair{e.By, e.Of}] = true
		case Back:
			delete(open, pair{e.By, e.Of})
			if e.At.After(last) {
				last = e.At
			}
		}
	}
	return last, len(open) == 0
}

// Quiet is for how long, of the time from began to now, the pair of regions that
// had the most losses had none: everything that one said of the other then counts.
func Quiet(regions []string, outages []Outage, began, now time.Time) time.Duration {
	least := now.Sub(began)
	for _, by := range regions {
		for _, of := range regions {
			if by == of {
				continue
			}
			quiet := now.Sub(began)
			for _, o := range outages {
				if o.Region == by || o.Region == of {
					quiet -= o.span(began, now)
				}
			}
			least = min(least, quiet)
		}
	}
	return least
}
