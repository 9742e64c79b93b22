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
	system, at := c.Core.CoreV1().ConfigMaps(metav1.NamespaceSystem), placeOf(c)
	if change.Create {
		_, err := system.Create(ctx, &corev1.ConfigMap{
			ObjectMeta: metav1.ObjectMeta{Name: change.ConfigMap, Labels: map[string]string{managedBy: "federator"}},
			Data:       map[string]string{change.Key: change.After},
		}, metav1.CreateOptions{FieldManager: fieldManager})
		return at.refusal(err, inSystem("create"))
	}
	found, err := system.Get(ctx, change.ConfigMap, metav1.GetOptions{})
	if err != nil {
		return at.refusal(err, inSystem("get"))
	}
	if found.Data[change.Key] != change.Before {
		return fmt.Errorf("ConfigMap kube-system/%s has changed meanwhile; nothing was changed, try again", change.ConfigMap)
	}
	if change.Delete {
		delete(found.Data, change.Key)
		if len(found.Data)+len(found.BinaryData) == 0 && found.Labels[managedBy] == "federator" {
			err := system.Delete(ctx, change.ConfigMap, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &found.UID, ResourceVersion: &found.ResourceVersion}})
			return at.refusal(err, inSystem("delete"))
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
	return at.refusal(err, inSystem("update"))
}

// ErrUnseen says that it cannot be seen whether CoreDNS has read a change.
var ErrUnseen = errors.New("it cannot be seen from here whether CoreDNS has read it; that takes up to two minutes")

// Reading is how far the pods of CoreDNS were before a change.
type Reading struct {
	since metav1.Time
	done  map[string]int // how often each pod has read a change since then
	sees  bool
}

// ReadDNS notes how far the pods of CoreDNS are, before a change. f is from then.
func ReadDNS(ctx context.Context, c *laptop.Cluster, f DNSFacts) Reading {
	parsed, err := corefile.Parse(f.Corefile)
	if err != nil || !parsed.Reloads() {
		return Reading{}
	}
	date, err := dateOf(ctx, c.Config) // by the API server's clock, which nodes' are near to
	if err != nil {
		return Reading{}
	}
	r := Reading{since: metav1.NewTime(date.Add(-time.Minute))}
	r.done, err = r.look(ctx, c)
	r.sees = err == nil && len(r.done) > 0
	return r
}

// errRefused says that CoreDNS does not take a change.
var errRefused = errors.New("CoreDNS refuses the change, and goes on with what it had")

// maxLog bounds what is read of the log of a pod of CoreDNS, in bytes.
const maxLog = 8 << 20

// look counts how often each pod has read a change. That one was refused after the
// last of them is an error.
func (r *Reading) look(ctx context.Context, c *laptop.Cluster) (map[string]int, error) {
	pods, err := c.Core.CoreV1().Pods(metav1.NamespaceSystem).List(ctx, metav1.ListOptions{LabelSelector: dnsSelector})
	if err != nil {
		return nil, err
	}
	out := map[string]int{}
	for _, p := range pods.Items {
		log, err := c.Core.CoreV1().Pods(metav1.NamespaceSystem).GetLogs(p.Name, &corev1.PodLogOptions{SinceTime: &r.since, LimitBytes: new(int64(maxLog))}).DoRaw(ctx)
		switch {
		case err != nil:
			return nil, err
		case len(log) >= maxLog: // every query is in it, and what is looked for may be beyond
			return nil, fmt.Errorf("the log of pod %s since %s has more than %d bytes", p.Name, r.since.UTC().Format(time.RFC3339), maxLog)
		}
		good := []byte("Reloading complete")
		out[p.Name] = bytes.Count(log, good)
		if rest := log[max(0, bytes.LastIndex(log, good)):]; r.sees && bytes.Contains(rest, []byte("Corefile changed but reload failed")) {
			at := placeOf(c)
			return nil, fmt.Errorf("%w: see %s; %s takes it out", errRefused, at.kubectl("-n kube-system logs "+p.Name), at.federator("dns remove", ""))
		}
	}
	return out, nil
}

// AwaitDNS waits until every pod of CoreDNS says in its log that it has read a change
// that was made after r was taken.
func AwaitDNS(ctx context.Context, c *laptop.Cluster, r Reading, progress func(string)) error {
	if !r.sees {
		return ErrUnseen
	}
	return poll(ctx, func(ctx context.Context) (string, error) {
		counts, err := r.look(ctx, c)
		switch {
		case errors.Is(err, errRefused):
			return "", err
		case err != nil:
			return "", ErrUnseen
		}
		done := 0
		for pod, n := range counts {
			if before, known := r.done[pod]; !known || n > before { // a new pod has begun with it
				done++
			}
		}
		if done == len(counts) {
			return "", nil
		}
		return fmt.Sprintf("CoreDNS to read it: %d of %d pods have", done, len(counts)), nil
	}, progress)
}
