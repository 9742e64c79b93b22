package exports

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"pgregory.net/rapid"

	"github.com/federator/federator/federation/catalog"
)

// told derives an export of those labels and annotations, which must be valid.
func told(t testing.TB, labels, annotations map[string]string, edits ...func(*corev1.Service)) (*catalog.Properties, string) {
	t.Helper()
	export, service := anExport("web"), aService("web")
	export.Labels, export.Annotations = map[string]string{"of": "the-export"}, map[string]string{"of": "the-export"}
	service.Labels, service.Annotations = map[string]string{"of": "the-service"}, map[string]string{"of": "the-service"}
	export.Spec.ExportedLabels, export.Spec.ExportedAnnotations = labels, annotations
	for _, edit := range edits {
		edit(service)
	}
	set, v := derive(facts{cluster: "west", export: export, service: service, zone: zones})
	if set == nil || !v.Valid || v.Reason != "Valid" {
		t.Fatalf("expected a valid export, found %+v", v)
	}
	if err := set.Properties.Validate(); err != nil {
		t.Fatalf("the region's Raft would refuse them: %v", err)
	}
	return set.Properties, v.Message
}

func TestKEP1645OnlyExportedLabelsAndAnnotationsAreExported(t *testing.T) {
	p, message := told(t, map[string]string{"team": "checkout"}, map[string]string{"acme.example/notes": "a\nb"})
	want := &catalog.Properties{Labels: map[string]string{"team": "checkout"}, Annotations: map[string]string{"acme.example/notes": "a\nb"}}
	if diff := cmp.Diff(want, p); diff != "" || message != "the Service is exported" {
		t.Errorf("%q: %s", message, diff)
	}
	if p, _ := told(t, nil, nil); p != nil {
		t.Errorf("expected nothing of the objects' own labels and annotations, found %+v", p)
	}
}

func TestKEP1645TrafficPoliciesAndIPFamiliesAreTheServices(t *testing.T) {
	policy := func(p corev1.ServiceInternalTrafficPolicy) func(*corev1.Service) {
		return func(s *corev1.Service) { s.Spec.InternalTrafficPolicy = &p }
	}
	for name, c := range map[string]struct {
		edit func(*corev1.Service)
		want *catalog.Properties
		says string
	}{
		"not said":     {func(*corev1.Service) {}, nil, "the Service is exported"},
		"Cluster":      {policy(corev1.ServiceInternalTrafficPolicyCluster), nil, "the Service is exported"},
		"Local":        {policy(corev1.ServiceInternalTrafficPolicyLocal), &catalog.Properties{NodeLocal: true}, "internalTrafficPolicy Local is said in ServiceImports only"},
		"distribution": {func(s *corev1.Service) { s.Spec.TrafficDistribution = to(corev1.ServiceTrafficDistributionPreferClose) }, &catalog.Properties{TrafficDistribution: "PreferClose"}, "the Service is exported"},
		"IPv6":         {func(s *corev1.Service) { s.Spec.IPFamilies = []corev1.IPFamily{corev1.IPv6Protocol} }, &catalog.Properties{IPv6: true}, "the Service is exported"},
		"headless": {func(s *corev1.Service) {
			s.Spec.ClusterIP, s.Spec.IPFamilies = corev1.ClusterIPNone, []corev1.IPFamily{corev1.IPv4Protocol, corev1.IPv6Protocol}
		}, nil, "the Service is exported"},
		"both": {func(s *corev1.Service) {
			s.Spec.IPFamilies = []corev1.IPFamily{corev1.IPv6Protocol, corev1.IPv4Protocol}
		}, &catalog.Properties{IPv4: true, IPv6: true}, "the Service is exported"},
		"no word": {func(s *corev1.Service) { s.Spec.TrafficDistribution = to("\x1b[2J") }, nil, "the Service is exported"},
	} {
		p, message := told(t, nil, nil, c.edit)
		if diff := cmp.Diff(c.want, p); diff != "" || !strings.Contains(message, c.says) {
			t.Errorf("%s: %q, %s", name, message, diff)
		}
	}
}

// pairs are n of that many bytes each.
func pairs(n, bytes int) map[string]string {
	out := map[string]string{}
	for i := range n {
		key := fmt.Sprintf("k%02d", i)
		out[key] = strings.Repeat("v", bytes-len(key))
	}
	return out
}

func TestWhatOtherClustersWouldNotTakeOverIsLeftOutAndSaid(t *testing.T) {
	one := func(key, value string) map[string]string { return map[string]string{key: value, "team": "checkout"} }
	for name, c := range map[string]struct {
		labels, annotations map[string]string
		kept                [2]int
		says                string
	}{
		"of Kubernetes":     {one("app.kubernetes.io/name", "web"), nil, [2]int{1, 0}, `not carried over: label "app.kubernetes.io/name" (its domain is reserved)`},
		"of kubectl":        {nil, one("kubectl.kubernetes.io/last-applied-configuration", "{}"), [2]int{0, 1}, `annotation "kubectl.kubernetes.io/last-applied-configuration" (its domain is reserved)`},
		"of the API":        {one("multicluster.kubernetes.io/service-name", "web"), nil, [2]int{1, 0}, "reserved"},
		"ours":              {one("federator.dev/import", "other"), one("federator.dev/planned-from", "-"), [2]int{1, 1}, `label "federator.dev/import" (its domain is reserved), annotation "federator.dev/planned-from"`},
		"no key":            {one("a b", "c"), nil, [2]int{1, 0}, `label "a b" (it is no key`},
		"no value":          {one("key", "a b"), nil, [2]int{1, 0}, `label "key" (its value is none that a label can have`},
		"a long annotation": {nil, one("key", strings.Repeat("v", 2049)), [2]int{0, 1}, `annotation "key" (its value has 2049 bytes`},
		"an escape in it":   {nil, one("key", "\x1b[2J"), [2]int{0, 1}, "control characters"},
		"an escape as key":  {one("\x1b[2J", "v"), nil, [2]int{1, 0}, `label "\x1b[2J" (it is no key`},
		"too many":          {pairs(40, 5), pairs(33, 5), [2]int{32, 32}, `label "k32" (there are more than 32), label "k33" (there are more than 32), label "k34" (there are more than 32), label "k35" (there are more than 32), label "k36" (there are more than 32) and 4 more`},
		"too large":         {nil, pairs(6, 2000), [2]int{0, 4}, `annotation "k04" (all together have more than 8192 bytes)`},
	} {
		p, message := told(t, c.labels, c.annotations)
		if kept := [2]int{len(p.Labels), len(p.Annotations)}; kept != c.kept || !strings.Contains(message, c.says) {
			t.Errorf("%s: expected %v carried over and %q, found %v and %q", name, c.kept, c.says, kept, message)
		}
	}
}

func TestKubernetesAcceptsAllThatIsCarriedOver(t *testing.T) {
	text := rapid.StringMatching(`[-a-zA-Z0-9_./ é<]{0,70}`)
	rapid.Check(t, func(rt *rapid.T) {
		all := rapid.MapOfN(text, text, 0, 8)
		labels, annotations := all.Draw(rt, "labels"), all.Draw(rt, "annotations")
		p, _ := told(t, labels, annotations)
		if p == nil {
			return
		}
		errs := metav1validation.ValidateLabels(p.Labels, field.NewPath("labels"))
		errs = append(errs, validation.ValidateAnnotations(p.Annotations, field.NewPath("annotations"))...)
		if len(errs) > 0 {
			rt.Fatal(errs)
		}
	})
}
