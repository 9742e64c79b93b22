package link

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/federator/federator/kube/corefile"
	"github.com/federator/federator/kube/laptop"
)

// LookDNS finds what is known of a cluster's own DNS.
func LookDNS(ctx context.Context, c *laptop.Cluster) DNSFacts { return lookDNS(ctx, c) }

// managedBy is on what federator's command line has made, as Kubernetes recommends.
const managedBy = "app.kubernetes.io/managed-by"

// ChangeDNS makes a change, unless the ConfigMap is no longer as it was when that was
// decided.
func ChangeDNS(ctx context.Context, c *laptop.Cluster, change Change) error {
	system := c.Core.CoreV1().ConfigMaps(metav1.NamespaceSystem)
	if change.Create {
		_, err := system.Create(ctx, &corev1.ConfigMap{
			ObjectMeta: metav1.ObjectMeta{Name: change.ConfigMap, Labels: map[string]string{managedBy: "federator"}},
			Data:       map[string]string{change.Key: change.After},
		}, metav1.CreateOptions{FieldManager: fieldManager})
		return err
	}
	found, err := system.Get(ctx, change.ConfigMap, metav1.GetOptions{})
	if err != nil {
		return err
	}
	if found.Data[change.Key] != change.Before {
		return fmt.Errorf("ConfigMap kube-system/%s has changed meanwhile; nothing was changed, try again", change.ConfigMap)
	}
	if change.Delete {
		delete(found.Data, change.Key)
		if len(found.Data)+len(found.BinaryData) == 0 && found.Labels[managedBy] == "federator" {
			return system.Delete(ctx, change.ConfigMap, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &found.UID, ResourceVersion: &found.ResourceVersion}})
		}
	} else {
		if found.Data == nil {
			found.Data = map[string]string{}
		}
		found.Data[change.Key] = change.After
	}
	// With the resourceVersion that was read: what somebody else writes meanwhile is
	// not lost.
	_, err = system.Update(ctx, found, metav1.UpdateOptions{FieldManager: fieldManager})
	return err
}

// ErrUnseen says that it cannot be seen whether CoreDNS has read a change.
var ErrUnseen = errors.New("it cannot be seen from here whether CoreDNS has read it; that takes up to two minutes")

// AwaitDNS waits until every pod of CoreDNS says in its log that it has read a change
// that was made now. f is from before the change.
func AwaitDNS(ctx context.Context, c *laptop.Cluster, f DNSFacts, progress func(string)) error {
	if parsed, err := corefile.Parse(f.Corefile); err != nil || !parsed.Reloads() {
		return ErrUnseen
	}
	since, err := dateOf(ctx, c.Config) // by the API server's clock, which nodes' are near to
	if err != nil {
		return ErrUnseen
	}
	return poll(ctx, func(ctx context.Context) (string, error) {
		pods, err := c.Core.CoreV1().Pods(metav1.NamespaceSystem).List(ctx, metav1.ListOptions{LabelSelector: dnsSelector})
		if err != nil || len(pods.Items) == 0 {
			return "", ErrUnseen
		}
		done := 0
		for _, p := range pods.Items {
			from := metav1.NewTime(since.Add(-time.Second))
			log, err := c.Core.CoreV1().Pods(metav1.NamespaceSystem).GetLogs(p.Name, &corev1.PodLogOptions{SinceTime: &from}).DoRaw(ctx)
			switch {
			case err != nil:
				return "", ErrUnseen
			case bytes.Contains(log, []byte("Corefile changed but reload failed")):
				return "", fmt.Errorf("CoreDNS in pod %s refuses the change, and goes on with what it had: see kubectl --context %s -n kube-system logs %s; federator dns remove takes it out", p.Name, c.Context, p.Name)
			case bytes.Contains(log, []byte("Reloading complete")) || p.CreationTimestamp.After(since):
				done++
			}
		}
		if done == len(pods.Items) {
			return "", nil
		}
		return fmt.Sprintf("%d of %d pods of CoreDNS have read it", done, len(pods.Items)), nil
	}, progress)
}
