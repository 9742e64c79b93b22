package intents

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/kube/api/v1alpha1"
)

const (
	// startEvery and startBurst bound how many drills the users of a namespace begin, and
	// startsEvery and startsBurst those of the cluster: each asks every region, and only
	// so many are remembered.
	startEvery  = 10 * time.Second
	startBurst  = 5
	startsEvery = 2 * time.Second
	startsBurst = 20
)

// tries is what came of attempts to begin drills, by the UID of the object.
type tries struct {
	refused map[types.UID]*Refusal
	stuck   map[types.UID]string
	missing map[types.UID]time.Time
}

// stepDrills compares the drills once, and does what is to be done.
func (r *Registrar) stepDrills(ctx context.Context) {
	now := time.Now()
	in := Drills{
		Cluster: r.cfg.Cluster, Region: r.cfg.Region, Known: r.cfg.Federation.Drills(), Report: r.cfg.Federation.Report, Refuses: r.refuses,
		Refusals: r.tries.refused, Stuck: r.tries.stuck, Missing: r.tries.missing, Now: now,
	}
	in.Objects, in.Whole = read(r, v1alpha1.ResourceDrills, r.drills, now)
	plan := in.Plan()
	r.tries.missing = plan.Missing
	r.tries.keep(in.Objects)
	for _, stop := range plan.Stops {
		r.stop(ctx, stop)
	}
	for _, start := range plan.Starts {
		r.start(ctx, start)
	}
	written := false
	r.turn++
	for _, next := range inTurn(plan.Statuses, r.turn) {
		if ctx.Err() != nil || !r.cfg.Leading() || !r.limit.Allow() {
			return
		}
		ok := write(ctx, r, v1alpha1.KindDrill, r.drills, next, plan.Notices, func(ctx context.Context, o metav1.UpdateOptions) (*v1alpha1.Drill, error) {
			return r.cfg.Kube.Federator.FederatorV1alpha1().Drills(next.Namespace).UpdateStatus(ctx, next, o)
		})
		written = written || ok
	}
	if written {
		r.Look() // what says that it is starting is to be started
	}
}

// refuses returns the export rules that keep the own cluster from speaking for a
// service.
func (r *Registrar) refuses(service catalog.ServiceName) []string {
	if v := r.cfg.Catalog.ExportRules().Verdict(r.cfg.Region, r.cfg.Cluster, service); v.Refused() {
		return v.Naming
	}
	return nil
}

// keep forgets what was tried for objects that are gone.
func (t *tries) keep(objects []*v1alpha1.Drill) {
	there := map[types.UID]bool{}
	for _, o := range objects {
		there[o.UID] = true
	}
	maps.DeleteFunc(t.refused, func(uid types.UID, _ *Refusal) bool { return !there[uid] })
	maps.DeleteFunc(t.stuck, func(uid types.UID, _ string) bool { return !there[uid] })
}

// wait remembers why a drill does not begin yet.
func (t *tries) wait(uid types.UID, why string) {
	if t.stuck == nil {
		t.stuck = map[types.UID]string{}
	}
	t.stuck[uid] = why
}

func (r *Registrar) start(ctx context.Context, s DrillStart) {
	namespace, now := s.Drill.Scope.Service.Namespace, time.Now()
	if ctx.Err() != nil || !r.cfg.Leading() {
		return
	}
	if !r.starts.has(namespace, now) {
		r.tries.wait(s.UID, fmt.Sprintf("the users of namespace %s, or of the cluster, begin too many drills: those of a namespace one in %s, after a burst of %d", namespace, startEvery, startBurst))
		return
	}
	r.starts.take(namespace, now)
	limited, cancel := context.WithTimeout(ctx, recordTimeout)
	defer cancel()
	err := r.cfg.Federation.StartDrill(limited, s.Drill)
	r.metrics.recorded(v1alpha1.KindDrill, err)
	log := r.cfg.Logger.With("drill", s.Drill.ID, "by", s.Drill.Actor)
	delete(r.tries.stuck, s.UID)
	var refusal *Refusal
	switch {
	case ctx.Err() != nil:
	case errors.As(err, &refusal):
		if r.tries.refused == nil {
			r.tries.refused = map[types.UID]*Refusal{}
		}
		r.tries.refused[s.UID] = refusal
		log.Info("a drill of the cluster does not begin", "reason", refusal.Reason, "detail", refusal.Message)
		r.Look()
	case err != nil:
		r.tries.wait(s.UID, err.Error())
		log.Warn("a drill of the cluster did not reach the federation; trying again", "error", err)
	default:
		log.Info("a drill of the cluster", "service", s.Drill.Scope.Service, "scope", s.Drill.Scope)
	}
}

func (r *Registrar) stop(ctx context.Context, s DrillStop) {
	if ctx.Err() != nil || !r.cfg.Leading() {
		return
	}
	limited, cancel := context.WithTimeout(ctx, recordTimeout)
	defer cancel()
	if err := r.cfg.Federation.StopDrill(limited, s.ID, s.Reason); err != nil && ctx.Err() == nil {
		r.cfg.Logger.Warn("a drill could not be ended; trying again", "drill", s.ID, "reason", s.Reason, "error", err)
	}
}
