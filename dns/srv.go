package dns

import (
	"net/netip"
	"slices"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/locality"
)

const (
	// maxPerLocality bounds the SRV targets of one locality, and maxTargets those
	// of an answer, unless the service is headless.
	maxPerLocality = 8
	maxTargets     = 32
	// priorityWeight is what the weights of one SRV priority add up to, about.
	priorityWeight = 10_000
	maxSRVBytes    = 48 << 10
)

// srvSet holds the SRV answers of one table, one per named port.
type srvSet struct {
	ports []srvImage
	// sampled: not every endpoint fits; the set is made anew with the next turn.
	sampled bool
	turn    uint32
}

// srvImage is one SRV answer: whole records owned by the question's name, and
// the addresses of their targets for the additional section.
type srvImage struct {
	port    catalog.Port
	records []byte
	count   int
	targets []srvTarget
	named   []naming // places of the endpoints
}

// srvTarget is a target's name, as an offset into the records, and one address
// record of it.
type srvTarget struct {
	offset int
	record []byte
}

// candidate is one endpoint that SRV answers may list.
type candidate struct {
	priority uint16
	share    uint64 // of its priority
	cluster  string
	endpoint *catalog.Endpoint
	naming   naming
}

// srvBuilder makes the SRV answers of one service for one client locality.
type srvBuilder struct {
	service *catalog.Service
	cells   *cells
	zone    []byte // wire form with the root label
	ttl     uint32
	draw    uint64
	sampled bool
}

func (b *srvBuilder) build(res *locality.Resolution) *srvSet {
	list := b.candidates(res)
	set := &srvSet{}
	for _, port := range b.service.Ports {
		if port.Name != "" {
			set.ports = append(set.ports, b.image(port, list))
		}
	}
	set.sampled = b.sampled
	return set
}

// candidates lists the endpoints by priority: 0 for the localities that serve
// now, then one for each tier that stands by.
func (b *srvBuilder) candidates(res *locality.Resolution) []candidate {
	var list []candidate
	for i := range res.Priorities {
		for j := range res.Priorities[i].Localities {
			if l := &res.Priorities[i].Localities[j]; l.Weight > 0 {
				list = b.add(list, 0, l, l.Weight)
			}
		}
	}
	next := uint16(1)
	for i := range res.Priorities {
		before := len(list)
		for j := range res.Priorities[i].Localities {
			if l := &res.Priorities[i].Localities[j]; l.Weight == 0 {
				list = b.add(list, next, l, max(1, l.Configured))
			}
		}
		if len(list) > before {
			next++
		}
	}
	return list
}

// add appends the endpoints of a locality that serve, or as many as may be
// listed, beginning anywhere.
func (b *srvBuilder) add(list []candidate, priority uint16, l *locality.Locality, weight uint32) []candidate {
	serving := make([]*locality.Endpoint, 0, len(l.Endpoints))
	for i := range l.Endpoints {
		if l.Endpoints[i].Weight > 0 {
			serving = append(serving, &l.Endpoints[i])
		}
	}
	limit := min(maxPerLocality, maxTargets-len(list))
	if b.service.Headless {
		limit = maxHeadless - len(list)
	}
	if n := len(serving); n > limit {
		start := int(b.draw % uint64(n))
		serving = append(slices.Clone(serving[start:]), serving[:start]...)[:max(0, limit)]
		b.sampled = true
	}
	if len(serving) == 0 {
		return list
	}
	at := b.cells.naming(b.service.Name, l)
	var sum uint64
	for _, e := range serving {
		sum += uint64(e.Weight)
	}
	for _, e := range serving {
		share := uint64(weight) * locality.Unit / sum * uint64(e.Weight)
		list = append(list, candidate{priority: priority, share: max(1, share), cluster: e.Cluster, endpoint: e.Endpoint, naming: at})
	}
	return list
}

// image makes the answer for one port from the endpoints that expose it.
func (b *srvBuilder) image(port catalog.Port, list []candidate) srvImage {
	im := srvImage{port: port}
	records := b.merge(port, list)
	sums := map[uint16]uint64{}
	for _, r := range records {
		sums[r.priority] += r.share
	}
	for _, r := range records {
		if len(im.records) > maxSRVBytes {
			break
		}
		weight := max(1, r.share/max(1, sums[r.priority]/priorityWeight))
		im.append(r, int(min(weight, 65535)), b.ttl)
		im.count++
		for _, n := range r.named {
			if !slices.Contains(im.named, n) {
				im.named = append(im.named, n)
			}
		}
	}
	im.named = b.cells.together(im.named)
	return im
}

// append writes one record and the addresses of its target.
func (im *srvImage) append(r *srvRecord, weight int, ttl uint32) {
	im.records = head(put16(im.records, ownerAtQ), typeSRV, ttl, 6+len(r.name))
	im.records = put16(put16(put16(im.records, int(r.priority)), weight), int(r.number))
	for _, a := range r.addresses {
		im.targets = append(im.targets, srvTarget{len(im.records), appendAddress(put16(nil, ownerAtQ), a, ttl)})
	}
	im.records = append(im.records, r.name...)
}

// srvRecord is one SRV record in the making.
type srvRecord struct {
	name      []byte
	number    uint16
	priority  uint16
	share     uint64
	addresses []netip.Addr
	named     []naming
}

// merge makes one record of the endpoints that share a name and a port: the two
// addresses of one hostname, or one address in two clusters.
func (b *srvBuilder) merge(port catalog.Port, list []candidate) []*srvRecord {
	var out []*srvRecord
	at := map[string]*srvRecord{}
	for _, c := range list {
		number, ok := b.portOf(port, c)
		if !ok {
			continue
		}
		name := b.target(c)
		id := string(put16(slices.Clone(name), int(number)))
		r := at[id]
		if r == nil {
			r = &srvRecord{name: name, number: number, priority: c.priority}
			at[id] = r
			out = append(out, r)
		}
		if r.priority == c.priority {
			r.share += c.share
		}
		if !slices.Contains(r.named, c.naming) {
			r.named = append(r.named, c.naming)
		}
		if a := c.endpoint.Address.Unmap().WithZone(""); !slices.Contains(r.addresses, a) {
			r.addresses = append(r.addresses, a)
		}
	}
	return out
}

// portOf returns the number of a service port at an endpoint, if the endpoint's
// cluster exposes it.
func (b *srvBuilder) portOf(port catalog.Port, c candidate) (uint16, bool) {
	for i := range b.service.Backends {
		set := b.service.Backends[i].Set
		if set == nil || set.Cluster != c.cluster {
			continue
		}
		if p, ok := set.Exposes(port); ok {
			return c.endpoint.PortNumber(p), c.endpoint.Address.IsValid()
		}
	}
	return 0, false
}

// target is the name of one endpoint in wire form.
func (b *srvBuilder) target(c candidate) []byte {
	n := packLabel(nil, endpointLabel(b.service, c.endpoint))
	if b.service.Headless {
		n = packName(n, c.cluster)
	}
	n = packLabel(packLabel(n, b.service.Name.Name), b.service.Name.Namespace)
	return append(packLabel(n, "svc"), b.zone...)
}

// endpointLabel is the first label of an endpoint's own name.
func endpointLabel(s *catalog.Service, e *catalog.Endpoint) string {
	if s.Headless && catalog.ValidateLabel("hostname", e.Hostname) == nil {
		return e.Hostname
	}
	return addressLabel(e.Address.Unmap().WithZone(""))
}

// matches reports whether "_PORT" and "_PROTO" labels, without their length
// bytes, name the port.
func matches(p catalog.Port, port, proto []byte) bool {
	return p.Name != "" && len(port) > 1 && port[0] == '_' && foldEqual(port[1:], p.Name) && matchesProto(p, proto)
}

func matchesProto(p catalog.Port, proto []byte) bool {
	return p.Name != "" && len(proto) > 1 && proto[0] == '_' && foldEqual(proto[1:], string(p.Protocol))
}

// foldEqual compares lower-case bytes with a string in any case.
func foldEqual(lower []byte, s string) bool {
	if len(lower) != len(s) {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		if lower[i] != c {
			return false
		}
	}
	return true
}
