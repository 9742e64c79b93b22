package inpod_test

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	k8stesting "k8s.io/client-go/testing"

	"github.com/federator/federator/kube/pod"
)

// A pod that is killed between the redemption of its token and the end of its join comes
// back with a token that lets nobody in any more.
func TestATokenThatIsSpentIsReplacedUnlessSomebodyElsePutItThere(t *testing.T) {
	if testing.Short() {
		t.Skip("runs real replicas; run without -short")
	}
	for name, annotations := range map[string]map[string]string{
		"an inviter's":    {pod.ExpiresAnnotation: time.Now().Add(time.Hour).UTC().Format(time.RFC3339)},
		"somebody else's": nil,
	} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t, 3)
			c.found()
			spent := c.tokens("federator-1")
			first, second := c.start(0, "disk-0"), c.start(1, "disk-1")
			first.ready()
			second.ready()
			c.tidy()
			secrets := c.core.CoreV1().Secrets(space)
			_, err := secrets.Create(t.Context(), &corev1.Secret{
				ObjectMeta: metav1.ObjectMeta{Name: pod.JoinSecret("federator-2"), Namespace: space, UID: "uid-spent", Annotations: annotations},
				Data:       map[string][]byte{pod.TokenKey: <-spent},
			}, metav1.CreateOptions{})
			if err != nil {
				t.Fatal(err)
			}
			third := c.start(2, "disk-2")
			if annotations == nil {
				third.waitsFor("the token was used already")
				if still, err := secrets.Get(t.Context(), pod.JoinSecret("federator-2"), metav1.GetOptions{}); err != nil || still.UID != "uid-spent" {
					t.Errorf("expected the Secret to be left to who put it there, found %v, %v", still, err)
				}
				if err := secrets.Delete(t.Context(), pod.JoinSecret("federator-2"), metav1.DeleteOptions{}); err != nil {
					t.Fatal(err)
				}
			}
			third.ready()
			c.tidy()
		})
	}
}

// tokens are those that a pod is given.
func (c *cluster) tokens(name string) <-chan []byte {
	given := make(chan []byte, 16)
	c.core.PrependReactor("create", "secrets", func(a k8stesting.Action) (bool, runtime.Object, error) {
		made, is := a.(k8stesting.CreateAction).GetObject().(*corev1.Secret)
		if is && made.Name == pod.JoinSecret(name) {
			given <- made.Data[pod.TokenKey]
		}
		return false, nil, nil
	})
	return given
}
