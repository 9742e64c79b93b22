package laptop

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/federator/federator/peering/pb"
	"github.com/federator/federator/test/leaks"
)

func TestMain(m *testing.M) { leaks.Main(m) }

// replica answers, and says which trust domain it is of.
type replica struct {
	pb.UnimplementedOperatorServer
}

func (replica) Status(context.Context, *pb.StatusRequest) (*pb.StatusResponse, error) {
	return &pb.StatusResponse{TrustDomain: "acme.example"}, nil
}

// socket is where a replica listens.
func socket(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	server, done := grpc.NewServer(), make(chan struct{})
	pb.RegisterOperatorServer(server, replica{})
	go func() {
		defer close(done)
		_ = server.Serve(l)
	}()
	t.Cleanup(func() { server.Stop(); <-done })
	return path
}

func podOf(name string, phase corev1.PodPhase, ready corev1.ConditionStatus) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: DefaultNamespace, Labels: map[string]string{"app.kubernetes.io/name": "federator"}},
		Status:     corev1.PodStatus{Phase: phase, Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: ready}}},
	}
}

// clusterOf is one whose pods run what exec does.
func clusterOf(exec func(context.Context, string, []string, Stdio) error, pods ...*corev1.Pod) *Cluster {
	core := fake.NewClientset()
	for _, p := range pods {
		_ = core.Tracker().Add(p) // it fails for two of a name only
	}
	return &Cluster{Context: "us-west", Namespace: DefaultNamespace, Core: core, Exec: exec}
}

func TestAReplicaIsAskedThroughATunnelToTheBestPod(t *testing.T) {
	path, asked := socket(t), ""
	c := clusterOf(func(ctx context.Context, pod string, argv []string, stdio Stdio) error {
		asked = pod + " " + strings.Join(argv, " ")
		var d net.Dialer
		conn, err := d.DialContext(ctx, "unix", path)
		if err != nil {
			return err
		}
		defer conn.Close()
		return Greet(stdio.In, stdio.Out, conn)
	}, podOf("federator-0", corev1.PodRunning, corev1.ConditionFalse), podOf("federator-1", corev1.PodPending, corev1.ConditionTrue),
		podOf("federator-10", corev1.PodRunning, corev1.ConditionTrue), podOf("federator-2", corev1.PodRunning, corev1.ConditionTrue), podOf("other-0", corev1.PodRunning, corev1.ConditionTrue))
	agent, err := c.Agent(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	status, err := pb.NewOperatorClient(agent).Status(t.Context(), &pb.StatusRequest{})
	if err != nil || status.GetTrustDomain() != "acme.example" {
		t.Errorf("found %v, %v", status, err)
	}
	if err := agent.Close(); err != nil {
		t.Error(err)
	}
	if want := "federator-2 /federator dial-stdio"; asked != want {
		t.Errorf("expected %q, found %q", want, asked)
	}
	unused, err := c.Agent(t.Context()) // its tunnel ends with it, though nothing was asked
	if err != nil {
		t.Fatal(err)
	}
	if err := unused.Close(); err != nil {
		t.Error(err)
	}
}

func TestTheNextReadyPodIsAskedWhereOneDoesNotAnswer(t *testing.T) {
	path := socket(t)
	c := clusterOf(func(ctx context.Context, pod string, _ []string, stdio Stdio) error {
		if pod != "federator-1" { // its node has died, and the API server waits for it
			<-ctx.Done()
			return ctx.Err()
		}
		var d net.Dialer
		conn, err := d.DialContext(ctx, "unix", path)
		if err != nil {
			return err
		}
		defer conn.Close()
		return Greet(stdio.In, stdio.Out, conn)
	}, podOf("federator-0", corev1.PodRunning, corev1.ConditionTrue), podOf("federator-1", corev1.PodRunning, corev1.ConditionTrue))
	// Its clock stands still while somebody waits for the socket: only the pod that does
	// not answer takes any time.
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second)
		defer cancel()
		agent, err := c.Agent(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if status, err := pb.NewOperatorClient(agent).Status(ctx, &pb.StatusRequest{}); err != nil || status.GetTrustDomain() != "acme.example" {
			t.Errorf("found %v, %v", status, err)
		}
		if err := agent.Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestAPodThatDoesNotAnswerCostsItsTimeAndNoMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := clusterOf(func(ctx context.Context, _ string, _ []string, _ Stdio) error {
			<-ctx.Done()
			return ctx.Err()
		})
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		start := time.Now()
		if _, err := c.Dial(ctx, "federator-0"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("expected the time to be up, found %v", err)
		}
		if took := time.Since(start); took != 2*time.Second {
			t.Errorf("expected it to take the 2 s that it had, found %v", took)
		}
	})
}

func TestATunnelThatDoesNotComeThroughSaysWhy(t *testing.T) {
	pod := podOf("federator-0", corev1.PodRunning, corev1.ConditionTrue)
	for want, exec := range map[string]func(context.Context, string, []string, Stdio) error{
		"pods/exec is forbidden": func(context.Context, string, []string, Stdio) error { return errors.New("pods/exec is forbidden") },
		"no agent answers on socket": func(_ context.Context, _ string, _ []string, stdio Stdio) error {
			fmt.Fprintln(stdio.Err, "federator: no agent answers on socket")
			return errors.New("command terminated with exit code 4")
		},
		"of another version": func(_ context.Context, _ string, _ []string, stdio Stdio) error {
			_, err := io.WriteString(stdio.Out, "unknown command and more than that\n")
			return err
		},
		"unexpected EOF": func(context.Context, string, []string, Stdio) error { return nil },
		"deadline exceeded": func(ctx context.Context, _ string, _ []string, stdio Stdio) error {
			<-ctx.Done()
			return ctx.Err()
		},
	} {
		patience := time.Minute
		if want == "deadline exceeded" {
			patience = 300 * time.Millisecond
		}
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		agent, err := clusterOf(exec, pod).Agent(ctx)
		if err == nil {
			_ = agent.Close()
		}
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "context us-west: tunnel to pod federator-0") {
			t.Errorf("expected %q, found %v", want, err)
		}
		cancel()
	}
	if _, err := clusterOf(nil).Agent(t.Context()); err == nil || !strings.Contains(err.Error(), "no pod of federator runs in namespace federator-system") {
		t.Errorf("found %v", err)
	}
}

func TestAContextHasToBeSaidAndToBeThere(t *testing.T) {
	path := filepath.Join(t.TempDir(), "kubeconfig")
	text := `{apiVersion: v1, kind: Config, current-context: us-west, clusters: [{name: c, cluster: {server: "https://127.0.0.1:1"}}], contexts: [{name: us-west, context: {cluster: c}}, {name: eu-central, context: {cluster: c}}]}`
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := Open(Access{Kubeconfig: path, Context: "us-west"})
	if err != nil || c.Namespace != DefaultNamespace || c.Server != "https://127.0.0.1:1" {
		t.Errorf("found %+v, %v", c, err)
	}
	for want, access := range map[string]Access{
		`has no context ""; it has eu-central, us-west`: {Kubeconfig: path}, `no context "mars"`: {Kubeconfig: path, Context: "mars"},
		"there is no kubeconfig file " + path + "2": {Kubeconfig: path + "2", Context: "us-west"},
	} {
		if _, err := Open(access); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("expected %q, found %v", want, err)
		}
	}
}
