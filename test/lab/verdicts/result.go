package verdicts

import (
	"fmt"
	"slices"
	"time"

	"github.com/federator/federator/test/still"
)

// Result is what happened in one world.
type Result struct {
	World    string
	Weathers []string
	Seed     uint64
	Date     time.Time
	// Elapsed is how long the run took; Quiet how long the pair of regions with the
	// most losses had none.
	Elapsed, Quiet     time.Duration
	Agents             int
	Counts             Counts
	Cores              int
	LoadMean, LoadMost float64
	Priority           string
	// False are the false verdicts, OfStalls those that are so because the WAN stood
	// still by itself for a second or more; Stalls is how often it did, Late how late
	// it was at most.
	False, OfStalls []Event
	Stalls          int
	Late            time.Duration
	Losses          []SeenLoss
	Peers           []PeerResult
}

// SeenLoss is a real loss: how long it took until every agent of the other
// regions took the region for silent, for out, and for back again; 0 if one did
// not.
type SeenLoss struct {
	Kind              Kind
	Region, Weather   string
	After             time.Duration // since the run began
	Silent, Out, Back time.Duration
	// Paused is how many agents of the other regions stood still for more than 250 ms
	// by themselves, between two seconds before the loss and when it was seen. Late is
	// the most that the WAN was late in that time.
	Paused int
	Late   time.Duration
}

// Bound is how soon every agent of the other regions has to take a lost region for
// out.
const Bound = 5 * time.Second

// InTime reports whether every agent saw the loss within [Bound].
func (s SeenLoss) InTime() bool { return s.Out > 0 && s.Out <= Bound }

// Excused reports whether the loss was seen late and does not count: an agent that
// stood still waits for two whole seconds of its own before it judges, and while the
// WAN stood still what left the region before it was lost may still arrive.
func (s SeenLoss) Excused() bool {
	return !s.InTime() && s.Out > 0 && (s.Paused > 0 || s.Late >= still.Least)
}

// String says it in one line.
func (s SeenLoss) String() string {
	text := fmt.Sprintf("at %v, %s, %s was %s: silent for all after %s, out after %s, back %s after it returned",
		s.After.Round(time.Second), s.Weather, s.Region, s.Kind, orNot(s.Silent), orNot(s.Out), orNot(s.Back))
	if s.Paused > 0 {
		text += fmt.Sprintf("; %d agents stood still meanwhile", s.Paused)
	}
	if s.Late >= still.Least {
		text += fmt.Sprintf("; the WAN was late by %v", s.Late.Round(time.Millisecond))
	}
	return text
}

// PeerResult is what memberlist did with one of its defaults.
type PeerResult struct {
	Name    string
	Members int
	// FalseDeaths is how often a living member was declared dead, Reports how many
	// members were told of that.
	FalseDeaths, Reports int
	// Known is how long it took for each loss until all others knew of it, 0 if
	// some did not in time.
	Known []time.Duration
}

// middleAndWorst writes the median and the worst of some times, and how many
// there are; times of 0 have not come to pass.
func middleAndWorst(times []time.Duration) string {
	happened := slices.DeleteFunc(slices.Clone(times), func(d time.Duration) bool { return d == 0 })
	slices.Sort(happened)
	text := "never"
	if n := len(happened); n > 0 {
		middle := (happened[(n-1)/2] + happened[n/2]) / 2
		text = fmt.Sprintf("%.1f s / %.1f s", middle.Seconds(), happened[n-1].Seconds())
	}
	if n := len(times) - len(happened); n > 0 {
		text += fmt.Sprintf(", %d of %d not in time", n, len(times))
	}
	return text
}

// each collects one of the times of all losses.
func each(losses []SeenLoss, of func(SeenLoss) time.Duration) []time.Duration {
	var all []time.Duration
	for _, l := range losses {
		all = append(all, of(l))
	}
	return all
}
