package file

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/federator/federator/federation/catalog"
)

func (r *reader) ports(n *yaml.Node) []catalog.Port {
	var ports []catalog.Port
	r.list(n, "ports", MaxPorts, func(n *yaml.Node) {
		p := r.port(n)
		for _, other := range ports {
			if other.Name == p.Name && p.Name != "" {
				r.fail(n, "port %q is given twice", p.Name)
			} else if other.Number == p.Number && other.Protocol == p.Protocol {
				r.fail(n, "ports %q and %q are both %s %d", other.Name, p.Name, p.Protocol, p.Number)
			}
		}
		ports = append(ports, p)
	})
	if i := slices.IndexFunc(ports, func(p catalog.Port) bool { return p.Name == "" }); i >= 0 && len(ports) > 1 {
		r.fail(n.Content[i], "port without a name; several ports need one each")
	}
	return ports
}

func (r *reader) port(n *yaml.Node) catalog.Port {
	p := catalog.Port{Protocol: catalog.TCP}
	r.object(n, "port", []field{
		{"name", false, func(n *yaml.Node) { p.Name = parsed(r, n, "port name", parsePortName) }},
		{"port", true, func(n *yaml.Node) { p.Number = uint16(r.integer(n, "port", 1, 65535)) }},
		{"protocol", false, func(n *yaml.Node) { p.Protocol = parsed(r, n, "protocol", parseProtocol) }},
		{"appProtocol", false, func(n *yaml.Node) { p.AppProtocol = r.text(n, "appProtocol") }},
	})
	return p
}

// parsePortName accepts IANA service names (RFC 6335), as Kubernetes does,
// because the name becomes a label of an SRV record.
func parsePortName(s string) (string, error) {
	if len(s) > 15 || catalog.ValidateLabel("", s) != nil || !strings.ContainsAny(s, "abcdefghijklmnopqrstuvwxyz") {
		return "", fmt.Errorf("port name %q: expected at most 15 of a-z, 0-9 and '-', with a letter, for example http", clip(s))
	}
	return s, nil
}

func parseProtocol(s string) (catalog.Protocol, error) {
	switch p := catalog.Protocol(s); p {
	case catalog.TCP, catalog.UDP, catalog.SCTP:
		return p, nil
	}
	return "", fmt.Errorf("protocol %q: expected TCP, UDP or SCTP", clip(s))
}

func (r *reader) endpointList(n *yaml.Node, set *catalog.EndpointSet) []catalog.Endpoint {
	var endpoints []catalog.Endpoint
	lines := map[string]int{}
	r.list(n, "endpoints", MaxEndpoints, func(n *yaml.Node) {
		if r.endpoints++; r.endpoints == MaxEndpoints+1 {
			r.fail(n, "more than %d endpoints in one file", MaxEndpoints)
		}
		e := r.endpoint(n, set)
		if line, twice := lines[e.ID]; twice && e.ID != "" {
			r.fail(n, "endpoint %q is given twice, first on line %d; give each an id of its own", e.ID, line)
		}
		lines[e.ID] = n.Line
		endpoints = append(endpoints, e)
	})
	return endpoints
}

func (r *reader) endpoint(n *yaml.Node, set *catalog.EndpointSet) catalog.Endpoint {
	e := catalog.Endpoint{Weight: 1, Health: catalog.Healthy}
	if set.Check != nil {
		e.Health = catalog.Unknown
	}
	r.object(n, "endpoint", []field{
		{"address", true, func(n *yaml.Node) { e.Address = parsed(r, n, "address", parseAddress) }},
		{"zone", false, func(n *yaml.Node) { e.Zone = r.label(n, "zone") }},
		{"weight", false, func(n *yaml.Node) { e.Weight = uint32(r.integer(n, "weight", 1, 65535)) }},
		{"hostname", false, func(n *yaml.Node) { e.Hostname = r.label(n, "hostname") }},
		{"ports", false, func(n *yaml.Node) { e.Ports = r.portNumbers(n, set.Ports) }},
		{"id", false, func(n *yaml.Node) { e.ID = parsed(r, n, "id", parseID) }},
	})
	if e.ID == "" && e.Address.IsValid() {
		e.ID = e.Address.String()
	}
	return e
}

func parseAddress(s string) (netip.Addr, error) {
	a, err := netip.ParseAddr(s)
	switch {
	case err != nil:
		return netip.Addr{}, fmt.Errorf("address %q: expected an IPv4 or IPv6 address", clip(s))
	case a.Zone() != "" || a.IsUnspecified() || a.IsMulticast() || a == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return netip.Addr{}, fmt.Errorf("address %q: expected a unicast address that other hosts can reach", clip(s))
	}
	return a.Unmap(), nil
}

func parseID(s string) (string, error) {
	bad := func(c rune) bool { return c <= ' ' || c > '~' }
	if s == "" || len(s) > 253 || strings.ContainsFunc(s, bad) {
		return "", fmt.Errorf("id %q: expected 1 to 253 printable ASCII characters without blanks", clip(s))
	}
	return s, nil
}

// portNumbers reads an endpoint's own numbers for named ports of the service.
func (r *reader) portNumbers(n *yaml.Node, ports []catalog.Port) map[string]uint16 {
	numbers := map[string]uint16{}
	var fields []field
	for _, p := range ports {
		if p.Name != "" {
			fields = append(fields, field{p.Name, false, func(n *yaml.Node) {
				numbers[p.Name] = uint16(r.integer(n, "port", 1, 65535))
			}})
		}
	}
	if len(fields) == 0 {
		r.fail(n, "endpoint ports: the service has no named port to override")
		return nil
	}
	r.object(n, "endpoint ports", fields)
	return numbers
}

// portNamed returns the port that a check means, and whether there is one.
func portNamed(ports []catalog.Port, name string) (catalog.Port, bool) {
	if name == "" && len(ports) > 0 {
		return ports[0], true
	}
	i := slices.IndexFunc(ports, func(p catalog.Port) bool { return p.Name == name })
	if i < 0 {
		return catalog.Port{}, false
	}
	return ports[i], true
}
