package network_test

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/federator/federator/test/lab/network"
)

// echo answers every packet that comes to port 7 of a host with itself.
func echo(t *testing.T, h *network.Host) {
	t.Helper()
	c, err := h.ListenPacket("udp", h.Address()+":7")
	ok(t, err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		buffer := make([]byte, 2000)
		for {
			size, from, err := c.ReadFrom(buffer)
			if err != nil {
				return
			}
			_, _ = c.WriteTo(buffer[:size], from) // a lost answer is what tests look for
		}
	}()
	t.Cleanup(func() {
		_ = c.Close()
		<-done
	})
}

// pings sends packets to a host's echo, so many at a pace, and returns the round
// trips of those that came back within patience of the last.
func pings(t *testing.T, from, to *network.Host, count int, every, patience time.Duration) []time.Duration {
	t.Helper()
	c, err := from.DialContext(context.Background(), "udp", to.Address()+":7")
	ok(t, err)
	defer c.Close()
	start := time.Now()
	sent := make([]atomic.Int64, count) // since start, in nanoseconds
	go func() {
		for i := range sent {
			packet := make([]byte, 100)
			packet[0], packet[1] = byte(i>>8), byte(i)
			sent[i].Store(int64(time.Since(start)))
			_, _ = c.Write(packet) // a refusal of an earlier one is none of this one
			time.Sleep(every)
		}
		_ = c.SetReadDeadline(time.Now().Add(patience)) // it may have been read to its end
	}()
	var trips []time.Duration
	buffer := make([]byte, 2000)
	for len(trips) < count {
		size, err := c.Read(buffer)
		if err != nil {
			break
		}
		if size != 100 {
			t.Errorf("expected 100 bytes, found %d", size)
		}
		trips = append(trips, time.Since(start)-time.Duration(sent[int(buffer[0])<<8|int(buffer[1])].Load()))
	}
	slices.Sort(trips)
	return trips
}

// reaches fails the test unless pings get answers.
func reaches(t *testing.T, when string, from, to *network.Host) {
	t.Helper()
	if answers := len(pings(t, from, to, 3, time.Millisecond, 10*time.Second)); answers != 3 {
		t.Errorf("%s: %s reaches %s: expected 3 answers to 3 pings, found %d", when, from, to, answers)
	}
}

// misses fails the test unless pings get no answer, for the reason that they or their
// echoes are among those that lost counts: silence alone may be slowness.
func misses(t *testing.T, when string, from, to *network.Host, lost func() uint64) {
	t.Helper()
	before := lost()
	if answers := len(pings(t, from, to, 3, time.Millisecond, 150*time.Millisecond)); answers != 0 {
		t.Errorf("%s: %s does not reach %s: expected no answer, found %d answers to 3 pings", when, from, to, answers)
	}
	until(t, when+": 3 packets to be lost between "+from.String()+" and "+to.String(), func() bool { return lost() >= before+3 })
}

// takes fails the test for a round trip that is shorter than low, or a median that is
// above top. Each trip crosses the WAN twice: if that was late enough to make it so,
// it is looked again, up to five times.
func takes(t *testing.T, n *network.Network, from, to *network.Host, low, top time.Duration) {
	t.Helper()
	const count, most = 20, 5
	for look := 1; ; look++ {
		n.Late()
		trips := pings(t, from, to, count, 10*time.Millisecond, 10*time.Second)
		late := n.Late()
		if len(trips) != count {
			t.Errorf("%s: expected %d answers, found %d", to, count, len(trips))
			return
		}
		if trips[0] < low {
			t.Errorf("%s: expected no round trip below %v, found %v", to, low, trips)
			return
		}
		if trips[count/2] <= top {
			return
		}
		if look == most || late < (top-low)/2 {
			t.Errorf("%s: expected round trips of %v to %v, found %v, the WAN late by %v at most", to, low, top, trips, late)
			return
		}
		t.Logf("%s: a median of %v while the WAN was late by %v at most: once more", to, trips[count/2], late)
	}
}

// lostOf pings a host so many times, and returns how many of the pings or their echoes
// the rules dropped. All others have to come back, however long that takes: a hundred
// at a time, which every buffer has room for.
func lostOf(t *testing.T, n *network.Network, from, to *network.Host, count int) uint64 {
	t.Helper()
	c, err := from.DialContext(context.Background(), "udp", to.Address()+":7")
	ok(t, err)
	var answers atomic.Int64
	done := make(chan struct{})
	go func() {
		defer close(done)
		for buffer := make([]byte, 2000); ; answers.Add(1) {
			if _, err := c.Read(buffer); err != nil {
				return // it is closed
			}
		}
	}()
	defer func() {
		_ = c.Close()
		<-done
	}()
	dropped := func() uint64 {
		found, err := network.Dropped(n)
		ok(t, err)
		return found
	}
	before := dropped()
	for sent := 0; sent < count; {
		for range min(100, count-sent) {
			_, err := c.Write(make([]byte, 100))
			ok(t, err)
			sent++
		}
		until(t, fmt.Sprintf("%d pings of %s to be answered or dropped", sent, to), func() bool { return uint64(answers.Load())+dropped()-before == uint64(sent) })
	}
	return dropped() - before
}
