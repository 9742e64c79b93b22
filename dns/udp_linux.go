package dns

import (
	"encoding/binary"
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"
)

// canShare: several sockets can be bound to one port.
const canShare = true

// controlUDP sets the socket options: a shared port, and for a wildcard address
// the address that each packet came to.
func controlUDP(wildcard bool) func(network, address string, c syscall.RawConn) error {
	return func(network, _ string, c syscall.RawConn) error {
		var failed error
		err := c.Control(func(fd uintptr) {
			failed = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
			if failed != nil || !wildcard {
				return
			}
			if network == "udp4" {
				failed = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_PKTINFO, 1)
				return
			}
			failed = unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1)
		})
		if err != nil {
			return err
		}
		return failed
	}
}

// replyFrom returns the address that a packet came to. It turns the control
// message into one that makes the reply leave from there, which is the same
// message but for the interface: that the routes choose, unless the address is
// link-local.
func replyFrom(control []byte) netip.Addr {
	if len(control) < unix.SizeofCmsghdr {
		return netip.Addr{}
	}
	level := binary.NativeEndian.Uint32(control[unix.SizeofCmsghdr-8:])
	kind := binary.NativeEndian.Uint32(control[unix.SizeofCmsghdr-4:])
	data := control[unix.SizeofCmsghdr:]
	switch {
	case level == unix.IPPROTO_IP && kind == unix.IP_PKTINFO && len(data) >= unix.SizeofInet4Pktinfo:
		clear(data[:4]) // ifindex; then spec_dst, the local address
		return netip.AddrFrom4([4]byte(data[4:8]))
	case level == unix.IPPROTO_IPV6 && kind == unix.IPV6_PKTINFO && len(data) >= unix.SizeofInet6Pktinfo:
		a := netip.AddrFrom16([16]byte(data[:16])).Unmap()
		if !a.IsLinkLocalUnicast() {
			clear(data[16:20])
		}
		return a
	}
	return netip.Addr{}
}
