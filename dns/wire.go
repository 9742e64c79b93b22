package dns

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"strings"
)

// Types, classes, codes and bits of the wire format (RFC 1035 unless noted).
const (
	typeA     = 1
	typeNS    = 2
	typeSOA   = 6
	typeHINFO = 13
	typeTXT   = 16
	typeAAAA  = 28
	typeSRV   = 33
	typeOPT   = 41
	typeIXFR  = 251
	typeAXFR  = 252
	typeANY   = 255

	classIN = 1

	rcodeOK        = 0
	rcodeFormat    = 1
	rcodeName      = 3
	rcodeNotImp    = 4
	rcodeRefused   = 5
	rcodeBadVers   = 16 // RFC 6891
	rcodeBadCookie = 23 // RFC 7873

	flagQR     = 1 << 15
	flagAA     = 1 << 10
	flagTC     = 1 << 9
	flagRD     = 1 << 8
	flagCD     = 1 << 4
	maskOpcode = 0xf << 11

	optECS    = 8  // RFC 7871
	optCookie = 10 // RFC 7873
	optEDE    = 15 // RFC 8914

	headerLen   = 12
	minUDP      = 512
	maxUDP      = 1232 // fits every path without fragments
	maxMessage  = 65535
	maxName     = 255
	pointerMark = 0xc000
	ownerAtQ    = pointerMark | headerLen // the name of the question
)

// Extended errors (RFC 8914).
const (
	edeNone             = -1
	edeStale            = 3
	edeNotReady         = 14
	edeStaleNX          = 19
	edeNotAuthoritative = 20
	edeNotSupported     = 21
)

func put16(b []byte, v int) []byte { return binary.BigEndian.AppendUint16(b, uint16(v)) }
func put32(b []byte, v uint32) []byte {
	return binary.BigEndian.AppendUint32(b, v)
}

// packName appends a dotted lower-case name in wire form without the root label.
func packName(b []byte, dotted string) []byte {
	for label := range strings.SplitSeq(dotted, ".") {
		b = packLabel(b, label)
	}
	return b
}

func packLabel(b []byte, label string) []byte {
	return append(append(b, byte(len(label))), label...)
}

// head appends type, class, TTL and data length of a record.
func head(b []byte, rrtype int, ttl uint32, length int) []byte {
	b = put16(b, rrtype)
	b = put16(b, classIN)
	b = put32(b, ttl)
	return put16(b, length)
}

// appendAddress appends everything of an A or AAAA record but its owner.
func appendAddress(b []byte, a netip.Addr, ttl uint32) []byte {
	raw := a.AsSlice()
	if len(raw) == 4 {
		return append(head(b, typeA, ttl, 4), raw...)
	}
	return append(head(b, typeAAAA, ttl, 16), raw...)
}

// addressLabel is the label of an endpoint without a hostname; see the package
// documentation.
func addressLabel(a netip.Addr) string {
	if a.Is4() {
		return strings.ReplaceAll(a.String(), ".", "-")
	}
	s := strings.ReplaceAll(a.String(), ":", "-")
	if strings.HasPrefix(s, "-") {
		s = "0" + s
	}
	if strings.HasSuffix(s, "-") {
		s += "0"
	}
	return s
}

// labelAddress is the inverse of addressLabel.
func labelAddress(label []byte) (netip.Addr, bool) {
	if len(label) > 45 || bytes.IndexByte(label, '-') < 0 {
		return netip.Addr{}, false
	}
	a, err := netip.ParseAddr(strings.ReplaceAll(string(label), "-", "."))
	if err != nil {
		a, err = netip.ParseAddr(strings.ReplaceAll(string(label), "-", ":"))
	}
	if err != nil || addressLabel(a) != string(label) {
		return netip.Addr{}, false
	}
	return a, true
}
