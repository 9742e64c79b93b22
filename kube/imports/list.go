package imports

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	mcsv1beta1 "sigs.k8s.io/mcs-api/pkg/apis/v1beta1"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/locality"
)

// list brings the slices up to date, and returns how far the import is.
func (p *planner) list(state importState) importState {
	p.listed = ready(p.Facts.Slices)
	var groups []*group
	served := false
	classes := p.portClasses()
	for _, class := range classes {
		res := locality.Resolve(locality.Input{
			Service: class.service, Conditions: p.Conditions, Ramp: p.Ramp, Client: catalog.Locality{Region: p.Region},
		})
		listed := p.listed
		if len(classes) > 1 {
			listed = ready(slicesWith(p.Facts.Slices, p.Service.Ports, class.ports))
		}
		for _, four := range p.families() {
			c := chooser{res: &res, four: four, cluster: p.Cluster, limit: max(1, maxEndpoints/len(classes)), listed: listed}
			s := c.choose(p.Input, class.service)
			groups = append(groups, grouped(p.Input, four, s.members, class.ports)...)
			p.choices = append(p.choices, s)
			served = served || c.any()
		}
	}
	if !served && p.endpoints() {
		state = stateFamilies
	}
	layouts, rest := arrange(p.Input, groups, p.Facts.Slices)
	slices.SortFunc(layouts, func(a, b *layout) int { return strings.Compare(a.name, b.name) })
	p.layouts = layouts
	first := len(p.Writes)
	for _, l := range layouts {
		p.put(l)
	}
	for _, s := range rest {
		if !p.fenced(s.Labels[mcsv1beta1.LabelSourceCluster], s.Annotations) && s.DeletionTimestamp == nil {
			p.write(Delete, s)
		}
	}
	p.judge(first)
	return state
}

// choose lists the endpoints of the chooser's family. The service is the part of the
// input's that its resolution is of.
func (c *chooser) choose(in *Input, service *catalog.Service) selection {
	if service.Headless {
		return c.headless()
	}
	s := c.balanced()
	addHints(in, service, s.members)
	return s
}

// any reports whether the service has endpoints of the family at all.
func (c *chooser) any() bool {
	for at := range c.localities {
		for i := range at.Endpoints {
			if c.mine(&at.Endpoints[i]) {
				return true
			}
		}
	}
	return false
}

// endpoints reports whether the service has any.
func (in *Input) endpoints() bool {
	return slices.ContainsFunc(in.Service.Backends, func(b catalog.Backend) bool { return len(b.Set.Endpoints) > 0 })
}

// families are those in which the service is reached here, IPv4 being true: those
// of the derived Service, for nothing else would use the others. A headless one is
// reached by both: its clients take addresses from DNS.
func (p *planner) families() []bool {
	if p.Service.Headless {
		return []bool{true, false}
	}
	s := p.Facts.Service
	var out []bool
	for _, f := range s.Spec.IPFamilies {
		out = append(out, f == corev1.IPv4Protocol)
	}
	if len(out) == 0 {
		for _, ip := range clusterIPs(s) {
			addr, _ := netip.ParseAddr(ip)
			out = append(out, addr.Is4())
		}
	}
	return out
}

// ready returns the addresses in the slices, true for the ready ones.
func ready(have []*discoveryv1.EndpointSlice) map[netip.Addr]bool {
	out := map[netip.Addr]bool{}
	for _, s := range have {
		for i := range s.Endpoints {
			e := &s.Endpoints[i]
			addr := addressOf(e)
			out[addr] = out[addr] || value(e.Conditions.Ready)
		}
	}
	return out
}

// put brings one slice up to date.
func (p *planner) put(l *layout) {
	var annotations map[string]string
	if l.have != nil {
		annotations = l.have.Annotations
	}
	if p.fenced(labelValue(l.cluster), annotations) {
		return
	}
	switch {
	case l.have == nil:
		p.write(Create, p.newSlice(l))
	case l.have.DeletionTimestamp != nil:
		p.Again = true // its name is free again soon
	case !l.same(p.Service.Headless) || !p.sameLabels(l.have, sliceLabels(p.Input, l.cluster)) || !owned(l.have, p.Facts.Import):
		p.write(Update, p.fill(l.have.DeepCopy(), l))
	}
}

// fenced reports whether a slice of a source cluster was, or may have been, planned
// from more than is known now. What the ServiceImport says counts too: it remembers
// clusters whose slices are gone.
func (p *planner) fenced(source string, annotations map[string]string) bool {
	if cluster := p.Knowledge.behind(originOf(annotations)); cluster != "" {
		p.Behind = cmp.Or(p.Behind, cluster)
		return true
	}
	o := p.was
	if o.Federation != p.Knowledge.Federation {
		return false
	}
	for cluster, point := range o.Points {
		if labelValue(cluster) == source && p.Knowledge.lacks(cluster, point) {
			p.Behind = cmp.Or(p.Behind, cluster)
			return true
		}
	}
	return false
}

// judge finds how urgent the writes to slices are, those from the first on, and
// what to tell about them.
func (p *planner) judge(first int) {
	if first == len(p.Writes) {
		return
	}
	before, after, live, fallen := 0, 0, false, false
	wanted := map[netip.Addr]bool{}
	for _, l := range p.layouts {
		for _, addr := range l.addrs {
			if l.members[addr].ready {
				wanted[addr] = true
				after++
				live = live || p.listed[addr]
			}
		}
	}
	for addr, was := range p.listed {
		if was {
			before++
			fallen = fallen || !wanted[addr]
		}
	}
	notes := &p.Writes[first].Notes
	known := len(p.listed) > 0 || len(p.Facts.Import.Spec.IPs) > 0
	switch {
	case after > 0 && !live && known:
		p.Urgency = Dead
	case fallen || after > 0 && !live:
		p.Urgency = min(p.Urgency, Flipped)
	}
	switch {
	case before > 0 && after == 0:
		*notes = append(*notes, Note{Warning: true, Reason: "NoEndpoints", Message: "no endpoint of any cluster may serve here now"})
	case before == 0 && after > 0 && known:
		*notes = append(*notes, Note{Reason: "Endpoints", Message: "endpoints serve again"})
	}
}
