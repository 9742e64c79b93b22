//go:build linux

package kube_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	mcs "sigs.k8s.io/mcs-api/pkg/apis/v1beta1"
)

type pairs = map[string]string

// foreign are the labels or annotations that are not ours.
func foreign(all pairs) pairs {
	out := maps.Clone(all)
	maps.DeleteFunc(out, func(k, _ string) bool {
		return strings.HasPrefix(k, "federator.dev/") || strings.HasPrefix(k, "multicluster.kubernetes.io/")
	})
	return out
}

// carrying waits for an import with exactly these labels and annotations.
func carrying(x *scene, region, name string, labels, annotations pairs) {
	x.Helper()
	x.importedAs(region, name, func(i *mcs.ServiceImport) error {
		if l, a := foreign(i.Labels), foreign(i.Annotations); !maps.Equal(l, labels) || !maps.Equal(a, annotations) {
			return fmt.Errorf("expected the labels %v and the annotations %v, found %v and %v", labels, annotations, l, a)
		}
		return nil
	})
}

func exportedMetadata(x *scene) {
	ctx := context.Background()
	_, err := x.of(west).Clients.Core.CoreV1().Services(x.ns).Create(ctx, &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "web", Labels: pairs{"of": "the-service"}, Annotations: pairs{"of": "the-service"}}, Spec: web(),
	}, metav1.CreateOptions{})
	must(x, err)
	x.back(west, "web", web().Ports, "10.0.0.1")
	x.exportAs(west, "web", mcs.ServiceExportSpec{
		ExportedLabels:      pairs{"team": "checkout", "kubernetes.io/service-name": "else", "federator.dev/import": "else", "no key": "x"},
		ExportedAnnotations: pairs{"acme.example/notes": "{\n\t\"a\": 1\n}", "kubectl.kubernetes.io/last-applied-configuration": "{}"},
	})
	for _, region := range everywhere() {
		carrying(x, region, "web", pairs{"team": "checkout"}, pairs{"acme.example/notes": "{\n\t\"a\": 1\n}"})
	}
	x.says(west, "web", "Valid=True Valid")
	made, err := x.exports(west).Get(ctx, "web", metav1.GetOptions{})
	must(x, err)
	at := slices.IndexFunc(made.Status.Conditions, func(c metav1.Condition) bool { return c.Type == "Valid" })
	for _, want := range []string{`label "federator.dev/import" (its domain is reserved)`, `label "no key" (it is no key`, `annotation "kubectl.kubernetes.io/last-applied-configuration"`} {
		if message := made.Status.Conditions[at].Message; !strings.Contains(message, want) {
			x.Errorf("expected the export to say %s, found %s", want, message)
		}
	}
	derived, err := x.of(eu).Clients.Core.CoreV1().Services(x.ns).List(ctx, metav1.ListOptions{LabelSelector: "federator.dev/import=web"})
	must(x, err)
	if len(derived.Items) != 1 || len(foreign(derived.Items[0].Labels))+len(foreign(derived.Items[0].Annotations)) != 0 {
		x.Errorf("expected a derived Service of which no other cluster says anything, found %+v", derived.Items)
	}
	_, err = x.exports(west).Patch(ctx, "web", types.JSONPatchType, []byte(`[{"op":"replace","path":"/spec","value":{"exportedLabels":{"tier":"1"}}}]`), metav1.PatchOptions{})
	must(x, err)
	carrying(x, asia, "web", pairs{"tier": "1"}, pairs{})
}

// policed is a Service with one port and traffic policies, "" for what is not said.
func policed(policy corev1.ServiceInternalTrafficPolicy, distribution string) corev1.ServiceSpec {
	spec := web()
	if policy != "" {
		spec.InternalTrafficPolicy = &policy
	}
	if distribution != "" {
		spec.TrafficDistribution = &distribution
	}
	return spec
}

// policing waits for an import with these traffic policies, and sees that the derived
// Service leads to every node all the same.
func policing(x *scene, region, name, policy, distribution string) {
	x.Helper()
	i := x.importedAs(region, name, func(i *mcs.ServiceImport) error {
		is := i.Spec
		if is.InternalTrafficPolicy == nil || string(*is.InternalTrafficPolicy) != policy || deref(is.TrafficDistribution) != distribution {
			return fmt.Errorf("expected %s and %q, found %+v", policy, distribution, is)
		}
		return nil
	})
	derived, err := x.of(region).Clients.Core.CoreV1().Services(x.ns).Get(context.Background(), i.Annotations["multicluster.kubernetes.io/derived-service"], metav1.GetOptions{})
	must(x, err)
	if *derived.Spec.InternalTrafficPolicy != corev1.ServiceInternalTrafficPolicyCluster || derived.Spec.TrafficDistribution != nil {
		x.Errorf("%s: expected the derived Service in %s to lead to every node, found %+v", name, region, derived.Spec)
	}
}

func trafficPolicies(x *scene) {
	for name, spec := range map[string]corev1.ServiceSpec{
		"plain": web(), "local": policed(corev1.ServiceInternalTrafficPolicyLocal, ""), "close": policed("", corev1.ServiceTrafficDistributionPreferClose),
	} {
		x.put(west, name, spec, "10.0.0.1")
		x.export(west, name)
	}
	for _, region := range everywhere() {
		policing(x, region, "plain", "Cluster", "")
		policing(x, region, "local", "Local", "")
		policing(x, region, "close", "Cluster", "PreferClose")
		x.lists(region, "local", "us-west 10.0.0.1")
	}
}

// carriedDisagreements are those about what is said of a service besides.
func carriedDisagreements(x *scene) []disagreement {
	labels := func(l, a pairs) func(string) { return func(name string) { carrying(x, asia, name, l, a) } }
	policies := func(policy, distribution string) func(string) {
		return func(name string) { policing(x, asia, name, policy, distribution) }
	}
	team, pay := mcs.ServiceExportSpec{ExportedLabels: pairs{"team": "checkout", "tier": "1"}}, mcs.ServiceExportSpec{ExportedLabels: pairs{"team": "pay"}}
	notes := mcs.ServiceExportSpec{ExportedAnnotations: pairs{"notes": "a"}}
	both := mcs.ServiceExportSpec{ExportedLabels: team.ExportedLabels, ExportedAnnotations: notes.ExportedAnnotations}
	local := policed(corev1.ServiceInternalTrafficPolicyLocal, "")
	near, same := policed("", "PreferClose"), policed("", "PreferSameNode")
	return []disagreement{
		{"labels", "LabelsConflict", web(), web(), labels(team.ExportedLabels, pairs{}), labels(pay.ExportedLabels, pairs{}), nil, []mcs.ServiceExportSpec{team, pay}},
		{"annotations", "AnnotationsConflict", web(), web(), labels(pairs{}, pairs{}), labels(pairs{}, notes.ExportedAnnotations), nil, []mcs.ServiceExportSpec{{}, notes}},
		{"metadata", "LabelsConflict,AnnotationsConflict", web(), web(), labels(both.ExportedLabels, both.ExportedAnnotations), labels(pairs{}, pairs{}), nil, []mcs.ServiceExportSpec{both, {}}},
		{"policy", "InternalTrafficPolicyConflict", local, web(), policies("Local", ""), policies("Cluster", ""), nil, nil},
		{"distribution", "TrafficDistributionConflict", near, same, policies("Cluster", "PreferClose"), policies("Cluster", "PreferSameNode"), nil, nil},
		{"alike", "", local, local, policies("Local", ""), policies("Local", ""), nil, []mcs.ServiceExportSpec{both, both}},
	}
}
