package link

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"github.com/federator/federator/kube/pod"
	"github.com/federator/federator/peering/enroll"
	"github.com/federator/federator/peering/pb"
)

// step is what comes next while a cluster joins.
type step int

const (
	// stepDone: both sides have each other.
	stepDone step = iota
	// stepWait: something happens by itself.
	stepWait
	// stepInstall what is missing.
	stepInstall
	// stepInvite: make a token in one cluster and put it in the other.
	stepInvite
	// stepReplace: take a token away that is good no more; then invite.
	stepReplace
)

// spare is how long a token that is there has to be good for, to be waited for.
const spare = time.Minute

// next decides what comes next, and says why, or what is waited for.
func next(joining, to *Facts, w Wanted, now time.Time) (step, string) {
	switch {
	case joining.Unreachable != "":
		return stepWait, joining.Context + ": the API server: " + joining.Unreachable
	case to.Unreachable != "":
		return stepWait, to.Context + ": the API server: " + to.Unreachable
	case !joining.Installed && w.Install:
		return stepInstall, "federator is not installed in " + joining.Context
	case joining.Agent != nil && joining.trustDomain() == to.trustDomain():
		if waiting := linking(joining, to); waiting != "" {
			return stepWait, waiting
		}
		return stepDone, ""
	case joining.Agent != nil && to.Agent != nil:
		return stepWait, "two federations: " + joining.trustDomain() + " and " + to.trustDomain()
	}
	if s := joining.Secret; s != nil {
		switch {
		case s.TrustDomain == "":
		case to.Agent != nil && (s.TrustDomain != to.trustDomain() || s.Expose != to.Expose), s.Expires.Sub(now) < spare && joining.Waits:
			return stepReplace, "the token in " + joining.Context + " is good no more"
		}
		said := joining.said()
		if said == "" || strings.Contains(said, secretName()) { // it looks every two seconds
			said = "it has a token"
		}
		if strings.Contains(said, enroll.ErrUnreachable.Error()) {
			said += fmt.Sprintf("; replicas of %s are exposed by %s: if that is an address which %s does not reach, %s, or loadbalancer, and the same there",
				to.Context, cmp.Or(to.Expose, string(pod.ByPod)), joining.Context, to.federator("install", "--expose hostport"))
		}
		return stepWait, fmt.Sprintf("%s: pod %s to join: %s", joining.Context, firstPod, said)
	}
	switch {
	case joining.Waits && to.Agent != nil:
		return stepInvite, "pod " + firstPod + " of " + joining.Context + " waits for a token"
	case to.Agent == nil:
		return stepWait, to.Context + ": a replica that answers: " + to.Silent
	}
	return stepWait, fmt.Sprintf("%s: pod %s to start: %s", joining.Context, firstPod, cmp.Or(joining.said(), "no word from it yet"))
}

// said is what the first pod waits for.
func (f *Facts) said() string {
	if p := f.first(); p != nil {
		return p.stuck()
	}
	return "there is no such pod yet"
}

// linking says what is missing until two members of a federation have each other; ""
// if nothing is.
func linking(joining, to *Facts) string {
	for _, side := range [][2]*Facts{{joining, to}, {to, joining}} {
		here, there := side[0], side[1]
		if !here.Agent.GetReady() {
			return fmt.Sprintf("%s: the replica to be ready: it waits for %s", here.Context, strings.Join(here.Agent.GetWaitingFor(), "; "))
		}
		name := there.Agent.GetSelf().GetRegion()
		r := here.region(name)
		if r == nil {
			return here.Context + ": to hear of region " + name
		}
		if why := behind(r); why != "" {
			return fmt.Sprintf("%s: region %s: %s", here.Context, name, why)
		}
	}
	if joining.Ready < joining.Replicas {
		return fmt.Sprintf("%s: all replicas to be ready: %d of %d are", joining.Context, joining.Ready, joining.Replicas)
	}
	return ""
}

// behind says what is missing of a region's data; "" if nothing is.
func behind(r *pb.RegionStatus) string {
	switch {
	case r.GetFreshness() != "fresh" && r.GetFreshness() != "own":
		return cmp.Or(r.GetStreamError(), "its data to arrive ("+r.GetFreshness()+")")
	case r.GetReach() != "reachable":
		return "to be reachable (" + r.GetReach() + ")"
	}
	return ""
}

// secretName is that of the Secret with the token of the first pod.
func secretName() string { return pod.JoinSecret(firstPod) }
