package imports

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
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

// exposedBy returns which of the service's ports a cluster exposes. Ports are the
// same by name, or else by protocol and number, as they were united; one that lost
// a conflict over its protocol is not exposed at all.
func exposedBy(set *catalog.EndpointSet, ports []catalog.Port) []exposed {
	out := make([]exposed, 0, len(ports))
	for i, p := range ports {
		at := slices.IndexFunc(set.Ports, func(q catalog.Port) bool { return q.Name == p.Name && q.Protocol == p.Protocol })
		if at < 0 {
			at = slices.IndexFunc(set.Ports, func(q catalog.Port) bool { return q.Number == p.Number && q.Protocol == p.Protocol })
		}
		if at >= 0 {
			out = append(out, exposed{i, set.Ports[at]})
		}
	}
	return out
}

// slicePorts are the ports of an EndpointSlice whose endpoints have these numbers.
func slicePorts(in *Input, names []string, exposes []exposed, numbers []uint16) []discoveryv1.EndpointPort {
	out := make([]discoveryv1.EndpointPort, len(exposes))
	for i, x := range exposes {
		p := in.Service.Ports[x.index]
		out[i] = discoveryv1.EndpointPort{
			Name: &names[x.index], Protocol: new(corev1.Protocol(p.Protocol)), Port: new(int32(numbers[i])),
			AppProtocol: optional(p.AppProtocol),
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
			TargetPort: intstr.FromInt32(int32(p.Number)), AppProtocol: optional(p.AppProtocol),
		}
	}
	return out
}

func importPorts(ports []catalog.Port) []mcsv1beta1.ServicePort {
	out := make([]mcsv1beta1.ServicePort, len(ports))
	for i, p := range ports {
		out[i] = mcsv1beta1.ServicePort{
			Name: p.Name, Protocol: corev1.Protocol(p.Protocol), Port: int32(p.Number), AppProtocol: optional(p.AppProtocol),
		}
	}
	return out
}

func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
