package federation

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/federation/drill"
	"github.com/federator/federator/federation/state"
)

const (
	// guardEvery is how often a leader looks at the drills when nothing wakes it.
	guardEvery = 500 * time.Millisecond
	// drillTimeout bounds one command about a drill.
	drillTimeout = 5 * time.Second
	retireEvery  = time.Minute
)

// drillMetrics count what this replica does about drills.
type drillMetrics struct {
	running, cutOff prometheus.Gauge
	votes           *prometheus.CounterVec
	ends            *prometheus.CounterVec
}

func newDrillMetrics(reg prometheus.Registerer) (*drillMetrics, error) {
	m := &drillMetrics{
		running: prometheus.NewGauge(prometheus.GaugeOpts{Name: "federator_federation_drills_running", Help: "Drills that run, by this replica's own count."}),
		cutOff:  prometheus.NewGauge(prometheus.GaugeOpts{Name: "federator_federation_drill_cut_off", Help: "1 while a drill cuts this replica's region off."}),
		votes:   prometheus.NewCounterVec(prometheus.CounterOpts{Name: "federator_federation_drill_votes_total", Help: "Votes that this replica cast as leader."}, []string{"vote"}),
		ends:    prometheus.NewCounterVec(prometheus.CounterOpts{Name: "federator_federation_drill_ends_total", Help: "Drills that this replica ended as leader, by outcome."}, []string{"outcome"}),
	}
	var errs []error
	for _, c := range []prometheus.Collector{m.running, m.cutOff, m.votes, m.ends} {
		errs = append(errs, reg.Register(c))
	}
	return m, errors.Join(errs...)
}

// note counts a command that was accepted.
func (m *drillMetrics) note(cmd state.Command) {
	switch c := cmd.(type) {
	case *state.CastBallot:
		m.votes.WithLabelValues(map[bool]string{true: "granted", false: "refused"}[c.Granted]).Inc()
	case *state.MarkBallot:
		if c.End != nil {
			m.ends.WithLabelValues(string(c.End.Outcome)).Inc()
		}
	}
}

// conductor does a leader's part in the drills of the federation.
type conductor struct {
	r      *Replica
	seen   map[string]time.Time // since when each drill is known
	alarms *alarmDesk
}

// conduct does so until ctx ends: at once when something changes, and every
// guardEvery because drills meet failures that no change announces.
func (r *Replica) conduct(ctx context.Context) {
	c := &conductor{r: r, seen: map[string]time.Time{}, alarms: newAlarmDesk(r.log)}
	defer c.alarms.close()
	watch := r.catalog.Watch()
	defer watch.Close()
	tick := time.NewTicker(guardEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-watch.Changed():
			if ch := watch.Take(); !ch.All && !ch.Conditions {
				continue // the next tick looks at the services
			}
		}
		c.step(ctx)
	}
}

// step decides once and has what was decided proposed.
func (c *conductor) step(ctx context.Context) {
	if !c.r.understandsDrills() {
		return
	}
	w := c.r.drillWorld(time.Now())
	if len(w.drills) == 0 {
		clear(c.seen)
		c.alarms.watch(ctx, nil)
		return
	}
	c.note(w)
	c.alarms.watch(ctx, w.alarming())
	w.failing = c.alarms.failing
	for _, a := range w.decide() {
		c.act(ctx, a)
	}
}

// note remembers since when each drill is known.
func (c *conductor) note(w *drillWorld) {
	for i := range w.drills {
		if id := w.drills[i].ID; c.seen[id].IsZero() {
			c.seen[id] = w.now
		}
	}
	maps.DeleteFunc(c.seen, func(id string, _ time.Time) bool {
		return !slices.ContainsFunc(w.drills, func(v catalog.DrillView) bool { return v.ID == id })
	})
	w.seen = c.seen
}

// act proposes one command. A vote that another has taken meanwhile becomes a
// refusal that names it.
func (c *conductor) act(ctx context.Context, a drillAction) {
	err := c.r.proposeDrill(ctx, a.cmd)
	if vote, ok := a.cmd.(*state.CastBallot); ok && vote.Granted && errors.Is(err, state.ErrConflict) {
		a.cmd = &state.CastBallot{Drill: vote.Drill, Scope: vote.Scope, Reason: shorten(err.Error(), 2000)}
		a.says = "this region refuses a drill"
		err = c.r.proposeDrill(ctx, a.cmd)
	}
	log := c.r.log.With("drill", a.drill)
	switch {
	case errors.Is(err, state.ErrConflict) || ctx.Err() != nil:
		log.Debug("a command about a drill came late", "error", err)
	case err != nil:
		log.Warn("could not act on a drill; trying again", "error", err)
	default:
		c.r.drillMetrics.note(a.cmd)
		if a.says != "" {
			log.Info(a.says, detailOf(a.cmd)...)
		}
	}
}

// detailOf is what the log says of a command beside the drill.
func detailOf(cmd state.Command) []any {
	switch c := cmd.(type) {
	case *state.AdvanceDrill:
		return []any{"state", c.State, "outcome", c.Outcome, "detail", c.Detail}
	case *state.CastBallot:
		return []any{"scope", c.Scope.String(), "reason", c.Reason}
	case *state.MarkBallot:
		if c.End != nil {
			return []any{"outcome", c.End.Outcome, "reason", c.End.Reason}
		}
		if c.Ack != nil {
			return []any{"phase", c.Ack.Phase}
		}
	}
	return nil
}

// proposeDrill proposes a command and waits until the catalog shows what it did,
// so that the next decision knows of it.
func (r *Replica) proposeDrill(ctx context.Context, cmd state.Command) error {
	ctx, cancel := context.WithTimeout(ctx, drillTimeout)
	defer cancel()
	result, err := r.proposer.Propose(ctx, r.systemMeta(), cmd)
	if err != nil {
		return err
	}
	for r.catalog.Version(r.card.Replica.Region).Compare(result.Version) < 0 && sleep(ctx, 2*time.Millisecond) {
	}
	return nil
}

// understandsDrills reports whether every replica of this region does.
func (r *Replica) understandsDrills() bool {
	return r.understands(state.DrillProtocol)
}

// drillWorld gathers what decisions about drills depend on.
func (r *Replica) drillWorld(now time.Time) *drillWorld {
	cond := r.catalog.Conditions()
	w := &drillWorld{
		now: now, region: r.card.Replica.Region, members: append(r.otherRegions(), r.card.Replica.Region),
		older: map[string]bool{}, drills: r.catalog.Drills(), seen: map[string]time.Time{},
		isolated: cond.Isolated || cond.CutOff != "", evacuations: slices.Sorted(maps.Keys(cond.Evacuations)),
		judge:   r.judgeDrill,
		failing: func(string) string { return "" },
		blocked: func(name string) bool { return blockedNow(r.catalog.Schedules(), name, now) },
	}
	slices.Sort(w.members)
	for _, region := range w.members {
		w.older[region] = older(r.replicasOf(region))
	}
	return w
}

// older reports whether one of the replicas runs a release that knows no drills.
// One that only its address is known of may be any.
func older(replicas []catalog.Replica) bool {
	return slices.ContainsFunc(replicas, func(r catalog.Replica) bool { return r.MaxProtocol > 0 && r.MaxProtocol < state.DrillProtocol })
}

// alarming returns the alarms of the running drills that this region coordinates,
// by drill.
func (w *drillWorld) alarming() map[string][]catalog.Alarm {
	out := map[string][]catalog.Alarm{}
	for i := range w.drills {
		if v := &w.drills[i]; v.Region == w.region && v.State == catalog.DrillRunning && len(v.Alarms) > 0 {
			out[v.ID] = v.Alarms
		}
	}
	return out
}

// judgeDrill says what is against a drill as this replica sees the world now.
func (r *Replica) judgeDrill(d catalog.Drill) []drill.Finding {
	return drill.Check(drill.World{
		Services: r.catalog.Services(), Conditions: r.catalog.Conditions(),
		Gates: r.catalog.Gates(), Drills: r.catalog.Drills(), Now: time.Now(),
	}, d)
}

// retireDrills deletes what is kept of drills for too long.
func (r *Replica) retireDrills(ctx context.Context) error {
	about := r.about()
	if about.ObjectsSuspect || about.NeedsEpoch {
		return nil
	}
	var errs []error
	for _, key := range retired(r.catalog.Objects(), r.drillWorld(time.Now()), about.Authority) {
		_, err := r.proposer.Propose(ctx, r.systemMeta(), &state.PutObject{ObjectKey: key, Deleted: true})
		if err != nil && !errors.Is(err, state.ErrNotFound) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
