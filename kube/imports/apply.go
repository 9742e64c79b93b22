package imports

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	mcsv1beta1 "sigs.k8s.io/mcs-api/pkg/apis/v1beta1"

	"github.com/federator/federator/kube"
)

// client is the four verbs of one kind of object.
type client[T metav1.Object] interface {
	Create(context.Context, T, metav1.CreateOptions) (T, error)
	Update(context.Context, T, metav1.UpdateOptions) (T, error)
	Delete(context.Context, string, metav1.DeleteOptions) error
}

// send makes one write and returns the object as it is now, nil if it is gone.
func send(ctx context.Context, c *kube.Cluster, w *Write) (metav1.Object, error) {
	ns := w.Object.GetNamespace()
	switch o := w.Object.(type) {
	case *mcsv1beta1.ServiceImport:
		imports := c.MCS.MulticlusterV1beta1().ServiceImports(ns)
		if w.Verb == UpdateStatus {
			return result(imports.UpdateStatus(ctx, o, metav1.UpdateOptions{FieldManager: FieldManager}))
		}
		return write[*mcsv1beta1.ServiceImport](ctx, imports, w.Verb, o)
	case *corev1.Service:
		return write[*corev1.Service](ctx, c.Core.CoreV1().Services(ns), w.Verb, o)
	case *discoveryv1.EndpointSlice:
		return write[*discoveryv1.EndpointSlice](ctx, c.Core.DiscoveryV1().EndpointSlices(ns), w.Verb, o)
	case *mcsv1beta1.ServiceExport:
		patch, err := statusPatch(o)
		if err != nil {
			return nil, err
		}
		return result(c.MCS.MulticlusterV1beta1().ServiceExports(ns).Patch(ctx, o.Name, types.ApplyPatchType, patch,
			metav1.PatchOptions{FieldManager: FieldManager, Force: new(true)}, "status"))
	}
	return nil, fmt.Errorf("expected an object that imports writes, found %T", w.Object)
}

func write[T metav1.Object](ctx context.Context, c client[T], v Verb, o T) (metav1.Object, error) {
	switch v {
	case Create:
		return result(c.Create(ctx, o, metav1.CreateOptions{FieldManager: FieldManager}))
	case Update:
		return result(c.Update(ctx, o, metav1.UpdateOptions{FieldManager: FieldManager}))
	}
	uid, version := o.GetUID(), o.GetResourceVersion()
	err := c.Delete(ctx, o.GetName(), metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &uid, ResourceVersion: &version}})
	if apierrors.IsNotFound(err) {
		err = nil // as it should be
	}
	return nil, err
}

func result[T metav1.Object](o T, err error) (metav1.Object, error) {
	if err != nil {
		return nil, err
	}
	return o, nil
}

// statusPatch is a ServiceExport's status for a server-side apply. The
// resourceVersion in it makes the API server refuse the patch if the object has
// changed since.
func statusPatch(x *mcsv1beta1.ServiceExport) ([]byte, error) {
	return json.Marshal(map[string]any{
		"apiVersion": mcsv1beta1.GroupVersion.String(),
		"kind":       mcsv1beta1.ServiceExportKindName,
		"metadata": map[string]any{
			"namespace": x.Namespace, "name": x.Name, "uid": x.UID, "resourceVersion": x.ResourceVersion,
		},
		"status": map[string]any{"conditions": x.Status.Conditions},
	})
}

// raced reports whether a write failed because the object is not as it was known:
// that rights itself once the informers have caught up.
func raced(err error) bool {
	return apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) || apierrors.IsNotFound(err)
}

// unanswered reports whether an error means that the API server, or what it stands
// on, is not there, rather than that it refuses a request.
func unanswered(err error) bool {
	if err == nil {
		return false
	}
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		return true
	}
	switch status.Status().Reason {
	case metav1.StatusReasonInternalError, metav1.StatusReasonServiceUnavailable, metav1.StatusReasonTimeout, metav1.StatusReasonServerTimeout:
		return true
	}
	return status.Status().Code >= 500
}
