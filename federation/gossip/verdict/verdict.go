package verdict

import (
	"math"
	"time"
)

// Never is the moment of something that has not happened.
const Never time.Duration = math.MinInt64 / 4

// Rules are the thresholds of a judgement. The zero value is not useful; see
// [Standard].
type Rules struct {
	// Silence is how long a region must give no evidence.
	Silence time.Duration
	// MinSent is how many echoes the observing region must have sent meanwhile.
	MinSent int
	// MaxPause is the longest the observer itself may have stood still.
	MaxPause time.Duration
	// Fresh is how recent the evidence of somebody else must be, so that the
	// fault is over there and not here.
	Fresh time.Duration
	// Back is over how long a silent region must answer half of the echoes.
	Back time.Duration
}

// Standard returns the rules that the federation runs by.
func Standard() Rules {
	return Rules{
		Silence:  2 * time.Second,
		MinSent:  24,
		MaxPause: 250 * time.Millisecond,
		Fresh:    time.Second,
		Back:     3 * time.Second,
	}
}

// Observer is what the observing replica knows of itself. All moments are on
// its monotonic clock, counted from when it began to observe.
type Observer struct {
	Now time.Duration
	// Paused is when the last pause longer than [Rules.MaxPause] ended. Beginning
	// to observe counts as the end of a pause.
	Paused time.Duration
	// Sibling is when a sibling last gave evidence; [Never] without siblings.
	Sibling time.Duration
}

// Link is the evidence about one other region: the observer's own and that of
// its siblings put together.
type Link struct {
	// Evidence is when the region last gave any, or when the observer first heard
	// that the region exists.
	Evidence time.Duration
	// Sent counts the echoes sent to it since then, or within the last
	// [Rules.Back] if that is less.
	Sent int
	// BackSent and BackAnswered count within the last [Rules.Back].
	BackSent, BackAnswered int
	// Synced: the replication stream of the region has caught up.
	Synced bool
}

// State is the verdict on one region. The zero value is a region that answers.
type State struct {
	Silent bool
	// Answering is since when a silent region has been giving evidence again
	// without a gap, [Never] if it does not. It means nothing unless Silent.
	Answering time.Duration
}

// Judge returns the next state of each region, given its link and its previous
// state at the same index, and whether the observer is isolated: every other
// region, and there is at least one, is silent.
func (r Rules) Judge(o Observer, links []Link, prev []State) (next []State, isolated bool) {
	next = make([]State, len(links))
	alone := r.alone(o, links, prev)
	for i, l := range links {
		switch {
		case prev[i].Silent:
			next[i] = r.awaitBack(o, l, prev[i])
		case r.mute(o, l) && (alone || r.othersAnswer(o, links, i)):
			next[i] = State{Silent: true, Answering: Never}
		}
	}
	return next, allSilent(next)
}

// mute reports that a region gives no evidence although it was asked enough.
func (r Rules) mute(o Observer, l Link) bool {
	return o.Now-l.Evidence >= r.Silence && l.Sent >= r.MinSent && o.Now-o.Paused >= r.Silence
}

// alone reports that there is no region left that might answer.
func (r Rules) alone(o Observer, links []Link, prev []State) bool {
	for i, l := range links {
		if !r.mute(o, l) && (!prev[i].Silent || r.fresh(o, l.Evidence)) {
			return false
		}
	}
	return true
}

func (r Rules) othersAnswer(o Observer, links []Link, not int) bool {
	if r.fresh(o, o.Sibling) {
		return true
	}
	for i, l := range links {
		if i != not && r.fresh(o, l.Evidence) {
			return true
		}
	}
	return false
}

func (r Rules) fresh(o Observer, at time.Duration) bool { return o.Now-at < r.Fresh }

// awaitBack decides whether a silent region is back.
func (r Rules) awaitBack(o Observer, l Link, s State) State {
	switch {
	case !r.fresh(o, l.Evidence):
		return State{Silent: true, Answering: Never}
	case s.Answering == Never:
		return State{Silent: true, Answering: o.Now}
	case o.Now-s.Answering >= r.Back && l.BackSent >= r.MinSent && 2*l.BackAnswered >= l.BackSent && l.Synced:
		return State{}
	}
	return s
}

func allSilent(states []State) bool {
	for _, s := range states {
		if !s.Silent {
			return false
		}
	}
	return len(states) > 0
}
