package link

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/federator/federator/kube/corefile"
	"github.com/federator/federator/kube/laptop"
)

// Where a cluster has its DNS, as Kubernetes' installers name it.
const (
	dnsName     = "coredns"
	dnsKey      = "Corefile"
	customName  = "coredns-custom"
	customKey   = "federator.server"
	dnsSelector = "k8s-app=kube-dns"
	// DefaultZone is the zone that federator answers unless its configuration says
	// otherwise.
	DefaultZone = "clusterset.local"
)

// DNSFacts are what is known of a cluster's own DNS.
type DNSFacts struct {
	at place
	// Problem says why it cannot be looked at; nothing below is known then.
	Problem string
	// Missing: there is no ConfigMap coredns; Other is what seems to serve instead.
	Missing bool
	Other   string
	// Corefile is the configuration, and Custom what its provider's ConfigMap
	// coredns-custom adds, if the Corefile includes that. HasCustom: it is there.
	Corefile  string
	Custom    map[string]string
	HasCustom bool
	// Includes is the pattern by which the Corefile includes server blocks: the provider
	// owns the Corefile, and would undo a change of it.
	Includes string
	// NodeLocal: a cache on every node (NodeLocal DNSCache) stands before CoreDNS.
	NodeLocal bool
	// Service is where federator answers DNS in the cluster; empty if it does not, or
	// if that cannot be seen, and Unseen says why.
	Service []netip.Addr
	Unseen  string
}

// lookDNS finds what is known of a cluster's own DNS.
func lookDNS(ctx context.Context, c *laptop.Cluster) DNSFacts {
	f := DNSFacts{at: placeOf(c)}
	system := c.Core.CoreV1().ConfigMaps(metav1.NamespaceSystem)
	found, err := system.Get(ctx, dnsName, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		f.Missing = true
		if _, err := system.Get(ctx, "kube-dns", metav1.GetOptions{}); err == nil {
			f.Other = "kube-dns"
		}
	case err != nil:
		f.Problem = f.at.refusal(err, inSystem("get")).Error()
		return f
	default:
		f.Corefile = found.Data[dnsKey]
	}
	if parsed, err := corefile.Parse(f.Corefile); err == nil {
		f.Includes = parsed.IncludesServers()
	}
	if custom, err := system.Get(ctx, customName, metav1.GetOptions{}); err == nil {
		f.Custom, f.HasCustom = custom.Data, true
	}
	if _, err := c.Core.AppsV1().DaemonSets(metav1.NamespaceSystem).Get(ctx, "node-local-dns", metav1.GetOptions{}); err == nil {
		f.NodeLocal = true
	}
	s, err := c.Core.CoreV1().Services(c.Namespace).Get(ctx, "federator-dns", metav1.GetOptions{})
	switch {
	case err == nil:
		f.Service = addressesOf(s)
	case !apierrors.IsNotFound(err):
		f.Unseen = f.at.refusal(err, Right{Verb: "get", Resource: "services", Namespace: c.Namespace}).Error()
	}
	return f
}

func addressesOf(s *corev1.Service) []netip.Addr {
	var out []netip.Addr
	for _, text := range s.Spec.ClusterIPs {
		if a, err := netip.ParseAddr(text); err == nil {
			out = append(out, a)
		}
	}
	return out
}

// Has reports whether the stub zone is installed, and whether it leads where
// federator is.
func (f *DNSFacts) Has(zone string) (installed, right bool) {
	text := f.Corefile
	if f.Includes != "" {
		text = f.Custom[customKey]
	}
	if !corefile.Marked(text) {
		return false, false
	}
	want, err := corefile.Add(text, f.stub(zone))
	return true, err == nil && want == text
}

// stub is the zone, served where the cluster's DNS serves its clients.
func (f *DNSFacts) stub(zone string) corefile.Stub {
	s := corefile.Stub{Zone: zone, To: f.Service}
	if parsed, err := corefile.Parse(f.Corefile); err == nil {
		s.Port = parsed.Port()
	}
	return s
}

// Change is a change of one key of a ConfigMap in kube-system.
type Change struct {
	ConfigMap, Key string
	Before, After  string
	// Create, Delete: the ConfigMap is made; the key is deleted.
	Create, Delete bool
	// Warnings are what the change does not do.
	Warnings []string
}

// None reports whether there is nothing to change.
func (c *Change) None() bool { return c.Before == c.After && !c.Delete }

// Diff shows it as diff -u does.
func (c *Change) Diff() string {
	return fmt.Sprintf("ConfigMap kube-system/%s, %s:\n%s", c.ConfigMap, c.Key, corefile.Diff(c.Before, c.After))
}

// PlanDNS decides how the stub zone gets into the cluster's DNS.
func PlanDNS(f DNSFacts, zone string) (Change, error) {
	if err := f.usable(); err != nil {
		return Change{}, err
	}
	if f.Unseen != "" {
		return Change{}, fmt.Errorf("the Service federator-dns, where the zone is to lead, cannot be looked at: %s", f.Unseen)
	}
	if len(f.Service) == 0 {
		return Change{}, fmt.Errorf("there is no Service federator-dns with an address in this cluster; install federator first: %s", f.at.federator("install", ""))
	}
	s := f.stub(zone)
	c := Change{ConfigMap: dnsName, Key: dnsKey, Before: f.Corefile, Warnings: f.warnings(zone)}
	if f.Includes != "" {
		if err := f.foreign(zone); err != nil {
			return Change{}, err
		}
		c = Change{ConfigMap: customName, Key: customKey, Before: f.Custom[customKey], Create: !f.HasCustom, Warnings: c.Warnings}
	}
	var err error
	if c.After, err = corefile.Add(c.Before, s); err != nil {
		return Change{}, fmt.Errorf("ConfigMap kube-system/%s, key %s: %w; nothing was changed", c.ConfigMap, c.Key, err)
	}
	return c, nil
}

// foreign says who else has the zone where the provider's Corefile is not ours to
// change.
func (f *DNSFacts) foreign(zone string) error {
	if err := corefile.Taken(f.Corefile, zone); err != nil {
		return fmt.Errorf("ConfigMap kube-system/%s: %w; nothing was changed", dnsName, err)
	}
	for _, key := range slices.Sorted(maps.Keys(f.Custom)) {
		if key == customKey || !strings.HasSuffix(key, ".server") {
			continue
		}
		if err := corefile.Taken(f.Custom[key], zone); err != nil {
			return fmt.Errorf("ConfigMap kube-system/%s, key %s: %w; nothing was changed", customName, key, err)
		}
	}
	return nil
}

func (f *DNSFacts) warnings(zone string) []string {
	var out []string
	if f.NodeLocal {
		out = append(out, fmt.Sprintf("this cluster has NodeLocal DNSCache, which asks CoreDNS for the cluster's own domain only: add a block for %s to its ConfigMap kube-system/node-local-dns too, with forward . %s", zone, join2(f.Service)))
	}
	if parsed, err := corefile.Parse(f.Corefile); err == nil && !parsed.Reloads() {
		out = append(out, "this Corefile has no plugin reload: CoreDNS takes it up when it is restarted: "+f.at.kubectl("-n kube-system rollout restart deployment coredns"))
	}
	return out
}

func join2(addresses []netip.Addr) string {
	texts := make([]string, len(addresses))
	for i, a := range addresses {
		texts[i] = a.String()
	}
	return strings.Join(texts, " ")
}

func (f *DNSFacts) usable() error {
	switch {
	case f.Problem != "":
		return fmt.Errorf("the cluster's DNS cannot be looked at: %s", f.Problem)
	case f.Missing && f.Other == "kube-dns":
		return fmt.Errorf("this cluster has kube-dns and no CoreDNS: add the zone to the key stubDomains of its ConfigMap kube-system/kube-dns, with the address of the Service federator-dns")
	case f.Missing:
		return fmt.Errorf("there is no ConfigMap kube-system/coredns: the cluster's DNS is not CoreDNS, or is installed elsewhere; forward the zone to the Service federator-dns by its own means")
	}
	return nil
}

// PlanNoDNS decides how the stub zone gets out of the cluster's DNS.
func PlanNoDNS(f DNSFacts) (Change, error) {
	if err := f.usable(); err != nil {
		return Change{}, err
	}
	if before, ok := f.Custom[customKey]; ok {
		after, err := corefile.Remove(before)
		if err != nil {
			return Change{}, fmt.Errorf("ConfigMap kube-system/%s, key %s: %w; nothing was changed", customName, customKey, err)
		}
		return Change{ConfigMap: customName, Key: customKey, Before: before, After: after, Delete: after == ""}, nil
	}
	after, err := corefile.Remove(f.Corefile)
	if err != nil {
		return Change{}, fmt.Errorf("ConfigMap kube-system/%s: %w; nothing was changed", dnsName, err)
	}
	return Change{ConfigMap: dnsName, Key: dnsKey, Before: f.Corefile, After: after}, nil
}
