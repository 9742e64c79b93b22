//go:build linux

package controlplane

import (
	"context"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/retry"

	"github.com/federator/federator/kube"
)

var three = []string{"us-west", "eu-central", "asia-east"}

func TestThreeControlPlanesAreClustersOfTheirOwnAndBearFaults(t *testing.T) {
	began := time.Now()
	w := Need(t, Options{Clusters: three, Audit: []string{"system:masters"}})
	t.Logf("three control planes were ready after %s; they have %d MiB", time.Since(began).Round(100*time.Millisecond), residentMiB(t, w))

	t.Run("each context of the kubeconfig reaches a cluster of its own", func(t *testing.T) { contexts(t, w) })
	t.Run("pods and services of no two clusters overlap", func(t *testing.T) { prefixesDiffer(t, w) })
	t.Run("the Multi-Cluster Services API is served", func(t *testing.T) { mcsIsServed(t, w) })
	t.Run("requests are in the audit log", func(t *testing.T) {
		if text := tail(w.Clusters[0].AuditLog(), 100); !strings.Contains(text, `"kind":"Event"`) || !strings.Contains(text, "serviceexports") {
			t.Errorf("expected the requests for ServiceExports, found %s", text)
		}
	})
	c := w.Cluster("eu-central")
	t.Run("a killed API server comes back on its address with its data", func(t *testing.T) { apiServerReturns(t, c) })
	t.Run("a frozen etcd makes requests time out, until it thaws", func(t *testing.T) { etcdFreezes(t, c) })
	t.Run("a restored etcd takes resource versions back", func(t *testing.T) { etcdGoesBack(t, c) })
	t.Run("a rebuilt cluster is another one of the same name", func(t *testing.T) { rebuilt(t, w, c) })
}

// residentMiB is the memory of the control planes.
func residentMiB(t *testing.T, w *World) int {
	t.Helper()
	total := 0
	for _, c := range w.Clusters {
		for _, p := range c.processes() {
			text := tail(fmt.Sprintf("/proc/%d/status", p.pid()), 100)
			_, rest, _ := strings.Cut(text, "VmRSS:")
			fields := strings.Fields(rest)
			if len(fields) == 0 {
				t.Fatalf("%s of %s: expected VmRSS, found %s", p.name, c.Name, text)
			}
			kib, err := strconv.Atoi(fields[0])
			ok(t, err)
			total += kib
		}
	}
	return total / 1024
}

func clusterUID(t *testing.T, c *kube.Cluster) string {
	t.Helper()
	n, err := c.Core.CoreV1().Namespaces().Get(within(t, time.Minute), metav1.NamespaceSystem, metav1.GetOptions{})
	ok(t, err)
	return string(n.UID)
}

// clientOf is a client made of a context of the world's kubeconfig.
func clientOf(t *testing.T, w *World, context string) *kube.Cluster {
	t.Helper()
	config, err := kube.Connect(kube.Access{Kubeconfig: w.Kubeconfig, Context: context}, "test")
	ok(t, err)
	clients, err := kube.New(config)
	ok(t, err)
	return clients
}

func contexts(t *testing.T, w *World) {
	seen := map[string]string{}
	for _, name := range three {
		uid := clusterUID(t, clientOf(t, w, name))
		if other, found := seen[uid]; found {
			t.Errorf("expected clusters of their own, found %s and %s the same", name, other)
		}
		if own := clusterUID(t, w.Cluster(name).Clients); own != uid {
			t.Errorf("context %s reaches the cluster %s; expected %s", name, uid, own)
		}
		seen[uid] = name
	}
}

func prefixesDiffer(t *testing.T, w *World) {
	for i, a := range w.Clusters {
		if !a.Services().Contains(a.DNS()) {
			t.Errorf("%s: expected the DNS address %s in %s", a.Name, a.DNS(), a.Services())
		}
		for _, b := range w.Clusters[:i] {
			if a.Pods().Overlaps(b.Pods()) || a.Services().Overlaps(b.Services()) || a.Services6().Overlaps(b.Services6()) || a.Pods().Overlaps(b.Services()) {
				t.Errorf("%s and %s overlap: pods %s and %s, services %s and %s", a.Name, b.Name, a.Pods(), b.Pods(), a.Services(), b.Services())
			}
		}
		service := &corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Name: "both"},
			Spec:       corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80}}, IPFamilyPolicy: ptr(corev1.IPFamilyPolicyRequireDualStack)},
		}
		made, err := a.Clients.Core.CoreV1().Services("default").Create(within(t, time.Minute), service, metav1.CreateOptions{})
		ok(t, err)
		if len(made.Spec.ClusterIPs) != 2 || !strings.HasPrefix(made.Spec.ClusterIPs[1], "fd96:") {
			t.Errorf("%s: expected an IPv4 and an IPv6 address, found %q", a.Name, made.Spec.ClusterIPs)
		}
	}
}

func ptr[T any](v T) *T { return &v }

func mcsIsServed(t *testing.T, w *World) {
	for _, c := range w.Clusters {
		list, err := c.Clients.MCS.MulticlusterV1beta1().ServiceExports("").List(within(t, time.Minute), metav1.ListOptions{})
		ok(t, err)
		if len(list.Items) != 0 {
			t.Errorf("%s: expected no exports in a new cluster, found %d", c.Name, len(list.Items))
		}
		ok(t, InstallCRDs(within(t, time.Minute), c.Config)) // again
	}
}

// write makes or changes a ConfigMap, and returns its resource version.
func write(ctx context.Context, c *Cluster, name, value string) (int, error) {
	maps := c.Clients.Core.CoreV1().ConfigMaps("default")
	var version string
	err := retry.RetryOnConflict(retry.DefaultRetry, func() error {
		m, err := maps.Get(ctx, name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			m = &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}}
			m, err = maps.Create(ctx, m, metav1.CreateOptions{})
		}
		if err != nil {
			return err
		}
		m.Data = map[string]string{"value": value}
		m, err = maps.Update(ctx, m, metav1.UpdateOptions{})
		if err == nil {
			version = m.ResourceVersion
		}
		return err
	})
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(version)
}

func read(t *testing.T, c *Cluster, name string) string {
	t.Helper()
	m, err := c.Clients.Core.CoreV1().ConfigMaps("default").Get(within(t, time.Minute), name, metav1.GetOptions{})
	ok(t, err)
	return m.Data["value"]
}

func apiServerReturns(t *testing.T, c *Cluster) {
	_, err := write(within(t, time.Minute), c, "kept", "1")
	ok(t, err)
	uid, host := clusterUID(t, c.Clients), c.Config.Host
	ok(t, c.StopAPIServer())
	if _, err := write(within(t, 5*time.Second), c, "kept", "2"); err == nil {
		t.Error("expected an API server that is killed not to take a write")
	}
	if pid := c.PID("kube-apiserver"); pid != 0 {
		t.Errorf("expected no process, found %d", pid)
	}
	ok(t, c.StartAPIServer(within(t, 2*time.Minute)))
	if found := read(t, c, "kept"); found != "1" || clusterUID(t, c.Clients) != uid || c.Config.Host != host {
		t.Errorf("expected the same cluster with its data, found %q in %s at %s", found, clusterUID(t, c.Clients), c.Config.Host)
	}
	if c.PID("kube-controller-manager") == 0 || c.PID("kube-scheduler") == 0 {
		t.Error("expected the controllers to run")
	}
}

func etcdFreezes(t *testing.T, c *Cluster) {
	ok(t, c.FreezeEtcd())
	_, err := write(within(t, 3*time.Second), c, "frozen", "1")
	thawErr := c.ThawEtcd()
	if err == nil {
		t.Error("expected a write to time out, found it done")
	}
	ok(t, thawErr)
	ok(t, Until(t.Context(), time.Minute, "a write to be done", func(ctx context.Context) error {
		_, err := write(ctx, c, "frozen", "2")
		return err
	}))
}

func etcdGoesBack(t *testing.T, c *Cluster) {
	_, err := write(within(t, time.Minute), c, "past", "before")
	ok(t, err)
	snapshot := filepath.Join(t.TempDir(), "snapshot")
	ok(t, c.SnapshotEtcd(within(t, time.Minute), snapshot))
	var last int
	for i := range 50 {
		last, err = write(within(t, time.Minute), c, "past", fmt.Sprintf("after %d", i))
		ok(t, err)
	}
	ok(t, c.RestoreEtcd(within(t, 2*time.Minute), snapshot))
	if found := read(t, c, "past"); found != "before" {
		t.Errorf("expected what was before the snapshot, found %q", found)
	}
	now, err := write(within(t, time.Minute), c, "past", "again")
	ok(t, err)
	if now >= last {
		t.Errorf("expected resource versions to be below %d again, found %d", last, now)
	}
}

func rebuilt(t *testing.T, w *World, c *Cluster) {
	_, err := write(within(t, time.Minute), c, "kept", "old")
	ok(t, err)
	old := c.Clients
	uid, host, ca := clusterUID(t, old), c.Config.Host, string(c.authority.pem)
	ok(t, c.Rebuild(within(t, 3*time.Minute)))
	if found := clusterUID(t, c.Clients); found == uid || c.Config.Host != host || string(c.authority.pem) == ca {
		t.Errorf("expected another cluster with another authority at %s, found %s (was %s) at %s", host, found, uid, c.Config.Host)
	}
	if _, err := old.Core.CoreV1().Namespaces().List(within(t, 10*time.Second), metav1.ListOptions{}); err == nil {
		t.Error("expected the credentials of the old cluster to be worth nothing")
	}
	_, err = c.Clients.Core.CoreV1().ConfigMaps("default").Get(within(t, time.Minute), "kept", metav1.GetOptions{})
	if !apierrors.IsNotFound(err) {
		t.Errorf("expected nothing of what the old cluster had, found %v", err)
	}
	if clusterUID(t, clientOf(t, w, c.Name)) != clusterUID(t, c.Clients) {
		t.Error("expected the world's kubeconfig to reach the new cluster")
	}
}
