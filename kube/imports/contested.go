package imports

import (
	"maps"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/locality"
)

const (
	// boutPasses is how many passes of planning and writing one service gets in a row.
	// To import one anew takes about half as many.
	boutPasses = 8
	// firstPause and lastPause bound the pause after a bout that did not settle it; each
	// is twice the one before. Where clients depend on the writes, urgentPause is the
	// longest.
	firstPause  = time.Second
	lastPause   = 5 * time.Minute
	urgentPause = 10 * time.Second
	// calm is how long nothing has to be written until all is as if it were new.
	calm = time.Minute
	// toldAfter is how many bouts do not settle it before that is told: somebody may be
	// changing objects by hand, or the API server be losing writes.
	toldAfter = 3
	// toldObjects is how many objects of one service are told.
	toldObjects = 3
)

// contests bounds what is written against something that keeps changing our objects
// back: an admission webhook that strips a field, a policy engine, another controller.
// Two that never agree would write for ever, as fast as they may. So as long as
// nothing but the cluster's own objects gives reason for writes, those come in bouts,
// with longer and longer pauses in between. A new intent begins a new bout at once.
type contests struct {
	mu sync.Mutex
	of map[catalog.ServiceName]*contest
}

// contest is what was written of one service lately.
type contest struct {
	intent intent
	// The bout: when it began, its passes that wrote something, the last of them, and
	// when it was found not to have settled it, zero before.
	began  time.Time
	passes int
	last   time.Time
	ended  time.Time
	// bouts did not settle it, one after the other. objects were then to be written, and
	// it is over at that time if it does not happen again.
	bouts   int
	objects []string
	over    time.Time
}

// intent is what decides the plan of a service, besides the objects of the cluster that
// are written here.
type intent struct {
	service    *catalog.Service
	conditions *catalog.Conditions
	ramp       locality.Factors
	zones      map[string]int
	verdict    Verdict
	export     types.UID
	generation int64 // of the export
}

func (in *Input) intent() intent {
	out := intent{service: in.Service, conditions: in.Conditions, ramp: in.Ramp, zones: in.Zones}
	if in.Verdict != nil {
		out.verdict = *in.Verdict
	}
	if x := in.Facts.Export; x != nil {
		out.export, out.generation = x.UID, x.Generation
	}
	return out
}

// equal reports whether both are the same, ramps aside.
func (i *intent) equal(j *intent) bool {
	return i.service == j.service && i.conditions == j.conditions && maps.Equal(i.zones, j.zones) &&
		i.verdict == j.verdict && i.export == j.export && i.generation == j.generation
}

// renews reports whether an intent is a new one. A ramp is another one whenever it is
// looked at, and steps no faster than rampPause.
func (c *contest) renews(next *intent, now time.Time) bool {
	return !c.intent.equal(next) || now.Sub(c.began) >= rampPause && !maps.Equal(c.intent.ramp, next.ramp)
}

// begin begins a bout.
func (c *contest) begin(i intent, now time.Time) {
	c.intent, c.began, c.passes, c.ended = i, now, 0, time.Time{}
}

// until is when the next bout may begin with writes of that urgency.
func (c *contest) until(u Urgency) time.Time {
	pause := min(lastPause, firstPause<<min(c.bouts-1, 12))
	if u < Rest {
		pause = min(pause, urgentPause)
	}
	return c.ended.Add(pause)
}

// wrote takes in that a pass has written something.
func (k *contests) wrote(name catalog.ServiceName, i intent, now time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	c := k.of[name]
	if c == nil {
		c = &contest{}
		c.begin(i, now)
		k.of[name] = c
	}
	c.passes++
	c.last = now
}

// hold takes all writes out of a plan that is to wait, and returns when to look again,
// zero if there is no need to. What is contested is entered into the plan.
func (k *contests) hold(name catalog.ServiceName, p *Plan, now time.Time) (due time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	c := k.of[name]
	if c == nil {
		return time.Time{}
	}
	over := !now.Before(c.over)
	settled := c.ended.IsZero() && now.Sub(c.last) > calm
	if over && settled {
		delete(k.of, name)
		return time.Time{}
	}
	if over {
		c.bouts, c.objects = 0, nil
	}
	if settled || over && !c.ended.IsZero() || c.renews(&p.intent, now) {
		c.begin(p.intent, now)
	}
	if c.passes >= boutPasses && len(p.Writes) > 0 {
		due = c.exhausted(name, p, now)
	}
	if c.bouts >= toldAfter {
		p.Contested = c.objects
		due = sooner(due, c.over)
	}
	return due
}

// exhausted is hold for a service whose bout is used up.
func (c *contest) exhausted(name catalog.ServiceName, p *Plan, now time.Time) (due time.Time) {
	if c.ended.IsZero() {
		c.ended = now
		c.bouts++
		c.objects = contestedBy(name, p.Writes)
	}
	c.over = c.until(Rest).Add(calm)
	if due = c.until(p.Urgency); !now.Before(due) {
		c.begin(p.intent, now)
		return time.Time{}
	}
	p.Writes, p.Again = nil, false
	return due
}

// prune forgets services that are not looked at any more.
func (k *contests) prune(now time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	maps.DeleteFunc(k.of, func(_ catalog.ServiceName, c *contest) bool { return now.Sub(c.last) > 2*lastPause })
}

// contestedBy names the objects that are to be written, as kind and name; those that
// are only to be deleted if there are no others.
func contestedBy(name catalog.ServiceName, writes []Write) (objects []string) {
	for _, deletes := range []bool{false, true} {
		for i := range writes {
			w := &writes[i]
			object := kindOfObject(w.Object) + " " + name.Namespace + "/" + w.Object.GetName()
			if (w.Verb == Delete) == deletes && len(objects) < toldObjects && !slices.Contains(objects, object) {
				objects = append(objects, object)
			}
		}
		if len(objects) > 0 {
			break
		}
	}
	return objects
}
