package file

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"unicode"

	"go.yaml.in/yaml/v3"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/strictyaml"
)

func (r *reader) ports(n *yaml.Node, at string) []catalog.Port {
	var ports []catalog.Port
	r.List(n, at, MaxPorts, func(n *yaml.Node, at string) {
		p := r.port(n, at)
		for _, other := range ports {
			if other.Name == p.Name && p.Name != "" {
				r.Fail(n, "port %q is given twice", p.Name)
			} else if other.Number == p.Number && other.Protocol == p.Protocol {
				r.Fail(n, "ports %q and %q are both %s %d", other.Name, p.Name, p.Protocol, p.Number)
			}
		}
		ports = append(ports, p)
	})
	if i := slices.IndexFunc(ports, func(p catalog.Port) bool { return p.Name == "" }); i >= 0 && len(ports) > 1 {
		r.Fail(n.Content[i], "port without a name; several ports need one each")
	}
	return ports
}

func (r *reader) port(n *yaml.Node, at string) catalog.Port {
	p := catalog.Port{Protocol: catalog.TCP}
	r.Fields(n, at, []strictyaml.Field{
		strictyaml.Optional("name", func(n *yaml.Node, at string) { p.Name = strictyaml.Parsed(r.Reader, n, at, parsePortName) }),
		strictyaml.Required("port", func(n *yaml.Node, at string) { p.Number = uint16(r.integer(n, at, 1, 65535)) }),
		strictyaml.Optional("protocol", func(n *yaml.Node, at string) { p.Protocol = strictyaml.Parsed(r.Reader, n, at, parseProtocol) }),
		strictyaml.Optional("appProtocol", func(n *yaml.Node, at string) { p.AppProtocol = strictyaml.Parsed(r.Reader, n, at, parseAppProtocol) }),
	})
	return p
}

// parsePortName accepts IANA service names (RFC 6335), as Kubernetes does,
// because the name becomes a label of an SRV record.
func parsePortName(s string) (string, error) {
	if len(s) > 15 || catalog.ValidateLabel("", s) != nil || !strings.ContainsAny(s, "abcdefghijklmnopqrstuvwxyz") {
		return "", fmt.Errorf("port name %q: expected at most 15 of a-z, 0-9 and '-', with a letter, for example http", strictyaml.Clip(s))
	}
	return s, nil
}

// parseAppProtocol accepts what regions accept from each other.
func parseAppProtocol(s string) (string, error) {
	unprintable := func(c rune) bool { return !unicode.IsPrint(c) }
	if len(s) > 253 || strings.ContainsFunc(s, unprintable) {
		return "", fmt.Errorf("appProtocol %q: expected at most 253 bytes of printable text, for example http", strictyaml.Clip(s))
	}
	return s, nil
}

func parseProtocol(s string) (catalog.Protocol, error) {
	switch p := catalog.Protocol(s); p {
	case catalog.TCP, catalog.UDP, catalog.SCTP:
		return p, nil
	}
	return "", fmt.Errorf("protocol %q: expected TCP, UDP or SCTP", strictyaml.Clip(s))
}

func (r *reader) endpointList(n *yaml.Node, at string, set *catalog.EndpointSet) []catalog.Endpoint {
	var endpoints []catalog.Endpoint
	lines := map[string]int{}
	r.List(n, at, MaxEndpoints, func(n *yaml.Node, at string) {
		if r.endpoints++; r.endpoints == MaxEndpoints+1 {
			r.Fail(n, "more than %d endpoints in one file", MaxEndpoints)
		}
		e := r.endpoint(n, at, set)
		if line, twice := lines[e.ID]; twice && e.ID != "" {
			r.Fail(n, "endpoint %q is given twice, first on line %d; give each an id of its own", e.ID, line)
		}
		lines[e.ID] = n.Line
		endpoints = append(endpoints, e)
	})
	return endpoints
}

func (r *reader) endpoint(n *yaml.Node, at string, set *catalog.EndpointSet) catalog.Endpoint {
	e := catalog.Endpoint{Weight: 1, Health: catalog.Healthy}
	if set.Check != nil {
		e.Health = catalog.Unknown
	}
	r.Fields(n, at, []strictyaml.Field{
		strictyaml.Required("address", func(n *yaml.Node, at string) { e.Address = strictyaml.Parsed(r.Reader, n, at, parseAddress) }),
		strictyaml.Optional("zone", func(n *yaml.Node, at string) { e.Zone = r.label(n, at, "zone") }),
		strictyaml.Optional("weight", func(n *yaml.Node, at string) { e.Weight = uint32(r.integer(n, at, 1, 65535)) }),
		strictyaml.Optional("hostname", func(n *yaml.Node, at string) { e.Hostname = r.label(n, at, "hostname") }),
		strictyaml.Optional("ports", func(n *yaml.Node, at string) { e.Ports = r.portNumbers(n, at, set.Ports) }),
		strictyaml.Optional("id", func(n *yaml.Node, at string) { e.ID = strictyaml.Parsed(r.Reader, n, at, parseID) }),
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
		return netip.Addr{}, fmt.Errorf("address %q: expected an IPv4 or IPv6 address", strictyaml.Clip(s))
	case a.Zone() != "" || a.IsUnspecified() || a.IsMulticast() || a == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return netip.Addr{}, fmt.Errorf("address %q: expected a unicast address that other hosts can reach", strictyaml.Clip(s))
	}
	return a.Unmap(), nil
}

func parseID(s string) (string, error) {
	bad := func(c rune) bool { return c <= ' ' || c > '~' }
	if s == "" || len(s) > 253 || strings.ContainsFunc(s, bad) {
		return "", fmt.Errorf("id %q: expected 1 to 253 printable ASCII characters without blanks", strictyaml.Clip(s))
	}
	return s, nil
}

// portNumbers reads an endpoint's own numbers for named ports of the service.
func (r *reader) portNumbers(n *yaml.Node, at string, ports []catalog.Port) map[string]uint16 {
	numbers := map[string]uint16{}
	var fields []strictyaml.Field
	for _, p := range ports {
		if p.Name != "" {
			fields = append(fields, strictyaml.Optional(p.Name, func(n *yaml.Node, at string) {
				numbers[p.Name] = uint16(r.integer(n, at, 1, 65535))
			}))
		}
	}
	if len(fields) == 0 {
		r.Fail(n, "%s: the service has no named port to override", at)
		return nil
	}
	r.Fields(n, at, fields)
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
