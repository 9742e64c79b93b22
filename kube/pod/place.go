package pod

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/federator/federator/federation/catalog"
)

// Exposure is how replicas outside the cluster reach a pod.
type Exposure string

// The exposures.
const (
	// ByPod: at the pod's own address, where the networks of the clusters are one.
	ByPod Exposure = "pod"
	// ByHostPort: at the address of its node, where the ports are opened too.
	ByHostPort Exposure = "hostport"
	// ByLoadBalancer: at the address of the Service of its name.
	ByLoadBalancer Exposure = "loadbalancer"
)

// Exposures are all of them.
func Exposures() []Exposure { return []Exposure{ByPod, ByHostPort, ByLoadBalancer} }

// The ports on which a replica listens in its pod, and is reached outside.
const (
	PeerPort   = "7443"
	GossipPort = "7946"
	DNSPort    = "8053"
)

// Pod does what its replica needs of the API server of its cluster.
type Pod struct {
	Core kubernetes.Interface
	Self Self
	// Every is the pause between two looks at what is waited for. 0 means 2 s.
	Every time.Duration
	// Resolve looks a host name up. nil asks the DNS of the pod.
	Resolve func(ctx context.Context, host string) ([]string, error)
}

// pause waits between two looks; it fails when ctx ends.
func (p *Pod) pause(ctx context.Context) error {
	every := p.Every
	if every == 0 {
		every = 2 * time.Second
	}
	t := time.NewTimer(every)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// Zone returns the zone of the pod's node; "" if it has none that can be a label of
// a DNS name.
func (p *Pod) Zone(ctx context.Context) (string, error) {
	node, err := p.Core.CoreV1().Nodes().Get(ctx, p.Self.Node, metav1.GetOptions{})
	if err != nil {
		return "", fmt.Errorf("the zone of node %s: %w", p.Self.Node, err)
	}
	zone := node.Labels[corev1.LabelTopologyZone]
	if zone == "" || catalog.ValidateLabel("zone", zone) != nil {
		return "", nil
	}
	return zone, nil
}

// Address returns the host at which others reach the pod. That of a load balancer
// may take a while; waiting is told what for.
func (p *Pod) Address(ctx context.Context, e Exposure, waiting func(string)) (string, error) {
	switch e {
	case ByPod:
		return p.Self.IP.String(), nil
	case ByHostPort:
		return p.Self.HostIP.String(), nil
	case ByLoadBalancer:
		return p.balancer(ctx, waiting)
	}
	return "", fmt.Errorf("expose %q: expected one of %v", e, Exposures())
}

// balancer waits until the Service of the pod's name has an address outside.
func (p *Pod) balancer(ctx context.Context, waiting func(string)) (string, error) {
	for {
		service, err := p.Core.CoreV1().Services(p.Self.Namespace).Get(ctx, p.Self.Name, metav1.GetOptions{})
		switch {
		case err == nil && ingress(service) != "":
			host := ingress(service)
			if err := p.resolves(ctx, host); err == nil {
				return host, nil
			}
			waiting(fmt.Sprintf("the name %s of the load balancer of Service %s to be known to DNS", host, p.Self.Name))
		case err == nil:
			waiting(fmt.Sprintf("the load balancer of Service %s to get an address", p.Self.Name))
		case apierrors.IsNotFound(err):
			waiting(fmt.Sprintf("the Service %s of type LoadBalancer: apply what federator manifests --expose loadbalancer prints for this many replicas", p.Self.Name))
		default:
			waiting(fmt.Sprintf("the API server, to look at Service %s: %v", p.Self.Name, err))
		}
		if err := p.pause(ctx); err != nil {
			return "", err
		}
	}
}

// resolves looks a host up, if it is a name: gossip has to know its address.
func (p *Pod) resolves(ctx context.Context, host string) error {
	if _, err := netip.ParseAddr(host); err == nil {
		return nil
	}
	resolve := p.Resolve
	if resolve == nil {
		resolve = net.DefaultResolver.LookupHost
	}
	_, err := resolve(ctx, host)
	return err
}

func ingress(s *corev1.Service) string {
	for _, i := range s.Status.LoadBalancer.Ingress {
		if a, err := netip.ParseAddr(i.IP); err == nil {
			return a.String()
		}
		if i.Hostname != "" {
			return i.Hostname
		}
	}
	return ""
}

// HostPort joins a host of [Pod.Address] and one of the ports.
func HostPort(host, port string) string { return net.JoinHostPort(host, port) }
