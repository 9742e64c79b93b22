//go:build linux

package kube_test

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/federator/federator/test/controlplane"
	"github.com/federator/federator/test/e2e/fleet"
)

// The pod of docs/kubernetes.md runs as it stands there, on a real kubelet, but for
// the names of the trust domain and of its images.
func TestThePodOfTheManualGetsItsCertificate(t *testing.T) {
	world := need(t, controlplane.Options{Clusters: []string{"us-west"}, Nodes: true, DNS: true})
	west := &site{Cluster: world.Cluster("us-west"), t: t, world: world}
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Minute)
	defer cancel()
	dir := t.TempDir()
	static := filepath.Join(dir, "federator")
	must(t, controlplane.BuildStatic(ctx, "../../cmd/federator", static))
	image := filepath.Join(dir, "image.tar")
	must(t, controlplane.WriteImage(image, controlplane.Image{Names: []string{"federator.dev/federator:dev"}, Program: static, User: "65532:65532"}))
	must(t, west.Load(ctx, image))

	// The replica runs on this machine, where pods reach it by the Service.
	west.fleet = fleet.New(t, static)
	server, err := url.Parse(west.Config.Host)
	must(t, err)
	config, err := os.ReadFile(west.prepare())
	must(t, err)
	west.fleet.Config = west.fleet.Write("pods.yaml", string(config)+"listen: {peer: \""+server.Hostname()+":7443\"}\n")
	west.replica = west.fleet.Init("us-west")
	west.peers(ctx, server.Hostname())
	west.trust()
	west.kubectl("-n", "shop", "create", "serviceaccount", "checkout")

	west.kubectl("apply", "-f", west.fleet.Write("pod.yaml", podOfTheManual(t)))
	west.kubectl("-n", "shop", "wait", "--for=condition=Ready", "--timeout=180s", "pod/checkout")
	const id = "spiffe://" + fleet.TrustDomain + "/ns/shop/sa/checkout"
	if said := west.kubectl("-n", "shop", "logs", "checkout", "-c", "svid"); !strings.Contains(said, id+" until ") {
		t.Errorf("the init container said %q", said)
	}
	// The sidecar can renew: with the token that the kubelet has put there, as the
	// user of the pod, into the volume.
	must(t, fleet.Await(late, func() error {
		said, err := world.Kubectl(ctx, west.Name, "-n", "shop", "exec", "checkout", "-c", "svid-renew", "--", "/program", "svid", "fetch", "--out", "/run/svid")
		if err == nil && !strings.Contains(said, id+" until ") {
			err = fmt.Errorf("the sidecar said %q", said)
		}
		return err
	}))
	// Twice at least: once more if a pod did not wait for it.
	if log := west.replica.Log(200); strings.Count(log, "a pod got its certificate") < 2 || !strings.Contains(log, "node=us-west-1") {
		t.Errorf("the replica's log: %s", log)
	}
}

// podOfTheManual is the pod, with what is of this test in place of what is of the
// reader.
func podOfTheManual(t *testing.T) string {
	t.Helper()
	page, err := os.ReadFile("../../docs/kubernetes.md")
	must(t, err)
	_, rest, _ := strings.Cut(string(page), "```yaml\napiVersion: v1\nkind: Pod\n")
	pod, _, found := strings.Cut(rest, "```")
	if !found {
		t.Fatal("docs/kubernetes.md has no pod")
	}
	pod = strings.ReplaceAll(pod, "acme.example", fleet.TrustDomain)
	return "apiVersion: v1\nkind: Pod\n" + strings.ReplaceAll(pod, "image: example.com/checkout", "image: "+controlplane.WorkloadImage+"\n      args: [serve]")
}

// peers is the Service of the manifests, with the one replica of this test behind it.
func (s *site) peers(ctx context.Context, address string) {
	s.t.Helper()
	port, name, tcp, ready := int32(7443), "peer", corev1.ProtocolTCP, true
	meta := metav1.ObjectMeta{Namespace: "federator-system", Name: "federator-peers"}
	_, err := s.Clients.Core.CoreV1().Services(meta.Namespace).Create(ctx, &corev1.Service{ObjectMeta: meta, Spec: corev1.ServiceSpec{
		ClusterIP: corev1.ClusterIPNone, Ports: []corev1.ServicePort{{Name: name, Port: port}},
	}}, metav1.CreateOptions{})
	must(s.t, err)
	meta.Labels = map[string]string{discoveryv1.LabelServiceName: meta.Name}
	_, err = s.Clients.Core.DiscoveryV1().EndpointSlices(meta.Namespace).Create(ctx, &discoveryv1.EndpointSlice{
		ObjectMeta: meta, AddressType: discoveryv1.AddressTypeIPv4, Ports: []discoveryv1.EndpointPort{{Name: &name, Port: &port, Protocol: &tcp}},
		Endpoints: []discoveryv1.Endpoint{{Addresses: []string{address}, Conditions: discoveryv1.EndpointConditions{Ready: &ready}}},
	}, metav1.CreateOptions{})
	must(s.t, err)
}
