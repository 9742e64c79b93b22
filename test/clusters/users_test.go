//go:build linux

package clusters

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"

	"github.com/federator/federator/test/controlplane"
)

func TestAPolicyOfANamespaceSendsTheCallersOfAllClusters(t *testing.T) {
	f := need(t)
	s := newShop(t, f, "policy")
	for _, c := range f.clusters {
		s.open(c, "checkout", 1)
	}
	s.answered("checkout", own())
	s.policy(f.cluster("asia-east"), "eu-central")
	s.answered("checkout", map[string]string{"us-west": "eu-central", "eu-central": "eu-central", "asia-east": "eu-central"})
	policies := f.cluster("asia-east").dynamic.Resource(federatorResource("resolutionpolicies")).Namespace(s.namespace)
	ok(t, policies.Delete(t.Context(), "only", metav1.DeleteOptions{}))
	s.answered("checkout", own())
}

// own is what answered expects while every cluster has pods of its own.
func own() map[string]string {
	return map[string]string{"us-west": "us-west", "eu-central": "eu-central", "asia-east": "asia-east"}
}

func federatorResource(name string) schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: "federator.dev", Version: "v1alpha1", Resource: name}
}

// policy has users of a cluster let one region serve checkout, and waits until that is in
// force.
func (s *shop) policy(c *cluster, region string) {
	s.Helper()
	s.apply(c, fmt.Sprintf(`{apiVersion: federator.dev/v1alpha1, kind: ResolutionPolicy, metadata: {name: only}, spec: {service: checkout, failoverRegions: [%s]}}`, region))
	s.until(c, "the policy to be in force", func(ctx context.Context) error {
		return s.holds(ctx, c, "resolutionpolicies", "only", "Ready")
	})
}

// drill has users of a cluster take checkout away from a region for a moment, waits until
// it is over, and returns how it ended, and why.
func (s *shop) drill(c *cluster, name, region string) (outcome, detail string) {
	s.Helper()
	s.practice(c, name, region, "1s")
	s.until(c, "the drill to be over", func(ctx context.Context) error {
		now, err := c.dynamic.Resource(federatorResource("drills")).Namespace(s.namespace).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if phase, _, err := unstructured.NestedString(now.Object, "status", "phase"); err != nil || phase != "Over" {
			return fmt.Errorf("found %v, %v", now.Object["status"], err)
		}
		// Its region writes how it ended a moment after that.
		if outcome, _, err = unstructured.NestedString(now.Object, "status", "outcome"); err == nil && outcome == "" {
			err = errors.New("found no outcome yet")
		}
		detail, _, _ = unstructured.NestedString(now.Object, "status", "detail")
		return err
	})
	return outcome, detail
}

// lasting has users of a cluster take checkout away from a region for an hour, waits until
// that is so, and returns the name of the drill. One is refused for good while a region has
// yet to hear that the last one is over, or seems silent for a moment: then there is another.
func (s *shop) lasting(c *cluster, region string) string {
	s.Helper()
	for try := 1; ; try++ {
		name, phase, detail := fmt.Sprint("long-", try), "", ""
		s.practice(c, name, region, "1h")
		s.until(c, "the drill to hold or to be refused", func(ctx context.Context) error {
			now, err := c.dynamic.Resource(federatorResource("drills")).Namespace(s.namespace).Get(ctx, name, metav1.GetOptions{})
			if err != nil {
				return err
			}
			phase, _, _ = unstructured.NestedString(now.Object, "status", "phase")
			detail, _, _ = unstructured.NestedString(now.Object, "status", "detail")
			if phase != "Hold" && phase != "Over" {
				return fmt.Errorf("found %v", now.Object["status"])
			}
			return nil
		})
		if phase == "Hold" {
			return name
		}
		s.Logf("%s was refused: %s", name, detail)
		if try == 3 {
			s.Fatal("expected a drill that takes its service away, found three that were refused")
		}
	}
}

// practice has users of a cluster write a drill that takes checkout away from a region.
func (s *shop) practice(c *cluster, name, region, hold string) {
	s.Helper()
	s.apply(c, fmt.Sprintf(`{apiVersion: federator.dev/v1alpha1, kind: Drill, metadata: {name: %s}, spec: {service: checkout, scope: {region: %s}, shape: {hold: %s}, reason: a test}}`, name, region, hold))
}

// holds returns an error unless a condition of an object of ours is true.
func (s *shop) holds(ctx context.Context, c *cluster, resource, name, condition string) error {
	now, err := c.dynamic.Resource(federatorResource(resource)).Namespace(s.namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	all, _, err := unstructured.NestedSlice(now.Object, "status", "conditions")
	for _, one := range all {
		if one, isMap := one.(map[string]any); isMap && one["type"] == condition && one["status"] == "True" {
			return nil
		}
	}
	return fmt.Errorf("expected the condition %s of %s, found %v, %v", condition, name, now.Object["status"], err)
}

// apply applies an object, given as YAML, in the namespace of the test.
func (s *shop) apply(c *cluster, text string) {
	s.Helper()
	o := &unstructured.Unstructured{}
	ok(s.T, yaml.Unmarshal([]byte(text), &o.Object))
	o.SetNamespace(s.namespace)
	ok(s.T, c.apply(s.Context(), []*unstructured.Unstructured{o}))
}

func TestThePodOfTheManualGetsItsCertificateFromTheReplicasOfItsCluster(t *testing.T) {
	f := need(t)
	s := newShop(t, f, "identity")
	for _, c := range f.clusters {
		s.certified(c)
	}
}

// certified runs the pod of docs/kubernetes.md in a cluster, and waits until it has its
// certificate.
func (s *shop) certified(c *cluster) {
	s.Helper()
	trust, err := s.federator(s.Context(), "svid", "trust", "--context", c.context)
	ok(s.T, err)
	s.apply(c, trust)
	s.apply(c, `{apiVersion: v1, kind: ServiceAccount, metadata: {name: checkout}}`)
	page, err := os.ReadFile(root + "/docs/kubernetes.md")
	ok(s.T, err)
	_, rest, _ := strings.Cut(string(page), "```yaml\napiVersion: v1\nkind: Pod\n")
	manifest, _, found := strings.Cut(rest, "```")
	if !found {
		s.Fatal("docs/kubernetes.md has no pod")
	}
	manifest = strings.ReplaceAll(manifest, "image: example.com/checkout", "image: "+controlplane.WorkloadImage+"\n      args: [serve]")
	s.apply(c, "apiVersion: v1\nkind: Pod\n"+manifest)
	// A first try may take the 30 s that the command gives it, and is repeated after pauses.
	eventually(s.T, 3*time.Minute, "the pod in "+c.name+" to run, which begins with its certificate", func(ctx context.Context) error {
		p, err := c.Core.CoreV1().Pods(s.namespace).Get(ctx, "checkout", metav1.GetOptions{})
		if err == nil && (len(p.Status.ContainerStatuses) == 0 || !p.Status.ContainerStatuses[0].Ready) {
			err = fmt.Errorf("found it %s, %+v", p.Status.Phase, p.Status.InitContainerStatuses)
		}
		return err
	})
	said, err := c.said(s.Context(), s.namespace, "checkout", "svid", 10)
	if want := fmt.Sprintf("spiffe://%s/ns/%s/sa/checkout until ", trustDomain, s.namespace); err != nil || !strings.Contains(said, want) {
		s.Errorf("%s: expected the pod to say %q, found %q, %v", c.name, want, said, err)
	}
}

func TestADrillOfANamespaceMovesItsCallersAndBringsThemBack(t *testing.T) {
	f := need(t)
	s := newShop(t, f, "drill")
	for _, c := range f.clusters {
		s.open(c, "checkout", 1)
	}
	s.answered("checkout", own())
	// Until its object goes: how soon kube-proxy does as it is told is not for this to say.
	west := f.cluster("us-west")
	long := s.lasting(west, "eu-central")
	s.callersMove("checkout", f.cluster("eu-central"))
	drills := west.dynamic.Resource(federatorResource("drills")).Namespace(s.namespace)
	ok(t, drills.Delete(t.Context(), long, metav1.DeleteOptions{}))
	s.answered("checkout", own())

	for try := 1; ; try++ {
		outcome, detail := s.drill(west, fmt.Sprint("brief-", try), "asia-east")
		t.Logf("brief-%d %s: %s", try, outcome, detail)
		if outcome == "succeeded" {
			break
		}
		if try == 3 {
			t.Fatal("expected a drill that ends when it is to, found three that did not")
		}
	}
	s.answered("checkout", own())
}
