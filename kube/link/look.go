package link

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/rest"
	mcsv1beta1 "sigs.k8s.io/mcs-api/pkg/apis/v1beta1"

	"github.com/federator/federator/kube/api/v1alpha1"
	"github.com/federator/federator/kube/imports"
	"github.com/federator/federator/kube/laptop"
	"github.com/federator/federator/kube/pod"
	"github.com/federator/federator/peering/pb"
)

// The annotations of a Secret that this package made, besides [pod.ExpiresAnnotation].
const (
	trustDomainAnnotation = "federator.dev/trust-domain"
	exposeAnnotation      = "federator.dev/expose"
)

// Definitions of custom resources.
func definitions() schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}
}

// lookTimeout bounds one look at a cluster.
const lookTimeout = 30 * time.Second

// Look finds the facts of a cluster, and which of the rights that purposes take its
// operator has not. What cannot be seen is left out; an API server that does not
// answer is a fact, too.
func Look(ctx context.Context, c *laptop.Cluster, purposes ...Purpose) Facts {
	f, ok := reach(ctx, c)
	if !ok {
		return f
	}
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	f.DNS = lookDNS(ctx, c)
	missing, err := denied(ctx, c, wanted(c.Namespace, purposes, &f.DNS))
	f.Denied = missing
	if err != nil {
		f.Unknown = err.Error()
	}
	f.kinds(ctx, c)
	f.network(ctx, c)
	f.Elsewhere = elsewhere(ctx, c)
	f.installed(ctx, c)
	f.state(ctx, c)
	return f
}

// Again finds what changes while a cluster joins.
func Again(ctx context.Context, c *laptop.Cluster) Facts {
	f, ok := reach(ctx, c)
	if !ok {
		return f
	}
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	f.installed(ctx, c)
	f.state(ctx, c)
	return f
}

// reach asks the API server for its version and its clock.
func reach(ctx context.Context, c *laptop.Cluster) (Facts, bool) {
	f := Facts{Context: c.Context, Namespace: c.Namespace}
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	version, err := discovery.ToServerVersionInterfaceWithContext(c.Core.Discovery()).ServerVersionWithContext(ctx)
	if err != nil {
		f.Unreachable = err.Error()
		return f, false
	}
	f.Server = version.GitVersion
	f.Minor = minorOf(version.Major, version.Minor)
	if system, err := c.Core.CoreV1().Namespaces().Get(ctx, metav1.NamespaceSystem, metav1.GetOptions{}); err == nil {
		f.ID = string(system.UID)
	}
	asked := time.Now() // the first request may have waited for somebody to log in
	if date, err := dateOf(ctx, c.Config); err == nil {
		// The header has no fractions of a second, and was written on the way.
		f.Ahead, f.HasClock = date.Sub(asked.Add(time.Since(asked)/2)), true
	}
	return f, true
}

// dateOf is what an API server says the time is.
func dateOf(ctx context.Context, config *rest.Config) (time.Time, error) {
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		return time.Time{}, err
	}
	base, _, err := rest.DefaultServerUrlFor(config)
	if err != nil {
		return time.Time{}, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodHead, base.JoinPath("version").String(), nil)
	if err != nil {
		return time.Time{}, err
	}
	answer, err := client.Do(request)
	if err != nil {
		return time.Time{}, err
	}
	_ = answer.Body.Close() // it has none
	return http.ParseTime(answer.Header.Get("Date"))
}

// kinds finds which custom resources are served.
func (f *Facts) kinds(ctx context.Context, c *laptop.Cluster) {
	f.Definitions = served(ctx, c, mcsv1beta1.GroupName, mcsVersion, "serviceexports", "serviceimports")
	f.Own = served(ctx, c, v1alpha1.Group, v1alpha1.Version, ownKinds()...)
}

// ownKinds are the plural names of federator's own kinds.
func ownKinds() []string { return []string{"resolutionpolicies", "drills"} }

// served are the versions in which kinds of an API group are served; spoken is the one
// that federator speaks.
func served(ctx context.Context, c *laptop.Cluster, group, spoken string, plurals ...string) map[string][]string {
	out := map[string][]string{}
	for _, plural := range plurals {
		o, err := c.Dynamic.Resource(definitions()).Get(ctx, plural+"."+group, metav1.GetOptions{})
		switch {
		case apierrors.IsNotFound(err):
			continue
		case err != nil: // it may not be looked at: whether it is there shows when it is used
			out[plural] = []string{spoken}
			continue
		}
		versions, _, _ := unstructured.NestedSlice(o.Object, "spec", "versions") // none is as good as a mistake
		for _, v := range versions {
			if m, ok := v.(map[string]any); ok && m["served"] == true {
				out[plural] = append(out[plural], fmt.Sprint(m["name"]))
			}
		}
	}
	return out
}

// network finds the pod networks and the addresses of nodes, as far as the operator
// may.
func (f *Facts) network(ctx context.Context, c *laptop.Cluster) {
	nodes, err := c.Core.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return
	}
	for _, n := range nodes.Items {
		for _, text := range n.Spec.PodCIDRs {
			if p, err := netip.ParsePrefix(text); err == nil {
				f.Networks = append(f.Networks, p)
			}
		}
		for _, a := range n.Status.Addresses {
			if ip, err := netip.ParseAddr(a.Address); err == nil && !slices.Contains(f.Nodes, ip) {
				f.Nodes = append(f.Nodes, ip)
			}
		}
	}
}

// installed finds what is installed.
func (f *Facts) installed(ctx context.Context, c *laptop.Cluster) {
	if ns, err := c.Core.CoreV1().Namespaces().Get(ctx, c.Namespace, metav1.GetOptions{}); err == nil {
		f.HasNamespace, f.Ending = true, ns.DeletionTimestamp != nil
	} else if !apierrors.IsNotFound(err) {
		f.HasNamespace = true // it may not be looked at; what is in it may be
	}
	if set, err := c.Core.AppsV1().StatefulSets(c.Namespace).Get(ctx, "federator", metav1.GetOptions{}); f.saw(err) {
		f.set(set)
	}
	if config, err := c.Core.CoreV1().ConfigMaps(c.Namespace).Get(ctx, "federator", metav1.GetOptions{}); f.saw(err) {
		f.Region, f.Cluster, f.Expose = config.Data["region"], config.Data["cluster"], config.Data["expose"]
	}
	if _, err := c.Core.PolicyV1().PodDisruptionBudgets(c.Namespace).Get(ctx, "federator", metav1.GetOptions{}); err == nil || !apierrors.IsNotFound(err) {
		f.Disruptions = true
	}
	if peers, err := c.Core.CoreV1().Services(c.Namespace).Get(ctx, "federator-peers", metav1.GetOptions{}); err == nil {
		f.Monitored = peers.Labels["federator.dev/metrics"] != ""
	}
	if f.Expose == string(pod.ByLoadBalancer) {
		f.balancers(ctx, c)
	}
}

// saw reports whether something was found. What is not there is not, nor what may not
// be looked at. Any other error means that nothing is known, least of all that nothing
// is there: the API server counts as one that does not answer.
func (f *Facts) saw(err error) bool {
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsForbidden(err) && f.Unreachable == "" {
		f.Unreachable = err.Error()
	}
	return err == nil
}

// set finds what the StatefulSet says.
func (f *Facts) set(set *appsv1.StatefulSet) {
	f.Installed, f.Ready, f.Replicas = true, int(set.Status.ReadyReplicas), 1
	if set.Spec.Replicas != nil {
		f.Replicas = int(*set.Spec.Replicas)
	}
	if set.Status.ObservedGeneration >= set.Generation {
		f.Revision, f.Current = set.Status.UpdateRevision, int(set.Status.UpdatedReplicas)
	}
	for _, container := range set.Spec.Template.Spec.Containers {
		f.Image = container.Image
	}
	f.Ephemeral = len(set.Spec.VolumeClaimTemplates) == 0
	for _, claim := range set.Spec.VolumeClaimTemplates {
		if class := claim.Spec.StorageClassName; class != nil {
			f.StorageClass = *class
		}
	}
}

// balancers finds where the Services of the pods are reached.
func (f *Facts) balancers(ctx context.Context, c *laptop.Cluster) {
	f.Balancers = map[string]string{}
	for n := range f.Replicas {
		name := fmt.Sprintf("federator-%d", n)
		s, err := c.Core.CoreV1().Services(c.Namespace).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			continue
		}
		f.Balancers[name] = ""
		for _, i := range s.Status.LoadBalancer.Ingress {
			f.Balancers[name] = i.IP + i.Hostname
		}
	}
}

// elsewhere finds the namespace of the service account that the ClusterRole, of which
// there is one a cluster, is bound to.
func elsewhere(ctx context.Context, c *laptop.Cluster) string {
	binding, err := c.Core.RbacV1().ClusterRoleBindings().Get(ctx, "federator", metav1.GetOptions{})
	if err != nil {
		return ""
	}
	for _, s := range binding.Subjects {
		if s.Namespace != c.Namespace {
			return s.Namespace
		}
	}
	return ""
}

// state finds how far federator is: pods, tokens, and what a replica says.
func (f *Facts) state(ctx context.Context, c *laptop.Cluster) {
	if init, err := c.Core.CoreV1().ConfigMaps(c.Namespace).Get(ctx, pod.InitName, metav1.GetOptions{}); f.saw(err) {
		f.Founding, f.Recipient, f.Founded = init.Data[pod.TrustDomainKey], init.Data[pod.RecipientKey], init.Annotations[pod.FoundedAnnotation] != ""
	}
	if _, err := c.Core.CoreV1().ConfigMaps(c.Namespace).Get(ctx, pod.WaitingName(firstPod), metav1.GetOptions{}); f.saw(err) {
		f.Waits = true
	}
	if s, err := c.Core.CoreV1().Secrets(c.Namespace).Get(ctx, pod.JoinSecret(firstPod), metav1.GetOptions{}); f.saw(err) {
		expires, _ := time.Parse(time.RFC3339, s.Annotations[pod.ExpiresAnnotation]) // none, or somebody else's
		f.Secret = &JoinSecret{UID: string(s.UID), TrustDomain: s.Annotations[trustDomainAnnotation], Expose: s.Annotations[exposeAnnotation], Expires: expires}
	}
	f.ran(ctx, c)
	pods, err := c.Pods(ctx)
	if err != nil {
		f.Silent = err.Error()
		return
	}
	for i := range pods {
		f.Pods = append(f.Pods, podOf(ctx, c, &pods[i]))
	}
	f.ask(ctx, c)
}

// ran finds whether a replica has been a member here: it takes a Lease then, which stays.
func (f *Facts) ran(ctx context.Context, c *laptop.Cluster) {
	_, err := c.Core.CoordinationV1().Leases(c.Namespace).Get(ctx, imports.LeaseName, metav1.GetOptions{})
	f.Ran = f.saw(err) || !apierrors.IsNotFound(err)
}

// ask asks a replica what it is.
func (f *Facts) ask(ctx context.Context, c *laptop.Cluster) {
	agent, err := c.Agent(ctx)
	if err != nil {
		f.Silent = err.Error()
		return
	}
	defer agent.Close()
	if f.Agent, err = pb.NewOperatorClient(agent).Status(ctx, &pb.StatusRequest{}); err != nil {
		f.Agent, f.Silent = nil, err.Error()
	}
}

// podOf is what is known of a pod. Of one that is not ready, its log and whether it waits
// for a token are looked at.
func podOf(ctx context.Context, c *laptop.Cluster, p *corev1.Pod) Pod {
	out := Pod{
		Name: p.Name, UID: string(p.UID), Ready: laptop.Ready(p), Running: p.Status.Phase == corev1.PodRunning && p.DeletionTimestamp == nil,
		Revision: p.Labels[appsv1.ControllerRevisionHashLabelKey], Trouble: trouble(placeOf(c), p),
	}
	out.Address, _ = netip.ParseAddr(p.Status.PodIP) // none yet
	if out.Ready || !out.Running {
		return out
	}
	log, err := c.Core.CoreV1().Pods(c.Namespace).GetLogs(p.Name, &corev1.PodLogOptions{TailLines: new(int64(50)), LimitBytes: new(int64(256 << 10))}).DoRaw(ctx)
	if err == nil {
		out.Says = lastWord(log)
	}
	said, err := c.Core.CoreV1().ConfigMaps(c.Namespace).Get(ctx, pod.WaitingName(p.Name), metav1.GetOptions{})
	out.Waits = err == nil && slices.ContainsFunc(said.OwnerReferences, func(o metav1.OwnerReference) bool { return o.UID == p.UID })
	return out
}

// minorOf is the minor version of an API server; some providers write "34+". One of
// another major version counts as newer than any.
func minorOf(major, minor string) int {
	n, err := strconv.Atoi(strings.TrimRight(minor, "+"))
	if err != nil || major != "1" {
		return 1000
	}
	return n
}

// Installed finds what is installed in a cluster, and nothing else.
func Installed(ctx context.Context, c *laptop.Cluster) Facts {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	f := Facts{Context: c.Context, Namespace: c.Namespace}
	f.installed(ctx, c)
	return f
}
