package inpod_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/federator/federator/federation/inpod"
	"github.com/federator/federator/kube/pod"
)

// waitsFor waits until the pod is not ready, and says that it waits for this.
func (r *running) waitsFor(what string) {
	r.Helper()
	r.until(60*time.Second, r.name+" to say that it waits for "+what, func() error {
		status, waiting, err := r.probe("/readyz")
		if err == nil && (status != http.StatusServiceUnavailable || !strings.Contains(strings.Join(waiting, "; "), what)) {
			err = fmt.Errorf("status %d, waiting for %q", status, waiting)
		}
		return err
	})
}

func TestAPodOnTheDiskOfAReplicaThatHasLeftWaitsForItsLoadBalancer(t *testing.T) {
	if testing.Short() {
		t.Skip("runs real replicas; run without -short")
	}
	c := newCluster(t, 2)
	c.found()
	first, second := c.start(0, "disk-0"), c.start(1, "disk-1")
	first.sees(first, second)
	second.ready()
	c.scale(1)
	second.end()
	first.sees(first)

	c.scale(2)
	services := c.core.CoreV1().Services(space)
	service, err := services.Create(t.Context(), &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "federator-1", Namespace: space}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	balancer := c.block + "200"
	second = c.start(1, "disk-1", func(o *inpod.Options) {
		o.Expose = pod.ByLoadBalancer
		o.Config.Listen.Peer, o.Config.Listen.Gossip = balancer+":7443", balancer+":7946" // what the balancer hands on
	})
	c.until(60*time.Second, "the disk to be emptied", func() error {
		_, err := os.Stat(filepath.Join(second.disk, "left"))
		if err == nil {
			return fmt.Errorf("it is marked as left")
		}
		return nil
	})
	second.waitsFor("the load balancer of Service federator-1")
	service.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: balancer}}
	if _, err := services.UpdateStatus(t.Context(), service, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	second.ready()
	reached := *second
	reached.ip = balancer
	first.sees(first, &reached)
}

func TestANewPodDoesNotJoinBeforeItsZoneIsKnown(t *testing.T) {
	if testing.Short() {
		t.Skip("runs real replicas; run without -short")
	}
	c := newCluster(t, 1)
	c.found()
	away := c.refuse("get", "nodes", apierrors.NewTimeoutError("the API server is slow", 1))
	first := c.start(0, "disk-0")
	first.waitsFor("the zone of node node-1")
	away.over.Store(true)
	first.ready()
	first.sees(first) // in its zone
}

func TestANewPodThatMayNotReadItsNodeJoinsWithoutAZone(t *testing.T) {
	if testing.Short() {
		t.Skip("runs real replicas; run without -short")
	}
	c := newCluster(t, 1)
	c.found()
	refused := c.refuse("get", "nodes", forbidden("nodes"))
	first := c.start(0, "disk-0")
	first.ready()
	if refused.said.Load() == 0 {
		t.Error("expected the pod to look at its node")
	}
}
