package imports

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"
	mcsv1beta1 "sigs.k8s.io/mcs-api/pkg/apis/v1beta1"

	"github.com/federator/federator/federation/catalog"
)

// portNames returns the names that the ports have in the derived Service and its
// EndpointSlices. The union of the exporters' ports may hold one without a name
// beside others, which a Service must not: it is named after what it is.
func portNames(ports []catalog.Port) []string {
	names := make([]string, len(ports))
	for i, p := range ports {
		names[i] = p.Name
	}
	for i, p := range ports {
		if p.Name != "" || len(ports) == 1 {
			continue
		}
		name := fmt.Sprintf("port-%d", p.Number)
		for slices.Contains(names, name) {
			name += "x"
		}
		names[i] = name
	}
	return names
}

// exposed is one port of a service as a cluster exposes it.
type exposed struct {
	index int // of the service's port
	port  catalog.Port
}

// exposedBy returns which of the service's ports a cluster exposes.
func exposedBy(set *catalog.EndpointSet, ports []catalog.Port) []exposed {
	out := make([]exposed, 0, len(ports))
	for i, p := range ports {
		if port, ok := set.Exposes(p); ok {
			out = append(out, exposed{i, port})
		}
	}
	return out
}

// portClass is ports of a service that the same clusters expose: clients of these
// ports are sent where the resolution says of those clusters alone.
type portClass struct {
	ports   []int // indexes of the service's ports
	service *catalog.Service
}

// portClasses divides the service's ports, those first that most clusters expose. Who
// uses a headless service looks for its ports himself.
func (in *Input) portClasses() []portClass {
	s := in.Service
	whole := portClass{service: s}
	for i := range s.Ports {
		whole.ports = append(whole.ports, i)
	}
	if s.Headless || len(s.Backends) < 2 || len(s.Ports) == 0 {
		return []portClass{whole}
	}
	exposers := make([][]int, len(s.Ports)) // indexes of backends
	for b := range s.Backends {
		for _, x := range exposedBy(s.Backends[b].Set, s.Ports) {
			exposers[x.index] = append(exposers[x.index], b)
		}
	}
	var out []portClass
	var by [][]int
	for i, of := range exposers {
		at := slices.IndexFunc(by, func(have []int) bool { return slices.Equal(have, of) })
		if at < 0 {
			at, by, out = len(by), append(by, of), append(out, portClass{service: only(s, of)})
		}
		out[at].ports = append(out[at].ports, i)
	}
	slices.SortStableFunc(out, func(a, b portClass) int { return len(b.service.Backends) - len(a.service.Backends) })
	return out
}

// slicesWith returns the slices that have one of the service's ports with the indexes.
func slicesWith(have []*discoveryv1.EndpointSlice, ports []catalog.Port, indexes []int) (out []*discoveryv1.EndpointSlice) {
	names := portNames(ports)
	for _, s := range have {
		if slices.ContainsFunc(s.Ports, func(p discoveryv1.EndpointPort) bool {
			at := slices.Index(names, value(p.Name))
			return at >= 0 && slices.Contains(indexes, at)
		}) {
			out = append(out, s)
		}
	}
	return out
}

// only returns the service as if these of its backends, in order, were all.
func only(s *catalog.Service, backends []int) *catalog.Service {
	if len(backends) == len(s.Backends) {
		return s
	}
	out := *s
	out.Backends = nil
	for _, b := range backends {
		out.Backends = append(out.Backends, s.Backends[b])
	}
	return &out
}

// slicePorts are the ports of an EndpointSlice whose endpoints have these numbers.
func slicePorts(in *Input, names []string, exposes []exposed, numbers []uint16) []discoveryv1.EndpointPort {
	out := make([]discoveryv1.EndpointPort, len(exposes))
	for i, x := range exposes {
		p := in.Service.Ports[x.index]
		out[i] = discoveryv1.EndpointPort{
			Name: &names[x.index], Protocol: new(corev1.Protocol(p.Protocol)), Port: new(int32(numbers[i])),
			AppProtocol: appProtocol(p),
		}
	}
	return out
}

func servicePorts(ports []catalog.Port) []corev1.ServicePort {
	names := portNames(ports)
	out := make([]corev1.ServicePort, len(ports))
	for i, p := range ports {
		out[i] = corev1.ServicePort{
			Name: names[i], Protocol: corev1.Protocol(p.Protocol), Port: int32(p.Number),
			TargetPort: intstr.FromInt32(int32(p.Number)), AppProtocol: appProtocol(p),
		}
	}
	return out
}

func importPorts(ports []catalog.Port) []mcsv1beta1.ServicePort {
	out := make([]mcsv1beta1.ServicePort, len(ports))
	for i, p := range ports {
		out[i] = mcsv1beta1.ServicePort{
			Name: p.Name, Protocol: corev1.Protocol(p.Protocol), Port: int32(p.Number), AppProtocol: appProtocol(p),
		}
	}
	return out
}

// appProtocol is nil where the API server would refuse the whole object over it: a
// services file may have any.
func appProtocol(p catalog.Port) *string {
	if len(validation.IsQualifiedName(p.AppProtocol)) > 0 {
		return nil
	}
	return &p.AppProtocol
}

func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
