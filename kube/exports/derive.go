package exports

import (
	"cmp"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"
	mcs "sigs.k8s.io/mcs-api/pkg/apis/v1beta1"

	"github.com/federator/federator/federation/catalog"
)

// Origin is what [catalog.EndpointSet.Source] says of sets from Kubernetes.
const Origin = "kube"

// The bounds of one service in one cluster, which the region's Raft has too.
const (
	maxEndpoints = 10_000
	maxPorts     = 128
	// maxProtocol bounds an application protocol, which regions send each other up to
	// this length. Kubernetes has up to 317 bytes.
	maxProtocol = 253
)

// The reasons of a [Verdict] besides those of the Multi-Cluster Services API.
const (
	ReasonTooManyPorts = "TooManyPorts"
)

// Whole is the message of a [Verdict] on an export of which nothing is left out; any other
// of a valid one says more.
const Whole = "the Service is exported"

// defaultAffinity is the timeout of a session affinity that names none, in
// seconds; Kubernetes has the same.
const defaultAffinity = 10800

// Verdict is what became of one ServiceExport, for its condition Valid.
type Verdict struct {
	// Service is the namespace and name of the export, and of what it exports.
	Service catalog.ServiceName
	// UID and Generation tell which version of the export this is about.
	UID        types.UID
	Generation int64
	// Valid: the service is handed over to the federation.
	Valid bool
	// Reason is "Valid", "NoService", "InvalidServiceType" or "TooManyPorts".
	Reason string
	// Message says for people why not, or what of the service is left out.
	Message string
}

// facts is what one set is derived from.
type facts struct {
	cluster string
	export  *mcs.ServiceExport
	service *corev1.Service // nil: there is none
	slices  []*discoveryv1.EndpointSlice
	// zone is the zone of a node, "" if it is not known.
	zone func(node string) string
}

// derive returns what the cluster exports of a service, and nil where the export
// is not valid. Equal facts in any order give equal sets.
func derive(in facts) (*catalog.EndpointSet, Verdict) {
	name := catalog.ServiceName{Namespace: in.export.Namespace, Name: in.export.Name}
	v := Verdict{Service: name, UID: in.export.UID, Generation: in.export.Generation}
	if v.Reason, v.Message = unfit(name, in.service); v.Reason != "" {
		return nil, v
	}
	set := &catalog.EndpointSet{
		SetKey: catalog.SetKey{Cluster: in.cluster, Service: name}, Source: Origin,
		Headless:        in.service.Spec.ClusterIP == corev1.ClusterIPNone,
		Ports:           portsOf(in.service),
		CreatedAt:       in.export.CreationTimestamp.UTC(),
		AffinitySeconds: affinityOf(in.service),
	}
	var left leftOut
	set.Properties = propertiesOf(in.export, in.service, &left)
	for i := range set.Ports {
		if len(set.Ports[i].AppProtocol) > maxProtocol {
			set.Ports[i].AppProtocol = ""
			left.protocols++
		}
	}
	set.Endpoints = gather(in, set, &left)
	v.Valid, v.Reason, v.Message = true, string(mcs.ServiceExportReasonValid), left.message()
	return set, v
}

// unfit says why a service cannot be exported; nothing if it can.
func unfit(name catalog.ServiceName, service *corev1.Service) (reason, message string) {
	switch {
	case service == nil:
		return string(mcs.ServiceExportReasonNoService), fmt.Sprintf("there is no Service %s; it is exported as soon as there is one", name)
	case service.Spec.Type == corev1.ServiceTypeExternalName:
		return string(mcs.ServiceExportReasonInvalidServiceType), "a Service of type ExternalName is a name elsewhere and has no endpoints; export one of type ClusterIP, NodePort or LoadBalancer"
	case len(service.Spec.Ports) > maxPorts:
		return ReasonTooManyPorts, fmt.Sprintf("the Service has %d ports, expected at most %d; divide it into several", len(service.Spec.Ports), maxPorts)
	}
	return "", ""
}

func portsOf(service *corev1.Service) []catalog.Port {
	var ports []catalog.Port
	for _, p := range service.Spec.Ports {
		port := catalog.Port{Name: p.Name, Number: uint16(p.Port), Protocol: cmp.Or(catalog.Protocol(p.Protocol), catalog.TCP)}
		if p.AppProtocol != nil {
			port.AppProtocol = *p.AppProtocol
		}
		ports = append(ports, port)
	}
	return ports
}

func affinityOf(service *corev1.Service) uint32 {
	if service.Spec.SessionAffinity != corev1.ServiceAffinityClientIP {
		return 0
	}
	c := service.Spec.SessionAffinityConfig
	if c == nil || c.ClientIP == nil || c.ClientIP.TimeoutSeconds == nil {
		return defaultAffinity
	}
	return uint32(min(max(*c.ClientIP.TimeoutSeconds, 1), catalog.MaxAffinitySeconds))
}

// leftOut counts what of a valid export is not handed over, or not as it is.
type leftOut struct {
	names     int // slices with names instead of addresses
	addresses int // endpoints without a usable address
	partial   int // endpoints that miss a port of the service
	total     int // endpoints, where there are too many
	// keys are the labels and annotations, each with why.
	keys []string
	// local: the internal traffic policy is Local.
	local     bool
	protocols int // application protocols of ports that are too long
}

func (l *leftOut) message() string {
	parts := []string{Whole}
	note := func(n int, format string, args ...any) {
		if n > 0 {
			parts = append(parts, fmt.Sprintf(format, args...))
		}
	}
	note(l.names, "%d EndpointSlice(s) of type FQDN are left out: an endpoint needs an address", l.names)
	note(l.addresses, "%d endpoint(s) are left out: their address is no unicast address that others can reach", l.addresses)
	note(l.total, "it has %d endpoints, expected at most %d: those with the highest addresses are left out", l.total, maxEndpoints)
	note(l.protocols, "%d appProtocol(s) of more than %d bytes are left out", l.protocols, maxProtocol)
	note(l.partial, "%d endpoint(s) do not listen on every port of the Service", l.partial)
	note(len(l.keys), "not carried over: %s", named(l.keys))
	if l.local {
		parts = append(parts, "its internalTrafficPolicy Local is said in ServiceImports only: the clusterset IP leads to endpoints on other nodes, too")
	}
	return strings.Join(parts, "; ")
}
