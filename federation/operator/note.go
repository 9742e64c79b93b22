package operator

import (
	"fmt"
	"strings"

	"github.com/federator/federator/federation/catalog"
)

// note says in words what is special about a region; "" if nothing is.
func (v *view) note(r *regionView) string {
	switch {
	case r.removed():
		return fmt.Sprintf("epoch %d was removed for good", r.record.Epoch)
	case r.own:
		return v.ownNote()
	case r.version == (catalog.Version{}):
		return "nothing is known of its services yet"
	case v.cond.Isolated:
		return "cut off from here; serving the last known state"
	case r.reach == catalog.Reachable:
		return v.linkNote(r)
	}
	return strings.Join(append(v.silence(r), v.workloads(r)), "; ")
}

func (v *view) ownNote() string {
	if by, epoch := v.removedBy(); by != "" {
		return fmt.Sprintf("region %s says that epoch %d was removed; rejoin with a new token", by, epoch)
	}
	if v.about.NeedsEpoch {
		return "recovered or restored; publishes nothing until the authority region issues a new epoch"
	}
	if v.cond.Isolated {
		return "every other region is silent, so the fault is probably here"
	}
	return ""
}

// removedBy returns a region that knows our epoch as removed, and the epoch.
func (v *view) removedBy() (region string, epoch uint64) {
	for _, r := range v.regions {
		if r.link != nil && r.link.RemovedEpoch != 0 && r.link.RemovedEpoch >= v.stats.Version.Epoch {
			return r.name, r.link.RemovedEpoch
		}
	}
	return "", 0
}

func (v *view) linkNote(r *regionView) string {
	switch {
	case v.freshness(r) == "fresh":
		return ""
	case r.heard.IsZero():
		return "not heard from since this replica started; serving what it knew before"
	case r.link == nil || r.link.LastEvent.IsZero():
		return "its replicas answer, and its stream has yet to come; serving what was known before"
	}
	return fmt.Sprintf("its replicas answer, but its stream brought nothing for %s; serving the last known state", about(v.now.Sub(r.link.LastEvent)))
}

// silence says for how long the replicas have been silent.
func (v *view) silence(r *regionView) []string {
	switch {
	case r.heard.IsZero() && r.since.IsZero():
		return []string{"replicas silent"}
	case r.heard.IsZero():
		return []string{fmt.Sprintf("replicas silent for %s", about(max(0, v.now.Sub(r.since))))}
	}
	return []string{fmt.Sprintf("replicas silent for %s", about(max(0, v.now.Sub(r.heard))))}
}

// workloads says how the endpoints of a silent region are.
func (v *view) workloads(r *regionView) string {
	switch r.reach {
	case catalog.Silent:
		return "asking its endpoints; serving the last known state"
	case catalog.ControlPlaneLost:
		return fmt.Sprintf("%d of %d endpoints answer; serving the last known state", r.answering, r.endpoints)
	}
	if r.endpoints == 0 {
		return "it has no endpoints that could answer"
	}
	return "its endpoints do not answer either; it serves nobody while another region can"
}
