package link

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/federator/federator/kube/api/v1alpha1"
	"github.com/federator/federator/kube/pod"
	"github.com/federator/federator/peering/pb"
)

// What federator needs of a cluster.
const (
	oldestMinor = 30
	// mcsVersion is the version of the Multi-Cluster Services API that it speaks.
	mcsVersion = "v1beta1"
	// clockError and clockWarning are how much clocks may differ: a token and a
	// certificate are refused beyond the first.
	clockError   = 5 * time.Minute
	clockWarning = 10 * time.Second
)

// The severities of problems.
const (
	severe  = "error"
	warning = "warning"
	info    = "info"
)

// found is a list of problems that grows.
type found struct {
	subject  string
	problems []*pb.Problem
}

// note adds a problem.
func (l *found) note(severity, code, expected, is, do string) {
	l.problems = append(l.problems, &pb.Problem{Severity: severity, Code: code, Subject: l.subject, Expected: expected, Found: is, Action: do})
}

// Severe are the problems that are errors.
func Severe(problems []*pb.Problem) []*pb.Problem {
	return slices.DeleteFunc(slices.Clone(problems), func(p *pb.Problem) bool { return p.GetSeverity() != severe })
}

// place is where it is.
func (f *Facts) place() place { return place{f.Context, f.Namespace} }

func (f *Facts) kubectl(args string) string            { return f.place().kubectl(args) }
func (f *Facts) inside(args string) string             { return f.place().inside(args) }
func (f *Facts) federator(command, more string) string { return f.place().federator(command, more) }

// Checked is what Examine looks at.
func Checked() []string {
	return []string{"API server", "Kubernetes version", "operator's rights", "clock", "MCS CRDs", "CRDs of federator", "installation", "pods", "disruption budget", "addresses", "cluster DNS"}
}

// Examine says what is wrong in a cluster in which federator is to run.
func Examine(f *Facts) []*pb.Problem {
	l := &found{subject: "context " + f.Context}
	f.base(l)
	if f.Unreachable != "" {
		return l.problems
	}
	f.definitions(l)
	switch {
	case f.Installed:
	case f.Elsewhere != "":
		f.misplaced(l)
		return l.problems
	default:
		l.note(severe, "not-installed", "StatefulSet federator in namespace "+f.Namespace, "none", "to join a federation: "+f.federator("join", "--to CLUSTER --install")+"\nto found one: "+f.federator("install", "--trust-domain NAME --recovery-key-file FILE"))
		return l.problems
	}
	f.own(l)
	f.pods(l)
	f.addresses(l)
	if !f.Disruptions {
		l.note(warning, "no-disruption-budget", "PodDisruptionBudget federator", "none: draining nodes may take a region's quorum", f.federator("install", "")+" again")
	}
	f.dns(l)
	return l.problems
}

// Obstacles says what is in the way of installing federator in a cluster.
func Obstacles(f *Facts) []*pb.Problem {
	l := &found{subject: "context " + f.Context}
	f.base(l)
	for _, versions := range f.Definitions {
		if !slices.Contains(versions, mcsVersion) { // those that are missing are brought
			f.definitions(l)
			break
		}
	}
	if f.Unreachable == "" && f.Elsewhere != "" {
		f.misplaced(l)
	}
	return l.problems
}

// misplaced says that federator is in another namespace. A second one would take the
// rights of the first, which are bound to its service account by name.
func (f *Facts) misplaced(l *found) {
	l.note(severe, "other-namespace", "federator in namespace "+f.Namespace+", or nowhere in the cluster", "the ClusterRoleBinding federator is of namespace "+f.Elsewhere,
		"say --federator-namespace "+f.Elsewhere+"; if nothing is left of that one: "+f.kubectl("delete clusterrolebinding federator"))
}

// base says what is wrong whatever federator is to do there.
func (f *Facts) base(l *found) {
	if f.Unreachable != "" {
		l.note(severe, "api-unreachable", "an API server that answers", f.Unreachable, "see kubectl --context "+f.Context+" get --raw /readyz; is the VPN up, and are the credentials of the context still good?")
		return
	}
	if f.Minor < oldestMinor {
		l.note(severe, "kubernetes-version", fmt.Sprintf("Kubernetes 1.%d or later", oldestMinor), f.Server, "upgrade the cluster")
	}
	if len(f.Denied) > 0 {
		texts := make([]string, len(f.Denied))
		for i, r := range f.Denied {
			texts[i] = r.String()
		}
		l.note(severe, "rights", "to be allowed to "+strings.Join(texts, ", to "), "the user of the context is not", "use a context of an administrator; see kubectl --context "+f.Context+" auth can-i "+texts[0])
	}
	if f.Unknown != "" {
		l.note(warning, "rights-unknown", "to be told what the user of the context may do", f.Unknown, "go on: what is not allowed shows when it is tried")
	}
	if f.HasClock {
		f.clock(l)
	}
	if f.Ending {
		l.note(severe, "namespace-ending", "namespace "+f.Namespace, "it is being deleted", "wait until it is gone; if it stays, see "+f.kubectl("get namespace "+f.Namespace+" -o yaml"))
	}
}

func (f *Facts) clock(l *found) {
	if by := f.Ahead.Abs(); by > clockWarning {
		severity := warning
		if by > clockError {
			severity = severe
		}
		l.note(severity, "clock", "the clock of the API server to agree with this machine's to "+clockWarning.String(), ahead(f.Ahead), "find out which of the two is wrong, and set it by NTP")
	}
}

func ahead(d time.Duration) string {
	if d < 0 {
		return (-d).Round(time.Second).String() + " behind"
	}
	return d.Round(time.Second).String() + " ahead"
}

// definitions says what is wrong with the CRDs.
func (f *Facts) definitions(l *found) {
	for _, plural := range []string{"serviceexports", "serviceimports"} {
		versions, ok := f.Definitions[plural]
		switch name := plural + ".multicluster.x-k8s.io"; {
		case !ok:
			l.note(severe, "crds-missing", "the CustomResourceDefinition "+name, "none", f.federator("install", "")+" brings it, or "+f.kubectl("apply -k deploy/clusters/crds"))
		case !slices.Contains(versions, mcsVersion):
			l.note(severe, "crds-version", name+" served as "+mcsVersion, strings.Join(versions, ", "), "replace it by a newer one, as in deploy/clusters/crds, once whoever installed it can do with that")
		}
	}
}

// own says which of federator's own kinds the users of namespaces have not.
func (f *Facts) own(l *found) {
	var missing []string
	for _, plural := range ownKinds() {
		if !slices.Contains(f.Own[plural], v1alpha1.Version) {
			missing = append(missing, plural)
		}
	}
	if len(missing) > 0 {
		l.note(info, "own-crds", "the CustomResourceDefinitions of "+v1alpha1.GroupVersion().String(), "without "+strings.Join(missing, " and ")+": users of namespaces can make none",
			f.federator("install", "")+" again brings them, or "+f.kubectl("apply -k deploy/clusters/crds"))
	}
}

// pods says which pods do not do their work, and why.
func (f *Facts) pods(l *found) {
	if f.Region == "" || f.Cluster == "" {
		l.note(severe, "no-config", "ConfigMap federator with region and cluster", fmt.Sprintf("region %q, cluster %q", f.Region, f.Cluster), f.federator("install", "--region REGION"))
	}
	if f.Ready < f.Replicas {
		severity := warning
		if f.Ready == 0 {
			severity = severe
		}
		action := "see what is said of the pods"
		if len(f.Pods) == 0 {
			action = "see why none is made: " + f.inside("describe statefulset federator")
		}
		l.note(severity, "replicas", fmt.Sprintf("%d pods that are ready", f.Replicas), fmt.Sprintf("%d", f.Ready), action)
	}
	if f.Replicas == 0 {
		l.note(warning, "paused", "at least one pod", "the StatefulSet is scaled to none", f.inside("scale statefulset federator --replicas=3"))
	}
	for _, p := range f.Pods {
		if is := p.stuck(); is != "" && !p.Ready {
			l.note(severe, "pod", "pod "+p.Name+" ready", is, "see "+f.inside("describe pod "+p.Name)+" and "+f.inside("logs "+p.Name))
		}
	}
	if f.Agent == nil && f.Silent != "" {
		l.note(severe, "agent-silent", "a replica that answers", f.Silent, "see the pods above; to be asked takes the right to create pods/exec")
	}
}

// stuck says what a pod waits for, by Kubernetes or by itself.
func (p *Pod) stuck() string {
	switch {
	case p.Trouble != "" && p.Says != "":
		return p.Trouble + "; its log: " + p.Says
	case p.Trouble != "":
		return p.Trouble
	}
	return p.Says
}

// addresses says what is wrong with where others reach the pods.
func (f *Facts) addresses(l *found) {
	switch {
	case f.Expose != string(pod.ByLoadBalancer):
	case len(f.Balancers) < f.Replicas:
		l.note(severe, "no-balancer", fmt.Sprintf("a Service of type LoadBalancer for each of %d pods", f.Replicas), fmt.Sprint(len(f.Balancers)), f.federator("install", "")+" again")
	default:
		for _, name := range sorted(f.Balancers) {
			if f.Balancers[name] == "" {
				l.note(severe, "balancer-pending", "Service "+name+" with an address outside", "none yet", "see "+f.inside("describe service "+name)+"; a cluster without a controller for load balancers needs --expose hostport or pod")
			}
		}
	}
}

// dns says whether the cluster's DNS asks federator.
func (f *Facts) dns(l *found) {
	if f.DNS.usable() != nil {
		return
	}
	zone := DefaultZone
	if z := f.Agent.GetZone(); z != "" {
		zone = strings.TrimSuffix(z, ".")
	}
	switch installed, right := f.DNS.Has(zone); {
	case !installed:
		l.note(info, "dns-zone", "the cluster's DNS to forward "+zone, "it does not: pods know services by their clusterset IPs only", f.federator("dns install", ""))
	case f.DNS.Unseen != "": // where it is to lead
	case !right:
		l.note(warning, "dns-zone", "the cluster's DNS to forward "+zone+" to "+join2(f.DNS.Service), "it forwards elsewhere", f.federator("dns install", "")+" again")
	case f.DNS.NodeLocal:
		l.note(info, "dns-node-local", "pods that ask CoreDNS", "NodeLocal DNSCache stands before it", f.DNS.warnings(zone)[0])
	}
}
