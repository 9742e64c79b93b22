package exports

import (
	"maps"
	"slices"
	"sync"

	"github.com/federator/federator/federation/catalog"
)

// verdicts is what became of every export, and a signal for who writes it into
// their conditions.
type verdicts struct {
	mu      sync.Mutex
	all     map[catalog.ServiceName]Verdict
	turned  map[catalog.ServiceName]struct{} // since they were last taken
	changed chan struct{}
}

func newVerdicts() *verdicts {
	return &verdicts{all: map[catalog.ServiceName]Verdict{}, turned: map[catalog.ServiceName]struct{}{}, changed: make(chan struct{})}
}

func (v *verdicts) put(one Verdict) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.all[one.Service] != one {
		v.all[one.Service] = one
		v.signal(one.Service)
	}
}

func (v *verdicts) drop(name catalog.ServiceName) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if _, ok := v.all[name]; ok {
		delete(v.all, name)
		v.signal(name)
	}
}

func (v *verdicts) signal(name catalog.ServiceName) {
	v.turned[name] = struct{}{}
	close(v.changed)
	v.changed = make(chan struct{})
}

func (v *verdicts) get(name catalog.ServiceName) (Verdict, bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	one, ok := v.all[name]
	return one, ok
}

func (v *verdicts) takeTurned() map[catalog.ServiceName]struct{} {
	v.mu.Lock()
	defer v.mu.Unlock()
	turned := v.turned
	v.turned = map[catalog.ServiceName]struct{}{}
	return turned
}

func (v *verdicts) list() []Verdict {
	v.mu.Lock()
	defer v.mu.Unlock()
	return slices.SortedFunc(maps.Values(v.all), func(a, b Verdict) int { return a.Service.Compare(b.Service) })
}

func (v *verdicts) next() <-chan struct{} {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.changed
}

// counts is how many exports have each reason.
func (v *verdicts) counts() map[string]int {
	v.mu.Lock()
	defer v.mu.Unlock()
	n := map[string]int{}
	for _, one := range v.all {
		n[one.Reason]++
	}
	return n
}
