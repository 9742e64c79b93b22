//go:build linux

package kube_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"filippo.io/age"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	mcs "sigs.k8s.io/mcs-api/pkg/apis/v1beta1"

	"github.com/federator/federator/kube/pod"
	"github.com/federator/federator/test/e2e/fleet"
)

func exportObject(name string) *mcs.ServiceExport {
	return &mcs.ServiceExport{ObjectMeta: metav1.ObjectMeta{Namespace: shop, Name: name}}
}

// inPod is a replica that runs as in a pod, as a process of this machine with the
// service account that the manifests give to pods.
type inPod struct {
	*grants
	name, uid, address, dir string
	cmd                     *exec.Cmd
	ended                   chan struct{}
}

func (p *inPod) LogPath() string { return filepath.Join(p.dir, "log") }

func (p *inPod) CLI(args ...string) fleet.Result {
	return p.Run(append(args, "--socket", filepath.Join(p.dir, "s"))...)
}

// start starts the pod; more is its environment besides.
func (p *inPod) start(more ...string) {
	p.Helper()
	p.must(os.MkdirAll(p.dir, 0o700))
	config := fmt.Sprintf("dataDir: %s\nlisten: {peer: '%s:7443', gossip: '%[2]s:7946', dns: ['%[2]s:8053'], http: '%[2]s:7480', socket: %s}\n", filepath.Join(p.dir, "data"), p.address, filepath.Join(p.dir, "s"))
	p.must(os.WriteFile(filepath.Join(p.dir, "agent.yaml"), []byte(config), 0o600))
	log, err := os.OpenFile(p.LogPath(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	p.must(err)
	defer log.Close()
	p.cmd = p.Command("pod", "--config", filepath.Join(p.dir, "agent.yaml"), "--kubeconfig", filepath.Join(p.Dir, p.region+".kubeconfig"))
	p.cmd.Env = append(append(p.cmd.Env, "POD_NAME="+p.name, "POD_NAMESPACE="+namespace, "POD_UID="+p.uid, "POD_IP="+p.address, "HOST_IP="+p.address, "NODE_NAME=node",
		"FEDERATOR_REGION="+p.region, "FEDERATOR_CLUSTER="+p.region), more...)
	p.cmd.Stdout, p.cmd.Stderr = log, log
	p.must(p.Start(p.cmd))
	p.ended = make(chan struct{})
	go func(cmd *exec.Cmd, ended chan struct{}) {
		defer close(ended)
		_ = cmd.Wait() // how it ended is in its log
	}(p.cmd, p.ended)
}

// kill ends it at once, so that it does not ask the API server whether it leaves.
func (p *inPod) kill() {
	if p.cmd != nil {
		_ = p.cmd.Process.Kill() // it may have ended
		<-p.ended
	}
}

// readyz is what it says that it waits for; an error if it does not answer.
func (p *inPod) readyz() (code int, says string, err error) {
	client := http.Client{Timeout: time.Second}
	answer, err := client.Get("http://" + p.address + ":7480/readyz")
	if err != nil {
		return 0, "", err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	return answer.StatusCode, string(body), err
}

func (p *inPod) ready() {
	p.Helper()
	p.Until(late, p.name+" to be ready", func() error {
		code, says, err := p.readyz()
		if err == nil && code != http.StatusOK {
			err = fmt.Errorf("it waits: %s", says)
		}
		return err
	})
}

func (p *inPod) restart(more ...string) {
	p.Helper()
	p.kill()
	p.start(more...)
	p.ready()
}

// pods makes a StatefulSet of two, whose pods Kubernetes makes and nobody runs.
func (g *grants) pods(t *testing.T) (pods []*inPod) {
	t.Helper()
	core, two := g.world.Cluster(g.region).Clients.Core, int32(2)
	labels := map[string]string{"app": "federator"}
	_, err := core.AppsV1().StatefulSets(namespace).Create(t.Context(), &appsv1.StatefulSet{
		ObjectMeta: metav1.ObjectMeta{Name: "federator"},
		Spec: appsv1.StatefulSetSpec{
			Replicas: &two, ServiceName: "federator-peers", PodManagementPolicy: appsv1.ParallelPodManagement, Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "federator", Image: "none"}}}},
		},
	}, metav1.CreateOptions{})
	g.must(err)
	for i := range two {
		name := fmt.Sprint("federator-", i)
		p := &inPod{grants: g, name: name, address: g.Address(), dir: filepath.Join(g.Dir, name)}
		g.Until(soon, "pod "+name+" to be there", func() error {
			is, err := core.CoreV1().Pods(namespace).Get(t.Context(), name, metav1.GetOptions{})
			if err == nil {
				p.uid = string(is.UID)
			}
			return err
		})
		t.Cleanup(func() {
			p.kill()
			if text, err := os.ReadFile(p.LogPath()); t.Failed() && err == nil {
				t.Logf("%s said:\n%s", name, tail(string(text), 4000))
			}
		})
		pods = append(pods, p)
	}
	return pods
}

// balance grants what pods behind load balancers may do.
func (g *grants) balance() {
	g.Helper()
	c := g.world.Cluster(g.region)
	const name = "federator-loadbalancer"
	g.must(create(context.Background(), c, "Role", g.roles()["Role "+name]))
	_, err := c.Clients.Core.RbacV1().RoleBindings(namespace).Create(context.Background(), &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: name}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: name},
		Subjects: []rbacv1.Subject{{Kind: "ServiceAccount", Name: "federator", Namespace: namespace}},
	}, metav1.CreateOptions{})
	g.must(err)
}

func (g *grants) ofPods(t *testing.T) {
	here := &grants{stage: g.stage, region: "eu-central", named: g.named}
	ctx, core := t.Context(), g.world.Cluster("eu-central").Clients.Core.CoreV1()
	maps, secrets := core.ConfigMaps(namespace), core.Secrets(namespace)
	key, err := age.GenerateX25519Identity()
	g.must(err)
	_, err = maps.Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: pod.InitName}, Data: map[string]string{
		pod.TrustDomainKey: "pods.example", pod.RecipientKey: key.Recipient().String(),
	}}, metav1.CreateOptions{})
	g.must(err)
	own := func(resource string, verbs ...string) []privilege {
		return here.those(func(one privilege) bool {
			return one.local() && one.resource == resource && slices.Contains(verbs, one.verb)
		})
	}
	here.balance()
	pods := here.pods(t)
	first, second := pods[0], pods[1]
	first.start()
	first.ready()

	here.miss(first, slices.Concat([]privilege{{object: everywhereRole, verb: "get", resource: "nodes"}}, own("configmaps", "get", "delete"), own("secrets", "delete"), own("statefulsets", "get")), func() { first.restart() })
	here.miss(first, own("configmaps", "list"), nil)
	_, err = maps.Create(ctx, waitingOf(second), metav1.CreateOptions{})
	g.must(err)
	here.miss(first, own("secrets", "get"), nil)
	_ = secrets.Delete(ctx, pod.JoinSecret(second.name), metav1.DeleteOptions{}) // it was invited meanwhile, or not yet
	here.miss(first, own("secrets", "create"), func() {
		_ = secrets.Delete(ctx, pod.JoinSecret(second.name), metav1.DeleteOptions{})
	})
	here.miss(first, append(own("configmaps", "update"), own("services", "get")...), func() {
		note, err := maps.Get(ctx, pod.InitName, metav1.GetOptions{})
		g.must(err)
		delete(note.Annotations, pod.FoundedAnnotation)
		_, err = maps.Update(ctx, note, metav1.UpdateOptions{})
		g.must(err)
		first.restart("FEDERATOR_EXPOSE=loadbalancer")
	})
	g.must(maps.Delete(ctx, pod.WaitingName(second.name), metav1.DeleteOptions{}))
	_ = secrets.Delete(ctx, pod.JoinSecret(second.name), metav1.DeleteOptions{})
	here.beforeItIsAMember(second, own("configmaps", "create")[0])
}

// beforeItIsAMember takes a privilege away from a pod that is no member yet, which no
// check can be asked of: its log and its readiness say it. Then it becomes one.
func (g *grants) beforeItIsAMember(p *inPod, one privilege) {
	g.Helper()
	g.take(one)
	p.start()
	g.Until(naming, "the log and /readyz to name "+one.String(), func() error {
		_, says, err := p.readyz()
		if err == nil && (!strings.Contains(says, "cannot "+one.verb+" resource") || !strings.Contains(says, one.resource)) {
			err = fmt.Errorf("/readyz says %s", says)
		}
		if err != nil {
			return err
		}
		return logged(p, 0, []privilege{one})
	})
	g.take()
	p.ready()
	g.named[one] = true
}

// waitingOf is what a pod writes that waits for a token.
func waitingOf(p *inPod) *corev1.ConfigMap {
	return &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{
			Name: pod.WaitingName(p.name), Labels: map[string]string{pod.WaitingLabel: "true"},
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "Pod", Name: p.name, UID: types.UID(p.uid)}},
		},
		Data: map[string]string{"pod": p.name},
	}
}
