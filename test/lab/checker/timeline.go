package checker

import (
	"sync"
	"time"
)

// Condition is something bad that lasts for a while.
type Condition int

// The conditions of a timeline.
const (
	// Dead: the endpoint with the address named answers nothing, or says that it is
	// unhealthy.
	Dead Condition = iota
	// Cut: the region named second cannot be reached from the region named first,
	// neither its replicas nor its endpoints. Packets that pass in one direction
	// only reach nobody: that is a cut both ways.
	Cut
	// Down: the replica named "region/name" does not run, or is not ready.
	Down
)

// Fact is that a condition began or ended.
type Fact struct {
	At        time.Time
	Condition Condition
	// Of is the address or the replica; From and Of are the regions of a cut.
	From, Of string
	// Ended: the condition ended at that time.
	Ended bool
}

// Timeline is what the scenario did, and so what is true. It is safe for
// concurrent use; facts are added in the order of their times.
type Timeline struct {
	mu    sync.Mutex
	facts []Fact
}

// Begin and End note, now, that a condition begins or has ended. Note that an
// endpoint is dead, or a region cut off, just after it was made so and its end
// just before it is healed; that a replica is down just before it is stopped and
// its end when it is ready again: nothing is certain at the moments between.
func (t *Timeline) Begin(c Condition, of string) { t.add(Fact{Condition: c, Of: of}) }
func (t *Timeline) End(c Condition, of string)   { t.add(Fact{Condition: c, Of: of, Ended: true}) }

// BeginCut and EndCut note, now, that a region cannot reach another one, and that
// it can again. A full partition is two cuts.
func (t *Timeline) BeginCut(from, to string) { t.add(Fact{Condition: Cut, From: from, Of: to}) }
func (t *Timeline) EndCut(from, to string) {
	t.add(Fact{Condition: Cut, From: from, Of: to, Ended: true})
}

func (t *Timeline) add(f Fact) {
	t.mu.Lock()
	defer t.mu.Unlock()
	f.At = time.Now()
	t.facts = append(t.facts, f)
}

// Facts returns what was noted so far.
func (t *Timeline) Facts() Facts {
	t.mu.Lock()
	defer t.mu.Unlock()
	return newFacts(t.facts)
}

// Facts is a timeline to look things up in.
type Facts struct{ spans map[subject][]span }

type subject struct {
	condition Condition
	from, of  string
}

// span is how long a condition lasted; end is zero while it lasts.
type span struct{ begin, end time.Time }

func newFacts(all []Fact) Facts {
	f := Facts{map[subject][]span{}}
	for _, fact := range all {
		key := subject{fact.Condition, fact.From, fact.Of}
		spans := f.spans[key]
		open := len(spans) > 0 && spans[len(spans)-1].end.IsZero()
		switch {
		case fact.Ended && open:
			spans[len(spans)-1].end = fact.At
		case !fact.Ended && !open:
			f.spans[key] = append(spans, span{begin: fact.At})
		}
	}
	return f
}

// holds returns since when a condition holds at a moment, if it does.
func (f Facts) holds(key subject, at time.Time) (since time.Time, ok bool) {
	for _, s := range f.spans[key] {
		if !s.begin.After(at) && (s.end.IsZero() || s.end.After(at)) {
			return s.begin, true
		}
	}
	return time.Time{}, false
}

// touched reports whether a condition held at any moment between two.
func (f Facts) touched(key subject, from, to time.Time) bool {
	for _, s := range f.spans[key] {
		if !s.begin.After(to) && (s.end.IsZero() || !s.end.Before(from)) {
			return true
		}
	}
	return false
}
