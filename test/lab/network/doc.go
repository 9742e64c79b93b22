// Package network makes the network of the failure lab: regions of hosts, each in
// a network namespace of its own, and a WAN between the regions that can be made
// slow, lossy and cut.
//
// A region is a namespace with a bridge, to which its hosts are joined by veth,
// and a TUN device. What a host sends to another region comes out of the TUN
// device into this process, which decides by the rules of [wan.Router] when it
// goes into the other region's. Within a region and between two single hosts,
// packets are dropped by nftables on the bridge, so that a sender never sees an
// error that a real network would not give it.
//
// No namespace has a name: each is held by a thread of this process, by the
// processes that were started in it and by the sockets that were opened in it.
// Processes die with the thread that started them. So nothing is left behind,
// whatever ends this process, and there is nothing to sweep after a crash.
//
// It needs Linux, root and /dev/net/tun, and no installed program.
package network
