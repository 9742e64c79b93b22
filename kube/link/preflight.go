package link

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/federator/federator/kube/pod"
	"github.com/federator/federator/peering/pb"
)

func sorted(m map[string]string) []string { return slices.Sorted(maps.Keys(m)) }

// Wanted is what the joining cluster is to become.
type Wanted struct {
	// Install: what is missing there is installed first. Image and Expose are of that.
	Install       bool
	Image, Expose string
	// Region and Cluster: those to install. Where it is installed, empty means what that
	// is, and others are refused.
	Region, Cluster string
}

// target is what the joining cluster is, or is to be.
func (w Wanted) target(f *Facts) Wanted {
	if f.Installed {
		return Wanted{Region: f.Region, Cluster: f.Cluster, Expose: f.Expose, Image: f.Image}
	}
	return w
}

// Preflight says what is in the way of joining a cluster to another one's federation.
func Preflight(joining, to *Facts, w Wanted) []*pb.Problem {
	l := &found{subject: "context " + to.Context}
	to.base(l)
	if to.Unreachable == "" {
		to.inviting(l)
	}
	l.subject = "context " + joining.Context
	joining.base(l)
	if joining.Unreachable != "" || to.Unreachable != "" {
		return l.problems
	}
	if joining.ID != "" && joining.ID == to.ID {
		l.note(severe, "same-cluster", "two clusters", "the contexts "+joining.Context+" and "+to.Context+" lead to the same one", "name the other cluster")
		return l.problems
	}
	joining.joinable(l, to, w)
	names(l, joining, to, w)
	reachable(l, joining, to, w.target(joining))
	if apart := joining.Ahead - to.Ahead; joining.HasClock && to.HasClock && apart.Abs() > clockError {
		l.note(severe, "clocks-apart", "clocks of the two clusters that agree to "+clockError.String(), ahead(apart)+" that of "+to.Context, "set them by NTP; a join is refused otherwise")
	}
	return l.problems
}

// inviting says why a cluster can invite nobody.
func (f *Facts) inviting(l *found) {
	switch {
	case !f.Installed:
		l.note(severe, "not-installed", "StatefulSet federator in namespace "+f.Namespace, "none", "found the federation there first: "+f.federator("install", "--trust-domain NAME --recovery-key-file FILE"))
	case f.Agent == nil:
		l.note(severe, "agent-silent", "a replica that answers", cmp.Or(f.firstStuck(), f.Silent), f.federator("check", ""))
	case !f.Agent.GetReady():
		l.note(severe, "agent-not-ready", "a replica that is ready", "it waits for "+strings.Join(f.Agent.GetWaitingFor(), "; "), f.federator("check", ""))
	case f.Agent.GetIsolated():
		l.note(severe, "isolated", "a region that hears the others", "every other region is silent there", f.federator("check", ""))
	case f.Ready < f.Replicas:
		l.note(warning, "replicas", fmt.Sprintf("%d pods that are ready", f.Replicas), fmt.Sprint(f.Ready), f.federator("check", ""))
	}
}

func (f *Facts) firstStuck() string {
	for _, p := range f.Pods {
		if is := p.stuck(); is != "" {
			return "pod " + p.Name + ": " + is
		}
	}
	return ""
}

// joinable says why a cluster cannot join.
func (f *Facts) joinable(l *found, to *Facts, w Wanted) {
	if !w.Install || f.Installed {
		f.definitions(l)
	} else {
		for _, v := range f.Definitions {
			if !slices.Contains(v, mcsVersion) {
				f.definitions(l)
				break
			}
		}
	}
	switch other := f.trustDomain(); {
	case !f.Installed && !w.Install:
		l.note(severe, "not-installed", "StatefulSet federator in namespace "+f.Namespace, "none", "say --install, or install it yourself:\n  "+f.federator("install", "--region "+cmp.Or(w.Region, "REGION"))+"\n  "+f.federator("join", "--to "+to.Context))
	case !f.Installed && f.Elsewhere != "":
		f.misplaced(l)
	case !f.Installed:
	case other != "" && to.trustDomain() != "" && other != to.trustDomain():
		l.note(severe, "other-federation", "a cluster that is in no federation, or in "+to.trustDomain(), "it is a member of "+other, "a cluster belongs to one federation; take it out of that first: "+f.federator("unlink", "--from CLUSTER --uninstall")+", with another cluster of "+other)
	case (other != "" || f.Replicas == 0 && f.Ran && !f.Ephemeral) && to.removed(f.Region):
		l.note(severe, "region-removed", "a region of "+to.trustDomain(), "region "+f.Region+" was taken out of it, and its disks are of that time", f.federator("unlink", "--from "+to.Context+" --uninstall")+", then join with --install")
	case other == "" && f.Founding != "" && !f.Founded:
		l.note(severe, "founds-itself", "a cluster that is to join", "its ConfigMap "+pod.InitName+" says that it founds the trust domain "+f.Founding, f.inside("delete configmap "+pod.InitName))
	case other == "" && f.Replicas == 0:
		l.note(severe, "paused", "at least one pod", "the StatefulSet is scaled to none", f.inside("scale statefulset federator --replicas=3"))
	case other == "" && f.Secret != nil && f.Secret.TrustDomain == "":
		l.note(severe, "other-token", "no Secret "+pod.JoinSecret(firstPod), "there is one that this command has not made", "if nobody else is joining this cluster: "+f.inside("delete secret "+pod.JoinSecret(firstPod)))
	}
	if image := w.target(f).Image; to.Image != "" && image != "" && image != to.Image {
		l.note(warning, "image", "the image of "+to.Context+": "+to.Image, image, "versions may differ by a little while a federation is upgraded; else install the same")
	}
	if a, b := f.Agent.GetBuild(), to.Agent.GetBuild(); a.GetMaxProtocol() > 0 && b.GetMaxProtocol() > 0 && (a.GetMaxProtocol() < b.GetMinProtocol() || b.GetMaxProtocol() < a.GetMinProtocol()) {
		l.note(severe, "protocol", fmt.Sprintf("a build that understands protocols %d to %d", b.GetMinProtocol(), b.GetMaxProtocol()), fmt.Sprintf("%d to %d", a.GetMinProtocol(), a.GetMaxProtocol()), "run the same image in both")
	}
}

// names says which names collide. A cluster that is a member already has its own.
func names(l *found, joining, to *Facts, w Wanted) {
	is := w.target(joining)
	if is.Region == "" || is.Cluster == "" {
		if joining.Installed || w.Install {
			l.note(severe, "no-config", "a region and a cluster", fmt.Sprintf("region %q, cluster %q", is.Region, is.Cluster), joining.federator("install", "--region REGION"))
		}
		return
	}
	if w.Region != "" && is.Region != w.Region {
		l.note(severe, "region", "region "+w.Region, "it is installed as "+is.Region, "leave --region out, or install it anew")
	}
	if w.Cluster != "" && is.Cluster != w.Cluster {
		l.note(severe, "cluster-name", "cluster "+w.Cluster, "it is installed as "+is.Cluster, "leave --cluster out, or install it anew")
	}
	if joining.Agent != nil || to.Agent == nil {
		return
	}
	// Replicas have the names of their pods, which are the same in every cluster: two
	// clusters cannot be one region.
	if r := to.region(is.Region); r != nil {
		l.note(severe, "region-taken", "a region that "+to.trustDomain()+" has not", fmt.Sprintf("region %s is there, %s", r.GetName(), r.GetReach()),
			fmt.Sprintf("if it is this cluster's from before it was built anew, take that out first: federator unlink --region %s --from %s; else install this cluster with another --region", r.GetName(), to.Context))
	}
	for _, c := range to.Agent.GetClusters() {
		if c.GetName() == is.Cluster && c.GetRegion() != is.Region && to.region(c.GetRegion()) != nil {
			l.note(severe, "cluster-taken", "a cluster name that nobody has", "cluster "+c.GetName()+" is of region "+c.GetRegion(), "install it with another --cluster")
		}
	}
}

// reachable says which addresses of one cluster the other cannot tell from its own.
func reachable(l *found, joining, to *Facts, is Wanted) {
	expose := cmp.Or(is.Expose, string(pod.ByPod))
	if expose == string(pod.ByPod) || to.Expose == string(pod.ByPod) {
		podNetworks(l, joining, to)
	}
	if expose == string(pod.ByHostPort) && to.Expose == string(pod.ByHostPort) {
		for _, a := range joining.Nodes {
			if slices.Contains(to.Nodes, a) {
				l.note(severe, "nodes-overlap", "nodes with addresses of their own", a.String()+" is a node of both clusters", "the clusters are on networks that are not one: install them with --expose loadbalancer")
				return
			}
		}
	}
	f := *to
	if f.Expose == string(pod.ByLoadBalancer) {
		other := found{subject: "context " + to.Context}
		f.addresses(&other)
		l.problems = append(l.problems, other.problems...)
	}
}

// podNetworks says whether pods of two clusters may have the same addresses. What the
// nodes were given need not be in use, so that a pod's own address counts for more.
func podNetworks(l *found, joining, to *Facts) {
	const remedy = "where the pod networks are not one, install both with --expose hostport or loadbalancer"
	for _, pair := range [][2]*Facts{{joining, to}, {to, joining}} {
		for _, p := range pair[0].Pods {
			for _, n := range pair[1].Networks {
				if n.Contains(p.Address) && pair[0].Expose == string(pod.ByPod) {
					l.note(severe, "pods-overlap", "pod networks that do not overlap, since pods are reached at their own addresses (--expose pod)",
						fmt.Sprintf("pod %s of %s is at %s, which is in the pod network %s of %s", p.Name, pair[0].Context, p.Address, n, pair[1].Context), remedy)
					return
				}
			}
		}
	}
	if n, ok := overlap(joining.Networks, to.Networks); ok {
		l.note(warning, "pods-overlap", "pod networks that do not overlap, since pods are reached at their own addresses (--expose pod)", n.String()+" is in both clusters", remedy)
	}
}

func overlap(a, b []netip.Prefix) (netip.Prefix, bool) {
	for _, p := range a {
		for _, q := range b {
			if p.Overlaps(q) {
				return p, true
			}
		}
	}
	return netip.Prefix{}, false
}
