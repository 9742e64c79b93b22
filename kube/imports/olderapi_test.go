//go:build linux

package imports

import (
	"context"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"sigs.k8s.io/mcs-api/config/crd"
	mcsv1beta1 "sigs.k8s.io/mcs-api/pkg/apis/v1beta1"
	"sigs.k8s.io/yaml"

	"github.com/federator/federator/federation/catalog"
)

// laterFields are those that ServiceImports have not always had.
func laterFields() [][]string {
	return [][]string{
		{"spec", "internalTrafficPolicy"}, {"spec", "trafficDistribution"}, {"status", "endpointSliceObjects"},
	}
}

// define has the API server know ServiceImports as a release has them, or without the
// later fields, and waits until it does.
func (r *real) define(t *testing.T, older bool) {
	t.Helper()
	ctx := context.Background()
	client, err := dynamic.NewForConfig(r.cluster.Config)
	if err != nil {
		t.Fatal(err)
	}
	definitions := client.Resource(schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"})
	var definition unstructured.Unstructured
	if err := yaml.Unmarshal(crd.ServiceImportCRD, &definition.Object); err != nil {
		t.Fatal(err)
	}
	versions, _, err := unstructured.NestedSlice(definition.Object, "spec", "versions")
	if err != nil {
		t.Fatal(err)
	}
	for _, version := range versions {
		for _, field := range laterFields() {
			path := []string{"schema", "openAPIV3Schema", "properties", field[0], "properties", field[1]}
			if _, ok, err := unstructured.NestedMap(version.(map[string]any), path...); !ok || err != nil {
				t.Fatalf("expected the release to have %v, found %v", field, err)
			}
			if older {
				unstructured.RemoveNestedField(version.(map[string]any), path...)
			}
		}
	}
	if err := unstructured.SetNestedSlice(definition.Object, versions, "spec", "versions"); err != nil {
		t.Fatal(err)
	}
	now, err := definitions.Get(ctx, definition.GetName(), metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	definition.SetResourceVersion(now.GetResourceVersion())
	if _, err := definitions.Update(ctx, &definition, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	r.until("the API server to follow", func() (any, bool) {
		probe := &mcsv1beta1.ServiceImport{ObjectMeta: metav1.ObjectMeta{Name: "probe"}}
		probe.Spec.Type, probe.Spec.Ports, probe.Spec.TrafficDistribution = mcsv1beta1.Headless, []mcsv1beta1.ServicePort{}, new("PreferClose")
		got, err := r.cluster.Clients.MCS.MulticlusterV1beta1().ServiceImports("shop").Create(ctx, probe, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		return err, err == nil && (got.Spec.TrafficDistribution == nil) == older
	})
}

// expectNoWrites has everything looked at anew, also by a new writer.
func (r *real) expectNoWrites(t *testing.T, replica string) {
	t.Helper()
	r.quiet()
	before := r.writes()
	r.writer.LookAll()
	r.quiet()
	if got := r.writes() - before; got != 0 {
		t.Errorf("expected no writes while nothing changes, found %v", got)
	}
	r.stop()
	r.start(replica)
	r.until("the new writer to have looked at everything", func() (any, bool) {
		return nil, r.metric("federator_kube_imports") == 1
	})
	r.quiet()
	if got := r.writes(); got != 0 {
		t.Errorf("expected the new writer to write nothing, found %v", got)
	}
}

// older has the API server drop fields that it is sent, and take them again.
func (r *real) older(t *testing.T, west, east catalog.Backend) {
	imports := r.cluster.Clients.MCS.MulticlusterV1beta1().ServiceImports("shop")
	says := func(what string, is func(*mcsv1beta1.ServiceImport) bool) {
		t.Helper()
		r.until(what, func() (any, bool) {
			i, err := imports.Get(context.Background(), "checkout", metav1.GetOptions{})
			return []any{i, err}, err == nil && is(i)
		})
	}
	export := func(p catalog.Properties, replicas string) {
		mine := older(saying(backend("west-1@us-west/a "+replicas), p))
		r.world.export(t, mine, east)
	}
	near := catalog.Properties{Labels: map[string]string{"team": "checkout"}, NodeLocal: true, TrafficDistribution: "PreferClose"}
	export(near, "hh")
	says("the fields to be there", func(i *mcsv1beta1.ServiceImport) bool {
		return value(i.Spec.InternalTrafficPolicy) == "Local" && value(i.Spec.TrafficDistribution) == "PreferClose" &&
			i.Labels["team"] == "checkout" && i.Status.EndpointSliceObjects == mcsv1beta1.EndpointSliceObjectsPresent
	})
	r.expectNoWrites(t, "replica-2")

	r.define(t, true)
	near.TrafficDistribution = "PreferSameNode"
	near.Labels = map[string]string{"team": "pay"}
	export(near, "hh")
	says("the labels to be there, and none of the fields", func(i *mcsv1beta1.ServiceImport) bool {
		return i.Spec.InternalTrafficPolicy == nil && i.Spec.TrafficDistribution == nil && i.Labels["team"] == "pay" && i.Status.EndpointSliceObjects == ""
	})
	r.expectNoWrites(t, "replica-3")

	r.define(t, false)
	near.Labels = map[string]string{"team": "checkout"}
	export(near, "hh")
	says("the fields to be there again", func(i *mcsv1beta1.ServiceImport) bool {
		return value(i.Spec.InternalTrafficPolicy) == "Local" && value(i.Spec.TrafficDistribution) == "PreferSameNode" && i.Labels["team"] == "checkout"
	})
	derived, err := r.cluster.Clients.Core.CoreV1().Services("shop").Get(context.Background(), DerivedName(checkout), metav1.GetOptions{})
	if err != nil || value(derived.Spec.InternalTrafficPolicy) != "Cluster" || derived.Spec.TrafficDistribution != nil || derived.Labels["team"] != "" {
		t.Errorf("expected a derived Service of which nothing is said but where it leads, found %+v, %v", derived, err)
	}
	r.world.export(t, west, east)
	says("nothing to be said", func(i *mcsv1beta1.ServiceImport) bool {
		return value(i.Spec.InternalTrafficPolicy) == "Cluster" && i.Spec.TrafficDistribution == nil && i.Labels["team"] == ""
	})
	r.quiet()
}
