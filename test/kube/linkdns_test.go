//go:build linux

package kube_test

import (
	"context"
	"strings"
	"testing"
	"time"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/federator/federator/deploy"
	"github.com/federator/federator/kube/laptop"
	"github.com/federator/federator/kube/link"
	"github.com/federator/federator/test/controlplane"
)

func TestTheZoneGoesIntoTheClustersDNSAndOutAgain(t *testing.T) {
	world := need(t, controlplane.Options{Clusters: []string{"us-west"}})
	cluster := world.Cluster("us-west")
	ctx := t.Context()
	c, err := laptop.Open(laptop.Access{Kubeconfig: cluster.Kubeconfig, Context: "us-west"})
	must(t, err)
	if _, err := link.PlanDNS(link.LookDNS(ctx, c), link.DefaultZone); err == nil || !strings.Contains(err.Error(), "no ConfigMap kube-system/coredns") {
		t.Errorf("found %v", err)
	}
	manifests, definitions := rendered(t, deploy.Values{Region: "us-west", Replicas: 1})
	must(t, link.Install(ctx, c, definitions, manifests, func(string) {}))
	t.Run("what somebody has configured outlives an installation", func(t *testing.T) { configured(t, c) })
	t.Run("a pause outlasts an installation, until the replicas are said", func(t *testing.T) { paused(t, c) })
	system := cluster.Clients.Core.CoreV1().ConfigMaps(metav1.NamespaceSystem)
	const text = ".:53 {\n    errors\n    kubernetes cluster.local\n    reload\n}"
	_, err = system.Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "coredns"}, Data: map[string]string{"Corefile": text}}, metav1.CreateOptions{})
	must(t, err)

	change, err := link.PlanDNS(link.LookDNS(ctx, c), link.DefaultZone)
	must(t, err)
	service, err := cluster.Clients.Core.CoreV1().Services(laptop.DefaultNamespace).Get(ctx, "federator-dns", metav1.GetOptions{})
	must(t, err)
	if !strings.Contains(change.Diff(), "+     forward . "+service.Spec.ClusterIP+"\n") {
		t.Errorf("found\n%s", change.Diff())
	}
	must(t, link.ChangeDNS(ctx, c, change))
	if err := link.ChangeDNS(ctx, c, change); err == nil || !strings.Contains(err.Error(), "changed meanwhile") {
		t.Errorf("a plan that is old was carried out: %v", err)
	}
	facts := link.LookDNS(ctx, c)
	if again, err := link.PlanDNS(facts, link.DefaultZone); err != nil || !again.None() {
		t.Errorf("expected nothing to do, found %v\n%s", err, again.Diff())
	}
	if installed, right := facts.Has(link.DefaultZone); !installed || !right {
		t.Errorf("it is not seen: %v, %v", installed, right)
	}
	change, err = link.PlanNoDNS(facts)
	must(t, err)
	must(t, link.ChangeDNS(ctx, c, change))
	if found, err := system.Get(ctx, "coredns", metav1.GetOptions{}); err != nil || found.Data["Corefile"] != text {
		t.Errorf("found %q, %v", found.Data["Corefile"], err)
	}
	t.Run("an export is waited for", func(t *testing.T) { exported(t, cluster, c) })
}

// exported exports Services of a cluster in which the test writes the conditions that
// federator would.
func exported(t *testing.T, cluster *controlplane.Cluster, c *laptop.Cluster) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	quiet := func(string) {}
	if _, err := link.Export(ctx, c, "z.local", "default", "nothing", quiet); err == nil || !strings.Contains(err.Error(), "has no Service default/nothing") {
		t.Errorf("found %v", err)
	}
	services, exports := cluster.Clients.Core.CoreV1().Services("default"), cluster.Clients.MCS.MulticlusterV1beta1().ServiceExports("default")
	for _, name := range []string{"good", "refused"} {
		_, err := services.Create(ctx, &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80}}}}, metav1.CreateOptions{})
		must(t, err)
	}
	verdict := func(name string, ready metav1.ConditionStatus, reason string) func(string) {
		return func(string) {
			e, err := exports.Get(ctx, name, metav1.GetOptions{})
			must(t, err)
			e.Status.Conditions = []metav1.Condition{
				{Type: "Valid", Status: metav1.ConditionTrue, Reason: "Valid", LastTransitionTime: metav1.Now()},
				{Type: "Ready", Status: ready, Reason: reason, Message: "rule shop", LastTransitionTime: metav1.Now()},
			}
			_, err = exports.UpdateStatus(ctx, e, metav1.UpdateOptions{})
			must(t, err)
		}
	}
	if r, err := link.Export(ctx, c, "z.local", "default", "good", verdict("good", metav1.ConditionTrue, "Exported")); err != nil || r.Already || r.Name != "good.default.svc.z.local" {
		t.Errorf("found %+v, %v", r, err)
	}
	if r, err := link.Export(ctx, c, "z.local", "default", "good", quiet); err != nil || !r.Already {
		t.Errorf("a second time: %+v, %v", r, err)
	}
	if _, err := link.Export(ctx, c, "z.local", "default", "refused", verdict("refused", metav1.ConditionFalse, "ExportRefused")); err == nil || !strings.Contains(err.Error(), "rule shop (ExportRefused)") {
		t.Errorf("found %v", err)
	}
	for _, was := range []bool{true, false} {
		if found, err := link.Unexport(ctx, c, "default", "good", quiet); err != nil || found != was {
			t.Errorf("expected %v, found %v, %v", was, found, err)
		}
	}
}

// configured changes the agent's configuration as users do, and installs again.
func configured(t *testing.T, c *laptop.Cluster) {
	ctx, maps := t.Context(), c.Core.CoreV1().ConfigMaps(laptop.DefaultNamespace)
	mine, err := maps.Get(ctx, "federator", metav1.GetOptions{})
	must(t, err)
	mine.Data["agent.yaml"] += "# mine\n"
	_, err = maps.Update(ctx, mine, metav1.UpdateOptions{FieldManager: "kubectl-edit"})
	must(t, err)
	d := &diary{t: t}
	for _, image := range []string{"registry.example/federator:2", "registry.example/federator:3"} {
		manifests, definitions := rendered(t, deploy.Values{Region: "us-west", Replicas: 1, Image: image})
		must(t, link.Install(ctx, c, definitions, manifests, d.write))
		now, err := maps.Get(ctx, "federator", metav1.GetOptions{})
		must(t, err)
		if f := link.Installed(ctx, c); now.Data["agent.yaml"] != mine.Data["agent.yaml"] || now.Data["region"] != "us-west" || f.Image != image {
			t.Errorf("expected the configuration of before and the image %s, found %+v, %q", image, f, now.Data)
		}
	}
	if !strings.Contains(d.text(), "agent.yaml of ConfigMap federator is somebody else's") {
		t.Errorf("it is not said:\n%s", d.text())
	}
}

// paused scales to none as kubectl and as unlink do, and installs another image.
func paused(t *testing.T, c *laptop.Cluster) {
	ctx, sets := t.Context(), c.Core.AppsV1().StatefulSets(laptop.DefaultNamespace)
	for image, pause := range map[string]func() error{
		"registry.example/federator:4": func() error {
			_, err := sets.UpdateScale(ctx, "federator", &autoscalingv1.Scale{ObjectMeta: metav1.ObjectMeta{Name: "federator", Namespace: laptop.DefaultNamespace}}, metav1.UpdateOptions{FieldManager: "kubectl"})
			return err
		},
		"registry.example/federator:5": func() error {
			_, err := sets.Patch(ctx, "federator", types.MergePatchType, []byte(`{"spec":{"replicas":0}}`), metav1.PatchOptions{FieldManager: "federator"})
			return err
		},
	} {
		must(t, pause())
		install := func(v deploy.Values, taken ...string) error {
			v.Region, v.Image = "us-west", image
			manifests, definitions := rendered(t, v)
			return link.Install(ctx, c, definitions, manifests, func(string) {}, taken...)
		}
		must(t, install(deploy.Values{Paused: true}))
		if f, err := link.AwaitInstalled(ctx, c, func(string) {}); err != nil || f.Replicas != 0 || f.Image != image {
			t.Errorf("expected %s and no replicas, found %+v, %v", image, f, err)
		}
		must(t, install(deploy.Values{Replicas: 1}, link.Scale))
		if f := link.Installed(ctx, c); f.Replicas != 1 || f.Image != image {
			t.Errorf("expected that it is started, found %+v", f)
		}
	}
}
