package dns

import (
	"encoding/binary"
	mathrand "math/rand/v2"
	"net/netip"

	"github.com/federator/federator/federation/catalog"
)

// peer is whom an answer goes to, and how.
type peer struct {
	from  netip.Addr // unmapped, without a zone
	local netip.Addr // the address that the question came to
	tcp   bool
}

// worker answers questions one at a time. It holds all the memory that an
// answer needs.
type worker struct {
	s     *Server
	stats *stats
	rand  mathrand.PCG
	turn  uint32 // and how many answers it has seen, for sampling
	count uint64

	q        query
	picks    picks
	srvNamed []naming // what an SRV answer names, borrowed from its image
	// The answer in the making.
	out        []byte
	base       int // where the message begins in out
	limit      int // of out, without the OPT record
	flags      uint16
	rcode      int
	ede        int
	scope      int
	an, ns, ar int
}

// answer appends the reply to a packet to out, or nothing if it deserves none.
func (w *worker) answer(packet []byte, p peer, out []byte) []byte {
	v := w.q.parse(packet)
	if v == drop {
		w.stats.dropped.Add(1)
		return out
	}
	w.begin(p, out)
	if v != accept {
		w.rcode = int(v)
	} else if w.q.question != nil {
		w.resolve(p)
	}
	w.finish(p)
	w.stats.count(w.q.qtype, w.rcode, w.flags&flagTC != 0)
	return w.out
}

// begin starts the reply: the header, filled in by finish, and the question as
// it was asked.
func (w *worker) begin(p peer, out []byte) {
	w.base = len(out)
	w.flags, w.rcode, w.ede, w.scope = 0, rcodeOK, edeNone, 0
	w.an, w.ns, w.ar = 0, 0, 0
	size := maxMessage
	if !p.tcp {
		size = min(maxUDP, w.q.size)
	}
	w.limit = w.base + size - w.optSize()
	w.out = append(out, make([]byte, headerLen)...)
	w.out = append(w.out, w.q.question...)
}

// resolve answers a well-formed question.
func (w *worker) resolve(p peer) {
	q, s := &w.q, w.s
	below := q.labels - s.zoneLabels
	switch {
	case q.qtype == typeOPT:
		w.rcode = rcodeFormat
	case q.qclass != classIN || below < 0 || string(q.name[q.starts[below]:q.nameLen]) != string(s.zone):
		w.rcode, w.ede = rcodeRefused, edeNotAuthoritative
	case q.qtype == typeAXFR || q.qtype == typeIXFR:
		w.rcode, w.ede = rcodeRefused, edeNotSupported
	default:
		world := s.world.Load()
		if world == nil {
			w.rcode, w.ede = rcodeRefused, edeNotReady
			return
		}
		w.resolveNode(world, p, s.find(world, names{q: q, n: below}))
	}
}

// resolveNode answers a question about a name of the zone.
func (w *worker) resolveNode(world *world, p peer, d node) {
	var ecs netip.Prefix
	resolver := w.s.resolvers.has(p.from)
	if w.s.trusted.has(p.from) {
		ecs, resolver = w.q.ecs.prefix, true
	}
	who := world.clients.place(ecs, p.from, resolver)
	if !p.tcp && !resolver && who.shared && !w.admit(p) {
		return
	}
	w.flags |= flagAA
	zoneAt := headerLen + int(w.q.starts[w.q.labels-w.s.zoneLabels])
	switch d.kind {
	case nodeApex:
		w.apex(zoneAt, p)
	case nodeVersion:
		w.version()
	case nodeHost:
		w.host(headerLen, p.local)
	case nodeService, nodePort, nodeEndpoint:
		w.scope = who.scope
		w.service(world, d, who)
	case nodeNone:
		w.rcode = rcodeName
		if world.conditions.Isolated {
			w.ede = edeStaleNX
		}
	}
	if w.q.qtype == typeANY && d.kind > nodeEmpty && w.rcode == rcodeOK {
		w.minimal()
	}
	if w.an == 0 && w.flags&flagTC == 0 {
		w.ns++
		w.out = w.s.appendSOA(w.out, zoneAt, zoneAt)
	}
}

// admit keeps answers to unproven clients within their rate: past it they get
// no data, but a cookie or the hint to ask over TCP.
func (w *worker) admit(p peer) bool {
	s := w.s
	if s.limit.allow(p.from, s.second.Load(), s.seed) {
		return true
	}
	if w.q.cookie != nil && s.cookies.valid(w.q.cookie, p.from, s.clock()) {
		return true
	}
	w.stats.limited.Add(1)
	if w.q.cookie != nil {
		w.rcode = rcodeBadCookie
		return false
	}
	w.flags |= flagTC
	return false
}

// service answers for a service, one of its ports or one of its endpoints.
func (w *worker) service(world *world, d node, who placing) {
	if who.inside && w.virtual(d) {
		return
	}
	key := d.pin
	if key == 0 || world.localities[who.at].Region == world.localities[d.pin&^pinned].Region {
		key = d.pin&pinned | tableKey(who.at)
	}
	t := d.service.peek(key)
	if t == nil || t.generation != world.generation {
		t = d.service.build(world, key, w.s.tables)
	}
	if !t.used.Load() {
		t.used.Store(true)
	}
	qtype := w.q.qtype
	isAddress := qtype == typeA || qtype == typeAAAA
	switch {
	case d.kind == nodeEndpoint:
		w.endpoint(d, t)
	case d.kind == nodeService && isAddress && t.all != nil:
		w.headless(t)
	case d.kind == nodeService && isAddress:
		steady := mix64(w.s.salt.Load()^who.key, d.service.hash)
		w.picks.choose(t.outcome, qtype, who.shared, dice{steady, w.rand.Uint64()})
		for _, r := range w.picks.records[:w.picks.n] {
			w.out = append(w.out, r...)
		}
		w.an = w.picks.n
	case d.kind == nodePort && qtype == typeSRV:
		w.srv(world, d, t)
	}
	w.ede = w.staleness(world, t)
	w.tally(d, t)
}

// staleness returns the extended error of an answer for a service that nobody
// can confirm now. Addresses are as good as the places they are at; that there
// are none is only as good as what is known of all that could have some.
func (w *worker) staleness(world *world, t *table) int {
	negative := w.an == 0 && w.flags&flagTC == 0 && w.q.qtype != typeANY
	switch {
	case w.rcode == rcodeName && world.conditions.Isolated:
		return edeStaleNX
	case w.rcode == rcodeOK && (t.stale || negative && t.doubtful):
		return edeStale
	}
	return edeNone
}

// headless answers with every endpoint: those that serve now first, beginning
// with any of them.
func (w *worker) headless(t *table) {
	f, first := t.all.family(w.q.qtype), t.first[0]
	if w.q.qtype == typeAAAA {
		first = t.first[1]
	}
	if !w.fits(len(f.records)) {
		return
	}
	at := 0
	if first > 1 {
		at = int(w.rand.Uint64()%uint64(first)) * f.stride
	}
	w.out = append(w.out, f.records[at:first*f.stride]...)
	w.out = append(w.out, f.records[:at]...)
	w.out = append(w.out, f.records[first*f.stride:]...)
	w.an = f.len()
}

// fits reports whether n more bytes fit, and marks the reply truncated if not.
func (w *worker) fits(n int) bool {
	if len(w.out)+n <= w.limit {
		return true
	}
	w.flags |= flagTC
	return false
}

// srv answers for one port.
func (w *worker) srv(world *world, d node, t *table) {
	set := t.srv.Load()
	if turn := w.s.second.Load(); set == nil || set.sampled && set.turn != turn {
		b := srvBuilder{service: d.service.service, cells: d.service.cells, zone: w.s.zone, ttl: w.s.ttl, draw: w.rand.Uint64()}
		res := d.service.resolve(world, t.key)
		set = b.build(&res)
		set.turn = turn
		t.srv.Store(set)
	}
	w.port(set.ports, d.port)
}

// port answers with what was made for one port.
func (w *worker) port(all []srvImage, port catalog.Port) {
	for i := range all {
		im := &all[i]
		if im.port != port || !w.fits(len(im.records)) {
			continue
		}
		at := len(w.out)
		w.out = append(w.out, im.records...)
		w.an, w.srvNamed = im.count, im.named
		for _, target := range im.targets {
			owner := at - w.base + target.offset
			if owner > 0x3fff || len(w.out)+len(target.record) > w.limit {
				break
			}
			w.out = retarget(w.out, target.record, owner)
			w.ar++
		}
	}
}

// endpoint answers with the addresses of one endpoint. An endpoint of a headless
// service that cannot serve does not exist, unless everything is in panic.
func (w *worker) endpoint(d node, t *table) {
	ready := false
	d.any(func(b *catalog.Backend, i int) bool {
		a := b.Set.Endpoints[i].Address.Unmap().WithZone("")
		if d.service.service.Headless && !usable(b, i) && !t.all.family(familyOf(a)).has(a) {
			return false
		}
		ready = true
		if a.IsValid() && familyOf(a) == w.q.qtype && w.an < maxAddresses && (w.an == 0 || d.service.service.Headless) {
			w.out = appendAddress(put16(w.out, ownerAtQ), a, w.s.ttl)
			w.an++
		}
		return false
	})
	if !ready {
		w.rcode = rcodeName
	}
}

func familyOf(a netip.Addr) uint16 {
	if a.Is4() {
		return typeA
	}
	return typeAAAA
}

// usable reports whether an endpoint may serve as far as is known.
func usable(b *catalog.Backend, i int) bool {
	h := b.Set.Endpoints[i].Health
	if i < len(b.Health) {
		h = b.Health[i]
	}
	return h != catalog.Unhealthy && h != catalog.Draining
}

// finish appends OPT and fills in the header.
func (w *worker) finish(p peer) {
	if w.q.edns {
		w.appendOPT(p)
	}
	m := w.out[w.base:]
	keep := w.q.flags & (maskOpcode | flagRD | flagCD)
	binary.BigEndian.PutUint16(m, w.q.id)
	binary.BigEndian.PutUint16(m[2:], flagQR|keep|w.flags|uint16(w.rcode&0xf))
	questions := 0
	if w.q.question != nil {
		questions = 1
	}
	for i, n := range [4]int{questions, w.an, w.ns, w.ar} {
		binary.BigEndian.PutUint16(m[4+2*i:], uint16(n))
	}
}
