package network

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"slices"
	"strings"

	"github.com/federator/federator/test/niceness"
)

// Host is a machine of a region: a network namespace with one address. Its
// methods may be called from any goroutine.
type Host struct {
	region *region
	name   string
	ip     netip.Addr
	ns     *namespace
}

// Host returns a host of a region, and makes it if there is none of that name.
func (n *Network) Host(region, name string) (*Host, error) {
	r, err := n.region(region)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if i := slices.IndexFunc(r.hosts, func(h *Host) bool { return h.name == name }); i >= 0 {
		return r.hosts[i], nil
	}
	h, err := r.newHost(name)
	if err != nil {
		return nil, fmt.Errorf("host %s of region %s: %w", name, region, err)
	}
	r.hosts = append(r.hosts, h)
	return h, nil
}

// Hosts are the hosts of a region, in the order in which they were made.
func (n *Network) Hosts(region string) ([]*Host, error) {
	r, err := n.region(region)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.hosts), nil
}

// newHost makes the next host of the region, whose lock is held.
func (r *region) newHost(name string) (*Host, error) {
	if len(r.hosts) >= maxHosts {
		return nil, fmt.Errorf("expected up to %d hosts in a region", maxHosts)
	}
	number := len(r.hosts) + 2 // the first address is the gateway's
	prefix := r.net.Addr().As4()
	h := &Host{region: r, name: name, ip: netip.AddrFrom4([4]byte{prefix[0], prefix[1], byte(number >> 8), byte(number)})}
	var err error
	if h.ns, err = newNamespace(); err != nil {
		return nil, err
	}
	if err := h.ns.layHost(r.ns, fmt.Sprintf("h%d", number), netip.PrefixFrom(h.ip, r.net.Bits()), r.gateway()); err != nil {
		h.ns.close()
		return nil, err
	}
	return h, nil
}

// Name is the host's name within its region.
func (h *Host) Name() string { return h.name }

// Region is the name of the host's region.
func (h *Host) Region() string { return h.region.name }

// IP is the host's address.
func (h *Host) IP() netip.Addr { return h.ip }

// Address is the host's address as text.
func (h *Host) Address() string { return h.ip.String() }

// String returns "region/name".
func (h *Host) String() string { return h.region.name + "/" + h.name }

// Start starts a command in the host. It dies with the network and with this
// process, and is in a process group of its own.
func (h *Host) Start(cmd *exec.Cmd) error {
	ofHost(cmd)
	return h.ns.do(func() error { return niceness.Ordinarily(cmd.Start) })
}

// DialContext connects from the host, as [net.Dialer.DialContext] does; the
// address is an IP address and a port.
func (h *Host) DialContext(ctx context.Context, network, address string) (c net.Conn, err error) {
	if !strings.HasPrefix(network, "udp") {
		return h.ns.dial(ctx, network, address)
	}
	err = h.ns.do(func() (err error) { // which does not wait for an answer
		c, err = new(net.Dialer).DialContext(ctx, network, address)
		return err
	})
	return c, err
}

// Listen listens in the host for connections, as [net.Listen] does.
func (h *Host) Listen(network, address string) (l net.Listener, err error) {
	err = h.ns.do(func() (err error) { l, err = net.Listen(network, address); return err })
	return l, err
}

// ListenPacket listens in the host for packets, as [net.ListenPacket] does.
func (h *Host) ListenPacket(network, address string) (c net.PacketConn, err error) {
	err = h.ns.do(func() (err error) { c, err = net.ListenPacket(network, address); return err })
	return c, err
}

// Drop loses a share, 0 to 1, of the packets that the host sends to the others,
// or to everybody if none are given. A share of 0 ends that. The others may be of
// other regions. Which packets are lost is the kernel's luck, not the seed's.
func (h *Host) Drop(share float64, to ...*Host) error {
	if len(to) == 0 {
		return h.region.set(&rule{from: h.ip, share: share})
	}
	var errs []error
	for _, other := range to {
		errs = append(errs, other.region.set(&rule{from: h.ip, to: other.ip, share: share}))
	}
	return errors.Join(errs...)
}

// CutFrom loses everything between the host and the others, both ways, and
// nothing else. [Host.MendWith] ends it.
func (h *Host) CutFrom(others ...*Host) error { return h.between(1, others) }

// MendWith ends what CutFrom or Drop did between the host and the others.
func (h *Host) MendWith(others ...*Host) error { return h.between(0, others) }

func (h *Host) between(share float64, others []*Host) error {
	var errs []error
	for _, other := range others {
		errs = append(errs, h.Drop(share, other), other.Drop(share, h))
	}
	return errors.Join(errs...)
}

// Freeze loses everything that the host sends and that is sent to it. To others
// it is as if the machine had lost its power. [Host.Thaw] ends it.
func (h *Host) Freeze() error { return h.silence(1) }

// Thaw ends Freeze, and a Drop to everybody.
func (h *Host) Thaw() error { return h.silence(0) }

func (h *Host) silence(share float64) error {
	return errors.Join(h.Drop(share), h.region.set(&rule{to: h.ip, share: share}))
}
