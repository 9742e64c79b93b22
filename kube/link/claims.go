package link

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	mcsv1beta1 "sigs.k8s.io/mcs-api/pkg/apis/v1beta1"

	"github.com/federator/federator/kube/api/v1alpha1"
	"github.com/federator/federator/kube/imports"
	"github.com/federator/federator/kube/laptop"
)

// claim is the status that federator has given an object of a user, such as that a
// ServiceExport is exported: nobody keeps it true once federator is gone.
type claim struct {
	resource schema.GroupVersionResource
	object   *unstructured.Unstructured
}

// claims finds the statuses that federator has given in a cluster. Those of drills stay:
// what became of one is history.
func claims(ctx context.Context, c *laptop.Cluster) ([]claim, error) {
	var out []claim
	for _, resource := range []schema.GroupVersionResource{
		{Group: mcsv1beta1.GroupName, Version: mcsv1beta1.GroupVersion.Version, Resource: mcsv1beta1.ServiceExportPluralName},
		v1alpha1.GroupVersion().WithResource("resolutionpolicies"),
	} {
		list, err := c.Dynamic.Resource(resource).List(ctx, metav1.ListOptions{})
		if apierrors.IsNotFound(err) {
			continue // the cluster has no such kind
		}
		if err != nil {
			return nil, fmt.Errorf("%s in %s: %w", resource.Resource, c.Context, err)
		}
		for i := range list.Items {
			if o := &list.Items[i]; slices.ContainsFunc(o.GetManagedFields(), givesStatus) {
				out = append(out, claim{resource, o})
			}
		}
	}
	return out, nil
}

// givesStatus reports whether the fields are a status that federator has given.
func givesStatus(f metav1.ManagedFieldsEntry) bool {
	return f.Manager == imports.FieldManager && f.Subresource == "status" && f.FieldsV1 != nil && len(f.FieldsV1.GetRawBytes()) > len(`{}`)
}

// withdraw takes the status back. What others say in that of a ServiceExport stays:
// an apply that says nothing drops what the same manager has applied.
func (x claim) withdraw(ctx context.Context, c *laptop.Cluster) error {
	name := x.object.GetName()
	kind, patch, options := types.MergePatchType, map[string]any{"status": nil}, metav1.PatchOptions{FieldManager: fieldManager}
	if x.resource.Resource == mcsv1beta1.ServiceExportPluralName {
		kind, options.Force = types.ApplyPatchType, new(true)
		patch = map[string]any{"apiVersion": x.object.GetAPIVersion(), "kind": x.object.GetKind(), "metadata": map[string]any{"name": name, "uid": x.object.GetUID()}}
	}
	body, err := json.Marshal(patch)
	if err != nil {
		return err
	}
	_, err = c.Dynamic.Resource(x.resource).Namespace(x.object.GetNamespace()).Patch(ctx, name, kind, body, options, "status")
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) { // it is gone, or another has its name
		return fmt.Errorf("the status of %s %s/%s in %s: %w", x.object.GetKind(), x.object.GetNamespace(), name, c.Context, err)
	}
	return nil
}
