package exports

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"strings"

	discoveryv1 "k8s.io/api/discovery/v1"
	mcs "sigs.k8s.io/mcs-api/pkg/apis/v1beta1"

	"github.com/federator/federator/federation/catalog"
)

// managedByUs is what the label managed-by says of the EndpointSlices that
// federator itself writes.
const managedByUs = "federator.dev"

// found is one address of a service, as one or several slices tell of it.
type found struct {
	endpoint catalog.Endpoint
	pod      string // its UID, "" where the endpoint is no pod
	listens  *listening
}

// listening is on which ports the endpoints of a slice listen. Endpoints share it.
type listening struct {
	numbers map[string]uint16 // by port name
	// overrides are the numbers that differ from those of the service.
	overrides map[string]uint16
}

// gather merges the slices of a service. An address that several list is one
// endpoint: a moving endpoint is in two slices for a moment, and readers merge
// (KEP-752).
func gather(in facts, set *catalog.EndpointSet, left *leftOut) []catalog.Endpoint {
	byAddress := map[netip.Addr]*found{}
	for _, slice := range oldestFirst(in.slices) {
		if slice.AddressType == discoveryv1.AddressTypeFQDN {
			left.names++
			continue
		}
		listens := listeningOn(slice.Ports, set.Ports)
		for i := range slice.Endpoints {
			f, ok := read(&slice.Endpoints[i], slice.AddressType, set.Headless, in.zone)
			if !ok {
				left.addresses++
				continue
			}
			f.listens = listens
			byAddress[f.endpoint.Address] = merge(byAddress[f.endpoint.Address], f, set.Ports)
		}
	}
	return listed(byAddress, set, left)
}

// oldestFirst orders slices so that the word of a newer one counts: of the two
// that exist for a moment when a port changes its number, it has the new one.
// What federator wrote itself is not exported again.
func oldestFirst(all []*discoveryv1.EndpointSlice) []*discoveryv1.EndpointSlice {
	own := func(s *discoveryv1.EndpointSlice) bool {
		return s.Labels[discoveryv1.LabelManagedBy] == managedByUs || s.Labels[mcs.LabelSourceCluster] != ""
	}
	return slices.SortedFunc(func(yield func(*discoveryv1.EndpointSlice) bool) {
		for _, s := range all {
			if !own(s) && !yield(s) {
				return
			}
		}
	}, func(a, b *discoveryv1.EndpointSlice) int {
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
	})
}

// read takes an endpoint from a slice; false if nobody could reach its address.
// Kubernetes gives a meaning to the first address only.
func read(e *discoveryv1.Endpoint, family discoveryv1.AddressType, headless bool, zone func(string) string) (*found, bool) {
	if len(e.Addresses) == 0 {
		return nil, false
	}
	a, err := netip.ParseAddr(e.Addresses[0])
	a = a.Unmap()
	if err != nil || a.Is4() != (family == discoveryv1.AddressTypeIPv4) || !reachable(a) {
		return nil, false
	}
	f := &found{endpoint: catalog.Endpoint{Address: a, Weight: 1, Health: healthOf(e.Conditions)}}
	if ref := e.TargetRef; ref != nil && ref.Kind == "Pod" && isUID(string(ref.UID)) {
		f.pod = string(ref.UID)
	}
	if e.Hostname != nil && headless {
		f.endpoint.Hostname = *e.Hostname
	}
	switch {
	case e.Zone != nil:
		f.endpoint.Zone = zoneLabel(*e.Zone)
	case e.NodeName != nil:
		f.endpoint.Zone = zone(*e.NodeName)
	}
	return f, true
}

// isUID reports whether a text is like the UIDs that API servers give. Who makes a
// slice by hand may call a pod anything: what is too long or unprintable would be
// refused in the federation with all that goes with it, and an address is the id of
// another endpoint.
func isUID(s string) bool {
	other := func(c rune) bool {
		return (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && c != '-'
	}
	return s != "" && len(s) <= 63 && !strings.ContainsFunc(s, other)
}

func reachable(a netip.Addr) bool {
	return a.Zone() == "" && !a.IsUnspecified() && !a.IsMulticast() && !a.IsLoopback() && a != netip.AddrFrom4([4]byte{255, 255, 255, 255})
}

// healthOf reads the conditions of an endpoint; what is not said counts as
// Kubernetes says it does. The EndpointSlice controller has looked at
// publishNotReadyAddresses already: such endpoints are ready.
func healthOf(c discoveryv1.EndpointConditions) catalog.Health {
	ready := c.Ready == nil || *c.Ready
	serving := ready
	if c.Serving != nil {
		serving = *c.Serving
	}
	switch {
	case ready:
		return catalog.Healthy
	case serving && c.Terminating != nil && *c.Terminating:
		return catalog.Draining
	}
	return catalog.Unhealthy
}

// preference orders what two slices may say of one address.
var preference = map[catalog.Health]int{catalog.Healthy: 2, catalog.Draining: 1, catalog.Unhealthy: 0}

// merge joins what two slices say of an address; old may be nil. A pod in both
// listens on the ports of both, at the numbers of the newer. Of two pods one has
// the address no more: not the one that is ready.
func merge(old, next *found, ports []catalog.Port) *found {
	if old == nil {
		return next
	}
	best := next
	if d := cmp.Or(preference[old.endpoint.Health]-preference[next.endpoint.Health], cmp.Compare(old.pod, next.pod)); d > 0 {
		best = old
	}
	if old.pod == next.pod && old.listens != next.listens {
		numbers := maps.Clone(old.listens.numbers)
		maps.Copy(numbers, next.listens.numbers)
		best.listens = newListening(numbers, ports)
	}
	return best
}

func listeningOn(of []discoveryv1.EndpointPort, ports []catalog.Port) *listening {
	numbers := map[string]uint16{}
	for _, p := range of {
		if p.Port == nil || *p.Port < 1 || *p.Port > 65535 {
			continue
		}
		name := ""
		if p.Name != nil {
			name = *p.Name
		}
		numbers[name] = uint16(*p.Port)
	}
	return newListening(numbers, ports)
}

func newListening(numbers map[string]uint16, ports []catalog.Port) *listening {
	l := &listening{numbers: numbers}
	for _, p := range ports {
		if n, ok := numbers[p.Name]; ok && n != p.Number {
			if l.overrides == nil {
				l.overrides = map[string]uint16{}
			}
			l.overrides[p.Name] = n
		}
	}
	return l
}

// listed puts the endpoints in the order of their addresses and gives them ids:
// the UID of the pod, which no other pod ever has, with a mark at a second
// family; the address where it is no pod, or where a slice lists one pod twice.
func listed(byAddress map[netip.Addr]*found, set *catalog.EndpointSet, left *leftOut) []catalog.Endpoint {
	order := slices.SortedFunc(maps.Keys(byAddress), netip.Addr.Compare)
	if len(order) > maxEndpoints {
		left.total, order = len(order), order[:maxEndpoints]
	}
	taken := make(map[string]bool, len(order))
	var out []catalog.Endpoint
	for _, a := range order {
		f := byAddress[a]
		e := f.endpoint
		e.Ports = f.listens.overrides
		if e.ID = idOf(f.pod, a); taken[e.ID] {
			e.ID = a.String()
		}
		taken[e.ID] = true
		if !f.listens.onAll(set.Ports) {
			left.partial++
		}
		out = append(out, e)
	}
	return out
}

// idOf is the id of an endpoint that stays the same when the service gets its
// second family of addresses.
func idOf(pod string, a netip.Addr) string {
	switch {
	case pod == "":
		return a.String()
	case a.Is6():
		return pod + ".6"
	}
	return pod
}

func (l *listening) onAll(ports []catalog.Port) bool {
	for _, p := range ports {
		if _, ok := l.numbers[p.Name]; !ok {
			return false
		}
	}
	return true
}
