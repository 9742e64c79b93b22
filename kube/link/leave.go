package link

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/federator/federator/peering/pb"
)

// parting is what comes next while a region is taken out.
type parting int

const (
	// partDone: nothing is left to do.
	partDone parting = iota
	// partWait: something happens by itself.
	partWait
	// partDrain: every other region stops sending clients there.
	partDrain
	// partStop: the pods end, with their disks kept.
	partStop
	// partRemove: the federation forgets the region.
	partRemove
	// partSettle: what was said of it ends, its evacuation.
	partSettle
	// partUninstall: what was installed is deleted.
	partUninstall
)

// leaving is what is known when it is decided what to do.
type leaving struct {
	region string
	// from is a remaining cluster; cluster the one that leaves, nil if it cannot be
	// reached or is gone.
	from, cluster *Facts
	drain         time.Duration
	uninstall     bool
	force         bool
	// others are the members of the region that are not in the cluster.
	others []string
	// only are the services that would be left with nothing.
	only []string
	// left is what of an installation is still there.
	left []string
	now  time.Time
}

// hindrances says why the region cannot be taken out.
func (l *leaving) hindrances() []*pb.Problem {
	f := &found{subject: "context " + l.from.Context}
	l.from.base(f)
	if l.from.Unreachable == "" {
		l.from.inviting(f)
	}
	if c := l.cluster; c != nil {
		f.subject = "context " + c.Context
		c.base(f)
		if c.Unreachable != "" {
			f.problems[len(f.problems)-1].Action += "; if the cluster is gone for good: federator unlink --region " + l.region + " --from " + l.from.Context
		}
		switch {
		case c.ID != "" && c.ID == l.from.ID:
			f.note(severe, "same-cluster", "a cluster that remains, after --from", "it is the one that is to leave", "name another cluster of the federation")
		case c.Agent != nil && l.from.Agent != nil && c.trustDomain() != l.from.trustDomain():
			f.note(severe, "other-federation", "a member of "+l.from.trustDomain(), "it is a member of "+c.trustDomain(), "say --from with a cluster of that federation")
		}
	}
	r := l.from.region(l.region)
	f.subject = "region " + l.region
	if c := l.cluster; c != nil && c.Agent == nil && c.Waits && r.GetReach() == "reachable" {
		f.note(severe, "region-taken", "a region that is this cluster", "the pods of "+c.Context+" wait to join, and the region answers: it is another cluster", "name the context of that cluster")
	}
	switch {
	case r.GetAuthority():
		f.note(severe, "authority", "a region that the others can do without", "it is the authority region, which lets regions in and takes them out", "take the others out instead, or see docs/operations.md, \"The authority region is lost\"")
	case r.GetOwn():
		f.note(severe, "own-region", "a cluster of another region after --from", "it is of region "+l.region+" itself", "name a cluster that remains")
	}
	if len(l.others) > 0 {
		f.note(severe, "others", "a region that is this cluster alone", "it has also "+some(l.others), "take those replicas out first, with federator leave")
	}
	if len(l.only) > 0 {
		f.note(warning, "only-there", "services that other regions serve, too", fmt.Sprintf("%d are served there only: %s", len(l.only), some(l.only)), "they are left with nothing; export them elsewhere first")
	}
	return f.problems
}

// some shows the first few of a list.
func some(names []string) string {
	const few = 10
	if len(names) <= few {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:few], ", "), len(names)-few)
}

// next decides what comes next, and says why, or what is waited for.
func (l *leaving) next() (parting, string) {
	f, c := l.from, l.cluster
	if f.Agent == nil {
		return partWait, f.Context + ": a replica that answers: " + f.Silent + f.Unreachable
	}
	if c != nil && c.Unreachable != "" { // what is there is not known, and nothing is done as if it were nothing
		return partWait, c.Context + ": the API server: " + c.Unreachable
	}
	if r := f.region(l.region); r != nil {
		return l.out(r)
	}
	switch {
	case l.evacuated() != nil:
		return partSettle, "region " + l.region + " is out, and its evacuation is not over"
	case c == nil:
		return partDone, ""
	case c.Installed && c.Replicas > 0 && f.removed(l.region):
		return partStop, "its pods still run"
	case l.uninstall && len(l.left) > 0:
		return partUninstall, strings.Join(l.left, ", ") + " are still there"
	case l.uninstall && c.Ending:
		return partWait, "namespace " + c.Namespace + " of " + c.Context + " to be gone"
	}
	return partDone, ""
}

// out decides what comes next for a region that is still in.
func (l *leaving) out(r *pb.RegionStatus) (parting, string) {
	e := l.evacuated()
	runs := l.cluster != nil && l.cluster.Installed && (l.cluster.Replicas > 0 || len(l.cluster.Pods) > 0)
	switch {
	case e == nil && r.GetServices() > 0 && r.GetReach() == "reachable" && !l.force:
		return partDrain, "clients are still sent to region " + l.region
	case e != nil && l.now.Sub(e.GetStarted().AsTime()) < l.drain:
		return partWait, fmt.Sprintf("clients to leave region %s, %s from its evacuation on", l.region, l.drain)
	case runs && l.cluster.Replicas > 0:
		return partStop, "its pods still run"
	case runs:
		return partWait, fmt.Sprintf("%d pods of %s to end", len(l.cluster.Pods), l.cluster.Context)
	case r.GetReach() == "reachable" && !l.force:
		return partWait, "region " + l.region + " to be silent"
	}
	return partRemove, "region " + l.region + " is silent"
}

// evacuated is the evacuation of the region, if there is one.
func (l *leaving) evacuated() *pb.EvacuationInfo {
	all := l.from.Agent.GetEvacuations()
	if i := slices.IndexFunc(all, func(e *pb.EvacuationInfo) bool { return e.GetRegion() == l.region }); i >= 0 {
		return all[i]
	}
	return nil
}

// steps says in sentences what is going to be done.
func (l *leaving) steps() []string {
	var out []string
	r := l.from.region(l.region)
	if r.GetServices() > 0 && r.GetReach() == "reachable" && !l.force && l.evacuated() == nil {
		out = append(out, fmt.Sprintf("evacuate region %s from %s, and give clients %s to go elsewhere", l.region, l.from.Context, l.drain))
	}
	if c := l.cluster; c != nil && c.Installed && c.Replicas > 0 && (r != nil || l.from.removed(l.region)) {
		kept := "; its disks are kept"
		if l.uninstall {
			kept = ""
		}
		out = append(out, fmt.Sprintf("scale the StatefulSet %s/federator in %s to none", c.Namespace, c.Context)+kept)
	}
	if r != nil {
		out = append(out, fmt.Sprintf("remove region %s, epoch %d, from %s, for good: it can come back only by joining anew", l.region, r.GetEpoch(), l.from.trustDomain()))
	}
	if l.uninstall && len(l.left) > 0 && l.cluster != nil {
		out = append(out, fmt.Sprintf("delete in %s, for good: %s", l.cluster.Context, strings.Join(l.left, ", ")))
	}
	return out
}

// servedOnlyIn are the services that a region alone has healthy endpoints for.
func servedOnlyIn(region string, services []*pb.ServiceSummary) []string {
	var out []string
	for _, s := range services {
		here, elsewhere := uint32(0), uint32(0)
		for _, b := range s.GetBackends() {
			if b.GetRegion() == region {
				here += b.GetHealthy()
			} else {
				elsewhere += b.GetHealthy()
			}
		}
		if here > 0 && elsewhere == 0 {
			out = append(out, s.GetName())
		}
	}
	return out
}
