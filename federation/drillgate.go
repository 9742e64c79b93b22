package federation

import (
	"context"
	"fmt"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/identity"
	"github.com/federator/federator/source/probe"
)

// followDrills cuts this replica off from the other regions while a drill of kind
// isolate demands it, and tells the metrics what runs.
func (r *Replica) followDrills(ctx context.Context) error {
	watch := r.catalog.Watch()
	defer watch.Close()
	now := r.catalog.Conditions().CutOff // openCatalog has seen to it
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-watch.Changed():
		}
		if ch := watch.Take(); !ch.All && !ch.Conditions {
			continue
		}
		now = r.cutOff(now)
		running := 0
		for _, v := range r.catalog.Drills() {
			if v.State == catalog.DrillRunning {
				running++
			}
		}
		r.drillMetrics.running.Set(float64(running))
	}
}

// cutOff shuts the gate to other regions, or opens it, if the drill that cuts this
// one off is another than it was, and returns it.
func (r *Replica) cutOff(was string) string {
	drill := r.catalog.Conditions().CutOff
	switch {
	case drill == was:
	case drill == "":
		r.gate.Shut(nil)
		r.drillMetrics.cutOff.Set(0)
		r.log.Info("a drill no longer cuts this region off", "drill", was)
	default:
		closed := r.gate.Shut(r.isAbroad)
		r.drillMetrics.cutOff.Set(1)
		r.log.Warn("a drill cuts this region off from the others", "drill", drill, "closed", closed)
	}
	return drill
}

// isAbroad reports whether the identity is that of a replica of another region.
func (r *Replica) isAbroad(id identity.ID) bool {
	return id.Kind == identity.Replica && id.Region != r.card.Replica.Region
}

// unlessCutOff asks endpoints of other regions nothing while a drill cuts this one
// off: behind a real cut, nobody would answer.
func (r *Replica) unlessCutOff(once func(context.Context, probe.Target) error) func(context.Context, probe.Target) error {
	return func(ctx context.Context, t probe.Target) error {
		if drill := r.catalog.Conditions().CutOff; drill != "" {
			return fmt.Errorf("drill %s cuts this region off", drill)
		}
		return once(ctx, t)
	}
}
