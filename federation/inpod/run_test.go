package inpod_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	k8stesting "k8s.io/client-go/testing"

	"github.com/federator/federator/federation"
	"github.com/federator/federator/federation/inpod"
	"github.com/federator/federator/kube/pod"
	"github.com/federator/federator/peering/pb"
)

// memberlist's probes notice a shutdown only when they time out, within two seconds.
func TestMain(m *testing.M) {
	code := m.Run()
	err := goleak.Find()
	for deadline := time.Now().Add(5 * time.Second); err != nil && time.Now().Before(deadline); {
		err = goleak.Find()
	}
	if code == 0 && err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

const space = "federator-system"

// patience is short of the usual minute, and longer than a pod that was just admitted
// takes on a slow machine to be heard of.
const patience = 5 * time.Second

// cluster is a Kubernetes cluster whose API server is client-go's fake; its pods are
// real replicas, each on a loopback address of its own.
type cluster struct {
	*testing.T
	core  *fake.Clientset
	dir   string
	block string
	taken int
	lock  net.Listener
	log   *slog.Logger
}

func newCluster(t *testing.T, replicas int32) *cluster {
	t.Helper()
	level := slog.LevelError
	if testing.Verbose() {
		level = slog.LevelInfo
	}
	dir, err := os.MkdirTemp("", "pods-") // short, for the sockets
	if err != nil {
		t.Fatal(err)
	}
	c := &cluster{T: t, dir: dir, core: fake.NewClientset(
		&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node-1", Labels: map[string]string{corev1.LabelTopologyZone: "west-a"}}},
		&appsv1.StatefulSet{ObjectMeta: metav1.ObjectMeta{Name: "federator", Namespace: space}, Spec: appsv1.StatefulSetSpec{Replicas: &replicas}},
	), log: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}))}
	for c.lock == nil {
		c.block = fmt.Sprintf("127.%d.%d.", 192+rand.IntN(60), rand.IntN(256))
		c.lock, _ = net.Listen("tcp", c.block+"254:7400") // nobody else may use the block
	}
	t.Cleanup(func() {
		_ = c.lock.Close()
		_ = os.RemoveAll(dir)
	})
	return c
}

// scale sets how many pods there are to be.
func (c *cluster) scale(replicas int32) {
	c.Helper()
	s, err := c.core.AppsV1().StatefulSets(space).Get(c.Context(), "federator", metav1.GetOptions{})
	if err == nil {
		s.Spec.Replicas = &replicas
		_, err = c.core.AppsV1().StatefulSets(space).Update(c.Context(), s, metav1.UpdateOptions{})
	}
	if err != nil {
		c.Fatal(err)
	}
}

// running is a pod that runs.
type running struct {
	*cluster
	name, ip, disk string
	stop           context.CancelFunc
	done           chan error
}

// start starts the pod of an ordinal on a disk, at an address that it never had; with
// says what is not as usual.
func (c *cluster) start(ordinal int, disk string, with ...func(*inpod.Options)) *running {
	c.Helper()
	c.taken++
	name := fmt.Sprintf("federator-%d", ordinal)
	r := &running{cluster: c, name: name, ip: fmt.Sprint(c.block, c.taken), disk: filepath.Join(c.dir, disk), done: make(chan error, 1)}
	config := federation.Config{DataDir: r.disk, Listen: federation.Listen{
		Peer: r.ip + ":7443", Gossip: r.ip + ":7946", DNS: []string{r.ip + ":8053"}, HTTP: r.ip + ":7480", Socket: filepath.Join(c.dir, name+".sock"),
	}}.WithDefaults()
	options := inpod.Options{
		Pod: pod.Pod{Core: c.core, Every: 100 * time.Millisecond, Self: pod.Self{
			Name: name, Namespace: space, UID: fmt.Sprintf("uid-%d", c.taken), Node: "node-1", IP: netip.MustParseAddr(r.ip), HostIP: netip.MustParseAddr(r.ip),
		}},
		Region: "us-west", Cluster: "west-1", Expose: pod.ByPod, Config: config, Build: "test", Log: c.log, Patience: patience,
	}
	for _, change := range with {
		change(&options)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r.stop = cancel
	go func() { r.done <- inpod.Run(ctx, options) }()
	c.Cleanup(func() {
		cancel()
		<-r.done
	})
	return r
}

// end tells the pod to end, as the kubelet does, and waits until it has.
func (r *running) end() {
	r.Helper()
	r.stop()
	select {
	case err := <-r.done:
		if err != nil {
			r.Errorf("%s ended with %v", r.name, err)
		}
		r.done <- nil
	case <-time.After(60 * time.Second):
		r.Fatalf("%s does not end", r.name)
	}
}

// until waits for a condition.
func (c *cluster) until(within time.Duration, what string, try func() error) {
	c.Helper()
	deadline := time.Now().Add(within)
	for err := try(); err != nil; err = try() {
		if time.Now().After(deadline) {
			c.Fatalf("waiting %v for %s: %v", within, what, err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// probe asks as the kubelet does.
func (r *running) probe(path string) (status int, waitingFor []string, err error) {
	client := http.Client{Timeout: time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	answer, err := client.Get("http://" + r.ip + ":7480" + path)
	if err != nil {
		return 0, nil, err
	}
	defer answer.Body.Close()
	var body struct{ WaitingFor []string }
	if path == "/readyz" {
		err = json.NewDecoder(answer.Body).Decode(&body)
	}
	return answer.StatusCode, body.WaitingFor, err
}

func (r *running) ready() {
	r.Helper()
	r.until(60*time.Second, r.name+" to be ready", func() error {
		status, waiting, err := r.probe("/readyz")
		if err == nil && status != http.StatusOK {
			err = fmt.Errorf("status %d, waiting for %q", status, waiting)
		}
		return err
	})
}

// ask asks the replica over its socket.
func (r *running) ask(question func(context.Context, pb.OperatorClient) error) error {
	conn, err := grpc.NewClient("unix:"+filepath.Join(r.dir, r.name+".sock"), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return question(ctx, pb.NewOperatorClient(conn))
}

// remedy is what check says to do about a problem.
func (r *running) remedy(code string) (do string) {
	r.Helper()
	r.until(20*time.Second, "check to find "+code, func() error {
		return r.ask(func(ctx context.Context, client pb.OperatorClient) error {
			answer, err := client.Check(ctx, &pb.CheckRequest{})
			for _, p := range answer.GetProblems() {
				if p.GetCode() == code {
					do = p.GetAction()
				}
			}
			if err == nil && do == "" {
				err = fmt.Errorf("found %v", answer.GetProblems())
			}
			return err
		})
	})
	return do
}

// members are the replicas of the region as this one sees them, with their addresses.
func (r *running) members() (map[string]string, error) {
	var answer *pb.MembersResponse
	err := r.ask(func(ctx context.Context, client pb.OperatorClient) (err error) {
		answer, err = client.Members(ctx, &pb.MembersRequest{})
		return err
	})
	out := map[string]string{}
	for _, m := range answer.GetMembers() {
		if m.GetReplica().GetZone() != "west-a" || m.GetReplica().GetCluster() != "west-1" {
			err = errors.Join(err, fmt.Errorf("%s is in %v", m.GetReplica().GetName(), m.GetReplica()))
		}
		out[m.GetReplica().GetName()] = m.GetReplica().GetPeerAddress()
	}
	return out, err
}

// sees waits until a pod sees exactly these members, at their addresses.
func (r *running) sees(pods ...*running) {
	r.Helper()
	r.until(90*time.Second, r.name+" to see them", func() error {
		found, err := r.members()
		if err == nil && len(found) != len(pods) {
			err = fmt.Errorf("found %v", found)
		}
		for _, p := range pods {
			if err == nil && found[p.name] != p.ip+":7443" {
				err = fmt.Errorf("expected %s at %s, found %v", p.name, p.ip, found)
			}
		}
		return err
	})
}

// tidy waits until nothing that was needed to join is left.
func (c *cluster) tidy() {
	c.Helper()
	c.until(60*time.Second, "nothing to be left of the joins", func() error {
		secrets, err := c.core.CoreV1().Secrets(space).List(c.Context(), metav1.ListOptions{})
		maps, also := c.core.CoreV1().ConfigMaps(space).List(c.Context(), metav1.ListOptions{LabelSelector: pod.WaitingLabel})
		if err := errors.Join(err, also); err != nil {
			return err
		}
		if len(secrets.Items)+len(maps.Items) > 0 {
			return fmt.Errorf("found %d Secrets and %d ConfigMaps", len(secrets.Items), len(maps.Items))
		}
		return nil
	})
}

// found lets the first pod found the trust domain.
func (c *cluster) found() {
	c.Helper()
	_, recipient, err := federation.NewRecoveryKey()
	if err != nil {
		c.Fatal(err)
	}
	_, err = c.core.CoreV1().ConfigMaps(space).Create(c.Context(), &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: pod.InitName, Namespace: space},
		Data:       map[string]string{pod.TrustDomainKey: "pods.example", pod.RecipientKey: recipient},
	}, metav1.CreateOptions{})
	if err != nil {
		c.Fatal(err)
	}
}

func TestPodsBecomeAndCeaseToBeMembersAsTheStatefulSetIsScaled(t *testing.T) {
	if testing.Short() {
		t.Skip("runs real replicas; run without -short")
	}
	c := newCluster(t, 3)
	pods := []*running{c.start(0, "disk-0"), c.start(1, "disk-1"), c.start(2, "disk-2")}
	for _, p := range pods {
		c.until(10*time.Second, p.name+" to say what it waits for", func() error {
			status, waiting, err := p.probe("/readyz")
			if err == nil && (status != http.StatusServiceUnavailable || len(waiting) != 1 || !strings.Contains(waiting[0], "Secret federator-join-"+p.name)) {
				err = fmt.Errorf("status %d, waiting for %q", status, waiting)
			}
			return err
		})
		if status, _, err := p.probe("/healthz"); status != http.StatusOK || err != nil {
			t.Errorf("%s: a pod that waits must not be killed for it: %d, %v", p.name, status, err)
		}
	}
	c.found()
	for _, p := range pods {
		p.ready()
	}
	pods[0].sees(pods...)
	c.tidy()

	for i := range pods { // a restart, at another address
		pods[i].end()
		pods[i] = c.start(i, fmt.Sprintf("disk-%d", i))
		pods[i].ready()
		for _, p := range pods {
			p.sees(pods...)
		}
	}

	pods[1].end() // its disk is lost: not the trust domain, and not its name
	pods[1] = c.start(1, "disk-1-new")
	pods[1].ready()
	pods[1].sees(pods...)
	c.tidy()

	c.scale(1) // both at once
	pods[1].stop()
	pods[2].stop()
	pods[1].end()
	pods[2].end()
	pods[0].sees(pods[0])

	c.scale(2) // the old disk, of a replica that has left
	pods[1] = c.start(1, "disk-1-new")
	pods[1].ready()
	pods[0].sees(pods[0], pods[1])
	c.tidy()
}

func TestALostDiskOfTheFirstPodFoundsNoSecondTrustDomain(t *testing.T) {
	if testing.Short() {
		t.Skip("runs real replicas; run without -short")
	}
	c := newCluster(t, 1)
	c.found()
	first := c.start(0, "disk-0")
	first.ready()
	if remedy := first.remedy("few-replicas"); !strings.Contains(remedy, "kubectl -n "+space+" scale statefulset federator --replicas=3") {
		t.Errorf("a region of one pod is told to %q", remedy)
	}
	first.end()
	again := c.start(0, "disk-0-new")
	c.until(20*time.Second, "the pod to wait for a token", func() error {
		status, waiting, err := again.probe("/readyz")
		if err == nil && (status == http.StatusOK || !slices.ContainsFunc(waiting, func(s string) bool { return strings.Contains(s, "federator-join-federator-0") })) {
			err = fmt.Errorf("status %d, waiting for %q", status, waiting)
		}
		return err
	})
	again.end()
	if federation.HasReplica(again.disk) {
		t.Error("there is a second replica, of a second trust domain")
	}
}

// The first pod waits for nothing while it learns where it is and founds the trust
// domain. It is not ready for that: Kubernetes would send it queries.
func TestAPodIsNotReadyBeforeItsReplicaRuns(t *testing.T) {
	if testing.Short() {
		t.Skip("runs real replicas; run without -short")
	}
	c := newCluster(t, 1)
	c.found()
	answer := make(chan struct{})
	c.core.PrependReactor("get", "nodes", func(k8stesting.Action) (bool, runtime.Object, error) {
		<-answer
		return false, nil, nil
	})
	first := c.start(0, "disk-0")
	c.until(10*time.Second, "the pod to answer", func() error {
		status, waiting, err := first.probe("/readyz")
		if err == nil && (status != http.StatusServiceUnavailable || len(waiting) != 1) {
			t.Errorf("expected it not to be ready, and to say why; found status %d, waiting for %q", status, waiting)
		}
		return err
	})
	close(answer)
	first.ready()
	if _, err := first.members(); err != nil {
		t.Errorf("a pod said that it is ready, and its replica does not run: %v", err)
	}
}
