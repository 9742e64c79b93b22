package dns

import (
	"net/netip"

	"github.com/federator/federator/federation/catalog"
)

// kind tells the nodes of the zone apart.
type kind uint8

const (
	nodeNone     kind = iota // does not exist
	nodeEmpty                // exists without records (RFC 8020)
	nodeApex                 // the zone itself
	nodeVersion              // dns-version
	nodeHost                 // ns.dns
	nodeService              // a service
	nodePort                 // one port of a service
	nodeEndpoint             // one endpoint of a service
)

// node is what a name stands for.
type node struct {
	kind    kind
	service *prepared
	pin     tableKey // region to pin with [pinned], or 0
	port    catalog.Port
	// The label and cluster that name an endpoint; a cluster only if headless.
	label   []byte
	address netip.Addr
	cluster string
}

// names is a question's name below the zone: labels[0] is the leftmost.
type names struct {
	q *query
	n int // labels below the zone
}

func (n names) label(i int) []byte {
	return n.q.name[int(n.q.starts[i])+1 : n.q.starts[i+1]]
}

func (n names) is(i int, s string) bool { return string(n.label(i)) == s }

// find looks a name of the zone up. It allocates only for endpoints' names.
func (s *Server) find(w *world, n names) node {
	k := n.n
	switch {
	case k == 0:
		return node{kind: nodeApex}
	case n.is(k-1, "svc"):
		return s.findBelow(n, k-1, 0)
	case n.is(k-1, "region"):
		return s.findPinned(w, n)
	case n.is(k-1, "dns-version") && k == 1:
		return node{kind: nodeVersion}
	case n.is(k-1, "dns") && k == 1:
		return node{kind: nodeEmpty}
	case n.is(k-1, "dns") && k == 2 && n.is(0, "ns"):
		return node{kind: nodeHost}
	}
	return node{}
}

// findPinned looks up [... .svc.]REGION.region.
func (s *Server) findPinned(w *world, n names) node {
	k := n.n
	if k == 1 {
		return node{kind: nodeEmpty}
	}
	region, ok := w.regions[string(n.label(k-2))]
	switch {
	case !ok:
		return node{}
	case k == 2:
		return node{kind: nodeEmpty}
	case !n.is(k-3, "svc"):
		return node{}
	}
	return s.findBelow(n, k-3, pinned|tableKey(region))
}

// findBelow looks up the m leftmost labels, those below a "svc".
func (s *Server) findBelow(n names, m int, pin tableKey) node {
	if m == 0 {
		return node{kind: nodeEmpty}
	}
	if m == 1 {
		return emptyIf(s.index.has(n.label(0)))
	}
	p := s.index.find(n.q.name[n.q.starts[m-2]:n.q.starts[m]])
	if p == nil || p.absent() {
		return node{}
	}
	found := node{kind: nodeService, service: p, pin: pin}
	if m == 2 {
		return found
	}
	if label := n.label(m - 3); label[0] == '_' {
		return found.withPort(n, m-2)
	}
	if pin != 0 {
		return node{}
	}
	if p.service.Headless {
		return found.withHostname(n, m-2)
	}
	return found.withAddress(n, m-2)
}

func emptyIf(exists bool) node {
	if exists {
		return node{kind: nodeEmpty}
	}
	return node{}
}

// withPort narrows a service to [_PORT.]_PROTO, the r leftmost labels.
func (d node) withPort(n names, r int) node {
	for _, p := range d.service.service.Ports {
		switch {
		case r == 1 && matchesProto(p, n.label(0)):
			return node{kind: nodeEmpty}
		case r == 2 && matches(p, n.label(0), n.label(1)):
			d.kind, d.port = nodePort, p
			return d
		}
	}
	return node{}
}

// withAddress narrows a service to one of its endpoints by ADDRESS.
func (d node) withAddress(n names, r int) node {
	if r != 1 {
		return node{}
	}
	a, ok := labelAddress(n.label(0))
	if !ok {
		return node{}
	}
	d.kind, d.address = nodeEndpoint, a
	if !d.any(func(*catalog.Backend, int) bool { return true }) {
		return node{}
	}
	return d
}

// withHostname narrows a headless service to [HOSTNAME.]CLUSTERID.
func (d node) withHostname(n names, r int) node {
	for i := range d.service.service.Backends {
		set := d.service.service.Backends[i].Set
		if set == nil || len(set.Endpoints) == 0 {
			continue
		}
		if r > 1 && foldEqual(n.span(1, r), set.Cluster) {
			e := d
			e.kind, e.label, e.cluster = nodeEndpoint, n.label(0), set.Cluster
			if e.any(func(*catalog.Backend, int) bool { return true }) {
				return e
			}
		}
	}
	for i := range d.service.service.Backends {
		set := d.service.service.Backends[i].Set
		if set != nil && len(set.Endpoints) > 0 && endsIn(set.Cluster, n.span(0, r)) {
			return node{kind: nodeEmpty}
		}
	}
	return node{}
}

// span returns labels i to j-1 joined by dots.
func (n names) span(i, j int) []byte {
	var b []byte
	for ; i < j; i++ {
		if b != nil {
			b = append(b, '.')
		}
		b = append(b, n.label(i)...)
	}
	return b
}

// endsIn reports whether a cluster id is the name, or lies below it.
func endsIn(cluster string, name []byte) bool {
	rest := len(cluster) - len(name)
	return rest == 0 && cluster == string(name) ||
		rest > 1 && cluster[rest-1] == '.' && cluster[rest:] == string(name)
}

// any reports whether ok holds for an endpoint that the node names.
func (d *node) any(ok func(b *catalog.Backend, i int) bool) bool {
	s := d.service.service
	for i := range s.Backends {
		b := &s.Backends[i]
		if b.Set == nil || s.Headless && b.Set.Cluster != d.cluster {
			continue
		}
		for j := range b.Set.Endpoints {
			e := &b.Set.Endpoints[j]
			named := e.Address.Unmap().WithZone("") == d.address
			if s.Headless {
				named = endpointLabel(s, e) == string(d.label)
			}
			if named && ok(b, j) {
				return true
			}
		}
	}
	return false
}

// absent reports whether the service is headless without one endpoint.
func (p *prepared) absent() bool {
	if !p.service.Headless {
		return false
	}
	for i := range p.service.Backends {
		if set := p.service.Backends[i].Set; set != nil && len(set.Endpoints) > 0 {
			return false
		}
	}
	return true
}
