package link

import (
	"context"
	"fmt"
	"slices"

	authv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/federator/federator/kube/laptop"
)

// Purpose is what an operator wants to do with a cluster.
type Purpose int

// The purposes.
const (
	// ToAsk a replica, and look at what is installed.
	ToAsk Purpose = iota
	// ToJoin it to another cluster.
	ToJoin
	// ToInstall what deploy holds.
	ToInstall
	// ToUnlink it: to stop its pods, which is a patch of the StatefulSet.
	ToUnlink
	// ToUninstall also what was installed.
	ToUninstall
)

// Needs are the rights that purposes take in a cluster whose federator is in a
// namespace.
func Needs(namespace string, purposes ...Purpose) []Right {
	var out []Right
	for _, p := range purposes {
		for _, r := range needs(p, namespace) {
			if !slices.Contains(out, r) {
				out = append(out, r)
			}
		}
	}
	return out
}

// wanted are the rights that purposes take in a cluster whose DNS is looked at already.
func wanted(namespace string, purposes []Purpose, dns *DNSFacts) []Right {
	out := Needs(namespace, purposes...)
	if slices.Contains(purposes, ToUninstall) {
		if change, err := PlanNoDNS(*dns); err == nil && !change.None() { // else it is left as it is
			out = append(out, change.rights()[1:]...)
		}
	}
	return out
}

// inSystem is a right on the ConfigMaps of the cluster's own DNS.
func inSystem(verb string) Right {
	return Right{Verb: verb, Resource: "configmaps", Namespace: metav1.NamespaceSystem}
}

// rights are what the change takes, that to look first.
func (c *Change) rights() []Right {
	switch {
	case c.Create:
		return []Right{inSystem("get"), inSystem("create")}
	case c.Delete: // the key, and the ConfigMap if that is the last one
		return []Right{inSystem("get"), inSystem("update"), inSystem("delete")}
	}
	return []Right{inSystem("get"), inSystem("update")}
}

func needs(p Purpose, namespace string) []Right {
	in := func(group, resource string, verbs ...string) []Right {
		return rights(namespace, group, resource, verbs)
	}
	every := func(group, resource string, verbs ...string) []Right { return rights("", group, resource, verbs) }
	ask := join(in("apps", "statefulsets", "get"), in("", "configmaps", "get"), in("", "pods", "list"),
		[]Right{{Verb: "create", Resource: "pods", Subresource: "exec", Namespace: namespace}})
	switch p {
	case ToJoin:
		return join(ask, in("", "secrets", "get", "create", "delete"))
	case ToInstall:
		out := join(ask, every("", "namespaces", "get", "create", "patch"))
		for _, kind := range [][2]string{{"rbac.authorization.k8s.io", "clusterroles"}, {"rbac.authorization.k8s.io", "clusterrolebindings"}, {"apiextensions.k8s.io", "customresourcedefinitions"}} {
			out = append(out, every(kind[0], kind[1], "get", "create", "patch")...)
		}
		for _, kind := range [][2]string{
			{"", "serviceaccounts"}, {"", "services"}, {"", "configmaps"}, {"apps", "statefulsets"}, {"policy", "poddisruptionbudgets"},
			{"networking.k8s.io", "networkpolicies"}, {"rbac.authorization.k8s.io", "roles"}, {"rbac.authorization.k8s.io", "rolebindings"},
		} {
			out = append(out, in(kind[0], kind[1], "create", "patch")...)
		}
		return join(out, in("", "pods", "delete"), in("coordination.k8s.io", "leases", "get"))
	case ToUnlink:
		return join(ask, in("apps", "statefulsets", "patch"))
	case ToUninstall:
		return join(ask, in("apps", "statefulsets", "patch"), every("", "namespaces", "delete"), []Right{inSystem("get")},
			every("rbac.authorization.k8s.io", "clusterroles", "delete"), every("rbac.authorization.k8s.io", "clusterrolebindings", "delete"),
			every("multicluster.x-k8s.io", "serviceimports", "list", "delete"),
			every("multicluster.x-k8s.io", "serviceexports", "list"), statuses("multicluster.x-k8s.io", "serviceexports"),
			every("federator.dev", "resolutionpolicies", "list"), statuses("federator.dev", "resolutionpolicies"))
	}
	return ask
}

func rights(namespace, group, resource string, verbs []string) []Right {
	out := make([]Right, len(verbs))
	for i, v := range verbs {
		out[i] = Right{Verb: v, Group: group, Resource: resource, Namespace: namespace}
	}
	return out
}

// statuses is the right to withdraw what federator has said of a kind.
func statuses(group, resource string) []Right {
	return []Right{{Verb: "patch", Group: group, Resource: resource, Subresource: "status"}}
}

func join(lists ...[]Right) []Right {
	var out []Right
	for _, l := range lists {
		out = append(out, l...)
	}
	return out
}

// denied asks the API server which of the rights its user has not.
func denied(ctx context.Context, c *laptop.Cluster, wanted []Right) ([]Right, error) {
	var out []Right
	for _, r := range wanted {
		review, err := c.Core.AuthorizationV1().SelfSubjectAccessReviews().Create(ctx, &authv1.SelfSubjectAccessReview{
			Spec: authv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &authv1.ResourceAttributes{
				Verb: r.Verb, Group: r.Group, Resource: r.Resource, Subresource: r.Subresource, Namespace: r.Namespace,
			}},
		}, metav1.CreateOptions{})
		if err != nil {
			return nil, fmt.Errorf("ask whether %s is allowed: %w", r, err)
		}
		if !review.Status.Allowed {
			out = append(out, r)
		}
	}
	return out, nil
}
