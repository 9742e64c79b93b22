package link

import (
	"net/netip"
	"slices"
	"time"

	"github.com/federator/federator/peering/pb"
)

// Facts are what one look at a cluster found.
type Facts struct {
	// Context is how the cluster is reached, Namespace where federator is in it.
	Context, Namespace string
	// Unreachable says why the API server does not answer, or not for long enough: what
	// is below may be there though it was not found.
	Unreachable string
	// ID tells clusters from each other, by whatever context they are reached; "" if the
	// operator may not see it.
	ID string
	// Server is the version of the API server, such as v1.34.4; Minor is 34 then.
	Server string
	Minor  int
	// Ahead is how far the API server's clock is ahead of this machine's, to a second
	// or two; HasClock is false if it did not say.
	Ahead    time.Duration
	HasClock bool
	// Definitions are the served versions of the CRDs of the Multi-Cluster Services
	// API, by plural name; those that are missing are not there.
	Definitions map[string][]string
	// Own are those of federator's own kinds.
	Own map[string][]string
	// Denied is what the operator may not do and needs; Unknown why that is not known.
	Denied  []Right
	Unknown string

	// HasNamespace, Ending: the namespace is there; it is being deleted.
	HasNamespace, Ending bool
	// Elsewhere is the namespace in which federator is, if it is another one.
	Elsewhere string
	// Installed: the StatefulSet is there. The next ones are of it.
	Installed       bool
	Image           string
	Replicas, Ready int
	// Revision is that of pods as it is now, "" until Kubernetes has looked at it;
	// Current is how many pods are of it.
	Revision string
	Current  int
	// Ephemeral: its pods have no disks. StorageClass is that of their disks, "" for the
	// cluster's. Monitored: a ServiceMonitor looks for their metrics.
	Ephemeral    bool
	StorageClass string
	Monitored    bool
	// Region, Cluster and Expose are of the ConfigMap federator.
	Region, Cluster, Expose string
	// Disruptions: the PodDisruptionBudget is there.
	Disruptions bool
	// Founding is the trust domain that the first pod is to found, or has; Founded
	// says which. Recipient is the public half of its recovery key.
	Founding, Recipient string
	Founded             bool
	Pods                []Pod
	// Secret is the Secret with the first pod's token, nil if there is none.
	Secret *JoinSecret
	// Waits: the first pod says that it waits for a token.
	Waits bool
	// Ran: a replica that was a member has run here, or that cannot be seen.
	Ran bool
	// Networks are the pod networks of the nodes, Nodes their addresses, as far as the
	// operator may see them.
	Networks []netip.Prefix
	Nodes    []netip.Addr
	// Balancers are what the Services of the pods say of where they are reached: by
	// name of the Service, empty while there is no address.
	Balancers map[string]string
	// DNS is what is known of the cluster's own DNS.
	DNS DNSFacts

	// Agent is a replica's own account; nil if none answers, and Silent says why.
	Agent  *pb.StatusResponse
	Silent string
}

// Pod is a pod of federator.
type Pod struct {
	Name, UID string
	Ready     bool
	Running   bool
	// Waits: it says that it waits for a token, with an empty disk.
	Waits   bool
	Address netip.Addr
	// Revision is that of the StatefulSet that it was made by.
	Revision string
	// Trouble says why it does not run or is not ready, as far as Kubernetes knows.
	Trouble string
	// Says is the last that its log says it waits for, or failed at, as a sentence.
	Says string
}

// JoinSecret is what is known of a Secret with a join token; not the token.
type JoinSecret struct {
	UID string
	// TrustDomain is set on those that this package made: where the token is good.
	TrustDomain string
	// Expose is how the replicas are reached whose addresses are in the token.
	Expose  string
	Expires time.Time
}

// Right is something that an operator needs to be allowed.
type Right struct {
	Verb, Group, Resource, Subresource string
	// Namespace is empty for what is of the whole cluster.
	Namespace string
}

// String is the right as kubectl auth can-i takes it.
func (r Right) String() string {
	s := r.Verb + " " + r.Resource
	if r.Group != "" {
		s += "." + r.Group
	}
	if r.Subresource != "" {
		s += "/" + r.Subresource
	}
	if r.Namespace != "" {
		s += " -n " + r.Namespace
	}
	return s
}

// now is the time by the API server's clock, near to which those of its replicas are; by
// this machine's if it did not say.
func (f *Facts) now(here time.Time) time.Time { return here.Add(f.Ahead) }

// trustDomain is that of the cluster's replicas, "" if none answers.
func (f *Facts) trustDomain() string { return f.Agent.GetTrustDomain() }

// region is the region of that name as the cluster's replica sees it, if it is in the
// federation.
func (f *Facts) region(name string) *pb.RegionStatus {
	for _, r := range f.Agent.GetRegions() {
		if r.GetName() == name && !r.GetRemoved() {
			return r
		}
	}
	return nil
}

// removed reports whether a region was taken out, and is not there again.
func (f *Facts) removed(name string) bool {
	return f.region(name) == nil && slices.ContainsFunc(f.Agent.GetRegions(), func(r *pb.RegionStatus) bool { return r.GetName() == name })
}

// first is the pod of ordinal 0, if it is there.
func (f *Facts) first() *Pod {
	for i := range f.Pods {
		if f.Pods[i].Name == firstPod {
			return &f.Pods[i]
		}
	}
	return nil
}

// firstPod is the pod that joins, or founds; the others are invited by it.
const firstPod = "federator-0"
