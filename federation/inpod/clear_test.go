package inpod_test

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	k8stesting "k8s.io/client-go/testing"

	"github.com/federator/federator/kube/pod"
)

// refusals are those of an API server, of one verb on one resource.
type refusals struct {
	over atomic.Bool
	said atomic.Int64
}

// refuse has the API server answer with an error until that is over.
func (c *cluster) refuse(verb, resource string, err error) *refusals {
	r := &refusals{}
	c.core.PrependReactor(verb, resource, func(k8stesting.Action) (bool, runtime.Object, error) {
		if r.over.Load() {
			return false, nil, nil
		}
		r.said.Add(1)
		return true, nil, err
	})
	return r
}

func forbidden(resource string) error {
	return apierrors.NewForbidden(schema.GroupResource{Resource: resource}, "", nil)
}

// What a join leaves behind says of a member that it has lost its disk: should it be
// silent for a while, weeks later, it would be taken out.
func TestWhatAJoinLeavesBehindIsClearedWithoutARestart(t *testing.T) {
	if testing.Short() {
		t.Skip("runs real replicas; run without -short")
	}
	c := newCluster(t, 2)
	refused := c.refuse("delete", "configmaps", forbidden("configmaps"))
	c.found()
	pods := []*running{c.start(0, "disk-0"), c.start(1, "disk-1")}
	for _, p := range pods {
		p.ready()
	}
	if refused.said.Load() == 0 {
		t.Fatal("expected the ConfigMap of the second pod to be left over")
	}
	refused.over.Store(true)
	c.tidy()
}

// A pod that was killed after it had founded the trust domain and before that was noted
// would found a second one, should its disk be lost.
func TestThatTheTrustDomainIsFoundedIsNotedWithoutARestart(t *testing.T) {
	if testing.Short() {
		t.Skip("runs real replicas; run without -short")
	}
	c := newCluster(t, 1)
	c.found()
	first := c.start(0, "disk-0")
	first.ready()
	first.end()
	maps := c.core.CoreV1().ConfigMaps(space)
	note, err := maps.Get(t.Context(), pod.InitName, metav1.GetOptions{})
	if err == nil {
		delete(note.Annotations, pod.FoundedAnnotation)
		_, err = maps.Update(t.Context(), note, metav1.UpdateOptions{})
	}
	if err != nil {
		t.Fatal(err)
	}
	refused := c.refuse("update", "configmaps", forbidden("configmaps"))
	c.start(0, "disk-0").ready() // also while that cannot be noted
	if refused.said.Load() == 0 {
		t.Fatal("expected the pod to try to note it")
	}
	refused.over.Store(true)
	c.until(60*time.Second, "it to be noted", func() error {
		note, err := maps.Get(t.Context(), pod.InitName, metav1.GetOptions{})
		if err == nil && note.Annotations[pod.FoundedAnnotation] == "" {
			err = fmt.Errorf("found the annotations %v", note.Annotations)
		}
		return err
	})
}
