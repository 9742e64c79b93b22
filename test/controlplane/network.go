//go:build linux

package controlplane

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// The names of links within network namespaces.
const (
	bridgeName = "br0"
	hostPort   = "host" // the bridge's port to this machine
	nodeLink   = "eth0" // of a node
)

// network is a bridge in a network namespace without a name, that joins the nodes
// and this machine. The kernel removes it all with the last descriptor.
type network struct {
	world int
	hub   *os.File // the namespace
	cuts  map[[2]string]bool
}

func newNetwork(world int) (*network, error) {
	hub, err := newNamespace()
	if err != nil {
		return nil, err
	}
	n := &network{world: world, hub: hub, cuts: map[[2]string]bool{}}
	if err := n.lay(); err != nil {
		return nil, errors.Join(fmt.Errorf("make the network of the nodes: %w", err), n.close())
	}
	return n, nil
}

// newNamespace makes a network namespace that lives as long as its descriptor.
func newNamespace() (*os.File, error) {
	var f *os.File
	err := onThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("make a network namespace: %w", err)
		}
		var err error
		f, err = os.Open(fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid()))
		return err
	})
	return f, err
}

// onThread runs f on a thread that ends with it. f must not start goroutines.
func onThread(f func() error) error {
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		if unix.Gettid() == unix.Getpid() {
			// The first thread of a process never ends; while it is held here, the
			// next goroutine is on another one.
			result <- onThread(f)
			runtime.UnlockOSThread()
			return
		}
		result <- f()
	}()
	return <-result
}

// inside runs f in a network namespace.
func inside(namespace *os.File, f func() error) error {
	return onThread(func() error {
		if err := unix.Setns(int(namespace.Fd()), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("enter a network namespace: %w", err)
		}
		return f()
	})
}

// lay makes the bridge and the link of this machine.
func (n *network) lay() error {
	err := inside(n.hub, func() error {
		// Packets that only cross the bridge are nobody's to translate.
		if err := set("bridge/bridge-nf-call-iptables", "0"); err != nil {
			return err
		}
		bridge := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: bridgeName}}
		if err := netlink.LinkAdd(bridge); err != nil {
			return fmt.Errorf("make a bridge: %w", err)
		}
		return netlink.LinkSetUp(bridge)
	})
	if err != nil {
		return err
	}
	host, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return err
	}
	defer host.Close()
	if err := n.join(host, hostLink(n.world), hostPort); err != nil {
		return err
	}
	return inside(host, func() error { return address(hostLink(n.world), hostPrefix(n.world)) })
}

// join makes a pair of links, one in a namespace and one a port of the bridge.
func (n *network) join(namespace *os.File, name, port string) error {
	return inside(n.hub, func() error {
		bridge, err := netlink.LinkByName(bridgeName)
		if err != nil {
			return fmt.Errorf("find the bridge: %w", err)
		}
		veth := &netlink.Veth{
			LinkAttrs: netlink.LinkAttrs{Name: port, MasterIndex: bridge.Attrs().Index},
			PeerName:  name, PeerNamespace: netlink.NsFd(int(namespace.Fd())),
		}
		if err := netlink.LinkAdd(veth); err != nil {
			return fmt.Errorf("make a veth pair for %s: %w", name, err)
		}
		return netlink.LinkSetUp(veth)
	})
}

// address gives a link of the current namespace its address, and waits until it
// carries packets. The kernel tells a bridge of the carrier of its ports up to a
// second late, and the first packets would be lost.
func address(name string, prefix netip.Prefix) error {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return fmt.Errorf("find the link %s: %w", name, err)
	}
	if err := errors.Join(netlink.AddrAdd(link, &netlink.Addr{IPNet: ipNet(prefix)}), netlink.LinkSetUp(link)); err != nil {
		return fmt.Errorf("give the link %s the address %s: %w", name, prefix, err)
	}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		link, err := netlink.LinkByName(name)
		if err != nil || link.Attrs().OperState == netlink.OperUp {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("expected the link %s to be up within 10s, found it %s", name, link.Attrs().OperState)
		}
	}
}

// addNode joins the network namespace of a cluster's node, and routes to all pods.
func (n *network) addNode(c *Cluster, namespace *os.File) error {
	// The port of a node before this one may not be gone yet.
	port := fmt.Sprintf("node%d", c.number)
	if err := inside(n.hub, func() error { return removeLink(port) }); err != nil {
		return err
	}
	if err := n.join(namespace, nodeLink, port); err != nil {
		return err
	}
	host := hostPrefix(n.world)
	err := inside(namespace, func() error {
		lo, err := netlink.LinkByName("lo")
		if err != nil {
			return err
		}
		prefix := netip.PrefixFrom(c.plan.node, host.Bits())
		if err := errors.Join(netlink.LinkSetUp(lo), set("ipv4/ip_forward", "1"), address(nodeLink, prefix)); err != nil {
			return err
		}
		for _, other := range c.world.Clusters {
			if other != c {
				if err := route(nodeLink, other.plan.pods, other.plan.node); err != nil {
					return err
				}
			}
		}
		// Also what makes service addresses routable before they are translated.
		return route(nodeLink, netip.PrefixFrom(netip.IPv4Unspecified(), 0), host.Addr())
	})
	if err != nil {
		return fmt.Errorf("the network of the node of %s: %w", c.Name, err)
	}
	return route(hostLink(n.world), c.plan.pods, c.plan.node)
}

// route sends a prefix by a gateway.
func route(name string, to netip.Prefix, by netip.Addr) error {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return fmt.Errorf("find the link %s: %w", name, err)
	}
	if err := netlink.RouteReplace(&netlink.Route{LinkIndex: link.Attrs().Index, Dst: ipNet(to), Gw: by.AsSlice()}); err != nil {
		return fmt.Errorf("route %s by %s: %w", to, by, err)
	}
	return nil
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// set writes a setting of the calling thread's network namespace, unless the
// kernel does not have it.
func set(name, value string) error {
	err := os.WriteFile("/proc/sys/net/"+name, []byte(value), 0o644)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

// close removes the bridge, and with it all links.
func (n *network) close() error {
	return errors.Join(removeLink(hostLink(n.world)), n.hub.Close())
}
