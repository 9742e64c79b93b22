package network

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"

	"github.com/federator/federator/test/lab/network/wan"
	"github.com/federator/federator/test/niceness"
)

// ErrUnavailable is in the error of [New] where there can be no lab.
var ErrUnavailable = errors.New("the failure lab needs Linux, root and /dev/net/tun; run it there")

var errClosed = errors.New("the network of the lab is closed")

// maxRegions and maxHosts bound a network, so that every host has an address:
// region n has 10.n.0.0/16.
const (
	maxRegions = 200
	maxHosts   = 1000 // what a bridge can hold is a little more
)

// Network is regions of hosts and the WAN between them. Its methods may be called
// from any goroutine.
type Network struct {
	seed    uint64
	regions []*region
	carrier *carrier
	readers sync.WaitGroup
	close   func() error

	mu   sync.Mutex // guards what follows
	base wan.Link   // of all paths, after Heal
}

// region is a namespace with a bridge and a TUN device.
type region struct {
	name string
	net  netip.Prefix
	ns   *namespace
	tun  *os.File

	mu     sync.Mutex // guards what follows
	hosts  []*Host
	faults faults
}

// New makes a network of regions without hosts, between which the WAN is perfect.
// All luck of the WAN follows from the seed. The network is gone after Close, and
// when the process is.
func New(seed uint64, regions ...string) (*Network, error) {
	if len(regions) > maxRegions {
		return nil, fmt.Errorf("expected up to %d regions, found %d", maxRegions, len(regions))
	}
	for i, name := range regions {
		if name == "" || slices.Contains(regions[:i], name) {
			return nil, fmt.Errorf("expected different names of regions, none empty, found %q", regions)
		}
	}
	// A network does not wait for the machines that it joins, and here those take all
	// of the CPU at times. Where it may not go first, it may be late: see Network.Late.
	niceness.Favour()
	n := &Network{seed: seed, carrier: newCarrier(wan.New(seed, regions...))}
	n.close = sync.OnceValue(n.shut)
	for i, name := range regions {
		r, err := newRegion(name, i+1)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("region %s of the lab: %w", name, err), n.Close())
		}
		n.regions = append(n.regions, r)
	}
	if err := n.run(); err != nil {
		return nil, errors.Join(err, n.Close())
	}
	return n, nil
}

// all is the network that all regions are part of.
func all() netip.Prefix { return netip.PrefixFrom(netip.AddrFrom4([4]byte{10}), 8) }

// newRegion makes the region with the given number, 1 or more.
func newRegion(name string, number int) (*region, error) {
	r := &region{name: name, faults: faults{}, net: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(number)}), 16)}
	var err error
	if r.ns, err = newNamespace(); err != nil {
		return nil, fmt.Errorf("%w; %w", err, ErrUnavailable)
	}
	if r.tun, err = r.ns.layRegion(netip.PrefixFrom(r.gateway(), r.net.Bits()), all()); err != nil {
		r.ns.close()
		return nil, err
	}
	return r, nil
}

// gateway is the region's own address.
func (r *region) gateway() netip.Addr { return r.net.Addr().Next() }

// run starts carrying packets.
func (n *Network) run() error {
	tuns := map[string]*os.File{}
	for _, r := range n.regions {
		tuns[r.name] = r.tun
	}
	n.readers.Go(func() { n.carrier.deliver(tuns) })
	for _, r := range n.regions {
		n.readers.Go(func() { n.carrier.collect(r.name, r.tun, n.regionOf) })
	}
	for _, r := range n.regions {
		var marks net.Conn
		err := r.ns.do(func() (err error) {
			marks, err = net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(markTo))
			return err
		})
		if err != nil {
			return fmt.Errorf("mark packets in region %s: %w", r.name, err)
		}
		n.readers.Go(func() { n.carrier.mark(marks) })
	}
	return nil
}

// regionOf is the name of the region that an address belongs to, "" for none.
func (n *Network) regionOf(a netip.Addr) string {
	if number := int(a.As4()[1]); all().Contains(a) && number >= 1 && number <= len(n.regions) {
		return n.regions[number-1].name
	}
	return ""
}

// Close takes the network down. It kills every process that was started in it.
// Sockets that were opened in it and are still open can reach nobody.
func (n *Network) Close() error { return n.close() }

func (n *Network) shut() error {
	n.carrier.close()
	var errs []error
	for _, r := range n.regions {
		errs = append(errs, r.tun.Close())
	}
	n.readers.Wait()
	for _, r := range n.regions {
		r.mu.Lock()
		hosts := r.hosts
		r.mu.Unlock()
		for _, h := range hosts {
			h.ns.close()
		}
		r.ns.close()
	}
	return errors.Join(errs...)
}

// Seed is the seed that the network was made with.
func (n *Network) Seed() uint64 { return n.seed }

// Regions are the names of the regions, in the order in which they were given.
func (n *Network) Regions() []string {
	var names []string
	for _, r := range n.regions {
		names = append(names, r.name)
	}
	return names
}

func (n *Network) region(name string) (*region, error) {
	for _, r := range n.regions {
		if r.name == name {
			return r, nil
		}
	}
	return nil, fmt.Errorf("expected one of the regions %q, found %q", n.Regions(), name)
}

// set changes a rule of a region's bridge, or ends all if r is nil.
func (r *region) set(change *rule) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if change == nil {
		if len(r.faults) == 0 {
			return nil
		}
		clear(r.faults)
	} else if err := r.faults.drop(*change); err != nil {
		return err
	}
	return r.ns.enforce(r.faults.rules())
}
