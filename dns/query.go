package dns

import (
	"encoding/binary"
	"net/netip"
)

// query is one parsed question. It borrows from the packet it was parsed from.
type query struct {
	id       uint16
	flags    uint16 // as received
	question []byte // name, type and class as received; nil if unreadable
	name     [maxName]byte
	nameLen  int // of name in lower case, with the root label
	starts   [128]uint8
	labels   int
	qtype    uint16
	qclass   uint16

	edns    bool
	version uint8
	do      bool
	size    int    // the client's UDP buffer
	cookie  []byte // as received
	ecs     subnet
}

// subnet is an EDNS client subnet as received.
type subnet struct {
	raw    []byte // the option's data; nil if there was none
	prefix netip.Prefix
}

// verdict says what to do with a packet once it is parsed: answer it, drop it,
// or reply with an error code.
type verdict int

const (
	accept verdict = -1
	drop   verdict = -2
)

// parse reads a packet. It checks everything that it reads, and borrows rather
// than copies; only the name is copied, in lower case.
func (q *query) parse(p []byte) verdict {
	if len(p) < headerLen {
		return drop
	}
	q.id = binary.BigEndian.Uint16(p)
	q.flags = binary.BigEndian.Uint16(p[2:])
	q.question, q.nameLen, q.labels = nil, 0, 0
	q.edns, q.version, q.do, q.size = false, 0, false, minUDP
	q.cookie, q.ecs = nil, subnet{}
	if q.flags&flagQR != 0 {
		return drop
	}
	return q.parseBody(p)
}

// parseBody reads what is behind the header. It looks for OPT even where the
// reply is an error anyway: that carries an OPT too (RFC 6891 6.1.1).
func (q *query) parseBody(p []byte) verdict {
	count := int(binary.BigEndian.Uint16(p[4:]))
	var off int
	if count == 1 {
		off = q.parseQuestion(p)
	} else {
		off = skipQuestions(p, count)
	}
	v := verdict(rcodeFormat)
	if off >= 0 {
		v = q.parseRecords(p, off)
	}
	switch {
	case q.flags&maskOpcode != 0:
		return rcodeNotImp
	case v != accept:
		return v
	case count > 1, count == 0 && q.cookie == nil:
		return rcodeFormat // RFC 9619; RFC 7873 5.4 alone allows no question
	}
	return accept
}

// skipQuestions returns the offset behind n questions, or -1.
func skipQuestions(p []byte, n int) int {
	off := headerLen
	for range n {
		off = skipName(p, off)
		if off < 0 || off+4 > len(p) {
			return -1
		}
		off += 4
	}
	return off
}

// parseQuestion reads the question and returns the offset behind it, or -1.
func (q *query) parseQuestion(p []byte) int {
	off, n := headerLen, 0
	for {
		if off >= len(p) {
			return -1
		}
		l := int(p[off])
		if l == 0 {
			break
		}
		if l > 63 || off+1+l >= len(p) || n+1+l >= maxName {
			return -1
		}
		q.starts[q.labels] = uint8(n)
		q.labels++
		q.name[n] = byte(l)
		lower(q.name[n+1:n+1+l], p[off+1:off+1+l])
		n += 1 + l
		off += 1 + l
	}
	q.starts[q.labels] = uint8(n)
	q.name[n] = 0
	q.nameLen = n + 1
	if off+5 > len(p) {
		return -1
	}
	q.qtype = binary.BigEndian.Uint16(p[off+1:])
	q.qclass = binary.BigEndian.Uint16(p[off+3:])
	q.question = p[headerLen : off+5]
	return off + 5
}

func lower(dst, src []byte) {
	for i, c := range src {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		dst[i] = c
	}
}

// parseRecords walks the records behind the question, of which only OPT means
// anything here. It never follows a compression pointer.
func (q *query) parseRecords(p []byte, off int) verdict {
	answers := int(binary.BigEndian.Uint16(p[6:])) + int(binary.BigEndian.Uint16(p[8:]))
	total := answers + int(binary.BigEndian.Uint16(p[10:]))
	for i := range total {
		owner := off
		off = skipName(p, off)
		if off < 0 || off+10 > len(p) {
			return rcodeFormat
		}
		fixed := p[off : off+10]
		end := off + 10 + int(binary.BigEndian.Uint16(fixed[8:]))
		if end > len(p) {
			return rcodeFormat
		}
		if binary.BigEndian.Uint16(fixed) == typeOPT {
			if q.edns || i < answers || p[owner] != 0 {
				return rcodeFormat // RFC 6891 6.1.1: one, of the root, additional
			}
			if v := q.parseOPT(fixed, p[off+10:end]); v != accept {
				return v
			}
		}
		off = end
	}
	if off != len(p) {
		return rcodeFormat
	}
	if q.version != 0 {
		return rcodeBadVers
	}
	return accept
}

// skipName returns the offset behind a name, or -1.
func skipName(p []byte, off int) int {
	for off < len(p) {
		switch l := int(p[off]); {
		case l == 0:
			return off + 1
		case l >= 0xc0:
			return off + 2
		case l > 63:
			return -1
		default:
			off += 1 + l
		}
	}
	return -1
}

// parseOPT reads an OPT record (RFC 6891).
func (q *query) parseOPT(fixed, data []byte) verdict {
	q.edns = true
	q.size = max(minUDP, int(binary.BigEndian.Uint16(fixed[2:])))
	q.version = fixed[5]
	q.do = fixed[6]&0x80 != 0
	if q.version != 0 {
		return accept // another version's options may look different
	}
	for len(data) > 0 {
		if len(data) < 4 {
			return rcodeFormat
		}
		code := binary.BigEndian.Uint16(data)
		n := int(binary.BigEndian.Uint16(data[2:]))
		if len(data) < 4+n {
			return rcodeFormat
		}
		if v := q.parseOption(code, data[4:4+n]); v != accept {
			return v
		}
		data = data[4+n:]
	}
	return accept
}

// parseOption reads one option; of several with one code the first counts.
func (q *query) parseOption(code uint16, data []byte) verdict {
	switch {
	case code == optECS && q.ecs.raw == nil:
		return q.ecs.parse(data)
	case code == optCookie && q.cookie == nil:
		if len(data) != 8 && (len(data) < 16 || len(data) > 40) {
			return rcodeFormat // RFC 7873 5.2.2
		}
		q.cookie = data
	}
	return accept
}

// parse reads a client subnet (RFC 7871 6 and 7.1.2).
func (s *subnet) parse(data []byte) verdict {
	if len(data) < 4 || data[3] != 0 {
		return rcodeFormat
	}
	bits, raw := int(data[2]), data[4:]
	var full [16]byte
	width := 0
	switch binary.BigEndian.Uint16(data) {
	case 1:
		width = 4
	case 2:
		width = 16
	}
	if bits > width*8 || len(raw) != (bits+7)/8 {
		return rcodeFormat
	}
	copy(full[:], raw)
	addr := netip.AddrFrom16(full)
	if width == 4 {
		addr = netip.AddrFrom4([4]byte(full[:4]))
	}
	s.raw = data
	if width == 0 {
		return accept // family 0 with no bits: "do not use my address"
	}
	s.prefix = netip.PrefixFrom(addr, bits)
	if s.prefix.Masked().Addr() != addr {
		return rcodeFormat
	}
	return accept
}
