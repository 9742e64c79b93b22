package dns

import (
	"crypto/subtle"
	"encoding/binary"
	"net/netip"
	"time"
)

const (
	cookieLen    = 24 // client cookie and server cookie
	cookieFuture = 5 * time.Minute
	cookiePast   = time.Hour
)

// cookies makes and checks server cookies (RFC 9018).
type cookies struct{ secret []byte }

// append appends the complete COOKIE option data for a client: its own cookie
// and a fresh server cookie of version 1.
func (c cookies) append(b, received []byte, from netip.Addr, now time.Time) []byte {
	start := len(b)
	b = append(b, received[:8]...)
	b = append(b, 1, 0, 0, 0)
	b = put32(b, uint32(now.Unix()))
	return binary.LittleEndian.AppendUint64(b, c.hash(b[start:], from))
}

// valid reports whether the cookie proves that the client is where it says it
// is: ours, at most an hour old, and at most five minutes ahead.
func (c cookies) valid(received []byte, from netip.Addr, now time.Time) bool {
	if len(received) != cookieLen || received[8] != 1 {
		return false
	}
	age := int32(uint32(now.Unix()) - binary.BigEndian.Uint32(received[12:])) // serial arithmetic
	if age > int32(cookiePast/time.Second) || age < -int32(cookieFuture/time.Second) {
		return false
	}
	var want [8]byte
	binary.LittleEndian.PutUint64(want[:], c.hash(received[:16], from))
	return subtle.ConstantTimeCompare(want[:], received[16:]) == 1
}

// hash covers the client cookie, version, reserved bytes, time and address.
func (c cookies) hash(front []byte, from netip.Addr) uint64 {
	var buf [32]byte
	b := append(buf[:0], front...)
	if from.Is4() {
		a := from.As4()
		return sipHash(c.secret, append(b, a[:]...))
	}
	a := from.As16()
	return sipHash(c.secret, append(b, a[:]...))
}
