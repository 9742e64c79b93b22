package network

import (
	"encoding/binary"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"github.com/federator/federator/test/lab/network/wan"
)

// carrier gives a router its clock: it takes packets in and lets them out when
// they are due.
type carrier struct {
	wake  chan struct{} // has a value when the next arrival may be an earlier one
	done  chan struct{}
	close func()
	made  time.Time // since when marks count

	mu     sync.Mutex // guards what follows
	router *wan.Router
	late   time.Duration // the most that a packet was late since Late was asked
}

func newCarrier(r *wan.Router) *carrier {
	c := &carrier{router: r, made: time.Now(), wake: make(chan struct{}, 1), done: make(chan struct{})}
	c.close = sync.OnceFunc(func() { close(c.done) })
	return c
}

func (c *carrier) with(do func(*wan.Router) error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return do(c.router)
}

// lateness is how late the latest packet was since the last call.
func (c *carrier) lateness() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	late := c.late
	c.late = 0
	return late
}

// collect hands what a region sends to the router, until its TUN device is closed.
// regionOf says to which region an address belongs, "" for none.
func (c *carrier) collect(from string, tun *os.File, regionOf func(netip.Addr) string) {
	buffer := make([]byte, 1<<16)
	for {
		size, err := tun.Read(buffer)
		if err != nil {
			return // it is closed
		}
		where := destination(buffer[:size])
		if where == markTo.Addr() {
			c.marked(buffer[:size])
			continue
		}
		to := regionOf(where)
		if to == "" || to == from {
			continue // to nobody
		}
		packet := append([]byte(nil), buffer[:size]...)
		_ = c.with(func(r *wan.Router) error { return r.Send(time.Now(), from, to, packet) }) // both are regions
		select {
		case c.wake <- struct{}{}:
		default: // it is awake already
		}
	}
}

// destination is where an IPv4 packet goes; of anything else it is 0.0.0.0.
func destination(packet []byte) netip.Addr {
	if len(packet) < 20 || packet[0]>>4 != 4 {
		return netip.IPv4Unspecified()
	}
	return netip.AddrFrom4([4]byte(packet[16:20]))
}

// deliver writes packets into the TUN devices of their regions when they are due,
// until the carrier is closed.
func (c *carrier) deliver(tuns map[string]*os.File) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		c.mu.Lock()
		now := time.Now()
		if first, some := c.router.Next(); some {
			c.late = max(c.late, now.Sub(first))
		}
		due := c.router.Due(now)
		next, some := c.router.Next()
		c.mu.Unlock()
		for _, d := range due {
			_, _ = tuns[d.To].Write(d.Packet) // a kernel that has no room drops it, as routers do
		}
		if some {
			timer.Reset(time.Until(next))
		} else {
			timer.Stop()
		}
		select {
		case <-timer.C:
		case <-c.wake:
		case <-c.done:
			return
		}
	}
}

// A region marks the time by packets to an address that is nobody's, so that the
// carrier sees how long packets wait for it in the kernel.
var markTo = netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 255, 255, 254}), 9)

const (
	markEvery   = 50 * time.Millisecond
	markHeaders = 20 + 8 // of IPv4 and UDP, in bytes
)

// mark sends the time through a region's TUN device over and over, until the carrier
// is closed: the time when it was due, so that it is late as well if this process
// stood still.
func (c *carrier) mark(to net.Conn) {
	defer to.Close()
	due := time.Now()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-c.done:
			return
		case now := <-timer.C:
			_, _ = to.Write(binary.BigEndian.AppendUint64(nil, uint64(due.Sub(c.made)))) // the next one says more than one that is lost
			due = now.Add(markEvery)
			timer.Reset(time.Until(due))
		}
	}
}

// marked takes a packet that mark sent.
func (c *carrier) marked(packet []byte) {
	if len(packet) != markHeaders+8 {
		return
	}
	sent := c.made.Add(time.Duration(binary.BigEndian.Uint64(packet[markHeaders:])))
	c.mu.Lock()
	defer c.mu.Unlock()
	c.late = max(c.late, time.Since(sent))
}
