package intents

import (
	"cmp"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"k8s.io/client-go/tools/cache"
)

// echoLife is how long a write of ours is remembered if the informer does not show
// it: after that the API server has gone back in time, and what it says counts.
const echoLife = 30 * time.Second

// object is what a shelf holds.
type object interface {
	runtime.Object
	metav1.Object
}

// shelf is the objects of one kind as the informer shows them, with our own latest
// writes, which it shows a little later. One goroutine uses it.
type shelf[T object] struct {
	informer cache.SharedIndexInformer
	synced   cache.InformerSynced
	echoes   map[types.UID]echo[T]
}

type echo[T object] struct {
	object T
	until  time.Time
}

func newShelf[T object](informer cache.SharedIndexInformer) *shelf[T] {
	return &shelf[T]{informer: informer, synced: informer.HasSynced, echoes: map[types.UID]echo[T]{}}
}

// objects returns them ordered by namespace and name.
func (s *shelf[T]) objects(now time.Time) []T {
	var out []T
	shown := map[types.UID]bool{}
	for _, item := range s.informer.GetStore().List() {
		o, ok := item.(T)
		if !ok {
			continue
		}
		uid := o.GetUID()
		if e, ok := s.echoes[uid]; ok {
			order, err := resourceversion.CompareResourceVersion(o.GetResourceVersion(), e.object.GetResourceVersion())
			if err == nil && order < 0 && now.Before(e.until) {
				o, shown[uid] = e.object, true
			}
		}
		out = append(out, o)
	}
	for uid := range s.echoes {
		if !shown[uid] {
			delete(s.echoes, uid)
		}
	}
	slices.SortFunc(out, func(a, b T) int {
		return cmp.Or(strings.Compare(a.GetNamespace(), b.GetNamespace()), strings.Compare(a.GetName(), b.GetName()))
	})
	return out
}

// forget forgets our own writes: what the informer shows counts.
func (s *shelf[T]) forget() { clear(s.echoes) }

// wrote remembers what a write made of an object.
func (s *shelf[T]) wrote(o T, now time.Time) {
	s.echoes[o.GetUID()] = echo[T]{o, now.Add(echoLife)}
}
