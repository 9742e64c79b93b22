//go:build linux

package controlplane

import (
	"context"
	_ "embed"
	"fmt"
	"os"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// dnsImage has CoreDNS, as the module dnsModule builds it.
const (
	dnsImage  = "federator.test/coredns:1"
	dnsModule = "coredns"
)

//go:embed dns.yaml
var dnsManifest string

// prepareDNS makes the image of CoreDNS.
func (w *World) prepareDNS() error {
	w.dns = w.dir + "/coredns.tar"
	return WriteImage(w.dns, Image{Names: []string{dnsImage}, Program: w.programs["coredns"]})
}

// startDNS runs CoreDNS in the cluster, at the address that its pods ask, and
// returns when it is ready. Its configuration is the ConfigMap coredns in
// kube-system; it reads a change within some ten seconds.
func (c *Cluster) startDNS(ctx context.Context) error {
	if err := c.Load(ctx, c.world.dns); err != nil {
		return err
	}
	path := c.path("dns.yaml")
	text := strings.NewReplacer("DNS_ADDRESS", c.DNS().String(), "IMAGE", dnsImage).Replace(dnsManifest)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		return err
	}
	if err := command(ctx, c.world.programs["kubectl"], "--kubeconfig="+c.Kubeconfig, "--cache-dir="+c.path("kubectl"), "apply", "--filename="+path); err != nil {
		return err
	}
	return c.nodeUntil(ctx, "the cluster's DNS to be ready", func(ctx context.Context) error {
		d, err := c.Clients.Core.AppsV1().Deployments(metav1.NamespaceSystem).Get(ctx, "coredns", metav1.GetOptions{})
		if err == nil && d.Status.ReadyReplicas == 0 {
			err = fmt.Errorf("found %+v", d.Status)
		}
		return err
	}, kubelet)
}
