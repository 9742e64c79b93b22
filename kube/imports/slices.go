package imports

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	mcsv1beta1 "sigs.k8s.io/mcs-api/pkg/apis/v1beta1"

	"github.com/federator/federator/federation/catalog"
)

// maxPerSlice bounds the endpoints of a slice, as Kubernetes' own controller does:
// every change of one is sent to every node.
const maxPerSlice = 100

// group is the endpoints that can share slices: of one cluster, one address family
// and one set of port numbers.
type group struct {
	cluster string
	family  discoveryv1.AddressType
	ports   []discoveryv1.EndpointPort
	members map[netip.Addr]*member
	order   []netip.Addr // of the members, as they were selected
}

func familyOf(four bool) discoveryv1.AddressType {
	if four {
		return discoveryv1.AddressTypeIPv4
	}
	return discoveryv1.AddressTypeIPv6
}

// grouped puts the members into groups, in the order in which they were selected.
// Their slices have those of the service's ports with the indexes only; members of a
// cluster that exposes none of them are left out.
func grouped(in *Input, four bool, members []member, ports []int) []*group {
	var out []*group
	names := portNames(in.Service.Ports)
	type source struct {
		exposes []exposed
		groups  map[string]*group
	}
	sources := map[string]*source{}
	for i := range in.Service.Backends {
		set := in.Service.Backends[i].Set
		exposes := slices.DeleteFunc(exposedBy(set, in.Service.Ports), func(x exposed) bool { return !slices.Contains(ports, x.index) })
		sources[set.Cluster] = &source{exposes, map[string]*group{}}
	}
	var numbers []uint16
	for i := range members {
		m := &members[i]
		s := sources[m.Cluster]
		if len(s.exposes) == 0 && len(in.Service.Ports) > 0 {
			continue
		}
		numbers = numbers[:0]
		key := make([]byte, 0, 16)
		for _, x := range s.exposes {
			n := m.PortNumber(x.port)
			numbers = append(numbers, n)
			key = append(key, byte(n>>8), byte(n))
		}
		g := s.groups[string(key)]
		if g == nil {
			g = &group{
				cluster: m.Cluster, family: familyOf(four), members: map[netip.Addr]*member{},
				ports: slicePorts(in, names, s.exposes, numbers),
			}
			s.groups[string(key)] = g
			out = append(out, g)
		}
		if g.members[m.Address] == nil {
			g.members[m.Address] = m
			g.order = append(g.order, m.Address)
		}
	}
	return out
}

// layout is one slice as it should be: have is the slice that exists, nil for a new
// one.
type layout struct {
	*group
	name    string
	have    *discoveryv1.EndpointSlice
	addrs   []netip.Addr
	changed bool
}

// arrange lays the groups out over the slices that exist, so that endpoints stay
// where they are, and over as few new ones as are needed. Slices that nothing is
// laid out over are returned as rest.
func arrange(in *Input, groups []*group, have []*discoveryv1.EndpointSlice) (out []*layout, rest []*discoveryv1.EndpointSlice) {
	free := slices.Clone(have)
	take := func(g *group, fits func(*discoveryv1.EndpointSlice) bool, most int) (taken []*layout) {
		kept := free[:0]
		for _, s := range free {
			if len(taken) < most && s.AddressType == g.family && s.Labels[mcsv1beta1.LabelSourceCluster] == labelValue(g.cluster) && fits(s) {
				taken = append(taken, &layout{group: g, name: s.Name, have: s})
			} else {
				kept = append(kept, s)
			}
		}
		free = kept
		return taken
	}
	byGroup := make([][]*layout, len(groups))
	for i, g := range groups {
		byGroup[i] = take(g, func(s *discoveryv1.EndpointSlice) bool { return samePorts(s.Ports, g.ports) }, len(have))
	}
	for i, g := range groups { // slices whose ports have changed are used on
		if len(byGroup[i]) == 0 {
			byGroup[i] = take(g, func(*discoveryv1.EndpointSlice) bool { return true }, (len(g.order)+maxPerSlice-1)/maxPerSlice)
		}
	}
	names := map[string]bool{}
	for _, s := range have {
		names[s.Name] = true
	}
	maps.Copy(names, in.Facts.Taken)
	for i, g := range groups {
		out = append(out, g.lay(in, byGroup[i], names)...)
	}
	used := map[string]bool{}
	for _, l := range out {
		used[l.name] = true
	}
	for _, s := range have {
		if !used[s.Name] {
			rest = append(rest, s)
		}
	}
	return out, rest
}

// lay distributes the group's endpoints: those that are listed stay, new ones fill
// slices that change anyway, then the fullest, then new slices.
func (g *group) lay(in *Input, have []*layout, names map[string]bool) []*layout {
	placed := map[netip.Addr]bool{}
	for _, l := range have {
		for i := range l.have.Endpoints {
			addr := addressOf(&l.have.Endpoints[i])
			if g.members[addr] != nil && !placed[addr] && len(l.addrs) < maxPerSlice {
				l.addrs = append(l.addrs, addr)
				placed[addr] = true
			}
		}
		l.changed = len(l.addrs) != len(l.have.Endpoints)
	}
	have = g.compact(have, placed)
	slices.SortStableFunc(have, func(a, b *layout) int {
		return cmp.Or(cmp.Compare(btoi(b.changed), btoi(a.changed)), cmp.Compare(len(b.addrs), len(a.addrs)), strings.Compare(a.name, b.name))
	})
	at := 0
	for _, addr := range g.order {
		if placed[addr] {
			continue
		}
		for at < len(have) && len(have[at].addrs) >= maxPerSlice {
			at++
		}
		if at == len(have) {
			have = append(have, &layout{group: g, name: g.newName(in, names)})
		}
		have[at].addrs = append(have[at].addrs, addr)
	}
	return slices.DeleteFunc(have, func(l *layout) bool { return len(l.addrs) == 0 })
}

// compact empties the smallest slices while the others have plenty of room (a
// quarter stays free), so that what shrank does not stay scattered.
func (g *group) compact(have []*layout, placed map[netip.Addr]bool) []*layout {
	for len(have) > 1 && len(g.order) <= (len(have)-1)*maxPerSlice*3/4 {
		least := slices.MinFunc(have, func(a, b *layout) int {
			return cmp.Or(cmp.Compare(len(a.addrs), len(b.addrs)), strings.Compare(b.name, a.name))
		})
		for _, addr := range least.addrs {
			delete(placed, addr)
		}
		have = slices.DeleteFunc(have, func(l *layout) bool { return l == least })
	}
	return have
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// newName returns the first free name for a slice of the group, and takes it.
func (g *group) newName(in *Input, names map[string]bool) string {
	base := DerivedName(in.Name) + "-" + hashed(partHash, g.cluster, string(g.family)) + "-"
	for n := 0; ; n++ {
		if name := fmt.Sprint(base, n); !names[name] {
			names[name] = true
			return name
		}
	}
}

func addressOf(e *discoveryv1.Endpoint) netip.Addr {
	if len(e.Addresses) == 0 {
		return netip.Addr{}
	}
	addr, _ := netip.ParseAddr(e.Addresses[0])
	return addr
}

func samePorts(a, b []discoveryv1.EndpointPort) bool {
	return slices.EqualFunc(a, b, func(p, q discoveryv1.EndpointPort) bool {
		return value(p.Name) == value(q.Name) && value(p.Protocol) == value(q.Protocol) && value(p.Port) == value(q.Port) &&
			value(p.AppProtocol) == value(q.AppProtocol)
	})
}

// value is what a pointer points to, the zero value if it is nil.
func value[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}

// same reports whether the slice that exists says of its endpoints what it should.
func (l *layout) same(headless bool) bool {
	return len(l.addrs) == len(l.have.Endpoints) && samePorts(l.have.Ports, l.ports) &&
		slices.EqualFunc(l.addrs, l.have.Endpoints, func(addr netip.Addr, e discoveryv1.Endpoint) bool {
			return len(e.Addresses) == 1 && addressOf(&e) == addr && sameEndpoint(l.members[addr], &e, headless)
		})
}

func sameEndpoint(m *member, e *discoveryv1.Endpoint, headless bool) bool {
	serving, terminating := m.state()
	hostname := ""
	if headless {
		hostname = m.Hostname
	}
	return value(e.Conditions.Ready) == m.ready && value(e.Conditions.Serving) == serving &&
		value(e.Conditions.Terminating) == terminating && value(e.Hostname) == hostname && value(e.Zone) == m.Zone &&
		sameHints(e.Hints, m.hints) && e.NodeName == nil && e.TargetRef == nil
}

func sameHints(have *discoveryv1.EndpointHints, want []string) bool {
	if have == nil {
		return len(want) == 0
	}
	return len(have.ForNodes) == 0 && len(want) > 0 &&
		slices.EqualFunc(have.ForZones, want, func(z discoveryv1.ForZone, w string) bool { return z.Name == w })
}

// state returns whether the endpoint answers, and whether it is being shut down.
func (m *member) state() (serving, terminating bool) {
	draining := m.Health == catalog.Draining
	return m.ready || draining || m.Health == catalog.Healthy || m.Health == catalog.Degraded, draining
}

// endpoints are those of the slice.
func (l *layout) endpoints(headless bool) []discoveryv1.Endpoint {
	out := make([]discoveryv1.Endpoint, len(l.addrs))
	for i, addr := range l.addrs {
		m := l.members[addr]
		serving, terminating := m.state()
		out[i] = discoveryv1.Endpoint{
			Addresses:  []string{addr.String()},
			Conditions: discoveryv1.EndpointConditions{Ready: new(m.ready), Serving: &serving, Terminating: &terminating},
			Zone:       optional(m.Zone),
		}
		if headless {
			out[i].Hostname = optional(m.Hostname)
		}
		if len(m.hints) > 0 {
			out[i].Hints = &discoveryv1.EndpointHints{}
			for _, zone := range m.hints {
				out[i].Hints.ForZones = append(out[i].Hints.ForZones, discoveryv1.ForZone{Name: zone})
			}
		}
	}
	return out
}

// sliceLabels are the labels of the slices of one cluster.
func sliceLabels(in *Input, cluster string) map[string]string {
	labels := map[string]string{
		LabelImport:                   in.Name.Name,
		discoveryv1.LabelServiceName:  DerivedName(in.Name),
		discoveryv1.LabelManagedBy:    ManagedBy,
		mcsv1beta1.LabelServiceName:   in.Name.Name,
		mcsv1beta1.LabelSourceCluster: labelValue(cluster),
	}
	if in.Service.Headless {
		labels[corev1.IsHeadlessService] = ""
	}
	return labels
}
