package link

import (
	"errors"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	dynamicfake "k8s.io/client-go/dynamic/fake"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/rest"
	clienttesting "k8s.io/client-go/testing"

	"github.com/federator/federator/kube/laptop"
)

// installedIn is a cluster in which federator is installed.
func installedIn(namespace string) (*laptop.Cluster, *fake.Clientset) {
	named := metav1.ObjectMeta{Name: "federator", Namespace: namespace}
	fast := "fast"
	core := fake.NewClientset(
		&appsv1.StatefulSet{ObjectMeta: named, Spec: appsv1.StatefulSetSpec{
			Replicas: new(int32(5)), Template: corev1.PodTemplateSpec{Spec: corev1.PodSpec{Containers: []corev1.Container{{Image: "registry.example/federator:1"}}}},
			VolumeClaimTemplates: []corev1.PersistentVolumeClaim{{Spec: corev1.PersistentVolumeClaimSpec{StorageClassName: &fast}}},
		}, Status: appsv1.StatefulSetStatus{ReadyReplicas: 4, UpdateRevision: "r2", UpdatedReplicas: 2}},
		&corev1.ConfigMap{ObjectMeta: named, Data: map[string]string{"region": "us-west", "cluster": "west-1", "expose": "hostport"}},
		&rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "federator"}, Subjects: []rbacv1.Subject{{Kind: "ServiceAccount", Name: "federator", Namespace: namespace}}},
	)
	return &laptop.Cluster{Context: "c", Namespace: laptop.DefaultNamespace, Core: core}, core
}

func TestWhatIsInstalledIsFound(t *testing.T) {
	c, _ := installedIn(laptop.DefaultNamespace)
	f := Installed(t.Context(), c)
	if !f.Installed || f.Image != "registry.example/federator:1" || f.Replicas != 5 || f.Ready != 4 || f.Revision != "r2" || f.Current != 2 || f.StorageClass != "fast" || f.Ephemeral || f.Monitored || f.Region != "us-west" || f.Expose != "hostport" {
		t.Errorf("found %+v", f)
	}
	if found := elsewhere(t.Context(), c); found != "" {
		t.Errorf("it is where it is looked for, and found in %q", found)
	}
	c, _ = installedIn("fed")
	if f := Installed(t.Context(), c); f.Installed || f.Unreachable != "" {
		t.Errorf("found %+v", f)
	}
	if found := elsewhere(t.Context(), c); found != "fed" {
		t.Errorf("expected to hear of the namespace fed, found %q", found)
	}
}

func TestWhatCouldNotBeLookedAtIsNotTakenForNothing(t *testing.T) {
	for name, test := range map[string]struct {
		err  error
		away bool
	}{
		"the API server is overloaded": {apierrors.NewServerTimeout(appsv1.Resource("statefulsets"), "get", 1), true},
		"the way to it is cut":         {errors.New("connection reset by peer"), true},
		"it may not be looked at":      {apierrors.NewForbidden(appsv1.Resource("statefulsets"), "federator", nil), false},
		"it is not there":              {apierrors.NewNotFound(appsv1.Resource("statefulsets"), "federator"), false},
	} {
		c, core := installedIn(laptop.DefaultNamespace)
		core.PrependReactor("get", "statefulsets", func(clienttesting.Action) (bool, runtime.Object, error) { return true, nil, test.err })
		if f := Installed(t.Context(), c); f.Installed || (f.Unreachable != "") != test.away {
			t.Errorf("%s: found %+v", name, f)
		}
	}
}

// What a member leaves in its cluster tells one that is silent from one that never was.
func TestWhetherAReplicaHasRunAndWhichPodsWaitIsFound(t *testing.T) {
	c, core := installedIn(laptop.DefaultNamespace)
	ran := func() bool {
		f := Facts{}
		f.ran(t.Context(), c)
		return f.Ran
	}
	if ran() {
		t.Error("no replica has run yet")
	}
	if err := core.Tracker().Add(&coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: "federator-imports", Namespace: c.Namespace}}); err != nil {
		t.Fatal(err)
	}
	if !ran() {
		t.Error("a replica has run")
	}
	core.PrependReactor("get", "leases", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, apierrors.NewForbidden(coordinationv1.Resource("leases"), "federator-imports", nil)
	})
	if !ran() {
		t.Error("what may not be looked at was taken for nothing")
	}
	for name, uid := range map[string]types.UID{"federator-1": "uid of federator-1", "federator-2": "uid of an earlier pod"} {
		if err := core.Tracker().Add(&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{
			Name: "federator-waiting-" + name, Namespace: c.Namespace, OwnerReferences: []metav1.OwnerReference{{Kind: "Pod", Name: name, UID: uid}},
		}}); err != nil {
			t.Fatal(err)
		}
	}
	for name, waits := range map[string]bool{"federator-0": false, "federator-1": true, "federator-2": false} {
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: c.Namespace, UID: types.UID("uid of " + name)}, Status: corev1.PodStatus{Phase: corev1.PodRunning}}
		if found := podOf(t.Context(), c, p); found.Waits != waits || !found.Running {
			t.Errorf("found %+v", found)
		}
	}
}

func TestTheTimeIsThatOfTheClusterWhoseReplicasMeasureIt(t *testing.T) {
	if f := (&Facts{HasClock: true, Ahead: -time.Minute}); !f.now(now).Equal(now.Add(-time.Minute)) {
		t.Errorf("found %v", f.now(now))
	}
	if f := (&Facts{}); !f.now(now).Equal(now) {
		t.Errorf("found %v", f.now(now))
	}
}

// A first request may take as long as somebody takes to log in.
func TestAFirstRequestThatTakesLongDoesNotMakeAClockWrong(t *testing.T) {
	var answered atomic.Pointer[time.Time]
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet && r.URL.Path == "/version" {
			time.Sleep(3 * time.Second) // what is tested is that the time it takes does not count
			now := time.Now()
			answered.Store(&now)
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write([]byte(`{"major":"1","minor":"34+","gitVersion":"v1.34.4"}`))
			return
		}
		if r.Method != http.MethodHead {
			http.NotFound(w, r)
		}
	}))
	defer server.Close()
	c, err := laptop.New(&rest.Config{Host: server.URL}, laptop.Access{Context: "c"})
	if err != nil {
		t.Fatal(err)
	}
	f, ok := reach(t.Context(), c)
	if !ok || f.Minor != 34 || !f.HasClock {
		t.Fatalf("found %+v", f)
	}
	// The clock is asked in between, and wrong by no more than that took. The header Date
	// has no fractions: it seems up to a second behind.
	took := time.Since(*answered.Load())
	server.CloseClientConnections()
	if f.Ahead > took || f.Ahead < -took-time.Second {
		t.Errorf("expected the clock to agree to %v and a second, found it %v ahead", took, f.Ahead)
	}
}

func TestPodsThatDoNotRunAndAreNotAsTheyAreToBeAreMadeAnew(t *testing.T) {
	f := &Facts{Revision: "r2", Pods: []Pod{
		{Name: "federator-0", Revision: "r1", Trouble: "ImagePullBackOff"}, {Name: "federator-1", Revision: "r1", Running: true, Says: "it waits for a token"},
		{Name: "federator-2", Revision: "r2", Trouble: "ImagePullBackOff"}, {Name: "federator-3", Revision: "r1", Trouble: ending}, {Name: "federator-4", Revision: "r1", Ready: true, Trouble: "CrashLoopBackOff"},
	}}
	if found := f.leftBehind(); len(found) != 1 || found[0].Name != "federator-0" {
		t.Errorf("expected federator-0, found %+v", found)
	}
	if f.Revision = ""; len(f.leftBehind()) > 0 {
		t.Errorf("how they are to be is not known, found %+v", f.leftBehind())
	}
	f = &Facts{Replicas: 3, Ready: 3, Current: 1, Revision: "r2"}
	if found := f.unfinished(); found != "all 3 replicas to be ready: 3 are, and 2 as they were installed before" {
		t.Errorf("found %q", found)
	}
	c, core := installedIn(laptop.DefaultNamespace)
	if err := core.Tracker().Add(&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "federator-0", Namespace: c.Namespace, UID: "u"}}); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time it is gone
		if err := replace(t.Context(), c, Pod{Name: "federator-0", UID: "u"}); err != nil {
			t.Error(err)
		}
	}
	if left, err := core.CoreV1().Pods(c.Namespace).List(t.Context(), metav1.ListOptions{}); err != nil || len(left.Items) > 0 {
		t.Errorf("found %v, %v", left, err)
	}
	if !slices.Contains(Needs("n", ToInstall), Right{Verb: "delete", Resource: "pods", Namespace: "n"}) {
		t.Error("it is not said that this takes a right")
	}
}

func TestWhichCRDsAreServedIsFound(t *testing.T) {
	crd := func(name string, versions ...any) *unstructured.Unstructured {
		return &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": map[string]any{"name": name}, "spec": map[string]any{"versions": versions},
		}}
	}
	version := func(name string, served bool) any { return map[string]any{"name": name, "served": served} }
	kinds := dynamicfake.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(), map[schema.GroupVersionResource]string{definitions(): "CustomResourceDefinitionList"},
		crd("serviceexports.multicluster.x-k8s.io", version("v1alpha1", true), version("v1beta1", true)), crd("drills.federator.dev", version("v1alpha0", true), version("v1alpha1", false)))
	kinds.PrependReactor("get", "customresourcedefinitions", func(a clienttesting.Action) (bool, runtime.Object, error) {
		if name := a.(clienttesting.GetAction).GetName(); name == "resolutionpolicies.federator.dev" {
			return true, nil, apierrors.NewForbidden(definitions().GroupResource(), name, nil)
		}
		return false, nil, nil
	})
	f := Facts{}
	f.kinds(t.Context(), &laptop.Cluster{Dynamic: kinds})
	if want := map[string][]string{"serviceexports": {"v1alpha1", "v1beta1"}}; !maps.EqualFunc(f.Definitions, want, slices.Equal) {
		t.Errorf("expected %v, found %v", want, f.Definitions)
	}
	// What may not be looked at is not missing.
	if want := map[string][]string{"drills": {"v1alpha0"}, "resolutionpolicies": {"v1alpha1"}}; !maps.EqualFunc(f.Own, want, slices.Equal) {
		t.Errorf("expected %v, found %v", want, f.Own)
	}
}

func TestWhatAnAPIServerRefusesIsExplained(t *testing.T) {
	set, monitor := schema.GroupKind{Group: "apps", Kind: "StatefulSet"}, schema.GroupKind{Group: "monitoring.coreos.com", Kind: "ServiceMonitor"}
	for want, err := range map[string]error{
		"somebody else has changed these fields": apierrors.NewConflict(appsv1.Resource("statefulsets"), "federator", errors.New("x")),
		"its disks among them":                   apierrors.NewInvalid(set, "federator", nil),
		"leave --service-monitor out":            &meta.NoKindMatchError{GroupKind: monitor},
	} {
		kind := set.Kind
		if meta.IsNoMatchError(err) {
			kind = monitor.Kind
		}
		if found := explained(err, kind); !errors.Is(found, err) || !strings.Contains(found.Error(), want) {
			t.Errorf("expected %q, found %v", want, found)
		}
	}
}
