package dns

import (
	"net/netip"
)

// The records that do not depend on the catalog. Their names are compressed
// against the zone in the question.

// appendSOA appends the SOA record. at is where the zone's name stands in the
// message, owner the offset of the record's owner.
func (s *Server) appendSOA(b []byte, owner, at int) []byte {
	b = head(put16(b, pointerMark|owner), typeSOA, s.ttl, len("\x02ns\x03dns")+2+len("\x0ahostmaster")+2+20)
	b = put16(append(b, "\x02ns\x03dns"...), pointerMark|at)
	b = put16(append(b, "\x0ahostmaster"...), pointerMark|at)
	b = put32(b, s.serial.Load())
	b = put32(b, 7200)     // refresh
	b = put32(b, 1800)     // retry
	b = put32(b, 86400)    // expire
	return put32(b, s.ttl) // negative answers (RFC 2308)
}

// apex answers for the zone itself.
func (w *worker) apex(at int, p peer) {
	switch w.q.qtype {
	case typeSOA:
		w.out = w.s.appendSOA(w.out, at, at)
		w.an++
	case typeNS:
		w.out = head(put16(w.out, ownerAtQ), typeNS, w.s.ttl, len("\x02ns\x03dns")+2)
		target := len(w.out) - w.base
		w.out = put16(append(w.out, "\x02ns\x03dns"...), pointerMark|at)
		w.an++
		if p.local.IsValid() {
			w.out = w.appendHost(target, p.local)
			w.ar++
		}
	}
}

// host answers for the name server's own name.
func (w *worker) host(owner int, local netip.Addr) {
	if local.IsValid() && familyOf(local) == w.q.qtype {
		w.out = w.appendHost(owner, local)
		w.an++
	}
}

func (w *worker) appendHost(owner int, local netip.Addr) []byte {
	return appendAddress(put16(w.out, pointerMark|owner), local, w.s.ttl)
}

// version answers for dns-version (Multi-Cluster Services DNS 1.0.0, 2.2).
func (w *worker) version() {
	if w.q.qtype == typeTXT {
		const text = "\x051.0.0"
		w.out = append(head(put16(w.out, ownerAtQ), typeTXT, w.s.ttl, len(text)), text...)
		w.an++
	}
}

// minimal answers ANY (RFC 8482 4.2).
func (w *worker) minimal() {
	const data = "\x07RFC8482\x00"
	w.out = append(head(put16(w.out, ownerAtQ), typeHINFO, w.s.ttl, len(data)), data...)
	w.an++
}

// optSize is how long the OPT record can become.
func (w *worker) optSize() int {
	if !w.q.edns {
		return 0
	}
	n := 11 + 6 // with an extended error
	if w.q.ecs.raw != nil {
		n += 4 + len(w.q.ecs.raw)
	}
	if w.q.cookie != nil {
		n += 4 + cookieLen
	}
	return n
}

// appendOPT answers OPT (RFC 6891): our buffer size, the client's DO bit, its
// subnet with our scope, a cookie, an extended error.
func (w *worker) appendOPT(p peer) {
	b := append(w.out, 0)
	b = put16(b, typeOPT)
	b = put16(b, maxUDP)
	b = append(b, byte(w.rcode>>4), 0)
	var do uint16
	if w.q.do {
		do = 1 << 15
	}
	b = put16(put16(b, int(do)), 0)
	start := len(b)
	if raw := w.q.ecs.raw; raw != nil {
		b = put16(put16(b, optECS), len(raw))
		b = append(b, raw...)
		b[len(b)-len(raw)+3] = byte(w.scope)
	}
	if w.q.cookie != nil {
		b = put16(put16(b, optCookie), cookieLen)
		b = w.s.cookies.append(b, w.q.cookie, p.from, w.s.clock())
	}
	if w.ede != edeNone {
		b = put16(put16(put16(b, optEDE), 2), w.ede)
	}
	n := len(b) - start
	b[start-2], b[start-1] = byte(n>>8), byte(n)
	w.out = b
	w.ar++
}
