package file

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"

	"go.yaml.in/yaml/v3"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/strictyaml"
)

// The bounds of a services file.
const (
	MaxBytes     = 8 << 20
	MaxServices  = 20_000
	MaxEndpoints = 200_000 // over all services
	MaxPorts     = 64      // of one service
	MaxClients   = 4_096

	maxMistakes = 1_000
)

// SourceName is what [catalog.EndpointSet.Source] says of sets from a file.
const SourceName = "file"

// Services is what a services file says.
type Services struct {
	Sets     []catalog.EndpointSet // ordered by service
	Prefixes []catalog.ClientPrefix
}

// Parse reads a services file for a cluster. The error is a [Mistakes] with
// everything that is wrong, or says that the file is too big or of no bytes. One that
// says nothing, as {} does, is valid and has no services.
func Parse(data []byte, cluster string) (Services, error) {
	if len(data) > MaxBytes {
		return Services{}, fmt.Errorf("%w: %d bytes, expected at most %d", errTooBig, len(data), MaxBytes)
	}
	if len(data) == 0 {
		return Services{}, errNoBytes
	}
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	var doc, second yaml.Node
	if err := decoder.Decode(&doc); errors.Is(err, io.EOF) {
		return Services{}, nil
	} else if err != nil {
		return Services{}, syntaxMistake(err)
	}
	if err := decoder.Decode(&second); err == nil {
		return Services{}, Mistakes{{Line: second.Line, Column: second.Column, Reason: "a second YAML document; expected one"}}
	} else if !errors.Is(err, io.EOF) {
		return Services{}, syntaxMistake(err)
	}
	if len(doc.Content) == 0 {
		return Services{}, nil
	}
	r := reader{Reader: strictyaml.NewReader(maxMistakes)}
	s := r.services(doc.Content[0], cluster)
	if !r.OK() {
		return Services{}, Mistakes(r.Mistakes())
	}
	slices.SortFunc(s.Sets, func(a, b catalog.EndpointSet) int { return a.Service.Compare(b.Service) })
	return s, nil
}

func (r *reader) services(n *yaml.Node, cluster string) Services {
	var s Services
	if strictyaml.IsNull(n) {
		return s
	}
	lines := map[catalog.ServiceName]int{}
	prefixes := map[netip.Prefix]bool{}
	r.Fields(n, "", []strictyaml.Field{
		strictyaml.Optional("clients", func(n *yaml.Node, at string) {
			r.List(n, at, MaxClients, func(n *yaml.Node, at string) {
				p := r.client(n, at)
				if prefixes[p.Prefix] && p.Prefix.IsValid() {
					r.Fail(n, "client prefix %s is given twice", p.Prefix)
				}
				prefixes[p.Prefix] = true
				s.Prefixes = append(s.Prefixes, p)
			})
		}),
		strictyaml.Optional("services", func(n *yaml.Node, at string) {
			r.List(n, at, MaxServices, func(n *yaml.Node, at string) {
				set := r.service(n, at)
				if line, twice := lines[set.Service]; twice && set.Service != (catalog.ServiceName{}) {
					r.Fail(n, "service %s is given twice, first on line %d", set.Service, line)
				}
				lines[set.Service] = n.Line
				set.Cluster = cluster
				s.Sets = append(s.Sets, set)
			})
		}),
	})
	return s
}

func (r *reader) client(n *yaml.Node, at string) (p catalog.ClientPrefix) {
	r.Fields(n, at, []strictyaml.Field{
		strictyaml.Required("prefix", func(n *yaml.Node, at string) { p.Prefix = strictyaml.Parsed(r.Reader, n, at, parsePrefix) }),
		strictyaml.Optional("zone", func(n *yaml.Node, at string) { p.Zone = r.label(n, at, "zone") }),
	})
	return p
}

func parsePrefix(s string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return p, fmt.Errorf("client prefix %q: expected a network such as 10.1.0.0/16 or 2001:db8::/32", strictyaml.Clip(s))
	}
	if p != p.Masked() {
		return p, fmt.Errorf("client prefix %q has bits set after its length; did you mean %s?", strictyaml.Clip(s), p.Masked())
	}
	if p.Addr().Is4In6() {
		return p, fmt.Errorf("client prefix %q: write it as IPv4", strictyaml.Clip(s))
	}
	return p, nil
}

func (r *reader) service(n *yaml.Node, at string) catalog.EndpointSet {
	set := catalog.EndpointSet{Source: SourceName}
	portsSeen := false
	r.Fields(n, at, []strictyaml.Field{
		strictyaml.Required("name", func(n *yaml.Node, at string) {
			set.Service = strictyaml.Parsed(r.Reader, n, at, catalog.ParseServiceName)
		}),
		strictyaml.Optional("headless", func(n *yaml.Node, at string) { set.Headless = r.Bool(n, at) }),
		strictyaml.Optional("ports", func(n *yaml.Node, at string) { portsSeen = true; set.Ports = r.ports(n, at) }),
		strictyaml.Optional("check", func(n *yaml.Node, at string) { set.Check = r.check(n, at, set.Ports) }),
		strictyaml.Optional("endpoints", func(n *yaml.Node, at string) { set.Endpoints = r.endpointList(n, at, &set) }),
	})
	if n.Kind == yaml.MappingNode && !portsSeen && !set.Headless {
		r.Fail(n, "service %s: \"ports\" is missing; only a headless service can do without", set.Service)
	}
	return set
}
