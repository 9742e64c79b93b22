package dns

import (
	"net/netip"
	"slices"

	"github.com/gaissmai/bart"

	"github.com/federator/federator/federation/catalog"
)

// localityID numbers a client locality for as long as the server lives.
type localityID uint32

// localities numbers client localities. It is used by the goroutine that
// applies changes only.
type localities struct {
	ids   map[catalog.Locality]localityID
	names []catalog.Locality
}

func (l *localities) id(at catalog.Locality) localityID {
	id, ok := l.ids[at]
	if !ok {
		id = localityID(len(l.names))
		if l.ids == nil {
			l.ids = map[catalog.Locality]localityID{}
		}
		l.ids[at] = id
		l.names = append(l.names, at)
	}
	return id
}

// clients places clients by address. It is immutable.
type clients struct {
	own    localityID
	table  bart.Table[seat]
	v4, v6 edges
}

// seat is what a network says of a client in it.
type seat struct {
	at     localityID
	inside bool // it is in the replica's own cluster
}

// edges are the addresses of one family at which the placing can change: the
// first of every prefix, and the first behind it, in order.
type edges []netip.Addr

// newClients places clients in the networks that are announced. Where the own
// cluster announces one that another does, too, whoever asks here is in the own one.
func newClients(own localityID, cond *catalog.Conditions, cfg *Config, ids *localities) *clients {
	c := &clients{own: own}
	seats := make(map[netip.Prefix]seat, len(cond.Prefixes))
	for p, at := range cond.Prefixes {
		seats[p.Masked()] = seat{at: ids.id(at)}
	}
	for _, p := range cond.Networks[cfg.Cluster] {
		seats[p.Prefix.Masked()] = seat{at: ids.id(catalog.Locality{Region: cfg.Own.Region, Zone: p.Zone}), inside: true}
	}
	for p, s := range seats {
		if !p.IsValid() {
			continue
		}
		c.table.Insert(p, s)
		e := &c.v6
		if p.Addr().Is4() {
			e = &c.v4
		}
		*e = append(*e, p.Addr())
		if after := lastOf(p).Next(); after.IsValid() {
			*e = append(*e, after)
		}
	}
	for _, e := range []*edges{&c.v4, &c.v6} {
		slices.SortFunc(*e, netip.Addr.Compare)
		*e = slices.Compact(*e)
	}
	return c
}

// lastOf returns the highest address of a prefix.
func lastOf(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

// placing says who a client is taken for.
type placing struct {
	at     localityID
	shared bool // may be a resolver that many clients share
	inside bool // in the replica's own cluster
	scope  int  // of the client subnet (RFC 7871): the bits that the answer depends on
	key    uint64
}

// place places a sender by its client subnet if that counts, else by its address.
func (c *clients) place(ecs netip.Prefix, from netip.Addr, resolver bool) placing {
	if ecs.IsValid() && ecs.Bits() > 0 {
		s, ok := c.table.LookupPrefix(ecs)
		if !ok {
			s.at = c.own
		}
		return placing{at: s.at, shared: !ok, inside: s.inside, scope: c.scope(ecs.Addr()), key: hashAddr(ecs.Addr())}
	}
	s, ok := c.table.Lookup(from)
	if !ok {
		s.at = c.own
	}
	return placing{at: s.at, shared: !ok || resolver, inside: s.inside, key: hashAddr(from)}
}

// scope returns how many leading bits of an address decide its place: every
// address that shares them is placed alike.
func (c *clients) scope(a netip.Addr) int {
	e := c.v6
	if a.Is4() {
		e = c.v4
	}
	i, found := slices.BinarySearchFunc(e, a, netip.Addr.Compare)
	if found {
		i++
	}
	scope := 0
	if i > 0 && e[i-1].Prev().IsValid() {
		scope = commonBits(a, e[i-1].Prev()) + 1
	}
	if i < len(e) {
		scope = max(scope, commonBits(a, e[i])+1)
	}
	return scope
}

// commonBits counts the leading bits that two addresses of a family share.
func commonBits(a, b netip.Addr) int {
	x, y := a.As16(), b.As16()
	n := 0
	for n < 128 && (x[n/8]^y[n/8])&(0x80>>(n%8)) == 0 {
		n++
	}
	if a.Is4() {
		n -= 96
	}
	return n
}

// senders is a set of networks.
type senders struct{ set *bart.Lite }

func newSenders(prefixes ...netip.Prefix) senders {
	s := senders{new(bart.Lite)}
	for _, p := range prefixes {
		if p.IsValid() {
			s.set.Insert(p.Masked())
		}
	}
	return s
}

func (s senders) has(a netip.Addr) bool { return s.set.Lookup(a) }
