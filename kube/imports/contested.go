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
	// boutPasses is how many passes of planning and writing one service gets in a row,
	// and settlePasses how many a new intent or the end of a pause brings: as many as it
	// takes to import a service anew, and one more.
	boutPasses   = 8
	settlePasses = 5
	// firstPause and lastPause bound the pause when they are used up; each is twice the
	// one before. dependsPause is the longest where clients depend on what is written.
	firstPause   = time.Second
	lastPause    = 5 * time.Minute
	dependsPause = 30 * time.Second
	// calm is how long nothing is to be written until all is as if it were new, and
	// contestOver how long a service that is written all the time needs no pause. It is
	// longer than the last pause and as many passes as it brings, a minute apart.
	calm        = time.Minute
	contestOver = 3 * lastPause
	// toldAfter is how many pauses do not settle it before that is told: somebody may be
	// changing objects by hand, or the API server be losing writes.
	toldAfter = 3
	// toldObjects is how many objects of one service are told.
	toldObjects = 3
)

// contests bounds what is written against something that keeps changing our objects
// back: an admission webhook that strips a field, a policy engine, another controller.
// Two that never agree would write for ever, as fast as they may. So as long as
// nothing but the cluster's own objects gives reason for writes, a service has few
// passes, and gets more of them after longer and longer pauses only. A new intent
// brings some at once.
type contests struct {
	mu sync.Mutex
	of map[catalog.ServiceName]*contest
}

// contest is what was written of one service lately.
type contest struct {
	intent  intent
	renewed time.Time // when what concerns all services was last found to be another
	left    int       // passes
	part    int       // writes of passes that were broken off
	used    time.Time // when a plan found no pass left, zero before
	idle    time.Time // since when there is nothing to write, zero while there is
	seen    time.Time // when it was last looked at
	// pauses did not settle it, each after the one before was over; the last of them began
	// at paused. objects were then to be written, or had been right before; written are
	// those since.
	pauses           int
	paused           time.Time
	objects, written []string
}

// intent is what decides the plan of a service, besides the objects of the cluster
// that are written here, and what the API server has refused.
type intent struct {
	service    *catalog.Service
	verdict    Verdict
	export     types.UID
	generation int64 // of the export
	// What concerns all services, or is another one whenever it is looked at.
	conditions *catalog.Conditions
	ramp       locality.Factors
	zones      map[string]int
	behind     string
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

// sameService reports whether both are the same as to this service alone, and
// sameWorld as to the rest.
func (i *intent) sameService(j *intent) bool {
	return i.service == j.service && i.verdict == j.verdict && i.export == j.export && i.generation == j.generation
}

func (i *intent) sameWorld(j *intent) bool {
	return i.conditions == j.conditions && i.behind == j.behind && maps.Equal(i.ramp, j.ramp) && maps.Equal(i.zones, j.zones)
}

// renew takes over a new intent, and returns when to look again if it is too soon for
// that: a ramp steps no faster than rampPause, and nor does what concerns all services,
// of which many may be contested.
func (c *contest) renew(next intent, now time.Time) (due time.Time) {
	switch {
	case !c.intent.sameService(&next):
	case c.intent.sameWorld(&next):
		return time.Time{}
	case now.Sub(c.renewed) < rampPause:
		return c.renewed.Add(rampPause)
	}
	if !c.intent.sameWorld(&next) {
		c.renewed = now
	}
	c.intent = next
	c.more(settlePasses)
	return time.Time{}
}

// more makes sure that there are so many passes.
func (c *contest) more(passes int) {
	c.left, c.used, c.written = max(c.left, passes), time.Time{}, nil
}

// wrote takes in that a pass has made some of the writes of a plan.
func (k *contests) wrote(name catalog.ServiceName, p *Plan, made int, now time.Time) {
	if made == 0 {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	c := k.of[name]
	if c == nil {
		c = &contest{intent: p.intent, renewed: now, left: boutPasses, seen: now}
		k.of[name] = c
	}
	c.written = add(c.written, name, p.Writes[:made])
	if c.part += made; c.part >= len(p.Writes) {
		c.part = 0
		c.left = max(c.left-1, 0)
	}
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
	c.seen = now
	switch {
	case len(p.Writes) > 0 && c.idle.IsZero():
	case c.idle.IsZero():
		c.idle = now
	case now.Sub(c.idle) >= calm:
		delete(k.of, name)
		return time.Time{}
	case len(p.Writes) > 0:
		c.idle = time.Time{}
	}
	if c.pauses > 0 && now.Sub(c.paused) >= contestOver {
		c.pauses, c.objects = 0, nil
		c.more(settlePasses)
	}
	soon := c.renew(p.intent, now)
	if len(p.Writes) > 0 && c.left == 0 {
		due = c.exhausted(name, p, soon, now)
	}
	if c.pauses >= toldAfter {
		p.Contested = c.objects
		if !c.idle.IsZero() {
			due = sooner(due, c.idle.Add(calm))
		}
	}
	return due
}

// exhausted is hold for a service that has no pass left. Soon is when it is to get some
// because of what concerns all services, zero if that has not changed.
func (c *contest) exhausted(name catalog.ServiceName, p *Plan, soon, now time.Time) (due time.Time) {
	switch {
	case !c.used.IsZero():
	case !soon.IsZero(): // that may be why there is something to write
		p.Writes, p.Again = nil, false
		return soon
	default:
		c.used = now
		c.objects = union(add(nil, name, p.Writes), c.written)
		// A new intent may have cut the last pause short.
		if c.pauses == 0 || now.Sub(c.paused) >= c.pause() {
			c.pauses++
			c.paused = now
		}
	}
	pause := c.pause()
	if depends(p.Writes) {
		pause = min(pause, dependsPause)
	}
	if due = c.used.Add(pause); !now.Before(due) {
		c.more(settlePasses)
		return time.Time{}
	}
	p.Writes, p.Again = nil, false
	return sooner(due, soon)
}

// pause is how long the last pause is, or was to be, where no client depends on it.
func (c *contest) pause() time.Duration { return min(lastPause, firstPause<<min(c.pauses-1, 12)) }

// depends reports whether clients depend on the writes: all but a status.
func depends(writes []Write) bool {
	return slices.ContainsFunc(writes, func(w Write) bool { return w.Verb != UpdateStatus && w.Verb != ApplyStatus })
}

// prune forgets services that are not looked at any more.
func (k *contests) prune(now time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	maps.DeleteFunc(k.of, func(_ catalog.ServiceName, c *contest) bool { return now.Sub(c.seen) > 2*resync })
}

// add names the objects of writes, as kind and name, after those that are named already.
func add(objects []string, name catalog.ServiceName, writes []Write) []string {
	for i := range writes {
		w := &writes[i]
		objects = union(objects, []string{kindOfObject(w.Object) + " " + name.Namespace + "/" + w.Object.GetName()})
	}
	return objects
}

// union adds what is not in objects yet, up to toldObjects in all.
func union(objects, more []string) []string {
	for _, object := range more {
		if len(objects) < toldObjects && !slices.Contains(objects, object) {
			objects = append(objects, object)
		}
	}
	return objects
}
