package intents

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"

	"golang.org/x/time/rate"
)

// allowance bounds how often the users of a cluster change the federation: all of
// them, and those of each namespace, so that nobody uses up what others need.
type allowance struct {
	all   *rate.Limiter
	every time.Duration // of one namespace, after a burst
	burst int
	of    map[string]*rate.Limiter
}

// newAllowance allows one in a time, after a burst: to all, and to each namespace.
func newAllowance(allEvery time.Duration, allBurst int, every time.Duration, burst int) *allowance {
	return &allowance{all: rate.NewLimiter(rate.Every(allEvery), allBurst), every: every, burst: burst, of: map[string]*rate.Limiter{}}
}

// has reports whether the users of a namespace may make a change now.
func (a *allowance) has(namespace string, now time.Time) bool {
	one := a.of[namespace]
	return a.all.TokensAt(now) >= 1 && (one == nil || one.TokensAt(now) >= 1)
}

// take counts a change of theirs.
func (a *allowance) take(namespace string, now time.Time) {
	if a.of[namespace] == nil {
		maps.DeleteFunc(a.of, func(_ string, l *rate.Limiter) bool { return l.TokensAt(now) >= float64(a.burst) })
		a.of[namespace] = rate.NewLimiter(rate.Every(a.every), a.burst)
	}
	a.all.AllowN(now, 1)
	a.of[namespace].AllowN(now, 1)
}

// inTurn orders objects so that each namespace has its turn, beginning with another
// one each time: of what is written in one go the first are written, and no namespace
// with many is in the way of the others.
func inTurn[T object](objects []T, turn int) []T {
	of := map[string][]T{}
	for _, o := range objects {
		of[o.GetNamespace()] = append(of[o.GetNamespace()], o)
	}
	names := slices.Sorted(maps.Keys(of))
	if len(names) == 0 {
		return nil
	}
	first := turn % len(names)
	names = append(names[first:], names[:first]...)
	rank := map[string]int{}
	for i, name := range names {
		rank[name] = i
	}
	type placed struct {
		object    T
		row, name int
	}
	var all []placed
	for name, list := range of {
		for i, o := range list {
			all = append(all, placed{o, i, rank[name]})
		}
	}
	slices.SortFunc(all, func(a, b placed) int {
		return cmp.Or(cmp.Compare(a.row, b.row), cmp.Compare(a.name, b.name), strings.Compare(a.object.GetName(), b.object.GetName()))
	})
	out := make([]T, len(all))
	for i, p := range all {
		out[i] = p.object
	}
	return out
}
