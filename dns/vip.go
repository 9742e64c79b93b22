package dns

import (
	"net/netip"
	"slices"
	"time"

	"github.com/federator/federator/federation/catalog"
)

// VIPs are the addresses at which the services of the federation are reached in one
// Kubernetes cluster, whoever serves them: its clusterset IPs.
type VIPs interface {
	// Lookup returns the addresses of a service, none if it has none (yet). Nobody
	// changes what it returned.
	Lookup(catalog.ServiceName) []netip.Addr
	// Changed is readable when there are services whose addresses have changed, which
	// Take returns. The server is their only reader.
	Changed() <-chan struct{}
	Take() []catalog.ServiceName
}

// vip is what clients inside the cluster are answered for a service that has
// addresses there, by the Multi-Cluster Services DNS specification 1.0.0, 2.3: its
// addresses, and for each named port one SRV record that names the service itself.
// A family that the addresses are not of has no records, although there may be
// endpoints of it: they are reached by these addresses, too.
type vip struct {
	ips     []netip.Addr
	a, aaaa []byte // whole records, owned by the question's name
	n       [2]int // how many
	ports   []srvImage
}

// addresses are those that the vip was made of.
func (v *vip) addresses() []netip.Addr {
	if v == nil {
		return nil
	}
	return v.ips
}

// vipsChanged is readable when [Server.applyVIPs] has something to do.
func (s *Server) vipsChanged() <-chan struct{} {
	if s.cfg.VIPs == nil {
		return nil
	}
	return s.cfg.VIPs.Changed()
}

// applyVIPs takes over the services whose addresses have changed.
func (s *Server) applyVIPs(now time.Time) {
	names := s.cfg.VIPs.Take()
	w := s.world.Load()
	for _, name := range names {
		s.update(name, w, now)
	}
	if len(names) > 0 {
		s.serial.Add(1)
	}
}

// lookupVIP returns the addresses of a service here. A headless one has none, also
// while an import says otherwise that is not up to date yet.
func (s *Server) lookupVIP(service *catalog.Service) []netip.Addr {
	if s.cfg.VIPs == nil || service.Headless {
		return nil
	}
	return s.cfg.VIPs.Lookup(service.Name)
}

// newVIP prepares the answers for addresses; nil for none.
func (s *Server) newVIP(service *catalog.Service, ips []netip.Addr) *vip {
	if len(ips) == 0 {
		return nil
	}
	v := &vip{ips: slices.Clone(ips)}
	im := imager{ttl: s.ttl}
	for _, ip := range ips {
		im.add(ip, 1)
	}
	a, aaaa := im.family(true), im.family(false)
	v.a, v.aaaa, v.n = a.records, aaaa.records, im.count()
	name := packLabel(packLabel(nil, service.Name.Name), service.Name.Namespace)
	name = append(packLabel(name, "svc"), s.zone...)
	for _, port := range service.Ports {
		if port.Name != "" {
			r := srvRecord{name: name, number: port.Number, addresses: im.addrs}
			v.ports = append(v.ports, srvImage{port: port, count: 1})
			v.ports[len(v.ports)-1].append(&r, priorityWeight, s.ttl)
		}
	}
	return v
}

// virtual answers with the addresses that the service has in the own cluster, and
// reports whether it has some and is asked for as a whole: who names a region or an
// endpoint gets that.
func (w *worker) virtual(d node) bool {
	v := d.service.vip
	if v == nil || d.pin != 0 || d.kind == nodeEndpoint {
		return false
	}
	counts := false
	switch qtype := w.q.qtype; {
	case d.kind == nodePort && qtype == typeSRV:
		w.port(v.ports, d.port)
		counts = true
	case d.kind == nodeService && (qtype == typeA || qtype == typeAAAA):
		records := v.a
		if qtype == typeAAAA {
			records = v.aaaa
		}
		w.out = append(w.out, records...)
		w.an = v.n[familyIndex(qtype)]
		counts = true
	}
	if counts {
		w.stats.unnamed.Add(1) // where they lead is not for DNS to say
	}
	return true
}
