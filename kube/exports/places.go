package exports

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/federator/federator/federation/catalog"
)

// maxPrefixes bounds the client networks of a cluster, which the region's Raft
// does too.
const maxPrefixes = 4096

// places is what the nodes say about where things are.
type places struct {
	zones    map[string]string // by node
	prefixes []catalog.ClientPrefix
}

func (p places) zone(node string) string { return p.zones[node] }

func (p places) equal(o places) bool {
	return maps.Equal(p.zones, o.zones) && slices.Equal(p.prefixes, o.prefixes)
}

// placesOf reads the zones of nodes, the networks of their pods and their own
// addresses, from which DNS clients ask: pods in the network of their node, and
// resolvers that run there. A network that nodes of two zones claim is in neither.
func placesOf(nodes []*corev1.Node) places {
	p := places{zones: make(map[string]string, len(nodes))}
	pods, hosts := networks{}, networks{}
	for _, n := range nodes {
		zone := zoneLabel(cmp.Or(n.Labels[corev1.LabelTopologyZone], n.Labels[corev1.LabelFailureDomainBetaZone]))
		p.zones[n.Name] = zone
		pods.claim(zone, podNetworks(n)...)
		hosts.claim(zone, hostAddresses(n)...)
	}
	for _, all := range []networks{pods, hosts} {
		for _, prefix := range slices.SortedFunc(maps.Keys(all), comparePrefixes) {
			if len(p.prefixes) == maxPrefixes {
				break // the rest are placed as clients of the region
			}
			p.prefixes = append(p.prefixes, catalog.ClientPrefix{Prefix: prefix, Zone: all[prefix]})
		}
	}
	slices.SortFunc(p.prefixes, func(a, b catalog.ClientPrefix) int { return comparePrefixes(a.Prefix, b.Prefix) })
	p.prefixes = slices.CompactFunc(p.prefixes, func(a, b catalog.ClientPrefix) bool { return a.Prefix == b.Prefix })
	return p
}

// networks have a zone, "" for none.
type networks map[netip.Prefix]string

func (all networks) claim(zone string, prefixes ...netip.Prefix) {
	for _, p := range prefixes {
		if other, twice := all[p]; twice && other != zone {
			all[p] = ""
			continue
		}
		all[p] = zone
	}
}

func comparePrefixes(a, b netip.Prefix) int {
	return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
}

func podNetworks(n *corev1.Node) []netip.Prefix {
	all := n.Spec.PodCIDRs
	if len(all) == 0 && n.Spec.PodCIDR != "" {
		all = []string{n.Spec.PodCIDR}
	}
	var out []netip.Prefix
	for _, s := range all {
		if p, err := netip.ParsePrefix(s); err == nil && !p.Addr().Is4In6() {
			out = append(out, p.Masked())
		}
	}
	return out
}

// hostAddresses are the addresses of a node inside its cluster, each as a network.
func hostAddresses(n *corev1.Node) []netip.Prefix {
	var out []netip.Prefix
	for _, a := range n.Status.Addresses {
		if a.Type != corev1.NodeInternalIP {
			continue
		}
		if ip, err := netip.ParseAddr(a.Address); err == nil && !ip.Is4In6() && ip.Zone() == "" {
			out = append(out, netip.PrefixFrom(ip, ip.BitLen()))
		}
	}
	return out
}

// zoneLabel makes the value of a zone label a DNS label, which zones of the
// federation are and those of all known clouds, too. A label of Kubernetes may
// have capitals, dots and underscores besides.
func zoneLabel(s string) string {
	if catalog.ValidateLabel("zone", s) == nil {
		return s
	}
	s = strings.Map(func(c rune) rune {
		if c >= 'a' && c <= 'z' || c >= '0' && c <= '9' {
			return c
		}
		return '-'
	}, strings.ToLower(s))
	return strings.Trim(s[:min(len(s), 63)], "-")
}
