//go:build linux

package kube_test

import (
	"slices"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	mcs "sigs.k8s.io/mcs-api/pkg/apis/v1beta1"

	"github.com/federator/federator/kube/imports"
	"github.com/federator/federator/kube/laptop"
)

// spokenOf makes an export and a policy of which federator and, of the export, somebody
// else say something, and returns how that is looked at.
func spokenOf(t *testing.T, c *laptop.Cluster) (look func() []string) {
	t.Helper()
	policies := schema.GroupVersionResource{Group: "federator.dev", Version: "v1alpha1", Resource: "resolutionpolicies"}
	exports := schema.GroupVersionResource{Group: mcs.GroupName, Version: "v1beta1", Resource: "serviceexports"}
	says := func(manager string, resource schema.GroupVersionResource, kind, condition string, spec map[string]any) {
		of := c.Dynamic.Resource(resource).Namespace("default")
		o := &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": resource.GroupVersion().String(), "kind": kind, "metadata": map[string]any{"name": "checkout"}, "spec": spec,
		}}
		if _, err := of.Create(t.Context(), o, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
			t.Fatal(err)
		}
		delete(o.Object, "spec")
		o.Object["status"] = map[string]any{"conditions": []any{map[string]any{
			"type": condition, "status": "True", "reason": condition, "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z",
		}}}
		_, err := of.ApplyStatus(t.Context(), "checkout", o, metav1.ApplyOptions{FieldManager: manager, Force: true})
		must(t, err)
	}
	says("somebody", exports, "ServiceExport", "Somebody", nil)
	says(imports.FieldManager, exports, "ServiceExport", "Ready", nil)
	says(imports.FieldManager, policies, "ResolutionPolicy", "Ready", map[string]any{"service": "checkout"})
	return func() (out []string) {
		for word, resource := range map[string]schema.GroupVersionResource{"export": exports, "policy": policies} {
			o, err := c.Dynamic.Resource(resource).Namespace("default").Get(t.Context(), "checkout", metav1.GetOptions{})
			must(t, err)
			conditions, _, err := unstructured.NestedSlice(o.Object, "status", "conditions")
			must(t, err)
			for _, x := range conditions {
				word += " " + x.(map[string]any)["type"].(string)
			}
			out = append(out, word)
		}
		slices.Sort(out)
		return out
	}
}
