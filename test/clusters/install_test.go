//go:build linux

package clusters

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/restmapper"
	"sigs.k8s.io/yaml"

	"github.com/federator/federator/test/controlplane"
)

// root is the checkout, from here.
const root = "../.."

// install applies what deploy/clusters holds for a cluster.
func (c *cluster) install(ctx context.Context) error {
	for _, folder := range []string{"crds", c.name} {
		objects, err := kustomize(ctx, root+"/deploy/clusters/"+folder)
		if err != nil {
			return err
		}
		if err := c.apply(ctx, objects); err != nil {
			return err
		}
	}
	return nil
}

// kustomize returns what it builds of a folder.
func kustomize(ctx context.Context, dir string) ([]*unstructured.Unstructured, error) {
	cmd := exec.CommandContext(ctx, "go", "tool", "-modfile="+root+"/tools/go.mod", "kustomize", "build", dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("kustomize build %s: %w", dir, err)
	}
	var objects []*unstructured.Unstructured
	for part := range bytes.SplitSeq(out, []byte("\n---\n")) {
		o := &unstructured.Unstructured{}
		if err := yaml.Unmarshal(part, &o.Object); err != nil {
			return nil, fmt.Errorf("what kustomize built of %s: %w", dir, err)
		}
		objects = append(objects, o)
	}
	return objects, nil
}

// apply applies objects server-side, and waits for what definitions define.
func (c *cluster) apply(ctx context.Context, objects []*unstructured.Unstructured) error {
	mapper := restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(c.Core.Discovery()))
	for _, o := range objects {
		kind := o.GroupVersionKind()
		mapping, err := mapper.RESTMapping(kind.GroupKind(), kind.Version)
		if err != nil {
			return err
		}
		resource := c.dynamic.Resource(mapping.Resource)
		options := metav1.ApplyOptions{FieldManager: "federator-clusters", Force: true}
		if o.GetNamespace() != "" {
			_, err = resource.Namespace(o.GetNamespace()).Apply(ctx, o.GetName(), o, options)
		} else {
			_, err = resource.Apply(ctx, o.GetName(), o, options)
		}
		if err != nil {
			return fmt.Errorf("apply %s %s: %w", kind.Kind, o.GetName(), err)
		}
		if kind.Kind != "CustomResourceDefinition" {
			continue
		}
		err = controlplane.Until(ctx, time.Minute, o.GetName()+" to be established", func(ctx context.Context) error {
			now, err := resource.Get(ctx, o.GetName(), metav1.GetOptions{})
			if err != nil {
				return err
			}
			return controlplane.Established(now)
		})
		if err != nil {
			return err
		}
	}
	return nil
}
