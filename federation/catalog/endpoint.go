package catalog

import (
	"fmt"
	"maps"
	"net/netip"
	"time"
)

// Health is what is known of one endpoint. Unknown and Healthy and Degraded
// endpoints exist and may serve; see package locality for how each counts.
type Health uint8

// The health states, as Envoy's health_status names them.
const (
	// Unknown: a check is configured and has not yet decided.
	Unknown Health = iota
	Healthy
	// Degraded: serves, but only when nothing healthy is left to serve instead.
	Degraded
	Unhealthy
	// Draining: being removed; gets no new clients.
	Draining
)

// Protocol is the transport protocol of a port.
type Protocol string

// The protocols a port can have.
const (
	TCP  Protocol = "TCP"
	UDP  Protocol = "UDP"
	SCTP Protocol = "SCTP"
)

// Port is one port of a service. Name may be empty for a service's only port;
// SRV records exist for named ports only (Multi-Cluster Services DNS 1.0.0).
type Port struct {
	Name        string   `json:"name,omitempty"`
	Protocol    Protocol `json:"protocol"`
	Number      uint16   `json:"port"`
	AppProtocol string   `json:"appProtocol,omitempty"`
}

// CheckKind is how a health check talks to an endpoint.
type CheckKind string

// The kinds of health check.
const (
	CheckHTTP CheckKind = "http"
	CheckTCP  CheckKind = "tcp"
	CheckGRPC CheckKind = "grpc"
)

// Check says how the endpoints of a service are probed. It travels with the
// endpoint set, because other regions probe a sample with it when the region's
// own replicas fall silent.
type Check struct {
	Kind CheckKind `json:"kind"`
	// Port is the name of the service port to probe; empty means the first port.
	Port string `json:"port,omitempty"`
	// Path and Host are for HTTP: the request path (default "/") and Host header.
	Path string `json:"path,omitempty"`
	Host string `json:"host,omitempty"`
	// Service is the service name in a gRPC health request.
	Service string `json:"service,omitempty"`
	// Interval between probes of one endpoint, and Timeout of one probe.
	Interval time.Duration `json:"interval"`
	Timeout  time.Duration `json:"timeout"`
	// HealthyThreshold and UnhealthyThreshold are how many probes in a row must
	// agree before an endpoint's health turns, 1 to 10.
	HealthyThreshold   int `json:"healthyThreshold"`
	UnhealthyThreshold int `json:"unhealthyThreshold"`
}

// Endpoint is one address of a service in a cluster.
type Endpoint struct {
	// ID is unique within the endpoint set and stable while the endpoint lives.
	ID      string     `json:"id"`
	Address netip.Addr `json:"address"`
	Zone    string     `json:"zone,omitempty"`
	// Hostname names the endpoint of a headless service.
	Hostname string `json:"hostname,omitempty"`
	// Weight is this endpoint's share within its locality, 1 to 65535.
	Weight uint32 `json:"weight"`
	// Ports overrides the number of named service ports at this endpoint.
	Ports map[string]uint16 `json:"ports,omitempty"`
	// Health is what the source itself says; [Unknown] where a check decides.
	Health Health `json:"health"`
}

// PortNumber returns the number of the service port p at this endpoint.
func (e *Endpoint) PortNumber(p Port) uint16 {
	if n, ok := e.Ports[p.Name]; ok {
		return n
	}
	return p.Number
}

// SharePorts makes equal overrides of neighbouring endpoints one map, before the
// endpoints are published: all pods of a service mostly listen on the same ports,
// and a map each would be most of what they weigh.
func SharePorts(endpoints []Endpoint) {
	for i := 1; i < len(endpoints); i++ {
		if before := endpoints[i-1].Ports; len(before) > 0 && maps.Equal(before, endpoints[i].Ports) {
			endpoints[i].Ports = before
		}
	}
}

// SetKey identifies an endpoint set: exactly one region, the cluster's own,
// writes it.
type SetKey struct {
	Cluster string      `json:"cluster"`
	Service ServiceName `json:"service"`
}

// String returns "cluster/namespace/name".
func (k SetKey) String() string { return k.Cluster + "/" + k.Service.String() }

// EndpointSet is everything one cluster exports of one service. Values are
// shared and must not be changed once published.
type EndpointSet struct {
	SetKey
	// Source is what the set came from: "file", "api" or "kube".
	Source   string `json:"source"`
	Headless bool   `json:"headless,omitempty"`
	Ports    []Port `json:"ports"`
	Check    *Check `json:"check,omitempty"`
	// CreatedAt decides conflicts between clusters: the oldest wins (KEP-1645).
	CreatedAt time.Time `json:"createdAt"`
	// AffinitySeconds is for how long a client of the service's virtual address
	// keeps its endpoint, 1 to [MaxAffinitySeconds]; 0 is no session affinity.
	AffinitySeconds uint32 `json:"affinitySeconds,omitempty"`
	// Properties is what else the exporter says of the service; nil: nothing.
	Properties *Properties `json:"properties,omitempty"`
	Endpoints  []Endpoint  `json:"endpoints"`
}

// MaxAffinitySeconds bounds [EndpointSet.AffinitySeconds]: a day, as Kubernetes
// bounds it.
const MaxAffinitySeconds = 86400

// HealthTable is the durable health of the endpoints of one set. Endpoints
// that are not listed are as their source says.
type HealthTable struct {
	SetKey
	Health map[string]Health `json:"health"`
}

// HealthChange is one flip of one endpoint.
type HealthChange struct {
	Service  ServiceName   `json:"service"`
	Endpoint string        `json:"endpoint"`
	Health   Health        `json:"health"`
	Version  HealthVersion `json:"version"`
}

// HealthDelta carries flips of one cluster. It can only change endpoints that
// are known, and lapses unless the region's own records confirm it.
type HealthDelta struct {
	Cluster string         `json:"cluster"`
	Changes []HealthChange `json:"changes"`
}

var healthNames = [...]string{"unknown", "healthy", "degraded", "unhealthy", "draining"}

// String returns the lower-case name of the state.
func (h Health) String() string {
	if int(h) < len(healthNames) {
		return healthNames[h]
	}
	return "invalid"
}

// MarshalText writes the name of the state.
func (h Health) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// UnmarshalText reads the name of a state.
func (h *Health) UnmarshalText(b []byte) error {
	for i, name := range healthNames {
		if name == string(b) {
			*h = Health(i)
			return nil
		}
	}
	return fmt.Errorf("health %q: expected unknown, healthy, degraded, unhealthy or draining", b)
}
