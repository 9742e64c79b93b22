package state

import (
	"maps"
	"slices"
)

// fifo is a map that remembers the newest entries only, in the order they came.
type fifo[K comparable, V any] struct {
	limit int
	order []K
	items map[K]V
}

func newFIFO[K comparable, V any](limit int) fifo[K, V] {
	return fifo[K, V]{limit: limit, items: map[K]V{}}
}

func (f *fifo[K, V]) get(key K) (V, bool) {
	v, ok := f.items[key]
	return v, ok
}

// put adds or replaces an entry and drops the oldest past the limit.
func (f *fifo[K, V]) put(key K, value V) {
	if _, ok := f.items[key]; !ok {
		f.order = append(f.order, key)
	}
	f.items[key] = value
	for len(f.order) > f.limit {
		delete(f.items, f.order[0])
		f.order = f.order[1:]
	}
}

func (f *fifo[K, V]) remove(key K) {
	if _, ok := f.items[key]; !ok {
		return
	}
	delete(f.items, key)
	f.order = slices.DeleteFunc(slices.Clone(f.order), func(k K) bool { return k == key })
}

func (f *fifo[K, V]) clone() fifo[K, V] {
	return fifo[K, V]{limit: f.limit, order: slices.Clone(f.order), items: maps.Clone(f.items)}
}
