package link

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	mcsv1beta1 "sigs.k8s.io/mcs-api/pkg/apis/v1beta1"
	mcsfake "sigs.k8s.io/mcs-api/pkg/client/clientset/versioned/fake"

	"github.com/federator/federator/kube/laptop"
)

// zoned is the DNS of a cluster with the zone in it.
func zoned(t *testing.T, f DNSFacts) DNSFacts {
	t.Helper()
	f.Service = addressesOf(&corev1.Service{Spec: corev1.ServiceSpec{ClusterIPs: []string{"10.96.0.9"}}})
	change, err := PlanDNS(f, DefaultZone)
	if err != nil {
		t.Fatal(err)
	}
	if change.ConfigMap == customName {
		f.HasCustom, f.Custom = true, map[string]string{change.Key: change.After}
	} else {
		f.Corefile = change.After
	}
	return f
}

// What uninstalling takes out of the cluster's DNS comes after the region was removed for
// good, which is too late to hear that it is not allowed.
func TestUninstallingAsksBeforeWhetherItMayChangeTheClustersDNS(t *testing.T) {
	provider := DNSFacts{Corefile: plainCorefile + "import custom/*.server\n", Includes: "custom/*.server"}
	mixed := zoned(t, provider)
	mixed.Custom["mine.server"] = "example.org {\n errors\n}\n"
	for name, test := range map[string]struct {
		f    DNSFacts
		want []string
	}{
		"the zone is in the Corefile":          {zoned(t, DNSFacts{Corefile: plainCorefile}), []string{"get", "update"}},
		"it is in the provider's ConfigMap":    {zoned(t, provider), []string{"get", "update", "delete"}},
		"others have something there, too":     {mixed, []string{"get", "update", "delete"}},
		"the zone is not there":                {DNSFacts{Corefile: plainCorefile}, []string{"get"}},
		"the cluster's DNS is none that we do": {DNSFacts{Missing: true, Other: "kube-dns"}, []string{"get"}},
		"it cannot be looked at":               {DNSFacts{Problem: "forbidden"}, []string{"get"}},
	} {
		verbs := func(purposes ...Purpose) []string {
			var out []string
			for _, r := range wanted("federator-system", purposes, &test.f) {
				if r.Resource == "configmaps" && r.Namespace == metav1.NamespaceSystem {
					out = append(out, r.Verb)
				}
			}
			return out
		}
		if found := verbs(ToUninstall); !slices.Equal(found, test.want) {
			t.Errorf("%s: expected %q, found %q", name, test.want, found)
		}
		if found := verbs(ToAsk, ToJoin, ToInstall, ToUnlink); len(found) > 0 {
			t.Errorf("%s: what leaves the DNS alone asks for %q", name, found)
		}
	}
}

// What a change of the DNS asks of the API server is what is said that it needs.
func TestAChangeOfTheClustersDNSNeedsTheRightsThatAreListedAndNoMore(t *testing.T) {
	provider := DNSFacts{Corefile: plainCorefile + "import custom/*.server\n", Includes: "custom/*.server"}
	for name, f := range map[string]DNSFacts{"in the Corefile": {Corefile: plainCorefile}, "in the provider's ConfigMap": provider} {
		core := fake.NewClientset(&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: dnsName, Namespace: metav1.NamespaceSystem}, Data: map[string]string{dnsKey: f.Corefile}})
		c := &laptop.Cluster{Context: "c", Namespace: laptop.DefaultNamespace, Core: core}
		done := zoned(t, f)
		f.Service = done.Service
		in, err := PlanDNS(f, DefaultZone)
		if err != nil {
			t.Fatal(err)
		}
		out, err := PlanNoDNS(done)
		if err != nil {
			t.Fatal(err)
		}
		for _, change := range []Change{in, out} {
			core.ClearActions()
			if err := ChangeDNS(t.Context(), c, change); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			asked, listed := []string{}, []string{}
			for _, a := range core.Actions() {
				if !slices.Contains(asked, a.GetVerb()) {
					asked = append(asked, a.GetVerb())
				}
			}
			for _, r := range change.rights() {
				listed = append(listed, r.Verb)
			}
			for _, verb := range asked {
				if !slices.Contains(listed, verb) {
					t.Errorf("%s: it does %q, listed are %q", name, asked, listed)
				}
			}
			if len(listed) > len(asked)+1 { // the last key of a ConfigMap goes by delete, another by update
				t.Errorf("%s: listed are %q, it does %q", name, listed, asked)
			}
		}
	}
}

// forbid lets a fake API server refuse as a real one does.
func forbid(f *clienttesting.Fake, verb, group, resource string) {
	f.PrependReactor(verb, resource, func(a clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, apierrors.NewForbidden(schema.GroupResource{Group: group, Resource: resource}, "x",
			errors.New(`User "vera" cannot `+verb+` resource "`+resource+`" in API group "`+group+`" in the namespace "`+a.GetNamespace()+`"`))
	})
}

func TestWhoMayNotHearsWhatWasExpectedWhatWasFoundAndWhatToDo(t *testing.T) {
	const system = "configmaps -n kube-system"
	change := func(change Change) func(context.Context, *laptop.Cluster) error {
		return func(ctx context.Context, c *laptop.Cluster) error { return ChangeDNS(ctx, c, change) }
	}
	plan := func(ctx context.Context, c *laptop.Cluster) error {
		_, err := PlanDNS(LookDNS(ctx, c), DefaultZone)
		return err
	}
	unplan := func(ctx context.Context, c *laptop.Cluster) error {
		_, err := PlanNoDNS(LookDNS(ctx, c))
		return err
	}
	export := func(ctx context.Context, c *laptop.Cluster) error {
		_, err := Export(ctx, c, "z.local", "shop", "checkout", func(string) {})
		return err
	}
	unexport := func(ctx context.Context, c *laptop.Cluster) error {
		_, err := Unexport(ctx, c, "shop", "checkout", func(string) {})
		return err
	}
	exports := "serviceexports." + mcsv1beta1.GroupName + " -n shop"
	for name, test := range map[string]struct {
		verb, resource string
		do             func(context.Context, *laptop.Cluster) error
		right          string
	}{
		"to look at the DNS":              {"get", "configmaps", plan, "get " + system},
		"to look at it, to take it out":   {"get", "configmaps", unplan, "get " + system},
		"to look where the zone is to go": {"get", "services", plan, "get services -n fed"},
		"to write it":                     {"update", "configmaps", change(Change{ConfigMap: dnsName, Key: dnsKey, Before: plainCorefile, After: "x"}), "update " + system},
		"to read it before":               {"get", "configmaps", change(Change{ConfigMap: dnsName, Key: dnsKey}), "get " + system},
		"to make it":                      {"create", "configmaps", change(Change{ConfigMap: customName, Key: customKey, Create: true}), "create " + system},
		"to delete it":                    {"delete", "configmaps", change(Change{ConfigMap: customName, Key: customKey, Delete: true}), "delete " + system},
		"to look at the Service":          {"get", "services", export, "get services -n shop"},
		"to export":                       {"create", "serviceexports", export, "create " + exports},
		"to see what becomes of it":       {"get", "serviceexports", export, "get " + exports},
		"to take it out again":            {"delete", "serviceexports", unexport, "delete " + exports},
		"to see that it is gone":          {"get", "serviceexports", unexport, "get " + exports},
	} {
		core := fake.NewClientset(
			&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: dnsName, Namespace: metav1.NamespaceSystem}, Data: map[string]string{dnsKey: plainCorefile}},
			&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: customName, Namespace: metav1.NamespaceSystem, Labels: map[string]string{managedBy: "federator"}}},
			&corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "checkout", Namespace: "shop"}},
		)
		custom := mcsfake.NewSimpleClientset()
		if strings.Contains(name, "again") || strings.Contains(name, "gone") {
			custom = mcsfake.NewSimpleClientset(&mcsv1beta1.ServiceExport{ObjectMeta: metav1.ObjectMeta{Name: "checkout", Namespace: "shop"}})
		}
		if test.resource == "serviceexports" {
			forbid(&custom.Fake, test.verb, mcsv1beta1.GroupName, test.resource)
		} else {
			forbid(&core.Fake, test.verb, "", test.resource)
		}
		err := test.do(t.Context(), &laptop.Cluster{Context: "west", Namespace: "fed", Core: core, MCS: custom})
		for _, want := range []string{"expected to be allowed to " + test.right + ", found", `User "vera" cannot ` + test.verb, "kubectl --context west auth can-i " + test.right} {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: expected %q, found %v", name, want, err)
			}
		}
	}
	quota := apierrors.NewForbidden(corev1.Resource("configmaps"), "x", errors.New("exceeded quota"))
	if found := (place{}).refusal(quota, Right{}); found != error(quota) {
		t.Errorf("a quota is no missing right, found %v", found)
	}
}
