package link

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	mcsv1beta1 "sigs.k8s.io/mcs-api/pkg/apis/v1beta1"

	"github.com/federator/federator/kube/exports"
	"github.com/federator/federator/kube/imports"
	"github.com/federator/federator/kube/laptop"
)

// Exported is what has become of an export.
type Exported struct {
	Service string `json:"service"`
	Context string `json:"context"`
	// Already: it was exported before.
	Already bool `json:"already"`
	// Name is the service's DNS name in every cluster.
	Name string `json:"dnsName"`
	// Notes are what is as somebody else has it, or not exported as it is.
	Notes []string `json:"notes"`
}

// Export exports a Service to the federation, and waits until that is so, or it is
// known why not. zone is where the federation has its names; ctx bounds the wait.
func Export(ctx context.Context, c *laptop.Cluster, zone, namespace, name string, progress func(string)) (Exported, error) {
	if err := exportable(ctx, c, namespace, name); err != nil {
		return Exported{}, err
	}
	out := Exported{Service: namespace + "/" + name, Context: c.Context, Name: name + "." + namespace + ".svc." + zone}
	all, at := c.MCS.MulticlusterV1beta1().ServiceExports(namespace), placeOf(c)
	_, err := all.Create(ctx, &mcsv1beta1.ServiceExport{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{FieldManager: fieldManager})
	switch {
	case apierrors.IsAlreadyExists(err):
		out.Already = true
	case apierrors.IsNotFound(err):
		return out, fmt.Errorf("context %s has no ServiceExports, or no namespace %s: %s brings the former", c.Context, namespace, at.federator("install", ""))
	case err != nil:
		return out, fmt.Errorf("context %s: ServiceExport %s/%s: %w", c.Context, namespace, name, at.refusal(err, onExports("create", namespace)))
	}
	err = poll(ctx, func(ctx context.Context) (string, error) {
		export, err := all.Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return "", fmt.Errorf("context %s: ServiceExport %s/%s: %w", c.Context, namespace, name, at.refusal(err, onExports("get", namespace)))
		}
		waiting, err := verdict(export)
		out.Notes = notes(export)
		return waiting, err
	}, progress)
	return out, err
}

// exportable says why a Service cannot be exported, before anything is written.
func exportable(ctx context.Context, c *laptop.Cluster, namespace, name string) error {
	s, err := c.Core.CoreV1().Services(namespace).Get(ctx, name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return fmt.Errorf("context %s has no Service %s/%s; see kubectl --context %[1]s -n %[2]s get services", c.Context, namespace, name)
	case err != nil:
		wanted := Right{Verb: "get", Resource: "services", Namespace: namespace}
		return fmt.Errorf("context %s: Service %s/%s: %w", c.Context, namespace, name, placeOf(c).refusal(err, wanted))
	case s.Spec.Type == corev1.ServiceTypeExternalName:
		return fmt.Errorf("context %s: Service %s/%s is of type ExternalName: a name elsewhere, without endpoints to export", c.Context, namespace, name)
	}
	return nil
}

func conditionOf(export *mcsv1beta1.ServiceExport, kind string) *metav1.Condition {
	i := slices.IndexFunc(export.Status.Conditions, func(c metav1.Condition) bool { return c.Type == kind })
	if i < 0 {
		return nil
	}
	return &export.Status.Conditions[i]
}

// verdict says what an export waits for, or why it is none.
func verdict(export *mcsv1beta1.ServiceExport) (waiting string, err error) {
	valid := conditionOf(export, string(mcsv1beta1.ServiceExportConditionValid))
	ready := conditionOf(export, string(mcsv1beta1.ServiceExportConditionReady))
	switch {
	case export.DeletionTimestamp != nil:
		return "", fmt.Errorf("the ServiceExport is being deleted; try again when it is gone")
	case valid != nil && valid.Status == metav1.ConditionFalse:
		return "", fmt.Errorf("not exported: %s (%s); the ServiceExport stays, and counts once that is mended", valid.Message, valid.Reason)
	case ready != nil && ready.Status == metav1.ConditionFalse && ready.Reason != string(mcsv1beta1.ServiceExportReasonPending):
		return "", fmt.Errorf("not exported: %s (%s); the ServiceExport stays, and counts once that is mended", ready.Message, ready.Reason)
	case valid == nil:
		return "federator to look at the ServiceExport", nil
	case ready == nil || ready.Status != metav1.ConditionTrue:
		return "its region to take it over", nil
	}
	return "", nil
}

// notes are what an export that counts has to be told.
func notes(export *mcsv1beta1.ServiceExport) []string {
	out := []string{}
	if c := conditionOf(export, string(mcsv1beta1.ServiceExportConditionConflict)); c != nil && c.Status == metav1.ConditionTrue {
		out = append(out, "conflict: "+c.Message)
	}
	whole := []string{"", exports.Whole, imports.Exportable}
	if c := conditionOf(export, string(mcsv1beta1.ServiceExportConditionValid)); c != nil && !slices.Contains(whole, c.Message) {
		out = append(out, c.Message)
	}
	return out
}

// Unexport takes a Service out of the federation again, and waits until its
// ServiceExport is gone. It reports whether there was one.
func Unexport(ctx context.Context, c *laptop.Cluster, namespace, name string, progress func(string)) (bool, error) {
	all, at := c.MCS.MulticlusterV1beta1().ServiceExports(namespace), placeOf(c)
	err := all.Delete(ctx, name, metav1.DeleteOptions{})
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("context %s: ServiceExport %s/%s: %w", c.Context, namespace, name, at.refusal(err, onExports("delete", namespace)))
	}
	return true, poll(ctx, func(ctx context.Context) (string, error) {
		_, err := all.Get(ctx, name, metav1.GetOptions{})
		switch {
		case apierrors.IsNotFound(err):
			return "", nil
		case err != nil:
			return "", fmt.Errorf("context %s: ServiceExport %s/%s is deleted, and whether it is gone cannot be seen: %w", c.Context, namespace, name, at.refusal(err, onExports("get", namespace)))
		}
		return "the ServiceExport to be gone; a finalizer holds it", nil
	}, progress)
}

// onExports is a right on the ServiceExports of a namespace.
func onExports(verb, namespace string) Right {
	return Right{Verb: verb, Group: mcsv1beta1.GroupName, Resource: mcsv1beta1.ServiceExportPluralName, Namespace: namespace}
}
