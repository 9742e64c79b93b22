//go:build linux

package clusters

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestAPodThatComesBackElsewhereIsKnownInAllClusters(t *testing.T) {
	f := need(t)
	home, pods := f.cluster("asia-east"), f.cluster("asia-east").Core.CoreV1().Pods(namespace)
	old, err := pods.Get(t.Context(), firstPod, metav1.GetOptions{})
	ok(t, err)
	ok(t, pods.Delete(t.Context(), firstPod, metav1.DeleteOptions{}))
	eventually(t, 2*time.Minute, "the pod to come back", func(ctx context.Context) error {
		p, err := pods.Get(ctx, firstPod, metav1.GetOptions{})
		if err == nil && (p.UID == old.UID || p.Status.PodIP == "") {
			err = errors.New("it is not there yet")
		}
		if err == nil && p.Status.PodIP == old.Status.PodIP {
			t.Fatalf("the pod has the address %s again, which proves nothing", p.Status.PodIP)
		}
		return err
	})
	home.replicasReady(t, replicas)
	f.allKnow(t, home, replicas)
	ok(t, f.quiet(t.Context()))
}

func TestReplicasThatAreScaledAwayLeaveAndComeBackAsNewOnes(t *testing.T) {
	f := need(t)
	home := f.cluster("asia-east")
	home.scaleFederator(t, replicas-1)
	f.allKnow(t, home, replicas-1)
	name := fmt.Sprintf("%s-%d", statefulSet, replicas-1)
	if _, err := home.Core.CoreV1().Pods(namespace).Get(t.Context(), name, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("expected no pod %s, found %v", name, err)
	}
	home.scaleFederator(t, replicas) // its disk is still there, of a replica that has left
	f.allKnow(t, home, replicas)
	ok(t, f.quiet(t.Context()))
}

// scaleFederator says how many replicas a cluster is to have, and waits for them.
func (c *cluster) scaleFederator(t *testing.T, want int32) {
	t.Helper()
	_, err := c.Core.AppsV1().StatefulSets(namespace).Patch(t.Context(), statefulSet, "application/merge-patch+json", fmt.Appendf(nil, `{"spec":{"replicas":%d}}`, want), metav1.PatchOptions{})
	ok(t, err)
	c.replicasReady(t, want)
}

func (c *cluster) replicasReady(t *testing.T, want int32) {
	t.Helper()
	eventually(t, 3*time.Minute, fmt.Sprintf("%d replicas of %s to be ready", want, c.name), func(ctx context.Context) error { return c.areReady(ctx, want) })
}

// allKnow waits until every cluster knows so many replicas of one.
func (f *federation) allKnow(t *testing.T, of *cluster, want int) {
	t.Helper()
	for _, c := range f.clusters {
		eventually(t, 90*time.Second, fmt.Sprintf("%s to know %d replicas of %s", c.name, want, of.name), func(ctx context.Context) error {
			return c.knows(ctx, of, want)
		})
	}
}
