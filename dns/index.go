package dns

import (
	"hash/maphash"
	"maps"
	"sync/atomic"

	"github.com/federator/federator/federation/catalog"
)

const shards = 256

// index finds services by name. Readers take no lock: a shard is replaced as a
// whole when a name comes or goes, an entry when its service changes. One
// goroutine writes.
type index struct {
	seed       maphash.Seed
	shards     [shards]atomic.Pointer[map[string]*entry]
	namespaces atomic.Pointer[map[string]struct{}]
	sizes      map[string]int // services in each namespace
	count      atomic.Int64
}

type entry struct{ current atomic.Pointer[prepared] }

func newIndex() *index {
	x := &index{seed: maphash.MakeSeed(), sizes: map[string]int{}}
	for i := range x.shards {
		x.shards[i].Store(&map[string]*entry{})
	}
	x.namespaces.Store(&map[string]struct{}{})
	return x
}

// indexKey is the name in wire form: SERVICE.NS without a root label.
func indexKey(n catalog.ServiceName) string {
	return string(packLabel(packLabel(nil, n.Name), n.Namespace))
}

// find returns the service with a name in lower-case wire form, or nil.
func (x *index) find(key []byte) *prepared {
	e := (*x.shards[maphash.Bytes(x.seed, key)%shards].Load())[string(key)]
	if e == nil {
		return nil
	}
	return e.current.Load()
}

// has reports whether a namespace has a service.
func (x *index) has(namespace []byte) bool {
	_, ok := (*x.namespaces.Load())[string(namespace)]
	return ok
}

// set puts a service in, or takes the name out if p is nil. It returns what was
// there before.
func (x *index) set(n catalog.ServiceName, p *prepared) *prepared {
	key := indexKey(n)
	shard := &x.shards[maphash.String(x.seed, key)%shards]
	old := *shard.Load()
	if e := old[key]; e != nil {
		was := e.current.Load()
		if p != nil {
			e.current.Store(p)
			return was
		}
		next := maps.Clone(old)
		delete(next, key)
		shard.Store(&next)
		x.countNamespace(n.Namespace, -1)
		return was
	}
	if p == nil {
		return nil
	}
	next := maps.Clone(old)
	e := &entry{}
	e.current.Store(p)
	next[key] = e
	shard.Store(&next)
	x.countNamespace(n.Namespace, 1)
	return nil
}

func (x *index) countNamespace(namespace string, by int) {
	x.count.Add(int64(by))
	was := x.sizes[namespace]
	x.sizes[namespace] += by
	switch {
	case was == 0:
		next := maps.Clone(*x.namespaces.Load())
		next[namespace] = struct{}{}
		x.namespaces.Store(&next)
	case was+by == 0:
		delete(x.sizes, namespace)
		next := maps.Clone(*x.namespaces.Load())
		delete(next, namespace)
		x.namespaces.Store(&next)
	}
}

// all yields every service.
func (x *index) all(yield func(*prepared) bool) {
	for i := range x.shards {
		for _, e := range *x.shards[i].Load() {
			if !yield(e.current.Load()) {
				return
			}
		}
	}
}
