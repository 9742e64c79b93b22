//go:build linux

package controlplane

import (
	"context"
	"errors"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/mcs-api/config/crd"
	"sigs.k8s.io/yaml"
)

// InstallCRDs makes the custom resources of the Multi-Cluster Services API, as its
// release has them, and waits until the API server serves them. What is there
// already stays, unless it is being deleted: then it is made anew.
func InstallCRDs(ctx context.Context, config *rest.Config) error {
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		return err
	}
	definitions := client.Resource(schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"})
	for _, text := range [][]byte{crd.ServiceExportCRD, crd.ServiceImportCRD} {
		var definition unstructured.Unstructured
		if err := yaml.Unmarshal(text, &definition.Object); err != nil {
			return fmt.Errorf("a definition of mcs-api: %w", err)
		}
		err := Until(ctx, readyTimeout, definition.GetName()+" to be established", func(ctx context.Context) error {
			if _, err := definitions.Create(ctx, &definition, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
				return err
			}
			now, err := definitions.Get(ctx, definition.GetName(), metav1.GetOptions{})
			if err != nil {
				return err
			}
			if now.GetDeletionTimestamp() != nil { // it is served until it is gone
				return errors.New("one that was there before is going")
			}
			return Established(now)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// Established returns an error unless the API server serves a definition.
func Established(definition *unstructured.Unstructured) error {
	conditions, _, err := unstructured.NestedSlice(definition.Object, "status", "conditions")
	if err != nil {
		return err
	}
	for _, c := range conditions {
		if c, ok := c.(map[string]any); ok && c["type"] == "Established" && c["status"] == "True" {
			return nil
		}
	}
	return errors.New("its condition Established is not true")
}
