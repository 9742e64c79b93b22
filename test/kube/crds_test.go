//go:build linux

package kube_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"

	"github.com/federator/federator/kube/api/v1alpha1"
	"github.com/federator/federator/test/controlplane"
)

// installOwn makes federator's own CustomResourceDefinitions in a cluster, as the
// manifests have them, and waits until they are served.
func installOwn(ctx context.Context, c *controlplane.Cluster) error {
	definitions := c.Dynamic.Resource(schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"})
	for _, resource := range []string{v1alpha1.ResourceResolutionPolicies, v1alpha1.ResourceDrills} {
		text, err := os.ReadFile("../../deploy/clusters/crds/federator.dev_" + resource + ".yaml")
		if err != nil {
			return err
		}
		var d unstructured.Unstructured
		if err := yaml.Unmarshal(text, &d.Object); err != nil {
			return err
		}
		if _, err := definitions.Create(ctx, &d, metav1.CreateOptions{}); err != nil {
			return err
		}
		objects := c.Dynamic.Resource(v1alpha1.GroupVersion().WithResource(resource))
		for tries := 0; ; tries++ {
			if _, err = objects.List(ctx, metav1.ListOptions{}); err == nil {
				break
			}
			if tries == 300 {
				return errors.Join(errors.New("the API server does not serve "+resource), err)
			}
			time.Sleep(100 * time.Millisecond)
		}
	}
	return nil
}

// try creates an object of YAML as a dry run, and returns what the API server says.
func try(ctx context.Context, c *controlplane.Cluster, resource, text string) error {
	var o unstructured.Unstructured
	if err := yaml.Unmarshal([]byte(text), &o.Object); err != nil {
		return err
	}
	_, err := c.Dynamic.Resource(v1alpha1.GroupVersion().WithResource(resource)).Namespace("shop").Create(ctx, &o, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}, FieldValidation: metav1.FieldValidationStrict})
	return err
}

// list writes n items as a YAML list.
func list(n int, item func(int) string) string {
	var out []string
	for i := range n {
		out = append(out, item(i))
	}
	return "[" + strings.Join(out, ", ") + "]"
}

func label(i int) string { return "r" + strings.Repeat("x", i) }

func TestWhatTheAPIServerSaysOfWhatUsersWrite(t *testing.T) {
	world := need(t, controlplane.Options{Clusters: []string{"us-west"}})
	west, ctx := world.Cluster("us-west"), t.Context()
	_, err := west.Clients.Core.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop"}}, metav1.CreateOptions{})
	must(t, err)
	must(t, installOwn(ctx, west))
	const head = "apiVersion: federator.dev/v1alpha1\nkind: ResolutionPolicy\nmetadata: {name: p}\nspec: "
	t.Run("of policies", func(t *testing.T) {
		for name, c := range map[string]struct{ spec, says string }{
			"the least":                   {"{service: checkout}", ""},
			"all fields":                  {"{service: checkout, regionOrder: [us-west, eu-central], regionOrderFrom: [{from: asia-east, order: [us-west]}], weights: [{place: us-west, weight: 90}, {place: eu-central/a, weight: 0}], overprovisioningPercent: 140, panicThresholdPercent: 0, failoverRegions: [us-west, eu-central], ramp: 1m30s, safety: {minRegions: 2, minEndpointsPercent: 50, gates: [till]}}", ""},
			"as much as there may be":     {"{service: checkout, regionOrder: " + list(32, label) + ", regionOrderFrom: " + list(32, func(i int) string { return "{from: " + label(i) + ", order: " + list(32, label) + "}" }) + ", weights: " + list(62, func(i int) string { return "{place: " + label(i) + "/" + label(i) + ", weight: 1}" }) + "}", ""},
			"no service":                  {"{regionOrder: [us-west]}", "spec.service: Required value"},
			"a service elsewhere":         {"{service: bank/ledger}", "spec.service in body should match"},
			"a field that there is not":   {"{service: checkout, panic: 50}", `unknown field "spec.panic"`},
			"a region twice":              {"{service: checkout, regionOrder: [us-west, us-west]}", "spec.regionOrder: Invalid value: expected each name once"},
			"a region twice, from one":    {"{service: checkout, regionOrderFrom: [{from: a, order: [b, b]}]}", "spec.regionOrderFrom[0].order: Invalid value: expected each name once"},
			"clients of a region twice":   {"{service: checkout, regionOrderFrom: [{from: a, order: [b]}, {from: a, order: [c]}]}", `spec.regionOrderFrom[1]: Duplicate value: {"from":"a"}`},
			"no region's name":            {"{service: checkout, regionOrder: [US]}", "spec.regionOrder[0] in body should match"},
			"a region that may not serve": {"{service: checkout, regionOrder: [a, c], failoverRegions: [a, b]}", "regionOrder: expected only regions that failoverRegions lets serve"},
			"too many regions":            {"{service: checkout, regionOrder: " + list(33, label) + "}", "spec.regionOrder: Too many: 33: must have at most 32 items"},
			"only zeros as weights":       {"{service: checkout, weights: [{place: a, weight: 0}, {place: b, weight: 0}]}", "spec.weights: Invalid value: expected one weight above 0 at least"},
			"a weight too high":           {"{service: checkout, weights: [{place: a, weight: 1000001}]}", "should be less than or equal to 1000000"},
			"a place twice":               {"{service: checkout, weights: [{place: a, weight: 1}, {place: a, weight: 2}]}", "spec.weights[1]: Duplicate value"},
			"no place":                    {"{service: checkout, weights: [{place: a/b/c, weight: 1}]}", "spec.weights[0].place in body should match"},
			"too little overprovisioning": {"{service: checkout, overprovisioningPercent: 99}", "spec.overprovisioningPercent in body should be greater than or equal to 100"},
			"a percentage above 100":      {"{service: checkout, panicThresholdPercent: 101}", "spec.panicThresholdPercent in body should be less than or equal to 100"},
			"a long ramp":                 {"{service: checkout, ramp: 11m}", "spec.ramp: Invalid value: expected 0s to 10m"},
			"no ramp":                     {"{service: checkout, ramp: soon}", "spec.ramp in body should match"},
			"a ramp to the past":          {"{service: checkout, ramp: -1s}", "spec.ramp in body should match"},
			"more than everything left":   {"{service: checkout, safety: {minEndpointsPercent: 101}}", "spec.safety.minEndpointsPercent in body should be less than or equal to 100"},
			"a gate twice":                {"{service: checkout, safety: {gates: [till, till]}}", "spec.safety.gates: Invalid value: expected each name once"},
		} {
			t.Run(name, func(t *testing.T) { said(t, try(ctx, west, v1alpha1.ResourceResolutionPolicies, head+c.spec), c.says) })
		}
		long := strings.Replace(head, "name: p", "name: "+strings.Repeat("p", 64), 1) + "{service: checkout}"
		if err := try(ctx, west, v1alpha1.ResourceResolutionPolicies, long); err == nil || !strings.Contains(err.Error(), "metadata.name: expected at most 63 characters") {
			t.Errorf("a long name: found %v", err)
		}
	})
	t.Run("of drills", func(t *testing.T) { saidOfDrills(t, west) })
	t.Run("of the examples in the manual", func(t *testing.T) { saidOfExamples(t, west) })
	t.Run("to kubectl get", func(t *testing.T) { saidToKubectl(t, west) })
	t.Run("of a change", func(t *testing.T) {
		policies := west.Clients.Federator.FederatorV1alpha1().ResolutionPolicies("shop")
		p := &v1alpha1.ResolutionPolicy{ObjectMeta: metav1.ObjectMeta{Name: "p"}, Spec: v1alpha1.ResolutionPolicySpec{Service: "checkout"}}
		have, err := policies.Create(ctx, p, metav1.CreateOptions{})
		must(t, err)
		moved := have.DeepCopy()
		moved.Spec.Service = "cart"
		if _, err := policies.Update(ctx, moved, metav1.UpdateOptions{}); err == nil || !strings.Contains(err.Error(), "a policy stays with its service: delete it and create another") {
			t.Errorf("another service: found %v", err)
		}
		changed := have.DeepCopy()
		changed.Spec.RegionOrder = v1alpha1.Labels{"us-west"}
		changed.Status.Conditions = []metav1.Condition{{Type: "Ready", Status: "True", Reason: "Forged", LastTransitionTime: metav1.Now()}}
		changed, err = policies.Update(ctx, changed, metav1.UpdateOptions{})
		must(t, err)
		if changed.Generation != 2 || len(changed.Status.Conditions) != 0 {
			t.Errorf("expected the generation to rise and the status to stay, found %d and %+v", changed.Generation, changed.Status)
		}
		if _, err := policies.UpdateStatus(ctx, have, metav1.UpdateOptions{}); err == nil || !strings.Contains(err.Error(), "the object has been modified") {
			t.Errorf("expected a status of an older version to be refused, found %v", err)
		}
	})
}

// said fails unless the API server said this, or nothing.
func said(t *testing.T, err error, want string) {
	t.Helper()
	text := strings.NewReplacer(`"array": `, "", `"string": `, "", `"object": `, "").Replace(fmt.Sprint(err)) // what rules are about
	if (err == nil) != (want == "") || err != nil && !strings.Contains(text, want) {
		t.Errorf("expected %q, found %v", want, err)
	}
}

func saidOfDrills(t *testing.T, c *controlplane.Cluster) {
	const head = "apiVersion: federator.dev/v1alpha1\nkind: Drill\nmetadata: {name: d}\nspec: "
	for name, one := range map[string]struct{ spec, says string }{
		"the least":                 {"{service: checkout, scope: {region: us-west}, shape: {hold: 5m}}", ""},
		"all fields":                {"{service: checkout, scope: {region: us-west, cluster: us-west-1.acme}, shape: {ramp: 2m, hold: 5m, return: 1m}, objective: 5s, reason: quarterly}", ""},
		"a zone":                    {"{service: checkout, scope: {region: us-west, zone: a}, shape: {hold: 24h}}", ""},
		"a zone and a cluster":      {"{service: checkout, scope: {region: us-west, zone: a, cluster: b}, shape: {hold: 5m}}", "spec.scope: Invalid value: expected a zone or a cluster, found both"},
		"no service":                {"{scope: {region: us-west}, shape: {hold: 5m}}", "spec.service: Required value"},
		"no region":                 {"{service: checkout, scope: {zone: a}, shape: {hold: 5m}}", "spec.scope.region: Required value"},
		"no hold":                   {"{service: checkout, scope: {region: us-west}, shape: {ramp: 5m}}", "spec.shape.hold: Required value"},
		"another namespace":         {"{service: bank/ledger, scope: {region: us-west}, shape: {hold: 5m}}", "spec.service in body should match"},
		"no time at all":            {"{service: checkout, scope: {region: us-west}, shape: {hold: 0s}}", "expected ramp, hold and return to take 1s to 24h together"},
		"more than a day":           {"{service: checkout, scope: {region: us-west}, shape: {ramp: 12h, hold: 12h, return: 1s}}", "expected ramp, hold and return to take 1s to 24h together"},
		"no length of time":         {"{service: checkout, scope: {region: us-west}, shape: {hold: long}}", "spec.shape.hold in body should match"},
		"force":                     {"{service: checkout, scope: {region: us-west}, shape: {hold: 5m}, forced: true}", `unknown field "spec.forced"`},
		"alarms":                    {"{service: checkout, scope: {region: us-west}, shape: {hold: 5m}, alarms: []}", `unknown field "spec.alarms"`},
		"an isolation":              {"{kind: isolate, service: checkout, scope: {region: us-west}, shape: {hold: 5m}}", `unknown field "spec.kind"`},
		"an objective of two days":  {"{service: checkout, scope: {region: us-west}, shape: {hold: 5m}, objective: 48h}", "spec.objective: Invalid value: expected 0s to 24h"},
		"a reason that is too long": {"{service: checkout, scope: {region: us-west}, shape: {hold: 5m}, reason: " + strings.Repeat("r", 513) + "}", "spec.reason: Too long: may not be more than 512"},
		"a cluster that cannot be":  {"{service: checkout, scope: {region: us-west, cluster: a.b.c}, shape: {hold: 5m}}", "spec.scope.cluster in body should match"},
	} {
		t.Run(name, func(t *testing.T) { said(t, try(t.Context(), c, v1alpha1.ResourceDrills, head+one.spec), one.says) })
	}
	drills := c.Clients.Federator.FederatorV1alpha1().Drills("shop")
	have, err := drills.Create(t.Context(), &v1alpha1.Drill{ObjectMeta: metav1.ObjectMeta{Name: "d"}, Spec: v1alpha1.DrillSpec{
		Service: "checkout", Scope: v1alpha1.DrillScope{Region: "us-west"}, Shape: v1alpha1.DrillShape{Hold: "5m"},
	}}, metav1.CreateOptions{})
	must(t, err)
	if have.Spec.Shape.Ramp != "0s" || have.Spec.Shape.Return != "0s" {
		t.Errorf("expected the defaults to be written out, found %+v", have.Spec.Shape)
	}
	changed := have.DeepCopy()
	changed.Spec.Shape.Hold = "6m"
	_, err = drills.Update(t.Context(), changed, metav1.UpdateOptions{})
	said(t, err, "spec: Invalid value: a drill is what it was created as: delete it, which ends it, and create another")
	labelled := have.DeepCopy()
	labelled.Labels = map[string]string{"team": "shop"}
	labelled, err = drills.Update(t.Context(), labelled, metav1.UpdateOptions{})
	must(t, err)
	labelled.Status.Phase = "Dancing"
	_, err = drills.UpdateStatus(t.Context(), labelled, metav1.UpdateOptions{})
	said(t, err, `status.phase: Unsupported value: "Dancing"`)
}

// saidOfExamples has the API server look at what the manual tells users to write.
func saidOfExamples(t *testing.T, c *controlplane.Cluster) {
	pages, err := filepath.Glob("../../docs/*.md")
	must(t, err)
	tried := map[string]int{}
	for _, page := range pages {
		text, err := os.ReadFile(page)
		must(t, err)
		for _, m := range regexp.MustCompile("(?s)\n```yaml\n(apiVersion: federator.dev.*?)```").FindAllStringSubmatch(string(text), -1) {
			resource := v1alpha1.ResourceResolutionPolicies
			if strings.Contains(m[1], "kind: Drill") {
				resource = v1alpha1.ResourceDrills
			}
			tried[resource]++
			if err := try(t.Context(), c, resource, m[1]); err != nil {
				t.Errorf("%s: %v", page, err)
			}
		}
	}
	if len(tried) != 2 {
		t.Errorf("expected an example of each kind, found %v", tried)
	}
}

// saidToKubectl compares the columns that kubectl get prints.
func saidToKubectl(t *testing.T, c *controlplane.Cluster) {
	config := rest.CopyConfig(c.Config)
	version := v1alpha1.GroupVersion()
	config.GroupVersion, config.APIPath, config.NegotiatedSerializer = &version, "/apis", scheme.Codecs.WithoutConversion()
	client, err := rest.RESTClientFor(config)
	must(t, err)
	for resource, want := range map[string]string{
		v1alpha1.ResourceResolutionPolicies: "Name Service Ready Reason (Message) Age",
		v1alpha1.ResourceDrills:             "Name Service Region (Zone) (Cluster) Phase Outcome Verdict (Detail) Age",
	} {
		text, err := client.Get().Namespace("shop").Resource(resource).SetHeader("Accept", "application/json;as=Table;v=v1;g=meta.k8s.io").Do(t.Context()).Raw()
		must(t, err)
		var table metav1.Table
		must(t, json.Unmarshal(text, &table))
		var columns []string
		for _, column := range table.ColumnDefinitions {
			name := column.Name
			if column.Priority > 0 { // with -o wide
				name = "(" + name + ")"
			}
			columns = append(columns, name)
		}
		if got := strings.Join(columns, " "); got != want {
			t.Errorf("%s: expected the columns %s, found %s", resource, want, got)
		}
	}
}
