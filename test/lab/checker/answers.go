package checker

import (
	"fmt"
	"slices"
	"time"
)

// Endpoint is an address that answers may name.
type Endpoint struct {
	// Name is the DNS name that it is an endpoint of, with its final dot.
	Name    string
	Address string
	Region  string
	// Pinned: the name asks for one region only. Then there may be no answer while
	// none of its endpoints is well and within reach; there must be one while its
	// workloads live, whatever became of the region's replicas.
	Pinned bool
}

// Answer is what came of one question.
type Answer struct {
	// Asked is when the question left; Took until the answer, or until it was
	// given up.
	Asked           time.Time
	Took            time.Duration
	Replica, Region string // who was asked
	Name            string
	Addresses       []string
	// Trouble says why there is no answer, such as "SERVFAIL" or "timeout".
	Trouble string
	// Stale: the answer says of itself that it may be old (RFC 8914, codes 3 and 19).
	Stale bool
}

// Bounds say how soon answers have to follow the facts.
type Bounds struct {
	// Dead is how long an endpoint that died may still be named, Cut one in a
	// region that cannot be reached.
	Dead, Cut time.Duration
	// Back is how long an endpoint has to have been well before answers must be
	// able to name it.
	Back time.Duration
	// Up is how long after a replica was said to be ready its answers count.
	Up time.Duration
}

// Class is what an answer turned out to be.
type Class int

// The classes.
const (
	Right Class = iota
	// Excused: the replica asked was down around then.
	Excused
	// NoAnswer: none in time, an error, or no address.
	NoAnswer
	// Wrong: it names what was known dead, was unreachable or never existed,
	// though there was something better.
	Wrong
)

// Judgement is an answer's class and why.
type Judgement struct {
	Class Class
	Why   string
	// Late is for how long the worst of the addresses named had been bad.
	Late time.Duration
}

// Judge classifies an answer by what was true when the question was asked.
func Judge(a Answer, facts Facts, endpoints []Endpoint, b Bounds) Judgement {
	if facts.touched(subject{Down, "", a.Replica}, a.Asked.Add(-b.Up), a.Asked.Add(a.Took)) {
		return Judgement{Class: Excused, Why: "its replica was down"}
	}
	better := slices.ContainsFunc(endpoints, func(e Endpoint) bool { return e.Name == a.Name && sound(e, a, facts, b) })
	switch {
	case a.empty() && !better && pinned(endpoints, a.Name):
		return Judgement{}
	case a.Trouble != "":
		return Judgement{Class: NoAnswer, Why: a.Trouble}
	case len(a.Addresses) == 0:
		return Judgement{Class: NoAnswer, Why: "no address"}
	}
	j := Judgement{}
	for _, address := range a.Addresses {
		j = worse(j, judgeAddress(address, a, facts, endpoints, b, better))
	}
	return j
}

// empty reports whether the answer is that there is nothing.
func (a Answer) empty() bool {
	return len(a.Addresses) == 0 && (a.Trouble == "" || a.Trouble == "NXDOMAIN")
}

func pinned(endpoints []Endpoint, name string) bool {
	return slices.ContainsFunc(endpoints, func(e Endpoint) bool { return e.Name == name && e.Pinned })
}

// sound reports whether an endpoint had been well and within reach for so long
// that an answer could name it.
func sound(e Endpoint, a Answer, facts Facts, b Bounds) bool {
	from := a.Asked.Add(-b.Back)
	return !facts.touched(subject{Dead, "", e.Address}, from, a.Asked) && !facts.touched(subject{Cut, a.Region, e.Region}, from, a.Asked)
}

func judgeAddress(address string, a Answer, facts Facts, endpoints []Endpoint, b Bounds, better bool) Judgement {
	i := slices.IndexFunc(endpoints, func(e Endpoint) bool { return e.Name == a.Name && e.Address == address })
	if i < 0 {
		return Judgement{Class: Wrong, Why: address + " is no endpoint of it"}
	}
	if !better {
		return Judgement{}
	}
	j := judgeSince(facts, subject{Dead, "", address}, a.Asked, b.Dead, address+" had been dead")
	return worse(j, judgeSince(facts, subject{Cut, a.Region, endpoints[i].Region}, a.Asked, b.Cut, address+" had been out of reach"))
}

// judgeSince allows a condition for so long.
func judgeSince(facts Facts, s subject, at time.Time, bound time.Duration, words string) Judgement {
	since, bad := facts.holds(s, at)
	if !bad {
		return Judgement{}
	}
	j := Judgement{Late: at.Sub(since)}
	if j.Late > bound {
		j.Class, j.Why = Wrong, fmt.Sprintf("%s for %v", words, j.Late.Round(time.Millisecond))
	}
	return j
}

func worse(a, b Judgement) Judgement {
	late := max(a.Late, b.Late)
	if b.Class > a.Class {
		a = b
	}
	a.Late = late
	return a
}

// Tally is what became of all answers.
type Tally struct {
	Asked, Right, Excused, NoAnswer, Wrong, Stale int
	// Slowest and Median are of the answers that came.
	Slowest, Median time.Duration
	// Latest is the longest that an answer still named what was dead or cut off.
	Latest     time.Duration
	Violations []Violation
}

// Count judges all answers.
func Count(answers []Answer, facts Facts, endpoints []Endpoint, b Bounds) Tally {
	t := Tally{Asked: len(answers)}
	var took []time.Duration
	for _, a := range answers {
		j := Judge(a, facts, endpoints, b)
		if j.Class == Right || j.Class == Wrong {
			took = append(took, a.Took)
			t.Latest = max(t.Latest, j.Late)
			if a.Stale {
				t.Stale++
			}
		}
		switch j.Class {
		case Right:
			t.Right++
			continue
		case Excused:
			t.Excused++
			continue
		case NoAnswer:
			t.NoAnswer++
		case Wrong:
			t.Wrong++
		}
		t.Violations = append(t.Violations, Violation{At: a.Asked, Where: a.Replica + " " + a.Name, Expected: "an answer with what is alive", Found: j.Why})
	}
	slices.Sort(took)
	if len(took) > 0 {
		t.Median, t.Slowest = took[len(took)/2], took[len(took)-1]
	}
	return t
}

// NamingAfter returns the answers to questions asked after a moment that name an
// endpoint in scope: those that a drill should have prevented.
func NamingAfter(answers []Answer, endpoints []Endpoint, scope func(Endpoint) bool, after time.Time) []Answer {
	return slices.DeleteFunc(slices.Clone(answers), func(a Answer) bool {
		return !a.Asked.After(after) || !slices.ContainsFunc(endpoints, func(e Endpoint) bool {
			return e.Name == a.Name && scope(e) && slices.Contains(a.Addresses, e.Address)
		})
	})
}
