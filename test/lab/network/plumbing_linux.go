package network

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// The names of links; each namespace has its own, so that they never collide.
const (
	bridgeName = "br0"
	tunName    = "wan0"
	hostName   = "eth0"
)

// mtu is that of every link. It leaves the packets whole on all of their way.
const mtu = 1500

// tunQueue is how many packets wait in a TUN device for this process.
const tunQueue = 4096

// quiet are settings of every namespace: no IPv6, whose autoconfiguration would
// talk by itself, and no TCP that remembers the network that was.
var quiet = map[string]string{
	"ipv6/conf/all/disable_ipv6":     "1",
	"ipv6/conf/default/disable_ipv6": "1",
	"ipv4/tcp_no_metrics_save":       "1",
}

// forwarding are settings of the namespaces of regions.
var forwarding = map[string]string{
	"ipv4/conf/all/rp_filter":        "0",
	"ipv4/conf/default/rp_filter":    "0",
	"ipv4/conf/all/send_redirects":   "0",
	"ipv4/ip_forward":                "1",
	"bridge/bridge-nf-call-iptables": "0",
}

// tune writes settings of the calling thread's namespace. Those that the kernel
// does not have are left out.
func tune(settings map[string]string) error {
	for name, value := range settings {
		f, err := os.OpenFile("/proc/sys/net/"+name, os.O_WRONLY, 0)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("a setting of a network namespace: %w", err)
		}
		_, err = f.WriteString(value)
		if err := errors.Join(err, f.Close()); err != nil {
			return fmt.Errorf("set %s of a network namespace to %s: %w", name, value, err)
		}
	}
	return nil
}

// loopback brings the loopback of the calling thread's namespace up.
func loopback() error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("find the loopback: %w", err)
	}
	return netlink.LinkSetUp(lo)
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), 32)}
}

// layRegion makes the bridge, which has the address and prefix of gateway, and
// the TUN device, through which all is reached. It returns the device's other end.
func (n *namespace) layRegion(gateway, all netip.Prefix) (tun *os.File, err error) {
	err = n.do(func() error {
		if err := errors.Join(tune(quiet), tune(forwarding), loopback()); err != nil {
			return err
		}
		bridge := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: bridgeName, MTU: mtu}}
		if err := netlink.LinkAdd(bridge); err != nil {
			return fmt.Errorf("make a bridge: %w", err)
		}
		if err := netlink.AddrAdd(bridge, &netlink.Addr{IPNet: ipNet(gateway)}); err != nil {
			return fmt.Errorf("give the bridge the address %s: %w", gateway, err)
		}
		if tun, err = openTUN(); err != nil {
			return err
		}
		wan, err := netlink.LinkByName(tunName)
		if err != nil {
			return fmt.Errorf("find the TUN device: %w", err)
		}
		err = errors.Join(netlink.LinkSetMTU(wan, mtu), netlink.LinkSetTxQLen(wan, tunQueue), netlink.LinkSetUp(wan), netlink.LinkSetUp(bridge))
		if err != nil {
			return fmt.Errorf("bring the links of a region up: %w", err)
		}
		if err := netlink.RouteAdd(&netlink.Route{LinkIndex: wan.Attrs().Index, Dst: ipNet(all), Scope: netlink.SCOPE_LINK}); err != nil {
			return fmt.Errorf("route %s to the TUN device: %w", all, err)
		}
		return nil
	})
	if err != nil && tun != nil {
		err = errors.Join(err, tun.Close())
	}
	return tun, err
}

// openTUN makes a TUN device in the calling thread's namespace.
func openTUN() (*os.File, error) {
	const device = "/dev/net/tun"
	fd, err := unix.Open(device, unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w; %w", device, err, ErrUnavailable)
	}
	request, err := unix.NewIfreq(tunName)
	if err == nil {
		request.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, request)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("make a TUN device: %w", err), unix.Close(fd))
	}
	return os.NewFile(uintptr(fd), device), nil
}

// layHost joins the namespace of a host to the bridge of its region by a link of
// the given name there.
func (n *namespace) layHost(region *namespace, port string, address netip.Prefix, gateway netip.Addr) error {
	if err := n.do(func() error { return errors.Join(tune(quiet), loopback()) }); err != nil {
		return err
	}
	err := region.do(func() error {
		bridge, err := netlink.LinkByName(bridgeName)
		if err != nil {
			return fmt.Errorf("find the bridge: %w", err)
		}
		veth := &netlink.Veth{
			LinkAttrs: netlink.LinkAttrs{Name: port, MTU: mtu, MasterIndex: bridge.Attrs().Index},
			PeerName:  hostName, PeerMTU: mtu, PeerNamespace: netlink.NsFd(n.fd),
		}
		if err := netlink.LinkAdd(veth); err != nil {
			return fmt.Errorf("make a veth pair: %w", err)
		}
		return netlink.LinkSetUp(veth)
	})
	if err != nil {
		return err
	}
	err = n.do(func() error {
		link, err := netlink.LinkByName(hostName)
		if err != nil {
			return fmt.Errorf("find the link of a host: %w", err)
		}
		// Packets are made here and not by the next device: else the bridge would
		// lose or pass dozens of a connection as one.
		if err := netlink.LinkSetGSOMaxSegs(link, 1); err != nil {
			return fmt.Errorf("have a host make its packets itself: %w", err)
		}
		if err := errors.Join(netlink.AddrAdd(link, &netlink.Addr{IPNet: ipNet(address)}), netlink.LinkSetUp(link)); err != nil {
			return fmt.Errorf("give a host the address %s: %w", address, err)
		}
		if err := netlink.RouteAdd(&netlink.Route{LinkIndex: link.Attrs().Index, Gw: gateway.AsSlice()}); err != nil {
			return fmt.Errorf("route a host by %s: %w", gateway, err)
		}
		return nil
	})
	return errors.Join(err, n.carries(hostName), region.carries(port), region.carries(bridgeName))
}

// carries waits until a link carries packets. The kernel tells a bridge of the
// carrier of its ports up to a second late, and the first packets would be lost.
func (n *namespace) carries(name string) error {
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		var state netlink.LinkOperState
		err := n.do(func() error {
			link, err := netlink.LinkByName(name)
			if err == nil {
				state = link.Attrs().OperState
			}
			return err
		})
		if err != nil || state == netlink.OperUp {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("expected the link %s to be up within 10s, found it %s", name, state)
		}
	}
}
