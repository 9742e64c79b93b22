//go:build linux

package controlplane

import (
	"fmt"
	"net/netip"
)

// maxClusters is how many clusters a world can have: so many prefixes there are.
const maxClusters = 6

// The ports of a cluster; each is one of portsPerCluster, of which maxClusters are
// one world's. All are below those that the kernel gives to outgoing connections.
const (
	portEtcd = iota
	portEtcdPeer
	portAPIServer

	firstPort        = 21000
	portsPerCluster  = 4
	portsPerWorld    = 32
	firstWorldOctet  = 160 // of 10.W.0.0/16
	firstServiceByte = 96  // of the clusters' services, 10.S.0.0/16
)

func portOf(world, cluster, port int) int {
	return firstPort + world*portsPerWorld + cluster*portsPerCluster + port
}

// plan is the addresses of one cluster.
type plan struct {
	node      netip.Addr     // of its node
	pods      netip.Prefix   // in which its pods are
	services  netip.Prefix   // in which its services are; the same in every world, as they never leave the node
	services6 netip.Prefix   // and those of IPv6
	ports     map[int]uint16 // by portEtcd and so on
}

func planOf(world, cluster int) plan {
	w := byte(firstWorldOctet + world)
	p := plan{
		node:      netip.AddrFrom4([4]byte{10, w, 0, byte(11 + cluster)}),
		pods:      netip.PrefixFrom(netip.AddrFrom4([4]byte{10, w, byte(32 * (cluster + 1)), 0}), 19),
		services:  netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(firstServiceByte + cluster), 0, 0}), 16),
		services6: netip.MustParsePrefix(fmt.Sprintf("fd96:%x::/112", cluster+1)),
		ports:     map[int]uint16{},
	}
	for _, port := range []int{portEtcd, portEtcdPeer, portAPIServer} {
		p.ports[port] = uint16(portOf(world, cluster, port))
	}
	return p
}

// hostPrefix is this machine's address in the network of a world's nodes.
func hostPrefix(world int) netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(firstWorldOctet + world), 0, 1}), 24)
}

// hostLink is the link of this machine into that network.
func hostLink(world int) string { return fmt.Sprintf("fcp%d", world) }

// nth is the address so many after the first of a prefix.
func nth(p netip.Prefix, n int) netip.Addr {
	a := p.Addr()
	for range n {
		a = a.Next()
	}
	return a
}
