package pod

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
)

const space = "federator-system"

// podOf is a pod of a cluster with some objects.
func podOf(name string, objects ...runtime.Object) *Pod {
	return &Pod{Core: fake.NewClientset(objects...), Self: Self{
		Name: name, Namespace: space, UID: "uid-" + name, Node: "node-1", IP: netip.MustParseAddr("10.0.0.7"), HostIP: netip.MustParseAddr("192.0.2.1"),
	}}
}

func meta(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Name: name, Namespace: space}
}

func TestAPodKnowsItselfFromItsEnvironment(t *testing.T) {
	whole := map[string]string{"POD_NAME": "federator-12", "POD_NAMESPACE": space, "POD_UID": "u", "NODE_NAME": "n", "POD_IP": "fd00::7", "HOST_IP": "192.0.2.1"}
	self, err := FromEnvironment(func(k string) string { return whole[k] })
	if err != nil {
		t.Fatal(err)
	}
	if set, n, err := self.Ordinal(); set != "federator" || n != 12 || err != nil || self.IP.String() != "fd00::7" {
		t.Errorf("found %s, %d, %v, %v", set, n, self.IP, err)
	}
	for name, bad := range map[string]string{"POD_NAME": "federator", "POD_UID": "", "POD_IP": "seven", "NODE_NAME": ""} {
		_, err := FromEnvironment(func(k string) string {
			if k == name {
				return bad
			}
			return whole[k]
		})
		if err == nil || !strings.Contains(err.Error(), "federator manifests") {
			t.Errorf("%s=%q: expected to be told what to do, found %v", name, bad, err)
		}
	}
	if _, err := FromEnvironment(func(string) string { return "" }); err == nil || strings.Count(err.Error(), "\n") < 5 {
		t.Errorf("expected everything that is wrong, found %v", err)
	}
}

func TestOnlyTheFirstPodFoundsATrustDomainAndOnlyOnce(t *testing.T) {
	good := map[string]string{TrustDomainKey: "acme.example", RecipientKey: "age1xyz\n"}
	for name, test := range map[string]struct {
		pod   string
		init  *corev1.ConfigMap
		want  *Founding
		wrong string
	}{
		"the first":              {"federator-0", &corev1.ConfigMap{ObjectMeta: meta(InitName), Data: good}, &Founding{"acme.example", "age1xyz"}, ""},
		"the second":             {"federator-1", &corev1.ConfigMap{ObjectMeta: meta(InitName), Data: good}, nil, ""},
		"the tenth":              {"federator-10", &corev1.ConfigMap{ObjectMeta: meta(InitName), Data: good}, nil, ""},
		"nothing to found":       {"federator-0", nil, nil, ""},
		"without a recovery key": {"federator-0", &corev1.ConfigMap{ObjectMeta: meta(InitName), Data: map[string]string{TrustDomainKey: "acme.example"}}, nil, "federator recovery-key"},
	} {
		var objects []runtime.Object
		if test.init != nil {
			objects = append(objects, test.init)
		}
		p := podOf(test.pod, objects...)
		found, err := p.Founding(t.Context())
		if test.wrong != "" {
			if err == nil || !strings.Contains(err.Error(), test.wrong) {
				t.Errorf("%s: expected an error that says %q, found %v", name, test.wrong, err)
			}
			continue
		}
		if err != nil || (found == nil) != (test.want == nil) || found != nil && *found != *test.want {
			t.Errorf("%s: expected %v, found %v, %v", name, test.want, found, err)
		}
		if err := p.Founded(t.Context()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if again, err := p.Founding(t.Context()); again != nil || err != nil {
			t.Errorf("%s: expected nothing to be founded again, found %v, %v", name, again, err)
		}
	}
}

func TestAPodWaitsForItsTokenAndSaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := podOf("federator-1")
		var said []string
		time.AfterFunc(time.Minute, func() {
			secret := &corev1.Secret{ObjectMeta: meta("federator-join-federator-1")}
			if _, err := p.Core.CoreV1().Secrets(space).Create(context.Background(), secret, metav1.CreateOptions{}); err != nil {
				t.Error(err)
			}
		})
		time.AfterFunc(2*time.Minute, func() {
			secret := &corev1.Secret{ObjectMeta: meta("federator-join-federator-1"), Data: map[string][]byte{TokenKey: []byte("t0ken\n")}}
			if _, err := p.Core.CoreV1().Secrets(space).Update(context.Background(), secret, metav1.UpdateOptions{}); err != nil {
				t.Error(err)
			}
		})
		admission, err := p.Admit(t.Context(), func(what string) {
			if len(said) == 0 || said[len(said)-1] != what {
				said = append(said, what)
			}
		})
		if err != nil || admission.Token != "t0ken" || admission.Founding != nil {
			t.Fatalf("found %+v, %v", admission, err)
		}
		if len(said) != 2 || !strings.Contains(said[0], "Secret federator-join-federator-1") || !strings.Contains(said[1], `key "token"`) {
			t.Errorf("expected to hear of the Secret, then of its key, found %q", said)
		}
		waiting, err := p.Core.CoreV1().ConfigMaps(space).Get(t.Context(), "federator-waiting-federator-1", metav1.GetOptions{})
		if err != nil || waiting.Labels[WaitingLabel] == "" || waiting.OwnerReferences[0].UID != "uid-federator-1" {
			t.Errorf("expected the word of the pod that it waits, found %v, %v", waiting, err)
		}
		again := *p // a new pod of the name
		again.Self.UID = "another"
		if err := again.Waiting(t.Context()); err != nil {
			t.Error(err)
		}
		if waiting, err = p.Core.CoreV1().ConfigMaps(space).Get(t.Context(), "federator-waiting-federator-1", metav1.GetOptions{}); err != nil || waiting.OwnerReferences[0].UID != "another" {
			t.Errorf("expected the word of the new pod, found %v, %v", waiting, err)
		}
		for range 2 { // the second time nothing is there
			if err := p.Settled(t.Context()); err != nil {
				t.Error(err)
			}
		}
		left, err := p.Core.CoreV1().Secrets(space).List(t.Context(), metav1.ListOptions{})
		if err != nil || len(left.Items) > 0 {
			t.Errorf("expected no Secret to be left, found %d, %v", len(left.Items), err)
		}
	})
}

func TestAPodThatIsToldToEndStopsWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := podOf("federator-1").Admit(ctx, func(string) {}); err == nil {
			t.Error("expected an error")
		}
	})
}

func TestAPodIsReachedWhereItIsExposed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := podOf("federator-1")
		var known atomic.Bool
		time.AfterFunc(3*time.Minute, func() { known.Store(true) })
		p.Resolve = func(_ context.Context, host string) ([]string, error) {
			if host != "lb.example" || !known.Load() {
				return nil, errors.New("no such host")
			}
			return []string{"192.0.2.9"}, nil
		}
		for e, want := range map[Exposure]string{ByPod: "10.0.0.7", ByHostPort: "192.0.2.1"} {
			if host, err := p.Address(t.Context(), e, nil); host != want || err != nil {
				t.Errorf("%s: expected %s, found %s, %v", e, want, host, err)
			}
		}
		if _, err := p.Address(t.Context(), "nowhere", nil); err == nil || !strings.Contains(err.Error(), "hostport") {
			t.Errorf("expected to be told the exposures, found %v", err)
		}
		service := &corev1.Service{ObjectMeta: meta("federator-1")}
		time.AfterFunc(time.Minute, func() {
			_, _ = p.Core.CoreV1().Services(space).Create(context.Background(), service, metav1.CreateOptions{})
		})
		time.AfterFunc(2*time.Minute, func() {
			service.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{Hostname: "lb.example"}}
			_, _ = p.Core.CoreV1().Services(space).Update(context.Background(), service, metav1.UpdateOptions{})
		})
		began := time.Now()
		host, err := p.Address(t.Context(), ByLoadBalancer, func(string) {})
		if host != "lb.example" || err != nil || time.Since(began) < 3*time.Minute {
			t.Errorf("expected to wait for the load balancer and its name, found %s, %v after %v", host, err, time.Since(began))
		}
	})
}

func TestTheZoneIsThatOfTheNode(t *testing.T) {
	for label, want := range map[string]string{"us-west-2a": "us-west-2a", "": "", "Zone_A!": ""} {
		node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node-1", Labels: map[string]string{corev1.LabelTopologyZone: label}}}
		if zone, err := podOf("federator-0", node).Zone(t.Context()); zone != want || err != nil {
			t.Errorf("label %q: expected %q, found %q, %v", label, want, zone, err)
		}
	}
	if _, err := podOf("federator-0").Zone(t.Context()); err == nil {
		t.Error("expected an error for a node that is not there")
	}
}

// setOf is a StatefulSet that is to have so many pods.
func setOf(replicas int32) *appsv1.StatefulSet {
	return &appsv1.StatefulSet{ObjectMeta: meta("federator"), Spec: appsv1.StatefulSetSpec{Replicas: &replicas}}
}

func TestAPodKnowsAScaleDownFromARestart(t *testing.T) {
	deleted := setOf(0)
	now := metav1.Now()
	deleted.DeletionTimestamp, deleted.Finalizers = &now, []string{"foregroundDeletion"}
	unset := setOf(0)
	unset.Spec.Replicas = nil
	for name, test := range map[string]struct {
		pod  string
		set  *appsv1.StatefulSet
		down bool
	}{
		"a restart":                        {"federator-2", setOf(3), false},
		"from three to two":                {"federator-2", setOf(2), true},
		"to none, which is a pause":        {"federator-1", setOf(0), false},
		"the StatefulSet is being deleted": {"federator-2", deleted, false},
		"no number":                        {"federator-0", unset, false},
	} {
		if down, err := podOf(test.pod, test.set).ScaledDown(t.Context()); down != test.down || err != nil {
			t.Errorf("%s: expected %v, found %v, %v", name, test.down, down, err)
		}
	}
	if down, err := podOf("federator-2").ScaledDown(t.Context()); down || err != nil {
		t.Errorf("without a StatefulSet: found %v, %v", down, err)
	}
}
