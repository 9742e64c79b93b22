package federation

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"
)

// A replica may be known by a host name, as behind a load balancer, and start while
// nobody answers questions for it: the machines have just booted, or the region is cut
// off. It then starts without what the name would tell.

// lookupPatience bounds each lookup of a name of its own while a replica starts.
const lookupPatience = 3 * time.Second

// listenAddress is where to listen: as configured, else on the advertised
// address if this machine has it, else on the advertised port of every address. A
// host name is looked up here once; what is returned has none but a configured one.
func (r *Replica) listenAddress(ctx context.Context, configured, advertised string) (string, error) {
	if configured != "" {
		return configured, nil
	}
	host, number, err := net.SplitHostPort(advertised)
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, lookupPatience)
	defer cancel()
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		if unknown := (*net.DNSError)(nil); errors.As(err, &unknown) {
			r.log.Warn("the own address: expected a name that can be looked up; listening on every address of this machine: give an IP address to listen on if that is too many", "address", advertised, "error", err)
		}
		return net.JoinHostPort("", number), nil
	}
	defer l.Close()
	if found := l.Addr().(*net.TCPAddr).AddrPort().Addr().Unmap(); host != "" {
		host = found.String()
	}
	return net.JoinHostPort(host, number), nil
}

// dnsAddress is where DNS listens by default: the advertised address, or its port
// on every address if this machine does not have that one.
func (r *Replica) dnsAddress(ctx context.Context) (string, error) {
	advertised := r.card.Replica.DNSAddress
	address, err := r.listenAddress(ctx, "", advertised)
	if err != nil {
		return "", err
	}
	udp, err := net.ResolveUDPAddr("udp", address) // of the port only
	if err != nil {
		return "", fmt.Errorf("DNS address %s: %w; give an IP address with --dns", advertised, err)
	}
	if udp.IP == nil {
		return address, nil
	}
	return netip.AddrPortFrom(udp.AddrPort().Addr().Unmap(), udp.AddrPort().Port()).String(), nil
}

// advertised is what this replica tells memberlist about where its gossip is reached;
// local is where it listens. Only those need it that have no record of this replica
// yet, or one with an IP address: where the record has a name, everybody looks that up
// again and again, and so follows a load balancer whose addresses change. So an
// address of this machine does no harm instead of one that cannot be looked up now:
// its siblings may reach it there, and others do once they can look up the name.
func (r *Replica) advertised(ctx context.Context, local net.Addr) netip.AddrPort {
	address := r.card.Replica.GossipAddress
	found, err := lookUp(ctx, net.DefaultResolver.LookupNetIP, address)
	if err != nil {
		found = ownEndpoint(local)
		r.log.Warn("the own gossip address: expected a name that can be looked up; starting all the same, since others look it up themselves; if this goes on, see to the DNS that this machine asks", "address", address, "instead", found.String(), "error", err)
	}
	return found
}

// lookUp resolves HOST:PORT with a bound, as lookup does host names; the zero address
// means that it has no host.
func lookUp(ctx context.Context, lookup func(ctx context.Context, network, host string) ([]netip.Addr, error), address string) (netip.AddrPort, error) {
	host, service, err := net.SplitHostPort(address)
	if err != nil || host == "" {
		return netip.AddrPort{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, lookupPatience)
	defer cancel()
	port, err := net.DefaultResolver.LookupPort(ctx, "udp", service)
	if err != nil {
		return netip.AddrPort{}, err
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		return netip.AddrPortFrom(ip.Unmap(), uint16(port)), nil
	}
	ips, err := lookup(ctx, "ip", host)
	if err != nil {
		return netip.AddrPort{}, err
	}
	ips = slices.DeleteFunc(ips, netip.Addr.IsUnspecified) // with which some resolvers refuse
	if len(ips) == 0 {
		return netip.AddrPort{}, fmt.Errorf("host %s: expected an address that others can reach, found none; see to its DNS records", host)
	}
	at := max(slices.IndexFunc(ips, func(ip netip.Addr) bool { return ip.Unmap().Is4() }), 0)
	return netip.AddrPortFrom(ips[at].Unmap(), uint16(port)), nil
}

// ownEndpoint is an address of this machine at which a socket that listens at local is
// reached.
func ownEndpoint(local net.Addr) netip.AddrPort {
	at := local.(*net.UDPAddr).AddrPort()
	ip := at.Addr().Unmap()
	if ip.IsUnspecified() {
		ip = netip.MustParseAddr(ownAddress())
	}
	return netip.AddrPortFrom(ip, at.Port())
}
