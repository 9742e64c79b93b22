package gossip

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"
)

const (
	// resolvedFor is how long a resolved host name is believed.
	resolvedFor    = 30 * time.Second
	resolveTimeout = 2 * time.Second
	// resolveAtOnce bounds the lookups under way.
	resolveAtOnce = 16
)

// address is the target as memberlist addresses it.
func (t target) address() memberlist.Address {
	return memberlist.Address{Addr: t.UDP.String(), Name: t.NodeName.String()}
}

// joinAddress is the target as memberlist.Join wants it: NAME/IP:PORT, where
// NAME ends at the first slash. A dot stands for the slash in ours; [directory.dial]
// understands both.
func (t target) joinAddress() string {
	return t.Region + "." + t.Name + "/" + t.UDP.String()
}

// directory knows where every replica can be reached: by the regions' records,
// and for those that have none yet, by what memberlist says.
type directory struct {
	self   NodeName
	lookup func(ctx context.Context, host string) (netip.Addr, error)

	mu       sync.RWMutex
	recorded map[NodeName]target
	members  map[NodeName]target // alive by memberlist
	resolved map[string]resolution
}

type resolution struct {
	addr netip.Addr
	at   time.Time
}

func newDirectory(self NodeName) *directory {
	return &directory{
		self:     self,
		lookup:   lookupHost,
		recorded: map[NodeName]target{},
		members:  map[NodeName]target{},
		resolved: map[string]resolution{},
	}
}

// record replaces what the regions' records say.
func (d *directory) record(targets []target) {
	recorded := make(map[NodeName]target, len(targets))
	for _, t := range targets {
		if t.NodeName != d.self {
			recorded[t.NodeName] = t
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.recorded = recorded
}

// setMember notes that memberlist sees a replica.
func (d *directory) setMember(t target) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if t.NodeName != d.self {
		d.members[t.NodeName] = t
	}
}

// dropMember notes that memberlist no longer sees a replica.
func (d *directory) dropMember(n NodeName) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.members, n)
}

// member reports whether memberlist sees the replica.
func (d *directory) member(n NodeName) bool {
	d.mu.RLock()
	defer d.mu.RUnlock()
	_, ok := d.members[n]
	return ok
}

// sibling reports whether the address is that of a replica of the own region, or
// could be: on the machine of one, and not the known address of any other.
func (d *directory) sibling(a netip.AddrPort) bool {
	d.mu.RLock()
	defer d.mu.RUnlock()
	near := false
	for _, known := range []map[NodeName]target{d.members, d.recorded} {
		for _, t := range known {
			switch {
			case t.Region != d.self.Region && t.UDP == a:
				return false
			case t.Region == d.self.Region && t.UDP.Addr() == a.Addr():
				near = true
			}
		}
	}
	return near
}

// size is how many replicas memberlist sees, this one included.
func (d *directory) size() int {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return 1 + len(d.members)
}

// all returns every other replica in order of name.
func (d *directory) all() []target {
	d.mu.RLock()
	merged := maps.Clone(d.members)
	maps.Copy(merged, d.recorded)
	d.mu.RUnlock()
	return slices.SortedFunc(maps.Values(merged), func(a, b target) int {
		return strings.Compare(a.NodeName.String(), b.NodeName.String())
	})
}

// dial returns the TCP address of a replica that memberlist addresses by name,
// or only by its UDP address.
func (d *directory) dial(a memberlist.Address) (string, error) {
	name, _ := parseNodeName(strings.Replace(a.Name, ".", "/", 1))
	for _, t := range d.all() {
		if t.TCP != "" && (t.NodeName == name || a.Name == "" && t.UDP.String() == a.Addr) {
			return t.TCP, nil
		}
	}
	return "", fmt.Errorf("gossip stream to %s: no replica of that name has a known peer address", a.String())
}

// where returns the UDP address of a replica that memberlist addresses: where the
// name in its record leads, which is looked up again and again, or else what it said
// of itself when it started. A load balancer's name gets other addresses, and may have
// had none then.
func (d *directory) where(a memberlist.Address) string {
	name, err := parseNodeName(a.Name)
	if err != nil {
		return a.Addr
	}
	d.mu.RLock()
	defer d.mu.RUnlock()
	if t := d.recorded[name]; t.Named && t.UDP.IsValid() {
		return t.UDP.String()
	}
	return a.Addr
}

// locate resolves host:port to an address; names are looked up and remembered.
func (d *directory) locate(ctx context.Context, now time.Time, hostport string) (netip.AddrPort, error) {
	if ap, err := netip.ParseAddrPort(hostport); err == nil {
		return ap, nil
	}
	host, portText, err := net.SplitHostPort(hostport)
	if err != nil {
		return netip.AddrPort{}, err
	}
	port, err := strconv.ParseUint(portText, 10, 16)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("port %q: %w", portText, err)
	}
	d.mu.RLock()
	r, ok := d.resolved[host]
	d.mu.RUnlock()
	if !ok || now.Sub(r.at) > resolvedFor {
		ctx, cancel := context.WithTimeout(ctx, resolveTimeout)
		defer cancel()
		addr, err := d.lookup(ctx, host)
		if err != nil && !ok {
			return netip.AddrPort{}, err
		}
		if err == nil {
			r = resolution{addr: addr, at: now}
			d.remember(host, r)
		}
	}
	return netip.AddrPortFrom(r.addr, uint16(port)), nil
}

func (d *directory) remember(host string, r resolution) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.resolved) > maxWanted {
		clear(d.resolved)
	}
	d.resolved[host] = r
}

func lookupHost(ctx context.Context, host string) (netip.Addr, error) {
	addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return netip.Addr{}, err
	}
	if len(addrs) == 0 {
		return netip.Addr{}, errors.New("no address for " + host)
	}
	// Of IPv4 if there is one, as where a replica listens.
	return addrs[max(slices.IndexFunc(addrs, func(a netip.Addr) bool { return a.Unmap().Is4() }), 0)].Unmap(), nil
}
