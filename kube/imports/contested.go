package imports

import (
	"encoding/json"
	"hash/maphash"
	"maps"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	mcsv1beta1 "sigs.k8s.io/mcs-api/pkg/apis/v1beta1"

	"github.com/federator/federator/federation/catalog"
)

const (
	// freeRepeats is how often in a row a write may be repeated at once: somebody
	// changed an object by hand, and again.
	freeRepeats = 5
	// firstContest and lastContest bound the pause after that; each is twice the one
	// before.
	firstContest = time.Second
	lastContest  = 5 * time.Minute
	// contestOver is how long after the last repeat the next one is the first again.
	contestOver = 3 * lastContest
)

// contests knows the objects that something else keeps changing back: an admission
// webhook that strips a field, a policy engine, another controller. Two that never
// agree would write for ever, as fast as they may. So what is written again and again
// is written less and less often, until it is to say something else. Other writes of
// the same service do not wait for it.
type contests struct {
	seed maphash.Seed

	mu   sync.Mutex
	last map[catalog.ServiceName]map[deed]*done
}

// deed is one kind of write of one object, which is none of another object that has
// its name later.
type deed struct {
	verb Verb
	kind string
	name string
	uid  types.UID // "" of a Create
}

// done is the last write of that kind.
type done struct {
	print   uint64 // of what it said
	repeats int    // how often in a row
	at      time.Time
}

func newContests() *contests {
	return &contests{seed: maphash.MakeSeed(), last: map[catalog.ServiceName]map[deed]*done{}}
}

func deedOf(w *Write) deed {
	return deed{w.Verb, kindOfObject(w.Object), w.Object.GetName(), w.Object.GetUID()}
}

// contested reports whether the same has been written too often.
func (d *done) contested() bool { return d.repeats > freeRepeats }

// until is when it may be written again.
func (d *done) until() time.Time {
	return d.at.Add(min(lastContest, firstContest<<min(d.repeats-freeRepeats-1, 12)))
}

// wrote takes in a write that succeeded. What we delete ourselves, with all that goes
// with it, is free to be made again.
func (c *contests) wrote(name catalog.ServiceName, w *Write, now time.Time) {
	print := c.print(w)
	c.mu.Lock()
	defer c.mu.Unlock()
	of := c.last[name]
	if w.Verb == Delete {
		kind, object := kindOfObject(w.Object), w.Object.GetName()
		maps.DeleteFunc(of, func(d deed, _ *done) bool { return kind == kindImport || d.kind == kind && d.name == object })
		return
	}
	if of == nil {
		of = map[deed]*done{}
		c.last[name] = of
	}
	d := of[deedOf(w)]
	if d == nil || d.print != print || now.Sub(d.at) > contestOver {
		of[deedOf(w)] = &done{print: print, at: now}
		return
	}
	d.repeats++
	d.at = now
}

// hold takes the writes out of a plan that are put off, and returns until when.
func (c *contests) hold(name catalog.ServiceName, p *Plan, now time.Time) (due time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	of := c.last[name]
	maps.DeleteFunc(of, func(_ deed, d *done) bool { return now.Sub(d.at) > contestOver })
	if len(of) == 0 || len(p.Writes) == 0 && !p.Imported {
		delete(c.last, name)
		return time.Time{}
	}
	kept, urgent := p.Writes[:0], p.Urgent
	for i := range p.Writes {
		w := &p.Writes[i]
		if d := of[deedOf(w)]; d != nil && d.contested() && d.print == c.print(w) {
			if object := kindOfObject(w.Object) + " " + name.Namespace + "/" + w.Object.GetName(); !slices.Contains(p.Contested, object) {
				p.Contested = append(p.Contested, object)
			}
			if until := d.until(); now.Before(until) {
				due = sooner(due, until)
				p.Urgent -= btoi(i < urgent)
				continue
			}
		}
		kept = append(kept, *w)
	}
	p.Writes, p.Again = kept, p.Again && len(kept) > 0
	if p.Urgent == 0 {
		p.Urgency = Rest // all that clients depend on is put off
	}
	return due
}

// print tells apart what writes say that is ours to say. Of the metadata that is what a
// ServiceImport carries; others keep theirs there, too.
func (c *contests) print(w *Write) uint64 {
	var said any
	switch o := w.Object.(type) {
	case *mcsv1beta1.ServiceImport:
		said = []any{o.Spec, metadata(o)}
		if w.Verb == UpdateStatus {
			said = []any{o.Status.Clusters, o.Status.EndpointSliceObjects, timeless(o.Status.Conditions)}
		}
	case *mcsv1beta1.ServiceExport:
		said = timeless(o.Status.Conditions)
	case *corev1.Service:
		spec := o.Spec
		spec.ClusterIP, spec.ClusterIPs = "", nil // others every time it is made anew
		said = spec
	case *discoveryv1.EndpointSlice:
		said = []any{o.AddressType, o.Ports, o.Endpoints}
	}
	text, err := json.Marshal(said)
	if err != nil {
		return 0 // never: all of it goes to the API server as JSON, or could
	}
	return maphash.Bytes(c.seed, text)
}

// metadata is what of an import's labels and annotations is ours: that of its origin
// which is no version, as versions are others at every write.
func metadata(i *mcsv1beta1.ServiceImport) []any {
	carries, gone, labels, annotations := carriedBy(i.Annotations), map[string]bool{}, map[string]string{}, map[string]string{}
	for cluster, p := range originOf(i.Annotations).Points {
		gone[cluster] = p.Gone
	}
	for _, key := range carries.Labels {
		labels[key] = i.Labels[key]
	}
	for _, key := range append(carries.Annotations, AnnotationShares, AnnotationDerived) {
		annotations[key] = i.Annotations[key]
	}
	return []any{carries, gone, labels, annotations}
}

// timeless is the conditions without the times, which may be others at every write.
func timeless(conditions []metav1.Condition) []metav1.Condition {
	out := slices.Clone(conditions)
	for i := range out {
		out[i].LastTransitionTime = metav1.Time{}
	}
	return out
}
