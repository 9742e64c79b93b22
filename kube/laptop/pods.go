package laptop

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/federator/federator/kube/pod"
)

// Selector selects the pods of federator in its namespace.
const Selector = "app.kubernetes.io/name=federator"

// maxAnswer bounds a replica's answer, in bytes.
const maxAnswer = 64 << 20

// Pods returns the pods of federator, the one that is best asked first: those that
// are ready, those that run, the rest; by ordinal.
func (c *Cluster) Pods(ctx context.Context) ([]corev1.Pod, error) {
	list, err := c.Core.CoreV1().Pods(c.Namespace).List(ctx, metav1.ListOptions{LabelSelector: Selector})
	if err != nil {
		return nil, fmt.Errorf("context %s: pods in %s: %w", c.Context, c.Namespace, err)
	}
	pods := slices.DeleteFunc(list.Items, func(p corev1.Pod) bool { return Ordinal(p.Name) < 0 })
	slices.SortFunc(pods, func(a, b corev1.Pod) int {
		return cmp.Or(cmp.Compare(rank(&a), rank(&b)), cmp.Compare(Ordinal(a.Name), Ordinal(b.Name)))
	})
	return pods, nil
}

// Ordinal is the number of a pod of the StatefulSet; -1 if it is none.
func Ordinal(name string) int {
	set, n, err := pod.Self{Name: name}.Ordinal()
	if err != nil || set != "federator" {
		return -1
	}
	return n
}

func rank(p *corev1.Pod) int {
	switch {
	case p.DeletionTimestamp != nil || p.Status.Phase != corev1.PodRunning:
		return 2
	case Ready(p):
		return 0
	}
	return 1
}

// Ready reports whether a pod is ready.
func Ready(p *corev1.Pod) bool {
	return slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

// Agent is a connection to a replica.
type Agent struct {
	*grpc.ClientConn
	first net.Conn
}

// Close ends the connection and its tunnel.
func (a *Agent) Close() error { return errors.Join(a.ClientConn.Close(), a.first.Close()) }

// Agent connects to a replica of the cluster, of the pod that is best asked. Where
// several are ready, the next is asked if one does not answer: a pod counts as ready for
// a while after its node has died. The caller closes the connection. ctx bounds the
// opening only.
func (c *Cluster) Agent(ctx context.Context) (*Agent, error) {
	pods, err := c.Pods(ctx)
	if err != nil {
		return nil, err
	}
	if len(pods) == 0 || rank(&pods[0]) > 1 {
		return nil, fmt.Errorf("context %s: no pod of federator runs in namespace %s; see federator check --context %s", c.Context, c.Namespace, c.Context)
	}
	ready := 1
	for ready < len(pods) && rank(&pods[ready]) == 0 {
		ready++
	}
	var errs []error
	for n, p := range pods[:ready] {
		agent, err := c.agentOf(ctx, p.Name, ready-n)
		if err == nil {
			return agent, nil
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}

// agentOf connects to the replica of a pod, in its part of the time if others may have
// to be asked after it.
func (c *Cluster) agentOf(ctx context.Context, name string, parts int) (*Agent, error) {
	opening := ctx
	if end, ok := ctx.Deadline(); ok && parts > 1 {
		var cancel context.CancelFunc
		opening, cancel = context.WithTimeout(ctx, time.Until(end)/time.Duration(parts))
		defer cancel()
	}
	first, err := c.Dial(opening, name)
	if err != nil {
		return nil, err
	}
	var once sync.Once // gRPC opens connections when it likes: the first one is there
	conn, err := grpc.NewClient("passthrough:///"+c.Context+"/"+name, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxAnswer)),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			var mine net.Conn
			if once.Do(func() { mine = first }); mine != nil {
				return mine, nil
			}
			return c.Dial(ctx, name)
		}))
	if err != nil {
		return nil, errors.Join(err, first.Close())
	}
	return &Agent{conn, first}, nil
}
